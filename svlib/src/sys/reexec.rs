//! Becoming another program file of the same name without ending: the process, its children and its descriptors stay.
//!
//! What the process knows goes along as text in a memory file (memfd_create(2)), whose number is in [`VARIABLE`]. Before that,
//! the new file is asked whether it understands this text: it is run with [`SELF_TEST`], and exits 0 if so.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{AccessFlags, Pid, access};

use crate::diag::{Diag, Message};
use crate::error::{Context, Error, Result};
use crate::exit_status::ExitStatus;
use crate::sys::process::{self, Exec, Spawn};
use crate::sys::signal::Signal;
use crate::sys::{environment, signal, startup};

/// The variable that names the memory file.
pub const VARIABLE: &str = "SVKIT_STATE";

/// The option with which a program only says whether it understands a memory file.
pub const SELF_TEST: &str = "--self-test";

/// The file that the command `name` means now: itself if it has a slash, else what `PATH` leads to.
///
/// # Errors
/// ENOENT if there is none.
fn program(name: &OsStr) -> Result<PathBuf> {
    let candidates = process::candidates(name, &process::search_path()).on("find", name)?;
    let mut candidates =
        candidates.into_iter().map(|path| PathBuf::from(OsString::from_vec(path.into_bytes())));
    let is_path = name.as_bytes().contains(&b'/');
    let is_program = |path: &PathBuf| is_path || (access(path, AccessFlags::X_OK).is_ok() && path.is_file());
    candidates.find(is_program).ok_or(Errno::ENOENT).on("find", name)
}

/// Puts `text` into a new memory file.
///
/// # Errors
/// No memory or no descriptor is left.
fn save(text: &str) -> Result<OwnedFd> {
    let file = memfd_create("svkit-state", MFdFlags::MFD_CLOEXEC).during("create memory file")?;
    let mut file = File::from(file);
    file.write_all(text.as_bytes()).during("write memory file")?;
    file.rewind().during("rewind memory file")?;
    Ok(file.into())
}

/// The text that the program before this one in the same process saved, or that it wants to know understood; once.
///
/// # Errors
/// It cannot be read.
pub fn saved() -> Option<Result<String>> {
    let number: RawFd = environment::take(VARIABLE)?.to_str()?.parse().ok()?;
    if number <= libc::STDERR_FILENO {
        return None;
    }
    // SAFETY: it is only borrowed to be asked; a number that is no descriptor makes the call fail.
    fcntl(unsafe { BorrowedFd::borrow_raw(number) }, FcntlArg::F_GETFD).ok()?;
    // SAFETY: it was handed over to this process, in which nothing else knows of it.
    let mut file = unsafe { File::from_raw_fd(number) };
    let mut text = String::new();
    Some(file.read_to_string(&mut text).during("read memory file").map(|_| text))
}

/// How long a program may take to say whether it understands a state.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the memory file is called in a self-test.
const TEST_DESCRIPTOR: RawFd = 3;

/// Becoming the program file that has this process's name now, in two steps: while the first, its self-test, is under way
/// nothing waits for it. What it refuses, or cannot do, changes nothing but that a warning says so.
#[derive(Debug, Default)]
pub struct Reexec(Option<SelfTest>);

/// A child that shall say whether it understands a state.
#[derive(Debug)]
struct SelfTest {
    program: PathBuf,
    pid: Pid,
    /// When it is killed; None once it was.
    deadline: Option<Duration>,
    /// How it ended.
    status: Option<ExitStatus>,
}

impl Reexec {
    /// Begins with the self-test, unless it has begun. `state` is the text, `now` the monotonic clock.
    pub fn begin(&mut self, state: &str, now: Duration, diag: &Diag) {
        if self.0.is_none() {
            match SelfTest::start(state, now) {
                Ok(test) => self.0 = Some(test),
                Err(error) => refuse(diag, &error),
            }
        }
    }

    /// The child that tests, until it is reaped.
    pub fn test(&self) -> Option<Pid> {
        self.0.as_ref().filter(|test| test.status.is_none()).map(|test| test.pid)
    }

    /// Takes in that the child `pid` has ended and was reaped. False: it is not the one that tests.
    pub fn ended(&mut self, pid: Pid, status: ExitStatus) -> bool {
        let Some(test) = self.0.as_mut().filter(|test| test.status.is_none() && test.pid == pid) else {
            return false;
        };
        test.status = Some(status);
        true
    }

