//! The decisions about one supervised process: a service, or its log service.
//!
//! Nothing here performs anything or reads a clock: an [`Event`] and the time go in, the next [`State`] and the
//! [`Action`]s come out. [`pair`] joins two such machines.
//!
//! | event | `Down` | `Run` | `Ended`, `Finish` |
//! |---|---|---|---|
//! | due | `control/u`, `run` | | `finish` again, if there was no process |
//! | `u` | want up, start | want up | want up |
//! | `o` | want down, start | want down | want down |
//! | `d` `x` | want down, exit | want it, then as `t` | want down, exit |
//! | `t` | | `control/t` or TERM; if not wanted up CONT and `control/d`, `control/x` | |
//! | `p` `c` | paused or not | `control/p` or STOP, `control/c` or CONT; paused or not | paused or not |
//! | other | | its control script or signal | |
//! | exit | | `finish`, else down | down |
//! | `Close` | gone, or a last start if one is owed | want exit | |
//!
//! A process that is down and wanted to exit is gone. One that is down and wanted up is started at once if the last
//! start is a second ago, else a second from now; or as its restart policy says (`backoff`).
//!
//! [`adopted`] is how a state goes into `supervise/record` and comes out of it in another supervisor.

pub mod action;
pub mod adopted;
mod backoff;
pub mod event;
pub mod pair;
pub mod state;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::time::Duration;

use nix::sys::signal::Signal;
use svlib::command::Command;
use svlib::exit_status::ExitStatus;
use svlib::moment::Moment;
use svlib::record::{Backoff, Readiness, Tree};
use svlib::status::Want;

use backoff::Next;

pub use action::{Action, Program};
pub use event::{Event, Outcome, Word};
pub use state::{Process, Role, Script, State};

/// A `run` that lived less than this is restarted no sooner than after this.
pub const THROTTLE: Duration = Duration::from_secs(1);
/// The exit code by which `finish` gives the service up, where there is a restart policy.
const GIVE_UP: i32 = 125;
/// How long a service that was silent for too long has to dump its core, if it sets no time for that itself.
const ABORT: Duration = Duration::from_secs(10);

/// Decides what `event` means at the time `now`.
pub fn step(state: State, event: Event, now: Moment) -> (State, Vec<Action>) {
    let mut step = Step { state, now, actions: Vec::new(), commands_first: false };
    step.take(event);
    step.go_on();
    step.publish();
    (step.state, step.actions)
}

struct Step {
    state: State,
    now: Moment,
    actions: Vec<Action>,
    /// Commands have waited for this step: nothing is started before they are read.
    commands_first: bool,
}

impl Step {
    fn take(&mut self, event: Event) {
        match event {
            Event::Wake => {
                self.resume();
                self.retry_finish();
                self.watchdog();
                self.kill();
            }
            Event::Command(command) => self.state.queue.push_back(command),
            Event::Spawned(program, outcome) => self.spawned(program, outcome),
            Event::Exited(pid, status) => match (&self.state.process, self.state.script) {
                (_, Some(Script::Running(command, script))) if script == pid => {
                    self.commands_first = true;
                    self.script_ended(command, status.success());
                }
                (&Process::Run { pid: run }, _) if run == pid => self.run_ended(status),
                (&Process::Finish { pid: finish }, _) if finish == pid => {
                    let gives_up = status.code() == Some(GIVE_UP) && self.state.settings.restart.is_some();
                    self.down(gives_up);
                }
                (&Process::Held { pid: held }, _) if held == pid => {
                    self.state.process = Process::Down { not_before: self.now.monotonic };
                    self.state.changed = self.now.wall;
                }
                _ => {}
            },
            Event::Close => self.close(),
            Event::Said(word) => self.said(word),
            Event::Left(count) => self.state.left = count,
        }
    }

    /// Does what waited for this step: commands first, then an exit or a start that is due.
    fn go_on(&mut self) {
        while !self.state.is_busy() {
            let not_before = match self.state.process {
                Process::Down { not_before } => Some(not_before),
                Process::Held { .. } => Some(Duration::MAX),
                Process::Gone { .. } => {
                    self.state.queue.clear();
                    return;
                }
                _ => None,
            };
            if not_before.is_some() && self.state.want == Want::Exit {
                self.state.process = Process::Gone {
                    held: match self.state.process {
                        Process::Held { pid } => Some(pid),
                        _ => None,
                    },
                };
                self.actions.push(Action::Exit);
            } else if let Some(command) = self.state.queue.pop_front() {
                self.command(command);
            } else if self.state.want == Want::Up
                && !self.commands_first
                && not_before.is_some_and(|time| time <= self.now.monotonic)
            {
                // The first start is none; and what is down without having run was held back until now.
                self.state.restarts += u64::from(self.state.last_exit.is_some());
                self.script(Command::Up);
            } else {
                return;
            }
        }
    }

