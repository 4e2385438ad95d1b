//! From the command line to a supervisor that is ready: anew, or where another runsvdir in this process was.

use std::fs;
use std::io::ErrorKind;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::unistd::getpid;
use svlib::diag::Diag;
use svlib::sys::signal::{Signal, Signals};
use svlib::sys::{environment, process};
use svlib::{Context as _, Result, keeper};

use crate::cli::Request;
use crate::event_loop::{Supervisor, now};
use crate::executor::Executor;
use crate::limits;
use crate::log_argument::LogArgument;
use crate::plan::Plan;
use crate::poller::Poller;
use crate::reexec::Inheritance;

/// The exit code of a fatal error.
const FATAL: u8 = 100;

/// Supervises `request.directory` until a signal ends it.
pub fn run(request: Request) -> ExitCode {
    let diag = Diag::new("runsvdir", Some(request.directory.as_os_str()));
    let mut inheritance = Inheritance::take(&diag);
    let init = request.init || getpid().as_raw() == 1;
    let (signals, poller) = match prepare(&request, init, inheritance.is_some()) {
        Ok(prepared) => prepared,
        Err(error) => {
            diag.fatal(&error);
            return ExitCode::from(FATAL);
        }
    };
    // Of a killed runsv there may be orphans whose end its successor must know of.
    if let Err(error) = process::adopt_orphans() {
        diag.warning(&error);
    }
    // It is for this process at most, and its runsvs get their own.
    let _ = environment::take(keeper::VARIABLE);
    let log = install_log(&request, &diag, inheritance.as_mut());
    let mut executor = Executor::new(request.directory, request.new_sessions, poller);
    let mut plan = Plan::default();
    let mut stop = None;
    if let Some(inheritance) = &mut inheritance {
        plan = Plan::resume(std::mem::take(&mut inheritance.state.services));
        stop = inheritance.state.stop.take();
        for service in executor.resume(inheritance) {
            plan.exited(service, now());
        }
    } else {
        executor.descriptor_limit = limits::raise_descriptors();
    }
    Supervisor::new(diag, signals, executor, plan, log).stopping(init, request.stop_timeout, stop).run()
}

/// What must work before anything is started.
///
/// A services directory that is not there may come later, by a mount say, and is waited for as runit does. What
/// is there and is no directory is a mistake; not so later, when there are runsvs.
fn prepare(request: &Request, init: bool, goes_on: bool) -> Result<(Signals, Poller)> {
    // First: as process 1 this one gets no signal that it does not ask for.
    let usual = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD, Signal::SIGUSR2];
    let as_init = init.then_some(Signal::SIGINT);
    let signals = Signals::block(&usual.into_iter().chain(as_init).collect::<Vec<_>>())?;
    let not_a_directory = match fs::metadata(&request.directory) {
        Ok(found) => !found.is_dir(),
        Err(error) => error.kind() == ErrorKind::NotADirectory,
    };
    if not_a_directory && !goes_on {
        return Err(Errno::ENOTDIR).on("open directory", &request.directory);
    }
    Ok((signals, Poller::new()?))
}

fn install_log(request: &Request, diag: &Diag, inheritance: Option<&mut Inheritance>) -> Option<LogArgument> {
    let argument = request.log.as_ref()?;
    match LogArgument::install(argument, now(), inheritance.and_then(|inheritance| inheritance.log.take())) {
        Ok(Some(log)) => return Some(log),
        Ok(None) => diag.warning(&"log must have at least seven characters."),
        Err(error) => diag.warning(&error),
    }
    diag.warning(&"log service disabled.");
    None
}