    /// Whether it is time to [go on](Self::go_on).
    pub fn is_tested(&self) -> bool {
        self.0.as_ref().is_some_and(|test| test.status.is_some())
    }

    /// The second step. If the test was passed, this process becomes the program, which gets the text `state` and the
    /// descriptors `kept`, and this does not return.
    pub fn go_on(self, state: &str, kept: &[BorrowedFd<'_>], diag: &Diag) {
        let Some(SelfTest { program, deadline, status: Some(status), .. }) = self.0 else { return };
        if deadline.is_none() {
            refuse(diag, &(program.as_path(), " took too long to test itself"));
        } else if status.success() {
            refuse(diag, &become_program(&program, state, kept));
        } else {
            let [code, signal] = status.finish_arguments();
            let how = if code == "-1" { format!("signal {signal}") } else { format!("exit code {code}") };
            refuse(diag, &(program.as_path(), format!(" failed to test itself ({how})")));
        }
    }

    /// When [`hurry`](Self::hurry) has something to do, on the monotonic clock.
    pub fn deadline(&self) -> Option<Duration> {
        self.0.as_ref().filter(|test| test.status.is_none()).and_then(|test| test.deadline)
    }

    /// Kills the child if it takes too long.
    pub fn hurry(&mut self, now: Duration) {
        if self.deadline().is_some_and(|deadline| deadline <= now)
            && let Some(test) = &mut self.0
        {
            test.deadline = None;
            // It has not been reaped, so its number is its own.
            let _ = signal::send(test.pid, Signal::SIGKILL);
        }
    }
}

impl SelfTest {
    fn start(state: &str, now: Duration) -> Result<Self> {
        let name = env::args_os().next().unwrap_or_default();
        let program = program(&name)?;
        let state = save(state)?;
        let spawn = Spawn::new(&program).arg(SELF_TEST).env(VARIABLE, TEST_DESCRIPTOR.to_string());
        let pid = spawn.fd(TEST_DESCRIPTOR, state.as_fd()).spawn()?;
        Ok(Self { program, pid, deadline: Some(now + PATIENCE), status: None })
    }
}

fn refuse(diag: &Diag, reason: &dyn Message) {
    diag.warning(&("unable to reexec: ", reason, ": going on"));
}

/// Becomes `program` with the arguments that this process was started with. It gets the text `state` and the descriptors
/// `kept`, under the numbers they have. Comes back only with the reason why not; then all is as before.
fn become_program(program: &Path, state: &str, kept: &[BorrowedFd<'_>]) -> Error {
    let state = match save(state) {
        Ok(state) => state,
        Err(error) => return error,
    };
    let arguments: Vec<OsString> = env::args_os().collect();
    let number = state.as_raw_fd().to_string();
    let variables: Vec<_> = env::vars_os()
        .filter(|(name, _)| name != VARIABLE)
        .chain([(VARIABLE.into(), number.into())])
        .collect();
    let exec = match Exec::new(program.as_os_str(), &arguments, &variables, OsStr::new("")) {
        Ok(exec) => exec,
        Err(errno) => return Error { operation: "execute", path: Some(program.into()), errno },
    };
    let all = || kept.iter().copied().chain([state.as_fd()]);
    for fd in all() {
        let _ = fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()));
    }
    let errno = exec.run();
    for fd in all() {
        let _ = fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    }
    startup::take_again();
    Error { operation: "execute", path: Some(program.into()), errno }
}

/// A descriptor that the program before this one in the same process had under the number `number`, closed on exec from
/// now on; each is taken once. None if it is none.
pub fn take_over(number: RawFd) -> Option<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return None;
    }
    // SAFETY: it is only borrowed to be asked; a number that is no descriptor makes the call fail.
    fcntl(unsafe { BorrowedFd::borrow_raw(number) }, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    // SAFETY: it was left open for this process, and whoever reads its number in the state takes it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_path_or_in_the_path() {
        assert_eq!(program(OsStr::new("./runsv")).unwrap(), Path::new("./runsv"));
        assert!(program(OsStr::new("sh")).unwrap().is_absolute());
        assert_eq!(program(OsStr::new("no-such-program")).unwrap_err().errno, Errno::ENOENT);
    }

    #[test]
    fn a_text_is_saved() {
        let state = save("a=b\n").unwrap();
        let mut text = String::new();
        File::from(state).read_to_string(&mut text).unwrap();
        assert_eq!(text, "a=b\n");
    }
}
