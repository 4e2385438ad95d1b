//! The clocks.

use std::time::Duration;

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
    // It, too, exists on every Linux. Before 1970 the seconds are negative, and the nanoseconds still count upwards.
    clock_gettime(ClockId::CLOCK_REALTIME).map_or(Tai64n::EPOCH, |time| {
        Tai64n::from_unix(time.tv_sec(), u32::try_from(time.tv_nsec()).unwrap_or_default())
    })
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
