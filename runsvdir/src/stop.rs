//! How a whole tree is stopped, as the first process of a container does: pure, told what is left and the time.
//!
//! ```text
//! TERM to every runsv ─→ each stops its service, then lets the log service read to the end, then exits
//!   shortly before the limit:   KILL for each `run` that is late; its log service can still write what it has
//!   at the limit:               KILL for every process that is left
//!   no runsv is left, others are: TERM to these, once
//!   nothing is left:            exit
//! ```

use std::time::Duration;

/// The time from the KILL of late services to the limit.
const MARGIN: Duration = Duration::from_secs(1);
/// Limits below this have a margin of a fifth instead.
const SHORT: Duration = Duration::from_secs(5);
/// The time between two KILLs, until there is nobody to get one.
pub const AGAIN: Duration = Duration::from_millis(50);
/// What has not ended this long after its KILL cannot be ended.
pub const GIVE_UP: Duration = Duration::from_secs(5);

/// Which processes are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// A runsv.
    pub runsvs: bool,
    /// A child, runsv or not.
    pub children: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// KILL the `run` of each service whose runsv has not ended.
    KillServices,
    /// TERM to every child: they are orphans.
    EndOrphans,
    /// KILL every child, and every runsv.
    KillAll,
    /// Exit with this code.
    Exit(u8),
}

/// A stop under way, after TERM was sent to every runsv.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The exit code that it ends with.
    pub code: u8,
    /// When it began.
    pub began: Duration,
    /// How long it may take.
    pub limit: Duration,
    /// [`Step::KillServices`] has been done, or there is none left for it.
    pub services_killed: bool,
    /// [`Step::EndOrphans`] has been done.
    pub orphans_ended: bool,
    /// When [`Step::KillAll`] was done last.
    pub killed_at: Option<Duration>,
}

impl Stop {
    /// A stop that begins now.
    #[must_use]
    pub const fn new(code: u8, now: Duration, limit: Duration) -> Self {
        Self { code, began: now, limit, services_killed: false, orphans_ended: false, killed_at: None }
    }

    /// What is to be done now, if anything. To be asked after each event and at [`Stop::next`].
    pub fn step(&mut self, left: Left, now: Duration) -> Option<Step> {
        if !left.runsvs && !left.children || now >= self.end().saturating_add(GIVE_UP) {
            return Some(Step::Exit(self.code));
        }
        if now >= self.end() {
            if self.killed_at.is_some_and(|time| now < time + AGAIN) {
                return None;
            }
            self.killed_at = Some(now);
            return Some(Step::KillAll);
        }
        if !left.runsvs {
            self.services_killed = true;
            return (!std::mem::replace(&mut self.orphans_ended, true)).then_some(Step::EndOrphans);
        }
        let is_late = now >= self.services_end();
        (is_late && !std::mem::replace(&mut self.services_killed, true)).then_some(Step::KillServices)
    }

    /// When [`Stop::step`] has something to do next, if no event comes before.
    #[must_use]
    pub fn next(&self) -> Duration {
        match self.killed_at {
            Some(time) => time + AGAIN,
            None if self.services_killed => self.end(),
            None => self.services_end(),
        }
    }

    fn services_end(&self) -> Duration {
        let margin = if self.limit < SHORT { self.limit / 5 } else { MARGIN };
        self.began.saturating_add(self.limit - margin)
    }

