//! Starts and monitors a service and optionally its log service.
//!
//! What runsv decides is in [`machine`], which is pure; what it does to the system is in the other modules.
//! [`start`] takes hold of the service directory with [`setup`], after a runsv that was killed with the help of [`adopt`],
//! [`foreign`] and [`keeper`]. [`event_loop`] turns what happens into events, [`executor`] performs the actions that
//! follow: [`child`] starts programs, [`tree`] ends what belongs to them, [`publish`] tells the status and [`record_file`]
//! writes down what the next runsv would need. [`settings`] are the opt-in files, [`notify`] is how a service says that it is
//! ready, [`reexec`] how runsv becomes a newer one.
#![forbid(unsafe_code)]

use std::env;
use std::path::Path;
use std::process::ExitCode;

use nix::sys::signal::Signal;
use svlib::diag::Diag;
use svlib::sys::signal::Signals;
use svlib::sys::{clock, reexec as exec};

pub mod adopt;
pub mod cgroup;
pub mod child;
pub mod cli;
pub mod event_loop;
pub mod executor;
pub mod foreign;
pub mod keeper;
pub mod machine;
pub mod notify;
pub mod publish;
pub mod record_file;
pub mod reexec;
pub mod settings;
pub mod setup;
pub mod start;
pub mod tree;

use setup::Failure;

/// The exit code of a failure at startup (runsv(8)).
const FATAL: u8 = 111;

/// Runs the program with the arguments and environment of this process.
pub fn main() -> ExitCode {
    if env::args_os().nth(1).is_some_and(|argument| argument == exec::SELF_TEST) {
        return exit_code(&Diag::new("runsv", None), reexec::self_test().map_err(Failure::from));
    }
    let dir = match cli::service_directory(env::args_os()) {
        Ok(dir) => dir,
        Err(code) => return code,
    };
    let diag = Diag::new("runsv", Some(dir.as_os_str()));
    exit_code(&diag, supervise(&dir, &diag))
}

fn exit_code(diag: &Diag, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            diag.fatal(&failure);
            ExitCode::from(FATAL)
        }
    }
}

/// Supervises the service in `dir` until told to exit.
///
/// # Errors
/// The service directory cannot be taken hold of.
fn supervise(dir: &Path, diag: &Diag) -> Result<(), Failure> {
    let signals = Signals::block(&[Signal::SIGCHLD, Signal::SIGTERM])?;
    let now = clock::now();
    let begun = match reexec::restore(now, diag)? {
        Some(restored) => Some(restored),
        None => start::start(dir, &signals, now, diag)?,
    };
    if let Some((pair, mut executor)) = begun {
        event_loop::run(pair, &mut executor, &signals);
    }
    Ok(())
}
