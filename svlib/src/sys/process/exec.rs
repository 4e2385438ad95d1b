//! Becoming another program.

use std::env;
use std::ffi::{CString, OsStr, OsString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, Signal, signal};

use super::{c_string, pointers};
use crate::sys::startup;

/// A program that this process is about to become (execve(2)), all memory for it at hand.
///
/// No shell runs a file that the kernel cannot execute.
#[derive(Debug)]
pub struct Exec {
    candidates: Vec<CString>,
    arguments: Vector,
    environment: Vector,
}

impl Exec {
    /// Prepares to run `program` with the arguments and the environment given.
    ///
    /// A `program` without a slash is looked up in the directories of `path`, which a colon separates and of which an empty
    /// one is the current directory. One that may not be executed is passed over for a later one.
    ///
    /// # Errors
    /// ENOENT for an empty name, EINVAL for a NUL byte in any text.
    pub fn new(
        program: &OsStr,
        arguments: &[OsString],
        environment: &[(OsString, OsString)],
        path: &OsStr,
    ) -> nix::Result<Self> {
        Ok(Self {
            candidates: candidates(program, path)?,
            arguments: Vector::new(arguments.iter().map(|argument| c_string(argument)))?,
            environment: Vector::new(environment.iter().map(variable))?,
        })
    }

    /// Becomes the program; comes back only with the reason why not.
    pub fn run(&self) -> Errno {
        hand_back_startup();
        execute(&self.candidates, &self.arguments.pointers, &self.environment.pointers)
    }
}

/// A null-terminated vector, and the strings it points to.
#[derive(Debug)]
struct Vector {
    pointers: Vec<*const c_char>,
    #[expect(dead_code, reason = "the pointers point here")]
    strings: Vec<CString>,
}

impl Vector {
    fn new(strings: impl Iterator<Item = nix::Result<CString>>) -> nix::Result<Self> {
        let strings = strings.collect::<nix::Result<Vec<_>>>()?;
        Ok(Self { pointers: pointers(&strings), strings })
    }
}

/// Where programs are looked for: `PATH`, or where there is none `/bin:/usr/bin`.
pub(crate) fn search_path() -> OsString {
    env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into())
}

/// The files that may be `program`.
pub(crate) fn candidates(program: &OsStr, path: &OsStr) -> nix::Result<Vec<CString>> {
    if program.is_empty() {
        return Err(Errno::ENOENT);
    }
    if program.as_bytes().contains(&b'/') {
        return Ok(vec![c_string(program)?]);
    }
    let directories = path.as_bytes().split(|&byte| byte == b':');
    directories
        .map(|directory| if directory.is_empty() { b"." } else { directory })
        .map(|directory| c_string(Path::new(OsStr::from_bytes(directory)).join(program).as_os_str()))
        .collect()
}

fn variable((name, value): &(OsString, OsString)) -> nix::Result<CString> {
    let mut variable = name.clone();
    variable.push("=");
    variable.push(value);
    c_string(&variable)
}

/// Becomes the first of `candidates` that can be executed; comes back only with the reason why not. It needs no memory.
pub(super) fn execute(
    candidates: &[CString],
    arguments: &[*const c_char],
    environment: &[*const c_char],
) -> Errno {
    let mut reason = Errno::ENOENT;
    for candidate in candidates {
        // SAFETY: the strings end with NUL and the vectors with null, and all outlive the call.
        unsafe { libc::execve(candidate.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        match Errno::last() {
            errno if candidates.len() == 1 => return errno,
            Errno::ENOENT | Errno::ENOTDIR => {}
            errno @ (Errno::EACCES | Errno::EPERM | Errno::EISDIR) => reason = errno,
            errno => return errno,
        }
    }
    reason
}

/// Gives up what Rust's runtime put in place of what the parent handed over.
fn hand_back_startup() {
    for number in startup::closed() {
        // SAFETY: the runtime's /dev/null is behind this number, or the program's own wish replaced it, and nothing
        // owns it.
        unsafe { libc::close(number) };
    }
    if !startup::sigpipe_was_ignored() {
        // SAFETY: the default action is no handler that could run code of this process.
        let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_passes_over_what_is_not_there() {
        let exec =
            |program| match Exec::new(OsStr::new(program), &[], &[], OsStr::new("/no/such/directory:/:")) {
                Ok(exec) => exec.run(),
                Err(errno) => errno,
            };
        assert_eq!(exec("no-such-program"), Errno::ENOENT);
        assert_eq!(exec(""), Errno::ENOENT);
        assert_eq!(exec("/"), Errno::EACCES);
        assert_eq!(exec("/dev/null/program"), Errno::ENOTDIR);
    }
}
