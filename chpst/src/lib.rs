//! Runs a program with a changed process state: another user, environment, root, directory, priority, other limits, a lock
//! held, a session of its own.
//!
//! [`cli`] reads the command line, by the name the program was called with ([`applet`]), into the program to run and the
//! [`plan::Step`]s to take. [`apply`] takes them in that order and stops at the first that fails, so the program runs with
//! all that was asked for or not at all. Then this process becomes the program.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use svlib::Error;
use svlib::diag::Diag;
use svlib::sys::process::Exec;

use crate::apply::Prepared;
use crate::cli::Request;
use crate::failure::Failure;
use crate::plan::Step;

pub mod applet;
pub mod apply;
pub mod cli;
pub mod envdir;
pub mod failure;
mod limits;
pub mod plan;
pub mod userspec;

/// Where programs are looked up without a `PATH`.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Becomes the program that the command line asks for; the exit code says why not.
pub fn main() -> ExitCode {
    // As in runit, the emulated programs are chpst here too.
    let diag = Diag::new("chpst", None);
    let Err(failure) = run(env::args_os(), &diag);
    failure.report(&diag)
}

/// Comes back only when it fails.
fn run(arguments: impl Iterator<Item = OsString>, diag: &Diag) -> Result<Infallible, Failure> {
    let Request { mut steps, program, argv } = cli::request(arguments)?;
    // The program is looked up by our own PATH, not by one that an environment directory sets.
    let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let mut prepared = Prepared::new(env::vars_os().collect());
    // The limits, which come last, may leave no memory; what the rest needs is made before them.
    let limits = steps.split_off(steps.partition_point(|step| !matches!(step, Step::Limit(..))));
    prepared.apply(steps, diag)?;
    let exec = Exec::new(&program, &argv, &prepared.environment, &path);
    prepared.apply(limits, diag)?;
    let errno = exec.map_or_else(|errno| errno, |exec| exec.run());
    Err(Failure::System(Error { operation: "run:", path: Some(program.into()), errno }))
}
