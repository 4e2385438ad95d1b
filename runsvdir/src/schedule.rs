//! When the services directory is looked at: pure.

use std::time::Duration;

/// How long after a change the look at it comes: time for `mkdir`, `run` and `down` of a new service to be
/// written, for a link to be taken away and put back, and for the other nine hundred to arrive.
pub const SETTLE: Duration = Duration::from_millis(20);
/// The time between looks while the last one was not the whole truth, or changes cannot be watched.
pub const CHECK: Duration = Duration::from_secs(5);
/// The pause after a look is at least this many times what it took, so that a large directory, in steady change
/// or never to be seen whole, costs no more than a fifth of a processor.
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
        self.next = (!sufficient).then_some((ended + CHECK).max(self.rest_until));
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
    use proptest::collection::vec;
    use proptest::prelude::*;

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

    #[derive(Clone, Debug)]
    enum Event {
        Pass(u64),
        Change,
        /// A look, if one is due: so long, and sufficient or not.
        Look(u64, bool),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => prop_oneof![0..30_u64, 0..7000_u64].prop_map(Event::Pass),
            2 => Just(Event::Change),
            3 => (prop_oneof![0..5_u64, 0..3000_u64], any::<bool>()).prop_map(|(took, sufficient)| Event::Look(took, sufficient)),
        ]
    }

    /// Everything that happened, to be read from the beginning each time.
    #[derive(Clone, Copy)]
    enum Past {
        Change(Duration),
        Look { began: Duration, ended: Duration, sufficient: bool },
    }

    /// Whether something has not been looked at, and when it is to be.
    fn expected(past: &[Past]) -> (bool, Option<Duration>) {
        let (mut unseen, mut next) = (true, Some(at(0)));
        let mut earliest = at(0);
        for event in past {
            match *event {
                Past::Change(time) if !unseen => (unseen, next) = (true, Some(earliest.max(time + at(20)))),
                Past::Change(_) => {}
                Past::Look { began, ended, sufficient } => {
                    earliest = ended + 4 * (ended - began);
                    (unseen, next) =
                        (false, if sufficient { None } else { Some(earliest.max(ended + at(5000))) });
                }
            }
        }
        (unseen, next)
    }

    proptest! {
        #[test]
        fn any_history_agrees_with_the_model(events in vec(event(), 0..60)) {
            let (mut schedule, mut past, mut now) = (Schedule::new(at(0)), Vec::new(), at(0));
            // How long looks have taken, without the last one, which has its rest still before it.
            let (mut looked, mut last) = (at(0), at(0));
            for event in events {
                match event {
                    Event::Pass(time) => now += at(time),
                    Event::Change => {
                        schedule.changed(now);
                        past.push(Past::Change(now));
                    }
                    Event::Look(took, sufficient) if schedule.next().is_some_and(|due| due <= now) => {
                        looked += last;
                        prop_assert!(looked * 5 <= now, "{looked:?} of {now:?}");
                        let began = now;
                        now += at(took);
                        last = at(took);
                        schedule.looked(began, now, sufficient);
                        past.push(Past::Look { began, ended: now, sufficient });
                    }
                    Event::Look(..) => {}
                }
                prop_assert_eq!((schedule.is_stale(), schedule.next()), expected(&past));
            }
        }
    }
}
