//! Controls and reports services monitored by runsv: `sv`(8).
//!
//! The pure modules decide: [`verb`] what a word asks for, [`check`] whether it has happened, [`steadiness`] whether it will
//! last, [`report`] and [`errno_text`] how it is told. [`client`] talks to a supervise directory, [`check_script`] runs a
//! service's `check`, [`console`] prints and counts, and [`wait`] waits for all services at once.
#![forbid(unsafe_code)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::errno::Errno;
use svlib::command::Command;
use svlib::status::Status;
use svlib::sys::clock;
use svlib::tai64n::Tai64n;

use crate::check::{Goal, is_asked_already};
use crate::cli::Request;
use crate::client::Service;
use crate::console::Console;
use crate::report::Trouble;
use crate::verb::{Control, Verb};
use crate::wait::Waiting;

pub mod check;
pub mod check_script;
pub mod cli;
pub mod client;
pub mod console;
pub mod errno_text;
pub mod report;
pub mod steadiness;
pub mod verb;
pub mod wait;

/// The services directory chosen at build time, for packagers.
const BUILD_TIME_DIRECTORY: Option<&str> = option_env!("SVKIT_SERVICES_DIR");

/// Where services directories are, in order of preference.
const USUAL_DIRECTORIES: [&str; 3] = ["/var/service", "/etc/service", "/service"];

/// Runs the program with the arguments and environment of this process.
pub fn main() -> ExitCode {
    match cli::request(env::args_os(), env::var_os("SVWAIT").as_deref()) {
        Ok(request) => ExitCode::from(run(&request)),
        Err(code) => code,
    }
}

/// Does what is asked for; returns the exit code.
fn run(request: &Request) -> u8 {
    let directory = services_directory();
    let now = clock::wall();
    let mut console = Console::new(request.verb.wants_runsv_gone());
    let mut waiting = Vec::new();
    for name in &request.services {
        let service = Service::named(name, &directory);
        if let Err(errno) = service.enter() {
            console.trouble(&service, Trouble::NoService(errno));
            continue;
        }
        match request.verb {
            Verb::Status => {
                let code = status(&service, now, &mut console);
                if request.lsb {
                    return code;
                }
            }
            Verb::Check => waiting.push(Waiting::new(service, Goal::Requested)),
            Verb::Control(Control { commands, .. }) => match control(&service, commands) {
                Ok(before) => waiting.push(Waiting::new(service, Goal::Effect { commands, before })),
                Err(trouble) => console.trouble(&service, trouble),
            },
        }
    }
    let (waits, kills) = match request.verb {
        Verb::Control(control) => (control.waits || request.waits, control.kills),
        Verb::Check => (true, false),
        Verb::Status => (false, false),
    };
    if waits {
        wait::wait(waiting, request.patience, kills, &mut console);
    }
    console.exit_code()
}

/// The services directory: `SVDIR`, the build's, or the first usual one that exists.
fn services_directory() -> PathBuf {
    if let Some(directory) = env::var_os("SVDIR") {
        return directory.into();
    }
    let [first, ..] = USUAL_DIRECTORIES;
    BUILD_TIME_DIRECTORY
        .or_else(|| USUAL_DIRECTORIES.into_iter().find(|directory| Path::new(directory).is_dir()))
        .unwrap_or(first)
        .into()
}

/// Sends commands, unless the service is to be what they ask for already. Returns the status before.
fn control(service: &Service, commands: &[Command]) -> Result<Status, Trouble> {
    service.runsv()?;
    let before = service.status()?;
    if !is_asked_already(commands, &before) {
        service.send(commands)?;
    }
    Ok(before)
}

/// Prints the status of a service, and of its log service if it has one. Returns the exit code that an init script ends
/// with.
fn status(service: &Service, now: Tai64n, console: &mut Console) -> u8 {
    const RUNNING: u8 = 0;
    const DOWN: u8 = 3;
    const UNKNOWN: u8 = 4;

    let status = match service.runsv().and_then(|_runsv| service.status()) {
        Ok(status) => status,
        Err(trouble) => {
            console.trouble(service, trouble);
            return if trouble == Trouble::NotRunning { console.exit_code() } else { UNKNOWN };
        }
    };
    let text = console.describe(service, service.name(), &status, now);
    let code = match &text {
        None => UNKNOWN,
        Some(_) if status.pid.is_some() => RUNNING,
        Some(_) => DOWN,
    };
    let mut line = text.unwrap_or_default();
    line.extend(log_status(&service.log(), now, console));
    console.print(&line);
    code
}

/// What a status line ends with: the status of the log service, or why it is not known, or nothing; and a newline.
fn log_status(log: &Service, now: Tai64n, console: &mut Console) -> Vec<u8> {
    let status = match log.enter() {
        Err(Errno::ENOENT) => return b"\n".to_vec(),
        Err(errno) => Err(Trouble::NoLog(errno)),
        Ok(()) => log.runsv().and_then(|_runsv| log.status()),
    };
    let text = match status {
        Ok(status) => {
            [console.describe(log, b"log", &status, now).unwrap_or_default(), b"\n".to_vec()].concat()
        }
        Err(trouble) => console.trouble_line(log, trouble),
    };
    [b"; ".as_slice(), &text].concat()
}
