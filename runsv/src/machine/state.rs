//! What is known of one supervised process.

use std::collections::VecDeque;
use std::time::Duration;

use nix::unistd::Pid;
use svlib::command::Command;
use svlib::exit_status::ExitStatus;
use svlib::moment::Moment;
use svlib::record::{Backoff, Readiness, Tree};
use svlib::status::{self, Status, Want};
use svlib::tai64n::Tai64n;

use super::Program;
use crate::settings::Settings;

/// Which of the two processes under one `runsv` is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The service itself.
    Service,
    /// Its log service: it has no `finish` and no control scripts, and it ends by end-of-file, not by `x`.
    Log,
}

impl Role {
    /// The log service comes second: it may not be there.
    pub const BOTH: [Self; 2] = [Self::Service, Self::Log];
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
    /// Nothing of ours. But a process lives that a supervisor before this one may have started, which cannot be proven: it is
    /// sent no signal, and nothing is started until it has ended.
    Held {
        /// That process.
        pid: Pid,
    },
    /// Nothing, for good: it was told to exit and is down.
    Gone {
        /// What was [held](Self::Held) may live on. Whoever comes next must know.
        held: Option<Pid>,
    },
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
    /// How long the last `run` lasted.
    pub(super) lived: Duration,
    pub(super) changed: Tai64n,
    pub(super) published: Status,
    pub(super) settings: Settings,
    /// How the `run` that runs is ended: as it was when it was started.
    pub(super) tree: Tree,
    /// Whether `run` was told to end, so that its end is no failure.
    pub(super) told_to_end: bool,
    pub(super) last_exit: Option<ExitStatus>,
    pub(super) restarts: u64,
    pub(super) backoff: Backoff,
    /// It was given up.
    pub(super) failed: bool,
    pub(super) readiness: Readiness,
    /// What it says of itself.
    pub(super) text: String,
    /// When KILL is due for `run` or `finish`, on the monotonic clock.
    pub(super) kill_at: Option<Duration>,
    /// When `run` must have said that it is alive.
    pub(super) watchdog_at: Option<Duration>,
    /// How many processes `run` left behind.
    pub(super) left: u32,
    /// A command that the supervisor before this one had begun.
    pub(super) resumed: Option<Command>,
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
            lived: Duration::ZERO,
            changed: now.wall,
            published,
            settings: Settings::default(),
            tree: Tree::Process,
            told_to_end: false,
            last_exit: None,
            restarts: 0,
            backoff: Backoff::default(),
            failed: false,
            readiness: Readiness::Undeclared,
            text: String::new(),
            kill_at: None,
            watchdog_at: None,
            left: 0,
            resumed: None,
        }
    }

    /// The state with other settings.
    #[must_use]
    pub fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// What the files in the service directory say.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Everything that runs: `run` or `finish`, and a control script.
    pub fn processes(&self) -> impl Iterator<Item = Pid> {
        let main = match self.process {
            Process::Run { pid } | Process::Finish { pid } | Process::Held { pid } => Some(pid),
            _ => None,
        };
        let script = match self.script {
            Some(Script::Running(_, pid)) => Some(pid),
            _ => None,
        };
        main.into_iter().chain(script)
    }

    /// How the `run` that runs is ended.
    pub fn tree(&self) -> Tree {
        self.tree
    }

    /// The process of `run`, if it runs.
    pub fn run(&self) -> Option<Pid> {
        match self.process {
            Process::Run { pid } => Some(pid),
            _ => None,
        }
    }

    /// The status as it is to be published.
    pub fn status(&self) -> Status {
        let (state, pid) = match self.process {
            Process::Down { .. } | Process::Starting | Process::Held { .. } | Process::Gone { .. } => {
                (status::State::Down, None)
            }
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
        let due = match self.process {
            Process::Down { not_before } if self.want == Want::Up && self.script.is_none() => {
                Some(not_before)
            }
            Process::Ended { retry, .. } => retry,
            _ => None,
        };
        let watchdog_at = self.watchdog_at.filter(|_| !self.paused);
        [due, self.kill_at, watchdog_at].into_iter().flatten().min()
    }

    /// Whether a command would have to wait: for a control script, or for the outcome of a start.
    ///
    /// Whoever reads commands should leave them unread then, so that their writers are held back, not our memory filled.
    pub fn is_busy(&self) -> bool {
        self.script.is_some() || self.is_undecided()
    }

    /// The state once the program that was asked for is executed as `pid`, at the time `now`. It must be written down before
    /// that.
    #[must_use]
    pub fn executed(mut self, program: Program, pid: Pid, now: Moment) -> Self {
        match program {
            Program::Run => {
                self.process = Process::Run { pid };
                self.attempted(now);
                self.tree = self.settings.kill_mode.unwrap_or_default();
                self.told_to_end = false;
                self.left = 0;
                let declares_readiness = self.settings.declares_readiness();
                self.readiness = if declares_readiness { Readiness::Awaited } else { Readiness::Undeclared };
            }
            Program::Finish(_) => {
                self.process = Process::Finish { pid };
                self.fresh();
                self.kill_at = self.settings.timeout_finish.map(|timeout| now.monotonic + timeout);
            }
            Program::Control(command) => self.script = Some(Script::Running(command, pid)),
        }
        self
    }

    /// `run` has been started, or that has failed.
    pub(super) fn attempted(&mut self, now: Moment) {
        self.started = now.monotonic;
        self.changed = now.wall;
        self.fresh();
    }

    /// A new process has neither been stopped nor sent TERM.
    fn fresh(&mut self) {
        self.paused = false;
        self.got_term = false;
    }

    /// Whether it is down for good.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.process, Process::Gone { .. })
    }

    /// Whether it waits for a process that may be another's.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.process, Process::Held { .. })
    }

    /// Whether the outcome of a start is awaited. What to publish depends on it.
    pub(super) fn is_undecided(&self) -> bool {
        let starts = matches!(self.process, Process::Down { .. })
            && matches!(self.script, Some(Script::Asked(Command::Up | Command::Once)));
        starts || matches!(self.process, Process::Starting | Process::Ended { retry: None, .. })
    }
}
