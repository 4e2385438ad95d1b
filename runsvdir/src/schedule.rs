//! When the services directory is looked at: pure.

use std::time::Duration;

/// How long after a change the look at it comes: time for `mkdir`, `run` and `down` of a new service to be
/// written, for a link to be taken away and put back, and for the other nine hundred to arrive.
pub const SETTLE: Duration = Duration::from_millis(20);
/// The time between looks while the last one was not the whole truth, or changes cannot be watched.
pub const CHECK: Duration = Duration::from_secs(5);
/// The pause after a look is at least this many times what it took, so that a large directory in steady
/// change costs no more than a fifth of a processor.
const REST: u32 = 4;

/// Tells when the next look is due.
#[derive(Debug)]
pub struct Schedule {
    next: Option<Duration>,
    rest_until: Duration,
    is_stale: bool,
}

impl Schedule {
    /// A first look is due at `now`.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self { next: Some(now), rest_until: now, is_stale: true }
    }

    /// Something changed, or may have.
    pub fn changed(&mut self, now: Duration) {
        if !self.is_stale {
            self.is_stale = true;
            self.next = Some((now + SETTLE).max(self.rest_until));
        }
    }

    /// A look took from `began` to `ended`; one that was not `sufficient` is repeated after [`CHECK`].
    pub fn looked(&mut self, began: Duration, ended: Duration, sufficient: bool) {
        self.is_stale = false;
        self.rest_until = ended + ended.saturating_sub(began) * REST;
        self.next = (!sufficient).then_some(ended + CHECK);
    }

    /// When the next look is due, if ever.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.next
    }

    /// A change is known of and not looked at yet: nothing should be started on what was known before it.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.is_stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_first_look_is_at_once_and_a_sufficient_one_is_the_last() {
        let mut schedule = Schedule::new(at(100));
        assert_eq!(schedule.next(), Some(at(100)));
        schedule.looked(at(100), at(101), true);
        assert_eq!(schedule.next(), None);
        assert!(!schedule.is_stale());
    }

    #[test]
    fn changes_that_come_together_make_one_look() {
        let mut schedule = Schedule::new(at(0));
        schedule.looked(at(0), at(0), true);
        schedule.changed(at(1000));
        schedule.changed(at(1015));
        assert_eq!(schedule.next(), Some(at(1020)));
        assert!(schedule.is_stale());
    }

    #[test]
    fn long_looks_are_followed_by_a_rest() {
        let mut schedule = Schedule::new(at(0));
        schedule.looked(at(0), at(50), true);
        schedule.changed(at(60));
        assert_eq!(schedule.next(), Some(at(250)));
    }

    #[test]
    fn an_insufficient_look_is_repeated_and_a_change_does_not_wait_for_that() {
        let mut schedule = Schedule::new(at(0));
        schedule.looked(at(0), at(0), false);
        assert_eq!(schedule.next(), Some(CHECK));
        schedule.changed(at(10));
        assert_eq!(schedule.next(), Some(at(30)));
    }
}
