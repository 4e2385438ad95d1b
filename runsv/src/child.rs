//! Starting the programs of a service directory.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, Pid, access};
use svlib::command::Command;
use svlib::diag::Diag;
use svlib::error::is_shortage;
use svlib::sys::process::Spawn;
use svlib::{Context, Error, Result, paths};

use crate::machine::{Outcome, Program, Role};
use crate::setup::LogPipe;

const OWNER_EXECUTE: u32 = 0o100;

/// What a program finds around it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// The service, its `finish` and its control scripts write into it, the log service reads from it.
    pub pipe: Option<&'a LogPipe>,
    /// A descriptor for `run` to say that it is ready on, and its number.
    pub notify_pipe: Option<(RawFd, BorrowedFd<'a>)>,
    /// The abstract socket for `run` to say so to.
    pub notify_socket: Option<&'a str>,
    /// How long `run` may be silent.
    pub watchdog: Option<Duration>,
    /// `run` leads a session of its own.
    pub new_session: bool,
    /// `run` goes into this control group.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// Starts `program` in the working directory, or in `./log`. Before it is executed, `write_down` gets its process: should this
/// supervisor be killed, the next one must know of it. A failure is told.
pub fn spawn(
    role: Role,
    program: Program,
    around: &Surroundings<'_>,
    diag: &Diag,
    write_down: impl FnOnce(Pid),
) -> Outcome {
    let mut spawn = match program {
        Program::Run => Spawn::new("./run"),
        Program::Finish(status) => {
            if access(paths::FINISH, AccessFlags::R_OK).is_err() {
                return Outcome::Absent;
            }
            let [code, low_byte] = status.finish_arguments();
            Spawn::new("./finish").arg(code).arg(low_byte)
        }
        Program::Control(command) => {
            let script = control_script(command);
            match is_executable(&script) {
                Ok(true) => Spawn::new(script),
                Ok(false) => return Outcome::Absent,
                Err(error) => {
                    diag.warning(&error);
                    return Outcome::Failed;
                }
            }
        }
    };
    if role == Role::Log {
        spawn = spawn.dir(Path::new(paths::LOG));
    }
    if let Some(pipe) = around.pipe {
        spawn = match role {
            Role::Service => spawn.stdout(pipe.write.as_fd()),
            Role::Log => spawn.stdin(pipe.read.as_fd()),
        };
    }
    if role == Role::Service && program == Program::Run {
        spawn = with_notification(spawn, around);
        spawn = if around.new_session { spawn.new_session() } else { spawn };
        spawn = around.cgroup.into_iter().fold(spawn, Spawn::cgroup);
    }
    let gated = match spawn.prepare() {
        Ok(gated) => gated,
        Err(error) => return failed(role, program, error, diag),
    };
    write_down(gated.pid());
    match gated.release() {
        Ok(pid) => Outcome::Started(pid),
        Err(errno) => failed(role, program, Error { operation: "start", path: None, errno }, diag),
    }
}

fn with_notification<'a>(mut spawn: Spawn<'a>, around: &Surroundings<'a>) -> Spawn<'a> {
    if let Some((number, writer)) = around.notify_pipe {
        spawn = spawn.fd(number, writer);
    }
    if let Some(name) = around.notify_socket {
        spawn = spawn.env("NOTIFY_SOCKET", format!("@{name}"));
    }
    if let Some(watchdog) = around.watchdog {
        spawn = spawn.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    }
    spawn
}

/// Tells why `program` did not start, in runit's words: to the process that should have become it, most of it is fatal.
fn failed(role: Role, program: Program, error: Error, diag: &Diag) -> Outcome {
    let path = shown_path(role, program);
    match error.errno {
        // No process, or no gate for it.
        errno if errno == Errno::EAGAIN || is_shortage(errno) => {
            diag.warning(&Error { path: Some(path), ..error });
            return Outcome::NoProcess;
        }
        Errno::ENOENT if path.exists() => {
            diag.fatal(&("unable to start ", path, ": its interpreter does not exist"));
        }
        _ => diag.fatal(&Error { path: Some(path), ..error }),
    }
    Outcome::Failed
}

fn control_script(command: Command) -> PathBuf {
    Path::new(paths::CONTROL_SCRIPTS).join(char::from(command.byte()).to_string())
}

/// Whether a control script takes part: it exists and its owner may execute it.
fn is_executable(script: &Path) -> Result<bool> {
    match fs::metadata(script) {
        Ok(metadata) => Ok(metadata.permissions().mode() & OWNER_EXECUTE != 0),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).on("stat", script),
    }
}

fn shown_path(role: Role, program: Program) -> PathBuf {
    match (role, program) {
        (Role::Service, Program::Run) => PathBuf::from("./run"),
        (Role::Log, Program::Run) => PathBuf::from("./log/run"),
        (_, Program::Finish(_)) => PathBuf::from("./finish"),
        (_, Program::Control(command)) => control_script(command),
    }
}
