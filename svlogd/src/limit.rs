//! How many lines a second a directory takes (the `limit` line of the config): a token bucket, and an honest count.
//!
//! The first suppressed line sets a deadline a second away. By then the count is written, whether or not lines are still
//! being suppressed: a flood costs one line a second, and what was dropped is told in the place where it would stand.

use std::time::Duration;

use crate::config::setting::RateLimit;

/// A suppression is told of so long after it began.
const REPORT_DELAY: Duration = Duration::from_secs(1);

/// The credit that one line costs: with it, a second earns a whole number for any rate.
const LINE: u128 = 1_000_000_000;

/// A token bucket: a line a token, so many tokens a second, so many at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limiter {
    per_second: u32,
    capacity: u128,
    credit: u128,
    /// When the credit was last reckoned, on the monotonic clock.
    reckoned: Duration,
    suppressed: u64,
    due: Option<Duration>,
}

impl Limiter {
    /// A full bucket of `burst` tokens that fills with `per_second`; `now` is the time on the monotonic clock.
    pub fn new(per_second: u32, burst: u32, now: Duration) -> Self {
        let capacity = u128::from(burst) * LINE;
        Self { per_second, capacity, credit: capacity, reckoned: now, suppressed: 0, due: None }
    }

    /// The limiter of a directory that is opened again, perhaps with another limit. Opening it fills no bucket, and does
    /// not forget what was suppressed.
    pub fn resume(old: Option<Self>, limit: Option<RateLimit>, now: Duration) -> Option<Self> {
        let (per_second, burst) = match (limit, &old) {
            (Some(limit), _) => (limit.per_second, limit.burst),
            (None, Some(old)) if old.suppressed > 0 => (u32::MAX, u32::MAX),
            (None, _) => return None,
        };
        let new = Self::new(per_second, burst, now);
        Some(match old {
            None => new,
            Some(old) => Self { per_second, capacity: new.capacity, ..old },
        })
    }

    /// Whether a line that comes `now` may pass; one that may not is counted.
    pub fn admits(&mut self, now: Duration) -> bool {
        let elapsed = now.saturating_sub(self.reckoned);
        self.reckoned = self.reckoned.max(now);
        let earned = elapsed.as_nanos().saturating_mul(u128::from(self.per_second));
        self.credit = self.credit.saturating_add(earned).min(self.capacity);
        match self.credit.checked_sub(LINE) {
            Some(rest) => {
                self.credit = rest;
                true
            }
            None => {
                self.suppressed = self.suppressed.saturating_add(1);
                self.due.get_or_insert(now.saturating_add(REPORT_DELAY));
                false
            }
        }
    }

    /// When the suppressed lines are to be told of, on the monotonic clock; `None` if there are none.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// How many lines were suppressed since the last call; what is returned counts as told.
    pub fn take_suppressed(&mut self) -> u64 {
        self.due = None;
        std::mem::take(&mut self.suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Duration = Duration::from_secs(77);

    fn at(millis: u64) -> Duration {
        START + Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut limiter = Limiter::new(10, 3, START);
        let passed = |limiter: &mut Limiter, millis| (0..5).filter(|_| limiter.admits(at(millis))).count();
        assert_eq!(passed(&mut limiter, 0), 3);
        assert_eq!(passed(&mut limiter, 99), 0);
        assert_eq!(passed(&mut limiter, 100), 1);
        assert_eq!(passed(&mut limiter, 100_000), 3, "silence earns no more than the burst");
    }

    #[test]
    fn it_is_told_a_second_after_it_began() {
        let mut limiter = Limiter::new(1, 1, START);
        assert!(limiter.admits(at(0)));
        assert_eq!(limiter.due(), None);
        assert!(!limiter.admits(at(200)) && !limiter.admits(at(300)));
        assert_eq!(limiter.due(), Some(at(1200)));
        assert_eq!((limiter.take_suppressed(), limiter.due()), (2, None));
        assert_eq!(limiter.take_suppressed(), 0);
    }

    #[test]
    fn opening_again_forgets_nothing() {
        let limit = |per_second, burst| Some(RateLimit { per_second, burst });
        assert_eq!(Limiter::resume(None, None, START), None);
        let mut limiter = Limiter::resume(None, limit(1, 2), START).unwrap();
        assert!(limiter.admits(START) && limiter.admits(START) && !limiter.admits(START));
        let mut limiter = Limiter::resume(Some(limiter), limit(10, 5), at(50)).unwrap();
        assert!(!limiter.admits(at(50)) && limiter.admits(at(100)));
        let mut limiter = Limiter::resume(Some(limiter), None, at(100)).unwrap();
        assert_eq!((limiter.due(), limiter.take_suppressed()), (Some(at(1000)), 2));
        assert_eq!(Limiter::resume(Some(limiter), None, at(100)), None);
    }

    #[test]
    fn the_ends_of_the_ranges_do_no_harm() {
        let mut limiter = Limiter::new(u32::MAX, u32::MAX, Duration::ZERO);
        assert!(limiter.admits(Duration::MAX));
        assert!(limiter.admits(Duration::ZERO), "a clock that goes back earns nothing, and takes nothing");
    }

    proptest! {
        /// A line passes unless that made more lines than the burst, and what time earns, since a line before it.
        #[test]
        fn no_more_than_the_rate_and_the_burst_and_no_fewer(
            per_second in prop_oneof![1_u32..20, 1_u32..2000],
            burst in 1_u32..50,
            steps in prop::collection::vec((prop_oneof![Just(0), 0_u64..3_000_000], any::<bool>()), 1..200),
        ) {
            let mut limiter = Limiter::new(per_second, burst, START);
            let mut now = START;
            let mut admitted: Vec<Duration> = Vec::new();
            let (mut lines, mut told) = (0, 0);
            for (micros, tell) in steps {
                now += Duration::from_micros(micros);
                lines += 1;
                let most = |from: Duration| u128::from(burst) * LINE + (now - from).as_nanos() * u128::from(per_second);
                let may_pass = (0..admitted.len()).all(|first| (admitted.len() - first + 1) as u128 * LINE <= most(admitted[first]));
                prop_assert_eq!(limiter.admits(now), may_pass);
                if may_pass {
                    admitted.push(now);
                }
                if tell {
                    told += limiter.take_suppressed();
                }
                prop_assert_eq!(limiter.due().is_some(), limiter.clone().take_suppressed() > 0);
            }
            prop_assert_eq!(admitted.len() as u64 + told + limiter.take_suppressed(), lines);
        }
    }
}