    fn end(&self) -> Duration {
        self.began.saturating_add(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SERVICES: Left = Left { runsvs: true, children: true };
    const ORPHANS: Left = Left { runsvs: false, children: true };
    const NOTHING: Left = Left { runsvs: false, children: false };

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn nothing_left_ends_it_at_once() {
        let mut stop = Stop::new(111, at(100), at(9000));
        assert_eq!(stop.step(SERVICES, at(100)), None);
        assert_eq!(stop.step(NOTHING, at(150)), Some(Step::Exit(111)));
    }

    #[test]
    fn late_services_are_killed_before_all_the_rest_is() {
        for (limit, services, end) in
            [(9000, 8000, 9000), (2000, 1600, 2000), (0, 0, 0), (28_500, 27_500, 28_500)]
        {
            let mut stop = Stop::new(0, at(100), at(limit));
            assert_eq!(stop.next(), at(100 + services));
            if services > 0 {
                assert_eq!(stop.step(SERVICES, at(100 + services - 1)), None);
                assert_eq!(stop.step(SERVICES, at(100 + services)), Some(Step::KillServices));
                assert_eq!(stop.step(SERVICES, at(100 + services)), None);
                assert_eq!(stop.next(), at(100 + end));
            }
            assert_eq!(stop.step(SERVICES, at(100 + end)), Some(Step::KillAll));
            assert_eq!(stop.step(ORPHANS, at(100 + end)), None);
            assert_eq!(
                stop.step(ORPHANS, stop.next()),
                Some(Step::KillAll),
                "whoever became our child by that"
            );
            assert_eq!(stop.step(NOTHING, at(101 + end)), Some(Step::Exit(0)));
        }
    }

    #[test]
    fn orphans_get_a_term_of_their_own_once() {
        let mut stop = Stop::new(0, at(0), at(9000));
        assert_eq!(stop.step(ORPHANS, at(10)), Some(Step::EndOrphans));
        assert_eq!(stop.step(ORPHANS, at(8500)), None);
        assert_eq!(stop.step(ORPHANS, at(9000)), Some(Step::KillAll));
    }

    #[test]
    fn what_cannot_be_killed_is_left() {
        let mut stop = Stop::new(0, at(0), at(9000));
        assert_eq!(stop.step(SERVICES, at(9000)), Some(Step::KillAll));
        assert_eq!(stop.step(SERVICES, at(9000) + GIVE_UP), Some(Step::Exit(0)));
    }

    proptest! {
        /// However the tree ends, and however late it is looked at: each step comes in its time, and the stop ends.
        #[test]
        fn any_stop_ends_in_time(
            limit in 0..40_000_u64,
            (runsvs_end, children_end) in (0..60_000_u64, 0..60_000_u64),
            delays in proptest::collection::vec(0..500_u64, 1..8),
        ) {
            let mut stop = Stop::new(7, at(0), at(limit));
            let (mut now, mut steps, mut delays) = (at(0), Vec::new(), delays.into_iter().cycle());
            let left = |now| Left { runsvs: now < at(runsvs_end), children: now < at(children_end.max(runsvs_end)) };
            loop {
                if let Some(step) = stop.step(left(now), now) {
                    steps.push((now, step));
                    if matches!(step, Step::Exit(_)) {
                        break;
                    }
                    continue;
                }
                prop_assert!(stop.next() > now, "it does not go round and round");
                // An event, or the next deadline.
                let ends = [at(runsvs_end), at(children_end)].into_iter().filter(|end| *end > now);
                now = ends.chain([stop.next()]).min().unwrap() + at(delays.next().unwrap());
            }
            let (last, exit) = steps.pop().unwrap();
            prop_assert_eq!(exit, Step::Exit(7));
            prop_assert!(last <= at(limit) + GIVE_UP + at(1000), "{:?}", last);
            prop_assert!(left(last) == NOTHING || last >= at(limit) + GIVE_UP);
            let times = |wanted| steps.iter().filter(move |(_, step)| *step == wanted).map(|(time, _)| *time);
            prop_assert!(times(Step::KillServices).count() <= 1 && times(Step::EndOrphans).count() <= 1);
            prop_assert!(times(Step::KillServices).all(|time| left(time).runsvs && time * 5 >= at(limit) * 4));
            prop_assert!(times(Step::EndOrphans).all(|time| !left(time).runsvs));
            prop_assert!(times(Step::KillAll).all(|time| time >= at(limit)));
        }
    }
}
