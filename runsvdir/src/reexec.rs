//! Becoming the runsvdir of another version without touching a runsv: see [`svlib::sys::reexec`].
//!
//! The file that has our name now is first asked whether it understands what we know; it is a child meanwhile, and nothing
//! waits for it. What it refuses, or cannot do, changes nothing.

use std::collections::{HashMap, HashSet};
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use nix::unistd::{Pid, getpid};
use svlib::diag::Diag;
use svlib::exit_status::ExitStatus;
use svlib::sys::reexec::{self, SELF_TEST};
use svlib::sys::signal::{self, Signal};
use svlib::{Error, Result};

use crate::keeper::Kept;
use crate::plan::Identity;
use crate::state::State;

/// How long a program may take to say whether it understands a state.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The exit code of one that does not.
const REFUSED: u8 = 111;

/// The self-test of a program that is to be become.
#[derive(Debug)]
pub struct SelfTest {
    program: PathBuf,
    pid: Pid,
    /// When it is killed; None once it was.
    deadline: Option<Duration>,
}

impl SelfTest {
    /// Starts it, in a child.
    ///
    /// # Errors
    ///
    /// There is no such program, or it cannot be executed.
    pub fn start(state: &State, now: Duration) -> Result<Self> {
        let name = env::args_os().next().unwrap_or_default();
        let program = reexec::program(&name)?;
        let pid = reexec::start_self_test(&program, &reexec::save(&state.encode())?)?;
        Ok(Self { program, pid, deadline: Some(now + PATIENCE) })
    }

    /// Whether this is the child.
    #[must_use]
    pub fn is(&self, pid: Pid) -> bool {
        self.pid == pid
    }

    /// When [`SelfTest::hurry`] has something to do, if ever.
    #[must_use]
    pub const fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Kills the child if it takes too long.
    pub fn hurry(&mut self, now: Duration) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            // It has not been reaped, so its number is its own.
            let _ = signal::send(self.pid, Signal::SIGKILL);
        }
    }

    /// Becomes the program if the child ended so; comes back only with the reason why not.
    #[must_use]
    pub fn passed(self, status: ExitStatus, state: &State, descriptors: &[BorrowedFd<'_>]) -> String {
        if self.deadline.is_none() {
            return format!("{} took too long to test itself", self.program.display());
        }
        if !status.success() {
            let [code, signal] = status.finish_arguments();
            let how = if code == "-1" { format!("signal {signal}") } else { format!("exit code {code}") };
            return format!("{} failed to test itself ({how})", self.program.display());
        }
        let error: Error = match reexec::save(&state.encode()) {
            Ok(memory) => reexec::become_program(&self.program, &memory, descriptors),
            Err(error) => error,
        };
        error.to_string()
    }
}

/// What the runsvdir before this one in the same process left.
#[derive(Debug)]
pub struct Inheritance {
    /// What it knew.
    pub state: State,
    /// What it kept for each service.
    pub kept: HashMap<Identity, Kept>,
    /// The pipe of the `log` argument, and when its next dot is due.
    pub log: Option<(OwnedFd, Duration)>,
}

impl Inheritance {
    /// Takes it over, if there is one. To be called before anything is opened, whose descriptor could be taken for one
    /// that was left.
    pub fn take(diag: &Diag) -> Option<Self> {
        let text = reexec::saved()?.map_err(|error| diag.warning(&error)).ok()?;
        let state = State::decode(&text).map_err(|bad| diag.warning(&bad.to_string())).ok()?;
        if state.pid != getpid() {
            return None;
        }
        let mut taken = HashSet::new();
        let mut take = |number: RawFd| if taken.insert(number) { reexec::take_over(number) } else { None };
        let mut kept: HashMap<Identity, Kept> = HashMap::new();
        for (service, number) in &state.sockets {
            kept.entry(*service).or_default().socket = take(*number);
        }
        for (service, held) in &state.held {
            kept.entry(*service).or_default().held =
                held.iter().filter_map(|(held, number)| Some((*held, take(*number)?))).collect();
        }
        let log = state.log.and_then(|(number, dot)| Some((take(number)?, dot)));
        Some(Self { state, kept, log })
    }
}

/// Whether this process is only to say whether it understands a state.
pub fn is_self_test(arguments: impl Iterator<Item = OsString>) -> bool {
    arguments.skip(1).eq([OsStr::new(SELF_TEST)])
}

/// Says it, by the exit code.
#[must_use]
pub fn self_test() -> ExitCode {
    let diag = Diag::new("runsvdir", Some(OsStr::new(SELF_TEST)));
    let text = match reexec::saved() {
        Some(Ok(text)) => text,
        Some(Err(error)) => {
            diag.fatal(&error);
            return ExitCode::from(REFUSED);
        }
        None => {
            diag.fatal(&"there is no state");
            return ExitCode::from(REFUSED);
        }
    };
    match State::decode(&text) {
        Ok(_) => ExitCode::SUCCESS,
        Err(bad) => {
            diag.fatal(&bad.to_string());
            ExitCode::from(REFUSED)
        }
    }
}