    /// Publishes a change, once it is decided what it is.
    fn publish(&mut self) {
        let status = self.state.status();
        if status != self.state.published && !self.state.is_undecided() {
            self.state.published = status;
            self.actions.insert(0, Action::Publish(status));
        }
    }

    fn command(&mut self, command: Command) {
        let running = matches!(self.state.process, Process::Run { .. });
        match command {
            Command::Up | Command::Once => {
                self.want(if command == Command::Up { Want::Up } else { Want::Down });
                self.state.failed = false;
                self.state.restarts = 0;
                self.state.backoff = Backoff::default();
                if matches!(self.state.process, Process::Down { .. }) {
                    self.script(Command::Up);
                }
            }
            Command::Exit if self.state.role == Role::Log => {}
            Command::Down | Command::Exit => {
                self.want(if command == Command::Down { Want::Down } else { Want::Exit });
                if running {
                    self.script(Command::Terminate);
                }
            }
            _ if running => self.script(command),
            Command::Pause => self.state.paused = true,
            Command::Continue => self.state.paused = false,
            _ => {}
        }
    }

    /// A log service that reads the rest of its pipe is not to be kept from exiting.
    fn want(&mut self, want: Want) {
        if self.state.role == Role::Service || self.state.want != Want::Exit {
            self.state.want = want;
        }
    }

    fn script(&mut self, command: Command) {
        match self.state.role {
            Role::Service => {
                self.state.script = Some(Script::Asked(command));
                self.actions.push(Action::Spawn(Program::Control(command)));
            }
            Role::Log => self.script_ended(command, false),
        }
    }

    /// The second half of a command, when its script has ended; one that `succeeded` stands in for the signal.
    fn script_ended(&mut self, command: Command, succeeded: bool) {
        self.state.script = None;
        match command {
            Command::Up | Command::Once => return self.start(),
            // Their signals have been sent before their scripts.
            Command::Down | Command::Exit => return,
            _ => {}
        }
        let sent = !succeeded
            && match command {
                Command::Terminate => self.signal_tree(self.state.settings.down_signal),
                Command::Kill => self.signal_tree(Signal::SIGKILL),
                _ => command.signal().is_some_and(|signal| self.signal(signal)),
            };
        match command {
            Command::Terminate => {
                self.state.got_term |= sent;
                if self.state.run().is_some() {
                    self.told_to_end();
                    let timeout = self.state.settings.timeout_kill;
                    self.state.kill_at =
                        self.state.kill_at.or(timeout.map(|timeout| self.now.monotonic + timeout));
                }
                if self.state.want != Want::Up {
                    self.signal_tree(Signal::SIGCONT);
                    let exit = self.state.want == Want::Exit && self.state.role == Role::Service;
                    self.script(if exit { Command::Exit } else { Command::Down });
                }
            }
            Command::Kill => self.told_to_end(),
            Command::Pause => self.state.paused = true,
            Command::Continue => {
                self.state.paused = false;
                if self.state.watchdog_at.is_some() {
                    self.alive();
                }
            }
            _ => {}
        }
    }

    /// Its end is no failure from now on. And it need not say any more that it is alive: it may be busy with ending.
    fn told_to_end(&mut self) {
        self.state.told_to_end = true;
        self.state.watchdog_at = None;
    }

    /// Sends a signal to `run` and all that belongs to it, if it still runs, and says whether it does.
    fn signal_tree(&mut self, signal: Signal) -> bool {
        if let Process::Run { pid } = self.state.process {
            self.actions.push(match self.state.tree {
                Tree::Process => Action::Signal(pid, signal),
                tree => Action::SignalTree(pid, tree, signal),
            });
            return true;
        }
        false
    }

    /// Sends a signal to `run`, if it still runs, and says whether it does.
    fn signal(&mut self, signal: Signal) -> bool {
        if let Process::Run { pid } = self.state.process {
            self.actions.push(Action::Signal(pid, signal));
            return true;
        }
        false
    }

    fn start(&mut self) {
        self.state.process = Process::Starting;
        // Also should it not start: that end was not asked for.
        self.state.told_to_end = false;
        self.actions.push(Action::Spawn(Program::Run));
    }

