//! Runs a program with a changed process state: another user, environment, root, directory, priority, other limits, a lock
//! held, a session of its own.
//!
//! [`cli`] reads the command line, by the name the program was called with ([`applet`]), into the program to run and the
//! [`plan::Step`]s to take. [`apply`] takes them in that order and stops at the first that fails, so the program runs with
//! all that was asked for or not at all. Then this process becomes the program.
#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use svlib::Error;
use svlib::diag::Diag;
use svlib::sys::process;

use crate::failure::Failure;

pub mod applet;
pub mod apply;
pub mod cli;
pub mod envdir;
pub mod failure;
pub mod plan;
pub mod userspec;

/// Where programs are looked up without a `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Becomes the program that the command line asks for; the exit code says why not.
pub fn main() -> ExitCode {
    // As in runit, the emulated programs are chpst here too.
    let diag = Diag::new("chpst", None);
    run(env::args_os(), &diag).report(&diag)
}

/// Comes back only when it fails.
fn run(arguments: impl Iterator<Item = OsString>, diag: &Diag) -> Failure {
    let request = match cli::request(arguments) {
        Ok(request) => request,
        Err(failure) => return failure,
    };
    // The program is looked up by our own PATH, not by one that an environment directory sets.
    let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let prepared = match apply::apply(request.steps, env::vars_os().collect(), diag) {
        Ok(prepared) => prepared,
        Err(failure) => return failure,
    };
    let errno = process::exec(&request.program, &request.argv, &prepared.environment, &path);
    Failure::System(Error { operation: "run", path: Some(request.program.into()), errno })
}
