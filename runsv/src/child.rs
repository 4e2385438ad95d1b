//! Starting the programs of a service directory.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use svlib::command::Command;
use svlib::diag::Diag;
use svlib::sys::process::Spawn;
use svlib::{Context, Error, Result, paths};

use crate::machine::{Outcome, Program, Role};
use crate::setup::LogPipe;

const OWNER_EXECUTE: u32 = 0o100;

/// Starts `program` in the working directory, or in `./log`. A failure is told.
///
/// The service, its `finish` and its control scripts write into the log pipe, the log service reads from it.
pub fn spawn(role: Role, program: Program, pipe: Option<&LogPipe>, diag: &Diag) -> Outcome {
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
    if let Some(pipe) = pipe {
        spawn = match role {
            Role::Service => spawn.stdout(pipe.write.as_fd()),
            Role::Log => spawn.stdin(pipe.read.as_fd()),
        };
    }
    spawn.spawn().map_or_else(|error| failed(role, program, error, diag), Outcome::Started)
}

/// Tells why `program` did not start, in runit's words: to the process that should have become it this is fatal.
fn failed(role: Role, program: Program, error: Error, diag: &Diag) -> Outcome {
    let path = shown_path(role, program);
    match error.errno {
        Errno::EAGAIN | Errno::ENOMEM => {
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
