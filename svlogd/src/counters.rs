//! What svlogd has counted since it began, told on USR1.

use std::fmt;
use std::ops::AddAssign;

/// Sums. Of lines in each of several directories where it is about directories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Lines that came in.
    pub lines: u64,
    /// Bytes that came in.
    pub bytes: u64,
    /// Lines that a directory took.
    pub selected: u64,
    /// Lines that a directory's rules deselected.
    pub dropped: u64,
    /// Lines above a directory's rate limit.
    pub suppressed: u64,
    /// Times that `current` became an old file.
    pub rotated: u64,
    /// Old files that were compressed.
    pub compressed: u64,
    /// Lines that were sent to a log server.
    pub forwarded: u64,
    /// Lines that now wait to be sent.
    pub queue: u64,
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.lines += other.lines;
        self.bytes += other.bytes;
        self.selected += other.selected;
        self.dropped += other.dropped;
        self.suppressed += other.suppressed;
        self.rotated += other.rotated;
        self.compressed += other.compressed;
        self.forwarded += other.forwarded;
        self.queue += other.queue;
    }
}

/// `NAME=NUMBER` for each, in this order, with a space between.
impl fmt::Display for Counters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lines, bytes, selected, dropped, suppressed, rotated, compressed, forwarded, queue } =
            self;
        write!(formatter, "lines={lines} bytes={bytes} selected={selected} dropped={dropped} ")?;
        write!(formatter, "suppressed={suppressed} rotated={rotated} compressed={compressed} ")?;
        write!(formatter, "forwarded={forwarded} queue={queue}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_added_and_told() {
        let mut counters = Counters {
            lines: 1,
            bytes: 2,
            selected: 3,
            dropped: 4,
            suppressed: 5,
            rotated: 6,
            compressed: 7,
            forwarded: 8,
            queue: 9,
        };
        counters += counters;
        assert_eq!(
            counters.to_string(),
            "lines=2 bytes=4 selected=6 dropped=8 suppressed=10 rotated=12 compressed=14 forwarded=16 queue=18"
        );
    }
}
