//! Ctrl-C and TERM become a panic: what unwinding drops is cleaned up, what a signal kills leaves processes and files.

use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on the signals are only noted.
pub(crate) fn catch() {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed))
        .expect("the first handler of this process");
}

/// Panics when there was one. To be called between measurements, and when waiting was interrupted.
pub(crate) fn check() {
    assert!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
}
