//! Which old files `n`, `N`, `max-age` and `max-total` leave.
//!
//! `n` takes away one file for each rotation; what is there already, however much, is brought within the other limits.

use std::time::Duration;

use svlib::log_name::{LogName, Stage};
use svlib::tai64n::Tai64n;

/// The limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How many old files are kept, zero for all.
    pub keep: u64,
    /// How many of them a full disk leaves.
    pub keep_min: u64,
    /// How long ago a file may have been rotated, by its name.
    pub max_age: Option<Duration>,
    /// How many bytes the old files and `current` may have together.
    pub max_total: Option<u64>,
}

/// Whether there are too many old files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surplus {
    /// There are not.
    None,
    /// This one is to go.
    Oldest(LogName),
    /// There are, but all are needed.
    AllNeeded,
}

/// A file in a log directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldFile {
    /// Its name.
    pub name: LogName,
    /// Its size.
    pub bytes: u64,
    /// When it was last written.
    pub written: Tai64n,
}

/// What is to be done, and when it is to be looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruning {
    /// These go, the oldest first.
    pub remove: Vec<LogName>,
    /// So many of them, the first ones, because they are too old.
    pub too_old: usize,
    /// At this time the next file will be too old.
    pub expiry: Option<Tai64n>,
    /// Once `current` has more than so many bytes, the total is too much, and one of the files can go.
    pub room: Option<u64>,
}

impl Retention {
    /// After a rotation: the oldest of the old files, if there are more than `keep` of them. One only, even if there
    /// are many more, and never one that `is_needed`.
    pub fn surplus(&self, names: &[LogName], is_needed: impl Fn(LogName) -> bool) -> Surplus {
        if self.keep == 0 { Surplus::None } else { oldest_beyond(self.keep, names, is_needed) }
    }

    /// When the disk is full: the oldest of the old files, if there are more than `keep_min` of them and the config
    /// allows it.
    pub fn expendable(&self, names: &[LogName], is_needed: impl Fn(LogName) -> bool) -> Surplus {
        if self.keep_min < self.keep { oldest_beyond(self.keep_min, names, is_needed) } else { Surplus::None }
    }

    /// Whether `max-age` or `max-total` is a limit.
    pub fn is_limited(&self) -> bool {
        self.max_age.is_some() || self.max_total.is_some()
    }

    /// What goes of `files`, in any order, beside a `current` of so many bytes; never a file that `is_needed`.
    pub fn prune(
        &self,
        files: &mut [OldFile],
        current: u64,
        now: Tai64n,
        is_needed: impl Fn(LogName) -> bool,
    ) -> Pruning {
        files.sort_unstable_by_key(|file| file.name);
        let mut stored = files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.bytes));
        let mut pruning = Pruning::default();
        let may_go = |file: &OldFile| file.name.stage != Stage::Temporary && !is_needed(file.name);
        for (file, time) in files.iter().zip(times(files, now)).filter(|(file, _)| may_go(file)) {
            let expiry = self.max_age.and_then(|age| later(time, age));
            let is_too_old = expiry.is_some_and(|expiry| expiry <= now);
            let is_too_much = self.max_total.is_some_and(|limit| stored.saturating_add(current) > limit);
            if is_too_old || is_too_much {
                pruning.remove.push(file.name);
                pruning.too_old += usize::from(is_too_old);
                stored = stored.saturating_sub(file.bytes);
                continue;
            }
            pruning.expiry = expiry;
            pruning.room = self.max_total.map(|limit| limit.saturating_sub(stored));
            break;
        }
        pruning
    }
}

fn oldest_beyond(keep: u64, names: &[LogName], is_needed: impl Fn(LogName) -> bool) -> Surplus {
    let old = || names.iter().copied().filter(|name| name.stage != Stage::Temporary);
    if old().count() as u64 <= keep {
        return Surplus::None;
    }
    old().filter(|&name| !is_needed(name)).min().map_or(Surplus::AllNeeded, Surplus::Oldest)
}

