//! Performs what the plan decides.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use nix::unistd::Pid;
use svlib::sys::process::Spawn;
use svlib::sys::signal::{self, Signal};
use svlib::{Error, Result};

/// Starts and ends runsv processes.
#[derive(Debug)]
pub struct Executor {
    /// The services directory, in which each runsv is started.
    pub directory: PathBuf,
    /// Each runsv leads a session of its own.
    pub new_sessions: bool,
}

impl Executor {
    /// Starts `runsv NAME`, found in PATH, in the services directory.
    ///
    /// # Errors
    ///
    /// There is no process to be had, no such directory any more, no runsv in PATH.
    pub fn start(&self, name: &OsStr) -> Result<Pid> {
        let mut spawn = Spawn::new("runsv").search_path().arg(operand(name)).dir(&self.directory);
        if self.new_sessions {
            spawn = spawn.new_session();
        }
        spawn.spawn().map_err(|error| Error { operation: "start runsv", path: Some(name.into()), ..error })
    }

    /// Sends TERM. The runsvs are children not yet reaped, so that the signal reaches them or nobody.
    pub fn terminate(&self, runsvs: impl IntoIterator<Item = Pid>) {
        for pid in runsvs {
            // It has exited and is about to be reaped: there is nothing left to end.
            let _ = signal::send(pid, Signal::SIGTERM);
        }
    }
}

/// The name as it is given to runsv: one that begins with a dash would be an option.
fn operand(name: &OsStr) -> OsString {
    let mut operand = OsString::new();
    if name.as_bytes().starts_with(b"-") {
        operand.push("./");
    }
    operand.push(name);
    operand
}
