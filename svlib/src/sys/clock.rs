//! The clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::moment::Moment;
use crate::tai64n::Tai64n;

/// Reads both clocks (clock_gettime(2)).
pub fn now() -> Moment {
    // CLOCK_MONOTONIC exists on every Linux; clock_gettime fails only for clocks that do not.
    let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    Moment { monotonic, wall: wall() }
}

/// Reads the wall clock.
pub fn wall() -> Tai64n {
    let nanos = |duration: Duration| duration.subsec_nanos();
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Tai64n::from_unix(seconds(since), nanos(since)),
        Err(before) => match nanos(before.duration()) {
            0 => Tai64n::from_unix(-seconds(before.duration()), 0),
            part => Tai64n::from_unix(-seconds(before.duration()) - 1, 1_000_000_000 - part),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_does_not_go_back() {
        let early = now();
        let late = now();
        assert!(late.monotonic >= early.monotonic && early.monotonic > Duration::ZERO);
        assert!(early.wall.unix_seconds() > 1_600_000_000);
    }
}
