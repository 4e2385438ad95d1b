//! When `current` is rotated.

use std::time::Duration;

use memchr::memchr;

/// The limits of a log directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Bytes at which `current` is rotated, zero for never.
    pub size: u64,
    /// The length of a line (`-l`): a line that ends within the last so many bytes of `size` is the last one.
    pub line_limit: u64,
    /// No line is continued in the next file, even if `current` grows beyond `size` by it.
    pub whole_lines: bool,
}

/// What of some bytes goes to `current` in one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// The first so many bytes.
    pub length: usize,
    /// Once they are written, `current` is rotated.
    pub rotate: bool,
}

impl Policy {
    /// Whether a `current` of `written` bytes is to take no more; it may end amid a line, as after a write that was cut short.
    pub fn is_full(&self, written: u64, is_mid_line: bool) -> bool {
        if self.size == 0 || (self.whole_lines && is_mid_line) {
            return false;
        }
        // A rotation that was due when svlogd ended, or got HUP, still is.
        let is_due = |threshold: u64| !is_mid_line && written >= threshold.max(1);
        written >= self.size || self.size.checked_sub(self.line_limit).is_some_and(is_due)
    }

    /// How much of `bytes` a `current` of `written` bytes, which is not full, takes.
    pub fn portion(&self, written: u64, bytes: &[u8]) -> Portion {
        if self.size == 0 {
            return Portion { length: bytes.len(), rotate: false };
        }
        let clamp = |count: u64| usize::try_from(count).unwrap_or(usize::MAX).min(bytes.len());
        let room = clamp(self.size.saturating_sub(written));
        // With a size below the length of a line, runit leaves nothing but the size to go by.
        if let Some(threshold) = self.size.checked_sub(self.line_limit) {
            let from = clamp(threshold.saturating_sub(written).saturating_sub(1)).min(room);
            if let Some(newline) = memchr(b'\n', &bytes[from..room]) {
                return Portion { length: from + newline + 1, rotate: true };
            }
        }
        if self.whole_lines {
            let from = room.saturating_sub(1);
            let length = memchr(b'\n', &bytes[from..]).map_or(bytes.len(), |newline| from + newline + 1);
            return Portion { length, rotate: false };
        }
        Portion { length: room, rotate: false }
    }
}

/// Rotation by age: a deadline that stands still until it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    limit: Duration,
    due: Option<Duration>,
}

impl Age {
    /// The first deadline, `seconds` after `now` on the monotonic clock; `None` for zero seconds.
    pub fn new(seconds: u64, now: Duration) -> Option<Self> {
        let limit = Duration::from_secs(seconds);
        (seconds != 0).then(|| Self { limit, due: now.checked_add(limit) })
    }

    /// The deadline on the monotonic clock; `None` if no clock reaches it.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Whether the deadline has come; then the next one is set.
    pub fn take_due(&mut self, now: Duration) -> bool {
        let reached = self.due.is_some_and(|due| due <= now);
        if reached {
            self.due = now.checked_add(self.limit);
        }
        reached
    }
}

/// `fsync`: when `current` is synced at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncDelay {
    limit: Duration,
    due: Option<Duration>,
}

impl SyncDelay {
    /// What is written is synced within `limit`.
    pub fn new(limit: Duration) -> Self {
        Self { limit, due: None }
    }

    /// Takes note of a write at `now` on the monotonic clock.
    pub fn written(&mut self, now: Duration) {
        self.due = self.due.or_else(|| now.checked_add(self.limit));
    }

    /// Takes note that all is synced.
    pub fn synced(&mut self) {
        self.due = None;
    }

    /// The deadline on the monotonic clock; `None` if nothing is to be synced.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Whether the deadline has come; then it is over.
    pub fn take_due(&mut self, now: Duration) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(size: u64, line_limit: u64) -> Policy {
        Policy { size, line_limit, whole_lines: false }
    }

    /// The files that come of `bytes` and of `write_size` bytes offered at a time, where a write takes no more than the
    /// next of `capacities`, which come over and over.
    fn files(policy: &Policy, bytes: &[u8], write_size: usize, capacities: &[usize]) -> Vec<Vec<u8>> {
        let mut files: Vec<Vec<u8>> = vec![Vec::new()];
        let mut capacities = capacities.iter().cycle();
        for mut chunk in bytes.chunks(write_size) {
            while !chunk.is_empty() {
                let current = files.last().unwrap();
                let is_mid_line = current.last().is_some_and(|&byte| byte != b'\n');
                if policy.is_full(current.len() as u64, is_mid_line) {
                    files.push(Vec::new());
                }
                let current = files.last_mut().unwrap();
                let portion = policy.portion(current.len() as u64, chunk);
                assert!(portion.length > 0);
                let count = portion.length.min(*capacities.next().unwrap());
                current.extend_from_slice(&chunk[..count]);
                chunk = &chunk[count..];
                if portion.rotate && count == portion.length {
                    files.push(Vec::new());
                }
            }
        }
        files
    }