/// The times that the ages of files count from, the oldest first: of their names. One with a name in the future, of a
/// clock that was wrong or after such a name, counts from when it was written; and none as younger than a later one.
fn times(files: &[OldFile], now: Tai64n) -> Vec<Tai64n> {
    let time = |file: &OldFile| if file.name.time > now { file.written } else { file.name.time };
    let mut times: Vec<_> = files.iter().map(time).collect();
    for index in (1..times.len()).rev() {
        times[index - 1] = times[index - 1].min(times[index]);
    }
    times
}

/// `None` if it is never so late.
fn later(time: Tai64n, age: Duration) -> Option<Tai64n> {
    // The second after, so that a deadline in whole seconds is not a moment early.
    let seconds = time.seconds.checked_add(age.as_secs())?.checked_add(1)?;
    Some(Tai64n { seconds, nanos: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn old(times: &[u64]) -> Vec<LogName> {
        times.iter().map(|&seconds| LogName::new(Tai64n { seconds, nanos: 0 }, Stage::Saved)).collect()
    }

    fn file(seconds: u64, bytes: u64) -> OldFile {
        written(seconds, bytes, seconds)
    }

    fn written(seconds: u64, bytes: u64, written: u64) -> OldFile {
        let time = Tai64n { seconds, nanos: 5 };
        OldFile { name: LogName::new(time, Stage::Saved), bytes, written: at(written) }
    }

    fn at(seconds: u64) -> Tai64n {
        Tai64n { seconds, nanos: 0 }
    }

    fn aged(seconds: u64) -> Retention {
        Retention { max_age: Some(Duration::from_secs(seconds)), ..Retention::default() }
    }

    fn total(bytes: u64) -> Retention {
        Retention { max_total: Some(bytes), ..Retention::default() }
    }

    fn removed(pruning: &Pruning) -> Vec<u64> {
        pruning.remove.iter().map(|name| name.time.seconds).collect()
    }

    #[test]
    fn all_that_are_too_old_go() {
        let mut files = [file(30, 1), file(10, 1), file(20, 1)];
        let pruning = aged(100).prune(&mut files, 0, at(125), |_| false);
        assert_eq!((removed(&pruning), pruning.expiry), (vec![10, 20], Some(at(131))));
        let pruning = aged(100).prune(&mut files[2..], 0, at(131), |_| false);
        assert_eq!((removed(&pruning), pruning.expiry), (vec![30], None));
    }

    #[test]
    fn a_file_of_the_future_counts_from_when_it_was_written() {
        let mut files = [written(1000, 1, 40), written(1001, 1, 50)];
        let pruning = aged(100).prune(&mut files, 0, at(145), |_| false);
        assert_eq!((removed(&pruning), pruning.expiry), (vec![1000], Some(at(151))));
        let pruning = aged(100).prune(&mut files[1..], 0, at(151), |_| false);
        assert_eq!((removed(&pruning), pruning.too_old, pruning.expiry), (vec![1001], 1, None));
        let pruning =
            aged(100).prune(&mut [written(1000, 1, 1010), written(1001, 1, 50)], 0, at(10), |_| false);
        assert_eq!(
            (removed(&pruning), pruning.expiry),
            (vec![], Some(at(151))),
            "the first is the older one"
        );
        let pruning = aged(100).prune(&mut [file(1000, 1)], 0, at(10), |_| false);
        assert_eq!((removed(&pruning), pruning.expiry), (vec![], Some(at(1101))));
        let pruning = aged(u64::MAX).prune(&mut [file(1000, 1)], 0, at(10), |_| false);
        assert_eq!((removed(&pruning), pruning.expiry), (vec![], None));
    }

    #[test]
    fn the_oldest_make_room_for_the_total() {
        let mut files = [file(3, 40), file(1, 10), file(2, 30)];
        let pruning = total(75).prune(&mut files, 5, at(0), |_| false);
        assert_eq!((removed(&pruning), pruning.room), (vec![1], Some(5)));
        let pruning = total(75).prune(&mut files[1..], 6, at(0), |_| false);
        assert_eq!((removed(&pruning), pruning.room), (vec![2], Some(35)));
        let pruning = total(75).prune(&mut files, 100, at(0), |_| false);
        assert_eq!((removed(&pruning), pruning.room), (vec![1, 2, 3], None), "current alone is too much");
    }

    #[test]
    fn needed_and_temporary_files_count_but_stay() {
        let temporary = OldFile { name: file(2, 10).name.at(Stage::Temporary), ..file(2, 10) };
        let mut files = [file(1, 10), temporary, file(3, 10)];
        let pruning = total(25).prune(&mut files, 0, at(0), |name| name.time.seconds == 1);
        assert_eq!((removed(&pruning), pruning.room), (vec![3], None));
        let pruning = aged(1).prune(&mut files, 0, at(100), |_| true);
        assert_eq!(pruning, Pruning::default());
    }

    #[test]
    fn without_a_limit_nothing_goes() {
        let retention = Retention::default();
        assert!(!retention.is_limited());
        assert_eq!(retention.prune(&mut [file(1, u64::MAX)], 9, at(u64::MAX), |_| false), Pruning::default());
    }

    #[test]
    fn one_oldest_file_goes_at_a_time() {
        let retention = Retention { keep: 2, keep_min: 1, ..Retention::default() };
        let nothing = |_| false;
        let first = old(&[1])[0];
        assert_eq!(retention.surplus(&old(&[3, 1, 2, 4]), nothing), Surplus::Oldest(first));
        assert_eq!(retention.surplus(&old(&[3, 1]), nothing), Surplus::None);
        assert_eq!(retention.expendable(&old(&[3, 1]), nothing), Surplus::Oldest(first));
        assert_eq!(retention.expendable(&old(&[3]), nothing), Surplus::None);
    }

    #[test]
    fn a_needed_file_counts_but_stays() {
        let retention = Retention { keep: 1, ..Retention::default() };
        let names = old(&[1, 2]);
        assert_eq!(retention.surplus(&names, |name| name == names[0]), Surplus::Oldest(names[1]));
        assert_eq!(retention.surplus(&names, |_| true), Surplus::AllNeeded);
    }

    #[test]
    fn temporary_files_do_not_count() {
        let retention = Retention { keep: 1, ..Retention::default() };
        let names = old(&[1, 2]);
        assert_eq!(retention.surplus(&[names[0].at(Stage::Temporary), names[1]], |_| false), Surplus::None);
    }

    #[test]
    fn keep_zero_keeps_all_and_n_not_below_keep_is_none() {
        let names = old(&[1, 2, 3]);
        assert_eq!(Retention { keep: 0, ..Retention::default() }.surplus(&names, |_| false), Surplus::None);
        let retention = Retention { keep: 2, keep_min: 2, ..Retention::default() };
        assert_eq!(retention.expendable(&names, |_| false), Surplus::None);
    }

    proptest! {
        #[test]
        fn only_one_that_may_go_goes(
            times in prop::collection::vec(0_u64..50, 0..20),
            keep in 0_u64..10,
            needed in 0_u64..50,
        ) {
            let retention = Retention { keep, ..Retention::default() };
            let removable = times.iter().copied().filter(|&time| time != needed).min();
            let expected = match removable {
                _ if keep == 0 || times.len() as u64 <= keep => Surplus::None,
                Some(oldest) => Surplus::Oldest(old(&[oldest])[0]),
                None => Surplus::AllNeeded,
            };
            prop_assert_eq!(retention.surplus(&old(&times), |name| name.time.seconds == needed), expected);
        }

        #[test]
        fn what_is_left_is_within_the_limits(
            files in prop::collection::btree_map(0_u64..100, 0_u64..50, 0..20),
            max_age in prop::option::of(0_u64..120),
            max_total in prop::option::of(0_u64..500),
            current in 0_u64..100,
            now in 0_u64..200,
            needed in 0_u64..100,
        ) {
            let mut files: Vec<_> = files.into_iter().map(|(seconds, bytes)| file(seconds, bytes)).collect();
            let retention = Retention { max_age: max_age.map(Duration::from_secs), max_total, ..Retention::default() };
            let is_needed = |name: LogName| name.time.seconds == needed;
            let pruning = retention.prune(&mut files, current, at(now), is_needed);
            prop_assert!(pruning.remove.is_sorted());
            prop_assert!(!pruning.remove.iter().any(|&name| is_needed(name)));
            let youngest = pruning.remove.last().copied();
            let left: Vec<_> =
                files.iter().filter(|file| is_needed(file.name) || Some(file.name) > youngest).collect();
            let may_go: Vec<_> = left.iter().filter(|file| !is_needed(file.name)).collect();
            // Within the limits, or nothing more may go; and at those times it is to be looked at again.
            let bytes: u64 = left.iter().map(|file| file.bytes).sum();
            if let Some(oldest) = may_go.first() {
                if let Some(limit) = max_total {
                    prop_assert!(bytes + current <= limit);
                    prop_assert_eq!(pruning.room, Some(limit - bytes));
                }
                if let Some(age) = max_age {
                    prop_assert_eq!(pruning.expiry, Some(at(oldest.name.time.seconds + age + 1)));
                    prop_assert!(pruning.expiry > Some(at(now)));
                }
            } else {
                prop_assert_eq!((pruning.expiry, pruning.room), (None, None));
            }
        }

        /// Whatever the clock was when, no file outlives a later one, nor `max-age` by the time it was written.
        #[test]
        fn a_wrong_clock_keeps_no_file_for_ever(
            files in prop::collection::btree_map(0_u64..200, 0_u64..200, 1..20),
            max_age in 0_u64..120,
            now in 0_u64..400,
        ) {
            let mut files: Vec<_> = files.iter().map(|(&name, &time)| written(name, 1, time)).collect();
            let pruning = aged(max_age).prune(&mut files, 0, at(now), |_| false);
            let count = pruning.remove.len();
            let names: Vec<_> = files.iter().map(|file| file.name).collect();
            prop_assert_eq!(&pruning.remove, &names[..count]);
            prop_assert_eq!(pruning.too_old, count);
            for file in &files[count..] {
                let time = if file.name.time > at(now) { file.written } else { file.name.time };
                prop_assert!(now <= time.seconds + max_age, "{:?}", file);
            }
        }

        /// Against taking one file after the other, as long as there is a reason.
        #[test]
        fn no_file_goes_without_need(
            files in prop::collection::btree_map(0_u64..100, (0_u64..50, 0_u8..4), 0..20),
            max_age in prop::option::of(0_u64..120),
            max_total in prop::option::of(0_u64..500),
            current in 0_u64..100,
            now in 0_u64..200,
        ) {
            let of_kind = |(seconds, (bytes, kind))| {
                let file = file(seconds, bytes);
                OldFile { name: if kind == 0 { file.name.at(Stage::Temporary) } else { file.name }, ..file }
            };
            let needed: Vec<u64> = files.iter().filter(|(_, (_, kind))| *kind == 1).map(|(&seconds, _)| seconds).collect();
            let is_needed = |name: LogName| needed.contains(&name.time.seconds);
            let mut left: Vec<OldFile> = files.into_iter().map(of_kind).collect();
            let retention = Retention { max_age: max_age.map(Duration::from_secs), max_total, ..Retention::default() };
            let pruning = retention.prune(&mut left.clone(), current, at(now), is_needed);
            let mut expected = Vec::new();
            while let Some(oldest) =
                left.iter().position(|file| file.name.stage == Stage::Saved && !is_needed(file.name))
            {
                let is_old = max_age.is_some_and(|age| now > left[oldest].name.time.seconds + age);
                let bytes = left.iter().map(|file| file.bytes).sum::<u64>() + current;
                if !is_old && max_total.is_none_or(|limit| bytes <= limit) {
                    break;
                }
                expected.push(left.remove(oldest).name);
            }
            prop_assert_eq!(pruning.remove, expected);
        }
    }
}
