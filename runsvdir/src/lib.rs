//! Starts and monitors a directory of runsv processes.
//!
//! ```text
//! notifications, mounts, five seconds → schedule → scan → Sighting ─┐
//! child signals ────────────────────────────────→ reaped processes ─┴→ plan → start, terminate → executor
//! standard error of the tree → log_argument → readproctitle → own argument memory
//! ```
//!
//! [`plan`], [`schedule`] and [`readproctitle`] are pure: they decide, [`event_loop`] performs. [`changes`] tells when a
//! look at the directory is worth its while; in between, runsvdir sleeps in poll(2) without a deadline.
#![forbid(unsafe_code)]

use std::env;
use std::process::ExitCode;

pub mod changes;
pub mod children;
pub mod cli;
pub mod event_loop;
pub mod executor;
pub mod keeper;
pub mod limits;
pub mod log_argument;
pub mod plan;
pub mod poller;
pub mod presence;
pub mod readproctitle;
pub mod reexec;
pub mod scan;
pub mod schedule;
pub mod startup;
pub mod state;
pub mod stop;
pub mod strangers;

/// Runs the program with the arguments and environment of this process.
pub fn main() -> ExitCode {
    if reexec::is_self_test(env::args_os()) {
        return reexec::self_test();
    }
    match cli::request(env::args_os()) {
        Ok(request) => startup::run(request),
        Err(code) => code,
    }
}
