//! What is known of one supervised process.

use std::collections::VecDeque;
use std::time::Duration;

use nix::unistd::Pid;
use svlib::command::Command;
use svlib::exit_status::ExitStatus;
use svlib::moment::Moment;
use svlib::status::{self, Status, Want};
use svlib::tai64n::Tai64n;

/// Which of the two processes under one `runsv` is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The service itself.
    Service,
    /// Its log service: it has no `finish` and no control scripts, and it ends by end-of-file, not by `x`.
    Log,
}

/// What runs. Each variant carries what is true only while it lasts, the process id above all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Process {
    /// Nothing. An automatic start waits until `not_before` (monotonic); a command does not.
    Down {
        /// The end of the throttle.
        not_before: Duration,
    },
    /// `run` has been asked for; [`Event::Spawned`](super::Event::Spawned) will tell.
    Starting,
    /// `run`, until it is reaped, also when it has been killed.
    Run {
        /// Its process.
        pid: Pid,
    },
    /// `run` has ended and `finish` is owed.
    Ended {
        /// How `run` ended.
        status: ExitStatus,
        /// When to ask for `finish` again, as there was no process to be had; `None` while an answer is awaited.
        retry: Option<Duration>,
    },
    /// `finish`, until it is reaped.
    Finish {
        /// Its process.
        pid: Pid,
    },
    /// Nothing, for good: it was told to exit and is down.
    Gone,
}

/// A control script at work. Commands wait meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// `control/<letter>` has been asked for; [`Event::Spawned`](super::Event::Spawned) will tell.
    Asked(Command),
    /// It runs.
    Running(Command, Pid),
}

/// Everything a decision depends on, besides the event and the time.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) role: Role,
    pub(super) process: Process,
    pub(super) script: Option<Script>,
    pub(super) queue: VecDeque<Command>,
    pub(super) want: Want,
    pub(super) paused: bool,
    pub(super) got_term: bool,
    /// When `run` was last started, on the monotonic clock.
    pub(super) started: Duration,
    pub(super) changed: Tai64n,
    pub(super) published: Status,
}

impl State {
    /// A process that is down; `want` says whether [`Event::Wake`](super::Event::Wake) starts it.
    ///
    /// Its [`status`](Self::status) counts as published already: that is done before anybody may ask for it.
    pub fn new(role: Role, want: Want, now: Moment) -> Self {
        let published = Status {
            changed: now.wall,
            pid: None,
            paused: false,
            want,
            got_term: false,
            state: status::State::Down,
        };
        Self {
            role,
            process: Process::Down { not_before: Duration::ZERO },
            script: None,
            queue: VecDeque::new(),
            want,
            paused: false,
            got_term: false,
            started: now.monotonic,
            changed: now.wall,
            published,
        }
    }

    /// The status as it is to be published.
    pub fn status(&self) -> Status {
        let (state, pid) = match self.process {
            Process::Down { .. } | Process::Starting | Process::Gone => (status::State::Down, None),
            Process::Run { pid } => (status::State::Run, Some(pid)),
            Process::Ended { .. } => (status::State::Finish, None),
            Process::Finish { pid } => (status::State::Finish, Some(pid)),
        };
        Status {
            changed: self.changed,
            pid,
            paused: self.paused,
            want: self.want,
            got_term: self.got_term,
            state,
        }
    }

    /// When [`Event::Wake`](super::Event::Wake) is due, on the monotonic clock; `None` if nothing waits for the time.
    pub fn deadline(&self) -> Option<Duration> {
        match self.process {
            Process::Down { not_before } if self.want == Want::Up && self.script.is_none() => {
                Some(not_before)
            }
            Process::Ended { retry, .. } => retry,
            _ => None,
        }
    }

    /// Whether a command would have to wait: for a control script, or for the outcome of a start.
    ///
    /// Whoever reads commands should leave them unread then, so that their writers are held back, not our memory filled.
    pub fn is_busy(&self) -> bool {
        self.script.is_some() || self.is_undecided()
    }

    /// Whether it is down for good.
    pub(super) fn is_gone(&self) -> bool {
        self.process == Process::Gone
    }

    /// Whether the outcome of a start is awaited. What to publish depends on it.
    pub(super) fn is_undecided(&self) -> bool {
        matches!(self.process, Process::Starting | Process::Ended { retry: None, .. })
    }
}
