//! A service and its log service together.
//!
//! The two run side by side; they meet in the pipe between them. It is closed when the service is down for good, and the
//! log service then reads the rest of it, sees end-of-file and exits. It gets no signal.

use std::time::Duration;

use nix::unistd::Pid;
use svlib::exit_status::ExitStatus;
use svlib::moment::Moment;

use super::{Outcome, Program, Role, State};

/// A service, and its log service if it has one.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The service.
    pub service: State,
    /// The log service.
    pub log: Option<State>,
}

/// Something that happened to a pair.
#[derive(Clone, Debug)]
pub enum Event {
    /// It happened to one of them. What happens to a log service that is not there is nothing.
    To(Role, super::Event),
    /// Time to look what is due: once at the beginning, then whenever [`Pair::deadline`] is reached.
    Wake,
    /// A child was reaped. It may be anybody's.
    Exited(Pid, ExitStatus),
    /// The answer to [`Action::FindLog`] when there is a log service now, in this state, and the pipe to it.
    LogFound(Box<State>),
}

/// Something to be done for a pair, in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Do it for one of them.
    Do(Role, super::Action),
    /// See whether a log service has appeared, before `run` gets its standard output.
    FindLog,
    /// Close the supervisor's ends of the log pipe.
    CloseLogPipe,
    /// End the supervisor: both are down for good.
    Exit,
}

impl Event {
    /// Whether a program of this one of the two has been executed.
    fn is_execution(&self, role: Role) -> bool {
        matches!(self, Self::To(of, super::Event::Spawned(_, Outcome::Started(_))) if *of == role)
    }
}

/// Those of which the state may be written down although these events wait. A program that has been executed is written down
/// already, and the state does not tell of it before its event is taken in.
pub fn writable<'a>(waiting: impl Iterator<Item = &'a Event> + Clone) -> impl Iterator<Item = Role> {
    Role::BOTH.into_iter().filter(move |role| !waiting.clone().any(|event| event.is_execution(*role)))
}

impl Action {
    /// Whether a process is sent a signal, or several are.
    pub fn is_signal(&self) -> bool {
        use super::Action::{EndTree, Signal, SignalTree};
        matches!(self, Self::Do(_, Signal(..) | SignalTree(..) | EndTree(..)))
    }
}

impl Pair {
    /// The one of the two, if it is there.
    pub fn get(&self, role: Role) -> Option<&State> {
        match role {
            Role::Service => Some(&self.service),
            Role::Log => self.log.as_ref(),
        }
    }

    /// When [`Event::Wake`] is due, on the monotonic clock; `None` if nothing waits for the time.
    pub fn deadline(&self) -> Option<Duration> {
        let log = self.log.as_ref().and_then(State::deadline);
        self.service.deadline().into_iter().chain(log).min()
    }
}

/// Decides what `event` means at the time `now`.
pub fn step(pair: Pair, event: Event, now: Moment) -> (Pair, Vec<Action>) {
    let mut step = Step { now, actions: Vec::new() };
    let pair = match event {
        Event::To(role, event) => step.feed(pair, role, event),
        Event::Wake => step.feed_both(pair, super::Event::Wake),
        Event::Exited(pid, status) => step.feed_both(pair, super::Event::Exited(pid, status)),
        Event::LogFound(log) if pair.log.is_none() => {
            step.feed(Pair { log: Some(*log), ..pair }, Role::Log, super::Event::Wake)
        }
        Event::LogFound(_) => pair,
    };
    (pair, step.actions)
}

struct Step {
    now: Moment,
    actions: Vec<Action>,
}

impl Step {
    /// The log service goes first: it is to be there when the service writes.
    fn feed_both(&mut self, pair: Pair, event: super::Event) -> Pair {
        let pair = self.feed(pair, Role::Log, event.clone());
        self.feed(pair, Role::Service, event)
    }

    fn feed(&mut self, pair: Pair, role: Role, event: super::Event) -> Pair {
        let Pair { service, log } = pair;
        let (mut pair, actions) = match (role, log) {
            (Role::Service, log) => {
                let (service, actions) = super::step(service, event, self.now);
                (Pair { service, log }, actions)
            }
            (Role::Log, Some(log)) => {
                let (log, actions) = super::step(log, event, self.now);
                (Pair { service, log: Some(log) }, actions)
            }
            (Role::Log, None) => return Pair { service, log: None },
        };
        for action in actions {
            match (role, action) {
                (Role::Service, super::Action::Exit) if pair.log.is_some() => {
                    pair = self.feed(pair, Role::Log, super::Event::Close);
                    if !pair.log.as_ref().is_some_and(State::is_gone) {
                        self.actions.push(Action::CloseLogPipe);
                    }
                }
                (_, super::Action::Exit) => self.actions.push(Action::Exit),
                (Role::Service, super::Action::Spawn(Program::Run)) if pair.log.is_none() => {
                    self.actions.extend([Action::FindLog, Action::Do(role, action)]);
                }
                _ => self.actions.push(Action::Do(role, action)),
            }
        }
        pair
    }
}
