//! Controls and reports services monitored by runsv: `sv`(8).
//!
//! The pure modules decide: [`verb`] what a word asks for, [`seen`] what a record tells beside a status, [`check`] whether it
//! has happened, [`steadiness`] whether it will last, [`timeout`] how long readiness may take, [`report`], [`errno_text`],
//! [`json`] and [`status_json`] how it is told. [`client`] talks to a supervise directory, [`check_script`] runs a service's
//! `check`, [`console`] prints and counts, [`show`] is the command `status`, and [`wait`] waits for all services at once.
#![forbid(unsafe_code)]

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use svlib::command::Command;
use svlib::status::Status;
use svlib::sys::clock;

use crate::check::{Goal, is_asked_already};
use crate::cli::Request;
use crate::client::{Retries, Service};
use crate::console::Console;
use crate::report::Trouble;
use crate::seen::Incarnation;
use crate::verb::{Control, Verb};
use crate::wait::Waiting;

pub mod check;
pub mod check_script;
pub mod cli;
pub mod client;
pub mod console;
pub mod errno_text;
pub mod json;
pub mod report;
pub mod seen;
pub mod show;
pub mod status_json;
pub mod steadiness;
pub mod timeout;
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
    let mut retries = Retries::default();
    let mut waiting = Vec::new();
    for name in &request.services {
        let service = Service::named(name, &directory);
        if request.json {
            let code = show::json(&service, now, &mut retries, &mut console);
            if request.lsb {
                return code;
            }
            continue;
        }
        if let Err(errno) = service.enter() {
            console.trouble(&service, Trouble::NoService(errno));
            continue;
        }
        match request.verb {
            Verb::Status => {
                let code = show::words(&service, now, &mut retries, &mut console);
                if request.lsb {
                    return code;
                }
            }
            Verb::Reexec => match reexec(&service, &mut retries) {
                Ok(before) => waiting.push(Waiting::new(service, Goal::Reexec(before))),
                Err(trouble) => console.trouble(&service, trouble),
            },
            Verb::Check => waiting.push(Waiting::new(service, Goal::Requested)),
            Verb::Control(Control { commands, .. }) => match control(&service, commands) {
                Ok(before) => waiting.push(Waiting::new(service, Goal::Effect { commands, before })),
                Err(trouble) => console.trouble(&service, trouble),
            },
        }
    }
    let (waits, kills) = match request.verb {
        Verb::Control(control) => (control.waits || request.waits, control.kills),
        Verb::Check | Verb::Reexec => (true, false),
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

/// Tells runsv to become another program. Returns what it was before.
fn reexec(service: &Service, retries: &mut Retries) -> Result<Incarnation, Trouble> {
    let _runsv = service.runsv()?;
    let before = service.see_untorn(retries)?.incarnation().ok_or(Trouble::NoReexec)?;
    service.send_reexec()?;
    Ok(before)
}
