//! Starts and monitors a service and optionally its log service.
//!
//! What runsv decides is in [`machine`], which is pure; what it does to the system is in the other modules.
//! [`setup`] takes hold of the service directory, [`event_loop`] turns what happens into events,
//! [`executor`] performs the actions that follow: [`child`] starts programs, [`publish`] tells the status.
#![forbid(unsafe_code)]

use std::env;
use std::path::Path;
use std::process::ExitCode;

use nix::sys::signal::Signal;
use svlib::Context;
use svlib::diag::Diag;
use svlib::sys::signal::Signals;
use svlib::sys::{clock, memory};

pub mod child;
pub mod cli;
pub mod event_loop;
pub mod executor;
pub mod machine;
pub mod publish;
pub mod setup;

use executor::Executor;
use machine::pair::Pair;
use machine::{Role, State};
use setup::{Failure, LogPipe, Supervised};

/// The exit code of a failure at startup (runsv(8)).
const FATAL: u8 = 111;

/// Runs the program with the arguments and environment of this process.
pub fn main() -> ExitCode {
    let dir = match cli::service_directory(env::args_os()) {
        Ok(dir) => dir,
        Err(code) => return code,
    };
    let diag = Diag::new("runsv", Some(dir.as_os_str()));
    match supervise(&dir, diag.clone()) {
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
fn supervise(dir: &Path, diag: Diag) -> Result<(), Failure> {
    let signals = Signals::block(&[Signal::SIGCHLD, Signal::SIGTERM])?;
    env::set_current_dir(dir).during("change to directory")?;
    let lock = setup::lock(Role::Service)?;

    let now = clock::now();
    let mut log = None;
    let mut pipe = None;
    if setup::has_log(&diag) {
        let Some(lock) = setup::wait_for_lock(Role::Log, &signals, &diag)? else { return Ok(()) };
        let state = State::new(Role::Log, setup::first_want(Role::Log), now);
        pipe = Some(LogPipe::new()?);
        log = Some((Supervised::open(Role::Log, lock, state.status(), now, &diag)?, state));
    }
    let service = State::new(Role::Service, setup::first_want(Role::Service), now);
    let supervised = Supervised::open(Role::Service, lock, service.status(), now, &diag)?;

    let (held_log, log) = log.unzip();
    let mut executor = Executor { diag, service: supervised, log: held_log, pipe };
    memory::trim();
    event_loop::run(Pair { service, log }, &mut executor, &signals);
    Ok(())
}
