//! Starts and monitors a directory of runsv processes.
//!
//! ```text
//! notifications, mounts, five seconds → schedule → scan → Sighting ─┐
//! child signals, pidfds ──────────────→ runsvs that have ended ─────┴→ plan → start, TERM → executor → runsv
//! runsvs' sockets → keeper: what outlives a runsv, how orphans ended ←─────────────────────────┘
//! TERM, INT, HUP as init → stop → TERM, KILL, exit
//! USR2 → reexec: state → the next program in this process → startup
//! standard error of the tree → log_argument → readproctitle → own argument memory
//! ```
//!
//! [`plan`], [`schedule`], [`stop`], [`state`], [`strangers`] and [`readproctitle`] are pure: they decide, [`event_loop`]
//! performs. [`changes`] tells when a look at the directory is worth its while; in between, runsvdir sleeps in poll(2)
//! without a deadline.
//!
//! A runsvdir that is killed leaves its runsvs running. [`presence`] finds them, by their records, for the next one, to
//! which they have no socket: nothing is held for them until they are started again.
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
