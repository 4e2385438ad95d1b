//! Performing what has been decided.

use std::path::Path;
use std::time::Duration;

use svlib::diag::Diag;
use svlib::moment::Moment;
use svlib::paths;
use svlib::sys::signal;

use crate::child;
use crate::machine::{self, Event, Role, State, pair};
use crate::setup::{self, Control, Failure, LogPipe, Supervised};

/// All that a supervisor holds of the system, and what it does with it. No failure here ends the supervision: it is warned of.
pub struct Executor {
    /// Where warnings go.
    pub diag: Diag,
    /// What is held for the service.
    pub service: Supervised,
    /// What is held for the log service.
    pub log: Option<Supervised>,
    /// From the one to the other.
    pub pipe: Option<LogPipe>,
}

impl Executor {
    /// Performs `action`, and tells what came of it where that is asked.
    ///
    /// To exit is left to the caller.
    pub fn perform(&mut self, action: pair::Action, now: Moment) -> Option<pair::Event> {
        match action {
            pair::Action::Do(role, machine::Action::Publish(status)) => {
                let supervised = match role {
                    Role::Service => Some(&mut self.service),
                    Role::Log => self.log.as_mut(),
                };
                if let Some(supervised) = supervised {
                    supervised.publisher.publish(status, now.monotonic, &self.diag);
                }
                None
            }
            pair::Action::Do(role, machine::Action::Spawn(program)) => {
                let outcome = child::spawn(role, program, self.pipe.as_ref(), &self.diag);
                Some(pair::Event::To(role, Event::Spawned(program, outcome)))
            }
            pair::Action::Do(_, machine::Action::Signal(pid, signal)) => {
                if let Err(error) = signal::send(pid, signal) {
                    self.diag.warning(&error);
                }
                None
            }
            pair::Action::FindLog => self.find_log(now),
            pair::Action::CloseLogPipe => {
                self.pipe = None;
                None
            }
            pair::Action::Do(_, machine::Action::Exit) | pair::Action::Exit => None,
        }
    }

    /// The fifos that commands come from.
    pub fn controls(&self) -> impl Iterator<Item = (Role, &Control)> {
        let log = self.log.as_ref().map(|log| (Role::Log, &log.control));
        [(Role::Service, &self.service.control)].into_iter().chain(log)
    }

    /// When [`retry`](Self::retry) is due, on the monotonic clock.
    pub fn deadline(&self) -> Option<Duration> {
        let log = self.log.as_ref().and_then(|log| log.publisher.deadline());
        self.service.publisher.deadline().into_iter().chain(log).min()
    }

    /// Tries again what could not be published, if that is due.
    pub fn retry(&mut self, now: Duration) {
        self.service.publisher.retry(now, &self.diag);
        if let Some(log) = &mut self.log {
            log.publisher.retry(now, &self.diag);
        }
    }

    fn find_log(&mut self, now: Moment) -> Option<pair::Event> {
        if !Path::new(paths::LOG).is_dir() {
            return None;
        }
        let want = setup::first_want(Role::Log);
        match self.take_up_log(State::new(Role::Log, want, now), now) {
            Ok(()) => Some(pair::Event::LogFound(want)),
            Err(failure) => {
                self.diag.warning(&failure);
                None
            }
        }
    }

    fn take_up_log(&mut self, state: State, now: Moment) -> Result<(), Failure> {
        let pipe = LogPipe::new()?;
        let lock = setup::lock(Role::Log)?;
        self.log = Some(Supervised::open(Role::Log, lock, state.status(), now, &self.diag)?);
        self.pipe = Some(pipe);
        Ok(())
    }
}
