//! When a service that ended by itself is started again: runit's second, or the service's own policy.

use std::time::Duration;

use svlib::record::Backoff;

use super::THROTTLE;
use crate::settings::Restart;

/// What is to become of a service that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is started again, not before this time.
    Start(Duration),
    /// It is given up.
    GiveUp,
}

/// Without a policy, or after an end that was asked for: at once if it lived for a second, else a second later.
pub(super) fn usual(lived: Duration, now: Duration) -> Duration {
    if lived < THROTTLE { now + THROTTLE } else { now }
}

/// After a run that nobody asked to end. `chance` is any number, which decides where in its range a delay lies.
pub(super) fn by_policy(
    policy: &Restart,
    backoff: &mut Backoff,
    lived: Duration,
    now: Duration,
    chance: u64,
) -> Next {
    if let Some(limit) = policy.limit {
        if now.saturating_sub(backoff.interval_began) >= limit.interval || backoff.interval_restarts == 0 {
            backoff.interval_began = now;
            backoff.interval_restarts = 0;
        }
        if backoff.interval_restarts >= limit.count {
            return Next::GiveUp;
        }
        backoff.interval_restarts += 1;
    }
    if lived >= policy.reset {
        backoff.failures = 0;
        return Next::Start(now);
    }
    let delay = jittered(delay(policy, backoff.failures), policy.jitter, chance);
    backoff.failures = backoff.failures.saturating_add(1);
    Next::Start(now.saturating_add(delay))
}

/// `min` times `factor` to the power of `failures`, at most `max`.
fn delay(policy: &Restart, failures: u32) -> Duration {
    let max = policy.max.as_nanos();
    let mut delay = policy.min.as_nanos();
    for _ in 0..failures {
        let longer = delay * u128::from(policy.factor) / 1000;
        if longer >= max {
            return policy.max;
        }
        if longer == delay {
            break;
        }
        delay = longer;
    }
    u64::try_from(delay).map_or(policy.max, Duration::from_nanos).min(policy.max)
}

/// Up to `percent` less or more.
fn jittered(delay: Duration, percent: u32, chance: u64) -> Duration {
    let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
    let range = nanos / 100 * u64::from(percent);
    let width = range.saturating_mul(2).saturating_add(1);
    Duration::from_nanos((nanos - range).saturating_add(scatter(chance) % width))
}

/// Spreads numbers that are close to each other (the finalizer of SplitMix64).
fn scatter(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Limit;
    use proptest::prelude::*;

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    fn policy(min: u64, max: u64, factor: u32) -> Restart {
        Restart { min: ms(min), max: ms(max), factor, ..Restart::default() }
    }

    /// The delays after so many short runs, in milliseconds.
    fn delays(policy: &Restart, count: usize) -> Vec<u128> {
        let mut backoff = Backoff::default();
        (0..count)
            .map(|_| match by_policy(policy, &mut backoff, ms(10), ms(5000), 0) {
                Next::Start(at) => (at - ms(5000)).as_millis(),
                Next::GiveUp => u128::MAX,
            })
            .collect()
    }

    #[test]
    fn delays_grow_up_to_the_longest() {
        assert_eq!(
            delays(&policy(1000, 60_000, 2000), 8),
            [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]
        );
        assert_eq!(delays(&policy(100, 500, 1500), 5), [100, 150, 225, 337, 500]);
        assert_eq!(delays(&policy(1000, 1000, 2000), 3), [1000, 1000, 1000]);
        assert_eq!(delays(&policy(0, 1000, 2000), 3), [0, 0, 0]);
        assert_eq!(delays(&policy(10, 1000, 1000), 3), [10, 10, 10]);
    }

    #[test]
    fn a_good_run_begins_anew() {
        let (policy, mut backoff) = (policy(1000, 60_000, 2000), Backoff::default());
        let mut next = |lived| by_policy(&policy, &mut backoff, ms(lived), ms(0), 0);
        assert_eq!([next(10), next(10)], [Next::Start(ms(1000)), Next::Start(ms(2000))]);
        assert_eq!(next(30_000), Next::Start(ms(0)));
        assert_eq!(next(10), Next::Start(ms(1000)));
    }

    #[test]
    fn over_the_limit_it_is_given_up() {
        let limit = Some(Limit { count: 3, interval: ms(10_000) });
        let (policy, mut backoff) = (Restart { limit, ..policy(0, 0, 1000) }, Backoff::default());
        let mut next = |at| by_policy(&policy, &mut backoff, ms(10), ms(at), 0);
        assert_eq!([next(1000), next(2000), next(3000)].map(|next| next == Next::GiveUp), [false; 3]);
        assert_eq!(next(10_999), Next::GiveUp);
        assert_eq!([next(11_000), next(11_000), next(11_000)].map(|next| next == Next::GiveUp), [false; 3]);
        assert_eq!(next(12_000), Next::GiveUp);
    }

    proptest! {
        #[test]
        fn delays_are_within_their_bounds(
            min in 0..100_000_u64, more in 0..1_000_000_u64, factor in 1000..1_000_000_u32, jitter in 0..=100_u32,
            failures in 0..10_000_u32, chance: u64,
        ) {
            let policy = Restart { jitter, ..policy(min, min + more, factor) };
            let mut backoff = Backoff { failures, ..Backoff::default() };
            let Next::Start(at) = by_policy(&policy, &mut backoff, ms(0), ms(0), chance) else { panic!("no limit") };
            let exact = delay(&policy, failures);
            prop_assert!(policy.min <= exact && exact <= policy.max);
            let range = exact * jitter / 100;
            prop_assert!(at + ms(1) >= exact - range && at <= exact + range + ms(1), "{at:?} {exact:?}");
        }
    }
}