    #[test]
    fn a_line_that_ends_near_the_size_is_the_last() {
        let portion = policy(20, 10).portion(0, b"12345678\n0\n234\n");
        assert_eq!(portion, Portion { length: 11, rotate: true });
        assert_eq!(policy(20, 10).portion(9, b"\n\n"), Portion { length: 1, rotate: true });
    }

    #[test]
    fn a_line_is_cut_at_the_size() {
        let portion = policy(5, 2).portion(0, b"1234567\n");
        assert_eq!(portion, Portion { length: 5, rotate: false });
        assert!(policy(5, 2).is_full(5, true));
    }

    #[test]
    fn a_rotation_that_was_due_is_due_after_a_hangup() {
        let policy = policy(100, 10);
        assert!(policy.is_full(90, false) && !policy.is_full(89, false));
        // Amid a line it is not due before the line ends, or the size is reached.
        assert!(policy.is_full(100, true) && !policy.is_full(99, true));
    }

    #[test]
    fn with_size_zero_nothing_is_rotated() {
        assert_eq!(policy(0, 10).portion(u64::MAX, b"a\n"), Portion { length: 2, rotate: false });
        assert!(!policy(0, 10).is_full(u64::MAX, false));
    }

    #[test]
    fn the_age_is_counted_from_the_last_deadline_reached() {
        let second = Duration::from_secs;
        let mut age = Age::new(5, second(100)).unwrap();
        assert!(!age.take_due(second(104)));
        assert!(age.take_due(second(107)));
        assert_eq!(age.due(), Some(second(112)));
        assert_eq!(Age::new(0, second(1)), None);
        assert_eq!(Age::new(u64::MAX, second(1)).unwrap().due(), None);
    }

    #[test]
    fn the_first_write_since_the_last_sync_sets_the_deadline() {
        let second = Duration::from_secs;
        let mut sync = SyncDelay::new(second(5));
        assert_eq!(sync.due(), None);
        sync.written(second(10));
        sync.written(second(14));
        assert_eq!(sync.due(), Some(second(15)));
        assert!(!sync.take_due(second(14)) && sync.take_due(second(15)) && !sync.take_due(second(16)));
        sync.written(second(20));
        sync.synced();
        assert_eq!(sync.due(), None);
    }

    #[test]
    fn whole_lines_are_never_cut() {
        let whole = Policy { whole_lines: true, ..policy(10, 100) };
        for (bytes, length) in [
            (&b"short\n"[..], 6),
            (b"123456789\nabc\n", 10),
            (b"a\nlonger than that\nb\n", 19),
            (b"123456789abc", 12),
        ] {
            assert_eq!(whole.portion(0, bytes), Portion { length, rotate: false }, "{bytes:?}");
        }
        assert!(whole.is_full(19, false) && !whole.is_full(9, false));
    }

    #[test]
    fn a_line_that_was_written_in_part_is_continued_in_a_full_file() {
        let whole = Policy { whole_lines: true, ..policy(10, 100) };
        assert!(!whole.is_full(12, true));
        for (written, bytes, length) in [(12, &b"bc\nd\n"[..], 3), (10, b"\nd\n", 1), (12, b"bc", 2)] {
            assert_eq!(whole.portion(written, bytes), Portion { length, rotate: false }, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn the_size_of_writes_makes_no_difference(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(b'b')], 0..300),
            size in 1_u64..60,
            line_limit in 1_u64..80,
            write_size in 1_usize..40,
            capacities in prop::collection::vec(1_usize..40, 1..5),
        ) {
            let policy = policy(size, line_limit);
            let whole = files(&policy, &bytes, bytes.len().max(1), &[usize::MAX]);
            prop_assert_eq!(&whole, &files(&policy, &bytes, write_size, &capacities));
            prop_assert_eq!(&whole.concat(), &bytes);
            prop_assert!(whole.iter().all(|file| file.len() as u64 <= size));
        }

        #[test]
        fn writes_that_are_cut_short_tear_no_whole_line(
            lines in prop::collection::vec("[ab]{0,30}\n", 0..30),
            size in 1_u64..60,
            line_limit in 1_u64..80,
            capacities in prop::collection::vec(1_usize..40, 1..5),
        ) {
            let policy = Policy { whole_lines: true, ..policy(size, line_limit) };
            let bytes = lines.concat().into_bytes();
            let whole = files(&policy, &bytes, bytes.len().max(1), &[usize::MAX]);
            prop_assert_eq!(&whole, &files(&policy, &bytes, bytes.len().max(1), &capacities));
            prop_assert_eq!(&whole.concat(), &bytes);
            prop_assert!(whole.iter().all(|file| file.is_empty() || file.ends_with(b"\n")));
        }
    }
}