    fn spawned(&mut self, program: Program, outcome: Outcome) {
        let is_asked = match (program, &self.state.process) {
            (Program::Run, process) => *process == Process::Starting,
            (Program::Finish(_), process) => matches!(process, Process::Ended { .. }),
            (Program::Control(command), _) => self.state.script == Some(Script::Asked(command)),
        };
        if !is_asked {
            return;
        }
        if let Outcome::Started(pid) = outcome {
            self.state = self.state.clone().executed(program, pid, self.now);
            return;
        }
        match program {
            Program::Run => {
                self.state.attempted(self.now);
                self.run_ended(ExitStatus::NOT_EXECUTED);
            }
            Program::Finish(status) if outcome == Outcome::NoProcess => {
                let retry = Some(self.now.monotonic + THROTTLE);
                self.state.process = Process::Ended { status, retry };
            }
            Program::Finish(_) => self.down(false),
            Program::Control(command) => self.script_ended(command, false),
        }
    }

    fn run_ended(&mut self, status: ExitStatus) {
        if let (Some(pid), true) = (self.state.run(), self.state.settings.kill_mode.is_some()) {
            self.actions.push(Action::EndTree(pid, self.state.tree));
        }
        self.state.got_term = false;
        self.state.kill_at = None;
        self.state.watchdog_at = None;
        self.state.readiness = Readiness::Undeclared;
        self.state.text.clear();
        self.state.last_exit = Some(status);
        self.state.lived = self.now.monotonic.saturating_sub(self.state.started);
        match self.state.role {
            Role::Service => self.ask_finish(status),
            Role::Log => self.down(false),
        }
    }

    fn ask_finish(&mut self, status: ExitStatus) {
        self.state.process = Process::Ended { status, retry: None };
        self.actions.push(Action::Spawn(Program::Finish(status)));
    }

    fn retry_finish(&mut self) {
        if let Process::Ended { status, retry: Some(retry) } = self.state.process
            && retry <= self.now.monotonic
        {
            self.ask_finish(status);
        }
    }

    fn down(&mut self, gives_up: bool) {
        let now = self.now.monotonic;
        let chance = u64::from(self.now.wall.nanos) ^ self.state.restarts;
        let state = &mut self.state;
        let next = match &state.settings.restart {
            _ if gives_up && state.want == Want::Up => Next::GiveUp,
            Some(policy) if state.want == Want::Up && !state.told_to_end => {
                backoff::by_policy(policy, &mut state.backoff, state.lived, now, chance)
            }
            // In runit the time that `finish` takes counts.
            _ => Next::Start(backoff::usual(now.saturating_sub(state.started), now)),
        };
        let not_before = match next {
            Next::Start(not_before) => not_before,
            Next::GiveUp => {
                state.failed = true;
                state.want = Want::Down;
                let last = state.last_exit.unwrap_or(ExitStatus::UNKNOWN);
                self.actions.push(Action::TellGivenUp(last, state.restarts));
                now
            }
        };
        self.state.process = Process::Down { not_before };
        self.state.changed = self.now.wall;
        self.state.got_term = false;
        self.state.kill_at = None;
    }

    /// Takes up a command that another supervisor had begun.
    fn resume(&mut self) {
        if let Some(command) = self.state.resumed.take() {
            self.script(command);
        }
    }

    fn said(&mut self, word: Word) {
        if self.state.run().is_none() {
            return;
        }
        match word {
            Word::Ready => {
                self.state.readiness = Readiness::Ready;
                self.alive();
            }
            Word::Stopping => self.state.readiness = Readiness::Awaited,
            Word::Alive => self.alive(),
            Word::Text(text) => self.state.text = text,
        }
    }

    fn alive(&mut self) {
        if self.state.told_to_end {
            return;
        }
        let timeout = self.state.settings.timeout_watchdog;
        self.state.watchdog_at = timeout.map(|timeout| self.now.monotonic + timeout);
    }

    /// A service that was silent for too long is aborted, and killed if that does not help. One that is paused cannot speak.
    fn watchdog(&mut self) {
        if !self.state.paused && self.state.watchdog_at.is_some_and(|due| due <= self.now.monotonic) {
            self.state.watchdog_at = None;
            if self.signal(Signal::SIGABRT) {
                let timeout = self.state.settings.timeout_kill.unwrap_or(ABORT);
                self.state.kill_at = self.state.kill_at.or(Some(self.now.monotonic + timeout));
            }
        }
    }

    /// `run` or `finish` has had its time.
    fn kill(&mut self) {
        if self.state.kill_at.is_some_and(|due| due <= self.now.monotonic) {
            self.state.kill_at = None;
            if let Process::Finish { pid } = self.state.process {
                self.actions.push(Action::Signal(pid, Signal::SIGKILL));
            } else {
                self.signal_tree(Signal::SIGKILL);
            }
        }
    }

    /// A log service that only waits for its restart gets it now, or what is left in the pipe would be lost.
    fn close(&mut self) {
        let owed = self.state.want == Want::Up;
        self.state.want = Want::Exit;
        if owed && matches!(self.state.process, Process::Down { .. }) {
            self.start();
        }
    }
}
