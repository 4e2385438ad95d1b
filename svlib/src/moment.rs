//! The time, as it is handed to code that has no clock of its own.

use std::time::Duration;

use crate::tai64n::Tai64n;

/// One reading of both clocks.
///
/// Deadlines are reckoned on the monotonic clock; only what is published carries the wall clock's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// `CLOCK_MONOTONIC`: the time since some point before the start of this process; it never goes back.
    pub monotonic: Duration,
    /// `CLOCK_REALTIME`; it may be set back or forth at any time.
    pub wall: Tai64n,
}
