//! Writes standard input to automatically rotated, filtered log directories.
//!
//! ```text
//! stdin → split → per directory: filter → format → write → rotation policy → rotate → seal | processor → compress
//! ```
//!
//! [`split`], [`mod@format`], [`filter`], [`expression`], [`config`] and [`policy`] are pure. [`event_loop`] reads, waits and never blocks;
//! a [`log_dir`] decides what of a line goes to one directory, its [`writer`] brings that to the disk or holds it until it
//! can, through [`current`], and [`old_files`] are [sealed](seal) or handed to the
//! [`processor`], [compressed](compress) and removed.
//! [`forward`] sends lines to log servers, too.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use cli::Task;
use report::Report;

pub mod check;
pub mod clean;
pub mod cli;
pub mod compress;
pub mod config;
pub mod config_file;
pub mod counters;
pub mod current;
pub mod directory;
pub mod event_loop;
pub mod explain;
pub mod expression;
pub mod filter;
pub mod format;
pub mod forward;
pub mod helper;
pub mod input;
pub mod json;
pub mod limit;
pub mod log_dir;
pub mod old_files;
pub mod pack;
pub mod permissions;
pub mod policy;
pub mod processor;
pub mod report;
pub mod retention;
pub mod rewrite;
pub mod rfc5424;
pub mod schedule;
pub mod seal;
pub mod service;
pub mod split;
pub mod udp;
pub mod writer;

/// Runs the program with the arguments and environment of this process.
pub fn main() -> ExitCode {
    if let Some(code) = helper::run(std::env::args_os()) {
        return code;
    }
    match cli::parse(std::env::args_os()) {
        Ok(Task::Log(request)) => {
            svlib::sys::memory::trim();
            event_loop::run(request)
        }
        Ok(Task::Check(directories)) => check::run(&directories, &Report::new(false)),
        Ok(Task::Explain { directory, splitter }) => explain::run(&directory, splitter, &Report::new(false)),
        Err(code) => code,
    }
}
