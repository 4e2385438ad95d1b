//! A state as it is left to the next supervisor, and taken over by it.

use nix::unistd::Pid;
use svlib::exit_status::ExitStatus;
use svlib::moment::Moment;
use svlib::record::{Phase, ProcessId, Record, Script as RecordedScript};

use super::{Process, Role, Script, State};

/// What has been found out about the process of `run` or `finish` in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It is the one that was started, or that one has ended: [`Event::Exited`](super::Event::Exited) will tell.
    Proven,
    /// A process lives, and nobody knows whether it is that one.
    Unproven,
}

impl State {
    /// What is to be written down of this state. `identify` knows when each of its processes was started; who supervises and
    /// what is between the service and its log is left to the caller.
    pub fn record(&self, mut identify: impl FnMut(Pid) -> ProcessId) -> Record {
        let not_before = match self.process {
            Process::Down { not_before } => not_before,
            _ => std::time::Duration::ZERO,
        };
        Record {
            phase: match self.process {
                Process::Down { .. } | Process::Starting | Process::Gone { held: None } => Phase::Down,
                Process::Run { pid } => Phase::Run(identify(pid)),
                Process::Ended { .. } => Phase::Ended,
                Process::Finish { pid } => Phase::Finish(identify(pid)),
                // As unproven as it was.
                Process::Held { pid } | Process::Gone { held: Some(pid) } => {
                    Phase::Run(ProcessId { pid, start: 0 })
                }
            },
            script: self.script.map(|script| match script {
                Script::Asked(command) => RecordedScript { command, process: None },
                Script::Running(command, pid) => RecordedScript { command, process: Some(identify(pid)) },
            }),
            want: self.want,
            paused: self.paused,
            got_term: self.got_term,
            told_to_end: self.told_to_end,
            changed: self.changed,
            started: self.started,
            not_before,
            last_exit: self.last_exit,
            restarts: self.restarts,
            backoff: self.backoff,
            failed: self.failed,
            readiness: self.readiness,
            text: self.text.clone(),
            kill_at: self.kill_at,
            watchdog_at: self.watchdog_at,
            tree: self.tree,
            left: self.left,
            ..Record::default()
        }
    }

    /// The state in a record of this boot, as it goes on under another supervisor. Its [`status`](Self::status) counts as
    /// published already.
    pub fn adopted(role: Role, record: &Record, proof: Proof, now: Moment) -> Self {
        let mut state = Self::new(role, record.want, now);
        state.process = match record.phase {
            Phase::Down => Process::Down { not_before: record.not_before },
            Phase::Run(process) | Phase::Finish(process) if proof == Proof::Unproven => {
                Process::Held { pid: process.pid }
            }
            Phase::Run(process) => Process::Run { pid: process.pid },
            Phase::Ended => Process::Ended {
                status: record.last_exit.unwrap_or(ExitStatus::UNKNOWN),
                retry: Some(now.monotonic),
            },
            Phase::Finish(process) => Process::Finish { pid: process.pid },
        };
        match record.script {
            Some(RecordedScript { command, process: Some(process) }) => {
                state.script = Some(Script::Running(command, process.pid));
            }
            // What was about to be done is done now.
            Some(RecordedScript { command, process: None }) => state.resumed = Some(command),
            None => {}
        }
        state.last_exit = record.last_exit;
        state.restarts = record.restarts;
        state.backoff = record.backoff;
        state.failed = record.failed;
        state.changed = record.changed;
        if state.is_held() {
            // Nothing of ours runs, so nothing is due and nothing was sent.
            state.published = state.status();
            return state;
        }
        state.paused = record.paused;
        state.got_term = record.got_term;
        state.told_to_end = record.told_to_end;
        state.started = record.started;
        // Of a `run` that has ended this is the most it can have been.
        state.lived = now.monotonic.saturating_sub(record.started);
        state.readiness = record.readiness;
        state.text.clone_from(&record.text);
        state.kill_at = record.kill_at;
        state.watchdog_at = record.watchdog_at;
        state.tree = record.tree;
        state.left = record.left;
        state.published = state.status();
        state
    }
}
