//! Polling with a deadline: a test waits for a fact, never for a time.

use std::cell::Cell;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a test waits for a fact, unless its case says otherwise.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
const PACE: Duration = Duration::from_millis(3);

thread_local! {
    static CURRENT_DEADLINE: Cell<Duration> = const { Cell::new(DEADLINE) };
}

/// Polls `probe` until it yields a value; panics with `what` when the deadline of the case (20 s) passes.
pub fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    match poll(deadline(), probe) {
        Some(value) => value,
        None => panic!("not within {:?}: {what}", deadline()),
    }
}

/// Polls `probe` for at most `limit`; true when it became true. For facts whose absence is the finding.
pub fn within(limit: Duration, mut probe: impl FnMut() -> bool) -> bool {
    poll(limit.min(deadline()), || probe().then_some(())).is_some()
}

/// Watches `probe` for `span` and panics with `what` when it stops being true: the absence of an event has no other
/// proof than a look that lasts longer than the event would take.
pub fn holds_for(span: Duration, what: &str, mut probe: impl FnMut() -> bool) {
    let broken = poll(span, || (!probe()).then_some(()));
    assert!(broken.is_none(), "did not hold for {span:?}: {what}");
}

/// The deadline of this thread's test.
pub(crate) fn deadline() -> Duration {
    CURRENT_DEADLINE.get()
}

/// Runs `test` with another deadline on this thread.
pub(crate) fn with_deadline<T>(limit: Duration, test: impl FnOnce() -> T) -> T {
    CURRENT_DEADLINE.set(limit);
    let result = test();
    CURRENT_DEADLINE.set(DEADLINE);
    result
}

fn poll<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        // The clock is read before the probe, so a probe always runs at or after the limit once.
        let late = start.elapsed() >= limit;
        if let Some(value) = probe() {
            return Some(value);
        }
        if late {
            return None;
        }
        sleep(PACE);
    }
}
