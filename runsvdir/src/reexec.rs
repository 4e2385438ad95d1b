//! Becoming the runsvdir of another version without touching a runsv: see [`svlib::sys::reexec`].

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::{OwnedFd, RawFd};
use std::process::ExitCode;
use std::time::Duration;

use nix::unistd::getpid;
use svlib::diag::Diag;
use svlib::sys::reexec::{self, SELF_TEST};

use crate::keeper::Kept;
use crate::plan::Identity;
use crate::state::State;

/// The exit code of one that does not understand a state.
const REFUSED: u8 = 111;

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
