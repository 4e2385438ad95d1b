//! Taking over from a supervisor that was killed: who is still there of what it had started.

use std::fs;
use std::time::Duration;

use nix::unistd::Pid;
use svlib::Context;
use svlib::diag::Diag;
use svlib::moment::Moment;
use svlib::record::{Phase, ProcessId, Record};
use svlib::status::{State as Running, Status};
use svlib::sys::pidfd::{Found, Pidfd};
use svlib::sys::process;
use svlib::{Result, paths};

use crate::machine::adopted::Proof;
use crate::machine::{Role, State};
use crate::record_file::RecordFile;
use crate::setup;

/// A process that was started so soon before or after the status says may be the one that it means.
const TOLERANCE: Duration = Duration::from_secs(2);

/// What is taken over.
#[derive(Debug)]
pub struct Adopted {
    /// The state to go on from.
    pub state: State,
    /// Processes of which it will be told how they end; those without a descriptor have ended.
    pub processes: Vec<(ProcessId, Option<Pidfd>)>,
    /// What was written down.
    pub record: Record,
}

/// What the supervisor of `role` before this one left, if it was killed, or told to exit while something lived that it could
/// not end. Its lock is ours.
///
/// # Errors
/// It cannot be found out whether a process is still there: to go on could start a second one.
pub fn adopt(role: Role, file: &RecordFile, boot: &str, now: Moment, diag: &Diag) -> Result<Option<Adopted>> {
    let record = match file.read() {
        Ok(Some(record)) if record.boot != boot || boot.is_empty() => return Ok(None),
        Ok(Some(record)) if record.supervisor.is_none() => {
            return match record.phase {
                // It exited while it waited for this one to end, which is another if it was started since.
                Phase::Run(ProcessId { pid, start: 0 }) => match (process::age(pid), file.age()) {
                    (Some(process), Some(record)) if process < record => Ok(None),
                    _ => hold(role, pid, now, diag),
                },
                _ => Ok(None),
            };
        }
        Ok(Some(record)) => record,
        Ok(None) => return guess(role, now, diag),
        Err(why) => {
            diag.warning(&(setup::path(role, paths::RECORD), ": ", why));
            return guess(role, now, diag);
        }
    };
    let mut proof = Proof::Proven;
    let mut processes = Vec::new();
    let main = match record.phase {
        Phase::Run(process) | Phase::Finish(process) => Some(process),
        Phase::Down | Phase::Ended => None,
    };
    for process in main.into_iter().chain(record.script.and_then(|script| script.process)) {
        let pidfd = match Pidfd::find(process).during("look for a process that was started before")? {
            Found::Alive(pidfd) => Some(pidfd),
            Found::Gone => None,
            Found::Unproven(pidfd) => {
                warn_of(role, process.pid, diag);
                if main == Some(process) {
                    proof = Proof::Unproven;
                }
                Some(pidfd)
            }
        };
        processes.push((process, pidfd));
    }
    let state = State::adopted(role, &record, proof, now);
    Ok(Some(Adopted { state, processes, record }))
}

/// Without a record, as after a runsv of runit's, there is only the status. It names a process, by its number alone.
fn guess(role: Role, now: Moment, diag: &Diag) -> Result<Option<Adopted>> {
    let Ok(bytes) = fs::read(setup::path(role, paths::STATUS)) else { return Ok(None) };
    let Ok(Status { pid: Some(pid), state: Running::Run | Running::Finish, changed, .. }) =
        Status::decode(&bytes)
    else {
        return Ok(None);
    };
    // Another process has the number if it was started long before or after. `finish` has the stamp of its `run`.
    let Some(age) = process::age(pid) else { return Ok(None) };
    if age.abs_diff(now.wall.saturating_since(changed)) > TOLERANCE {
        return Ok(None);
    }
    hold(role, pid, now, diag)
}

/// Waits for a process, if there is one of this number, that is known by nothing else.
fn hold(role: Role, pid: Pid, now: Moment, diag: &Diag) -> Result<Option<Adopted>> {
    let unproven = ProcessId { pid, start: 0 };
    let Found::Unproven(pidfd) =
        Pidfd::find(unproven).during("look for a process that was started before")?
    else {
        return Ok(None);
    };
    warn_of(role, pid, diag);
    let record = Record { phase: Phase::Run(unproven), want: setup::first_want(role), ..Record::default() };
    let state = State::adopted(role, &record, Proof::Unproven, now);
    Ok(Some(Adopted { state, processes: vec![(unproven, Some(pidfd))], record }))
}

fn warn_of(role: Role, pid: Pid, diag: &Diag) {
    let run = setup::path(role, paths::RUN);
    let why = ": it cannot be proven; nothing is started until it has ended";
    diag.warning(&("process ", pid.to_string(), " may be a ", run, " that is running already", why));
}
