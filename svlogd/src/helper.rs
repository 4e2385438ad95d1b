//! Children that do beside the writing what would hold it up: this very program, started with a first argument that no user
//! gives, in the log directory.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::unistd::Pid;
use svlib::log_name::LogName;
use svlib::sys::process::Spawn;

use crate::directory::Directory;
use crate::permissions::Permissions;
use crate::report::Report;
use crate::{pack, seal};

/// The first argument of a helper.
const OPTION: &str = "--helper";

/// The second: what it does.
pub const COMPRESS: &str = "compress";

/// The second: what it does.
pub const SEAL: &str = "seal";

const VERBOSE: &str = "-v";
const QUIET: &str = "-q";

/// Starts a helper. Its standard input is not svlogd's, which is for svlogd alone to read.
///
/// # Errors
/// Why there is no child.
pub fn start(
    task: &str,
    directory: &Directory,
    arguments: impl IntoIterator<Item = String>,
    report: &Report,
) -> nix::Result<Pid> {
    let mut spawn = Spawn::new("/proc/self/exe")
        .argument_zero("svlogd")
        .arg(OPTION)
        .arg(task)
        .arg(if report.is_verbose() { VERBOSE } else { QUIET })
        .arg(format!("{:o}", directory.permissions().old))
        .arg(directory.name())
        .dir_fd(directory.as_fd())
        .stdin(directory.as_fd());
    for argument in arguments {
        spawn = spawn.arg(argument);
    }
    spawn.spawn().map_err(|error| error.errno)
}

/// Does what a helper is for, if these are the arguments of one. Others are for the command line to refuse.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next()? != OPTION {
        return None;
    }
    Some(if work(arguments)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether all went well; `None` for arguments that make no sense.
fn work(mut arguments: impl Iterator<Item = OsString>) -> Option<bool> {
    let task = arguments.next()?;
    let report = Report::new(arguments.next()? == VERBOSE);
    let mode = u32::from_str_radix(arguments.next()?.to_str()?, 8).ok()?;
    let name = arguments.next()?;
    let mut directory = match Directory::working(&name) {
        Ok(directory) => directory,
        Err(errno) => {
            report.failure("unable to open log directory", &name, errno);
            return Some(false);
        }
    };
    directory.set_permissions(Permissions::new(Some(mode)));
    if task == SEAL {
        seal::run(arguments, &directory, &report)
    } else if task == COMPRESS {
        pack::run(arguments, &directory, &report)
    } else {
        None
    }
}

/// The old file that an argument names.
pub fn file_name(argument: &OsStr) -> Option<LogName> {
    LogName::parse(argument.as_bytes())
}

/// A file that is gone needs no more work.
pub fn unless_gone<T>(result: nix::Result<T>) -> nix::Result<Option<T>> {
    match result {
        Err(Errno::ENOENT) => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_arguments_of_a_user_are_a_helpers() {
        for arguments in [&["svlogd"] as &[&str], &["svlogd", "-v", "log"], &["svlogd", "log", OPTION]] {
            assert_eq!(run(arguments.iter().map(OsString::from)), None, "{arguments:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in
            [&[] as &[&str], &[SEAL], &[SEAL, QUIET], &[SEAL, QUIET, "9"], &["x", QUIET, "744", "log"]]
        {
            let arguments = ["svlogd", OPTION].iter().chain(arguments).map(OsString::from);
            assert_eq!(run(arguments), None);
        }
    }
}
