//! One thread that waits for signals, changes, runsvs, the log and the next deadline, and for nothing else.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::mem;
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::Duration;

use nix::unistd::{Pid, getpid};
use svlib::Error;
use svlib::diag::Diag;
use svlib::exit_status::ExitStatus;
use svlib::sys::poll::{PollFd, PollFlags};
use svlib::sys::reexec::Reexec;
use svlib::sys::signal::{Signal, Signals};
use svlib::sys::{clock, memory, poll, process};

use crate::changes::Changes;
use crate::children;
use crate::executor::{Executor, Reaped};
use crate::log_argument::LogArgument;
use crate::plan::{Identity, Plan, Sighting};
use crate::scan::{Scan, scan};
use crate::schedule::Schedule;
use crate::state::State;
use crate::stop::{Left, Step, Stop};

/// The exit code after HUP.
const HUNG_UP: u8 = 111;
/// How many runsvs are started before signals are looked at again.
const BATCH: usize = 32;

/// The time.
pub fn now() -> Duration {
    clock::now().monotonic
}

/// What can be ready.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Notifications,
    Mounts,
    Runsvs,
    Log,
}

/// All that there is at run time.
#[derive(Debug)]
pub struct Supervisor {
    diag: Diag,
    signals: Signals,
    executor: Executor,
    plan: Plan,
    log: Option<LogArgument>,
    changes: Changes,
    schedule: Schedule,
    /// The problems of the last look: what lasts is said once.
    reported: BTreeSet<String>,
    /// TERM, INT and HUP stop everything first.
    init: bool,
    stop_timeout: Duration,
    stop: Option<Stop>,
    /// It was said who had to be killed.
    has_told_late: bool,
    reexec: Reexec,
}

impl Supervisor {
    /// A supervisor that has not looked at the directory yet.
    #[must_use]
    pub fn new(
        diag: Diag,
        signals: Signals,
        executor: Executor,
        plan: Plan,
        log: Option<LogArgument>,
    ) -> Self {
        Self {
            diag,
            signals,
            executor,
            plan,
            log,
            changes: Changes::new(),
            schedule: Schedule::new(now()),
            reported: BTreeSet::new(),
            init: false,
            stop_timeout: Duration::ZERO,
            stop: None,
            has_told_late: false,
            reexec: Reexec::default(),
        }
    }

    /// This one, as `init` or not: how long a stop may take then, and one that is under way already.
    #[must_use]
    pub fn stopping(self, init: bool, stop_timeout: Duration, stop: Option<Stop>) -> Self {
        Self { init, stop_timeout, stop, ..self }
    }

    /// Supervises until a signal ends it.
    pub fn run(mut self) -> ExitCode {
        // Who started this process may have left it children, and the notice of their end may be gone.
        self.reap();
        loop {
            let now = now();
            if self.stop.is_some() {
                if let Some(code) = self.go_on_stopping(now) {
                    return ExitCode::from(code);
                }
            } else {
                if self.schedule.next().is_some_and(|due| due <= now) {
                    self.look(now);
                }
                if !self.schedule.is_stale() {
                    self.start(now);
                }
            }
            if let Some(log) = &mut self.log {
                log.tick(now);
            }
            self.reexec.hurry(now);
            self.wait();
            if let Some(code) = self.take_signals() {
                return code;
            }
        }
    }

    fn look(&mut self, began: Duration) {
        let mut survey = self.changes.survey(&self.executor.directory);
        let found = scan(&self.executor.directory, |name| survey.follow(name));
        survey.finish();
        let Scan { sighting, problems } =
            found.unwrap_or_else(|error| Scan { problems: vec![error], ..Scan::default() });
        let sufficient = self.changes.are_complete() && sighting.whole && sighting.uncertain.is_empty();
        self.report(&problems);
        self.observe(sighting, began);
        memory::trim();
        self.schedule.looked(began, now(), sufficient);
    }

    fn observe(&mut self, sighting: Sighting, now: Duration) {
        let vanished = self.plan.observe(sighting, now);
        self.executor.signal(vanished, Signal::SIGTERM);
        self.executor.forget_unknown(|service| self.plan.knows(service));
    }

    fn report(&mut self, problems: &[Error]) {
        if let Some(error) = self.changes.complaint() {
            self.diag.warning(&(error, ": checking every five seconds instead"));
        }
        let reported = problems.iter().map(ToString::to_string).collect();
        for (problem, text) in problems.iter().map(|problem| (problem, problem.to_string())) {
            if !self.reported.contains(&text) {
                self.diag.warning(problem);
            }
        }
        self.reported = reported;
    }

    fn start(&mut self, now: Duration) {
        let start = |service: Identity, name: &OsStr| self.executor.start(service, name);
        if let Err(error) = self.plan.start_due(now, BATCH, start) {
            self.diag.warning(&error);
        }
        for name in self.plan.complaints() {
            let reason = ": another runsv is there, and it cannot be told which: waiting for its end";
            self.diag.warning(&("unable to supervise ", name, reason));
        }
        if let Some(error) = self.executor.keeper.complaint() {
            self.diag.warning(&(error, ": what a runsv leaves if it is killed will be lost"));
        }
    }

    /// Waits for an event or the next deadline, and takes in all but signals.
    fn wait(&mut self) {
        let deadline = self.deadline();
        let mut sources = vec![
            (Source::Signals, self.signals.as_fd(), PollFlags::POLLIN),
            (Source::Runsvs, self.executor.poller().as_fd(), PollFlags::POLLIN),
        ];
        if self.stop.is_none() {
            let notifications = self.changes.notifications();
            sources.extend(notifications.map(|fd| (Source::Notifications, fd, PollFlags::POLLIN)));
            sources.extend(self.changes.mounts().map(|fd| (Source::Mounts, fd, PollFlags::POLLPRI)));
        }
        sources.extend(self.log.as_ref().map(|log| (Source::Log, log.pipe(), PollFlags::POLLIN)));
        let mut fds: Vec<PollFd<'_>> =
            sources.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)).collect();
        let waited = poll::wait(&mut fds, deadline.map(|deadline| deadline.saturating_sub(now())));
        let ready: Vec<Source> = sources
            .iter()
            .zip(&fds)
            .filter(|(_, fd)| waited.is_ok() && poll::is_ready(fd))
            .map(|((source, ..), _)| *source)
            .collect();

        for source in ready {
            match source {
                // Taken at every turn.
                Source::Signals => {}
                Source::Notifications => {
                    if self.changes.were_noticed() {
                        self.schedule.changed(now());
                    }
                }
                Source::Mounts => self.schedule.changed(now()),
                Source::Runsvs => {
                    for service in self.executor.take_in() {
                        self.runsv_ended(service);
                    }
                }
                Source::Log => {
                    if let Some(log) = &mut self.log {
                        log.read();
                    }
                }
            }
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let dot = self.log.as_ref().map(LogArgument::next_dot);
        let (look, start) = match &self.stop {
            Some(stop) => (Some(stop.next()), None),
            None if self.schedule.is_stale() => (self.schedule.next(), None),
            None => (self.schedule.next(), self.plan.next_start()),
        };
        [look, start, dot, self.reexec.deadline()].into_iter().flatten().min()
    }

    /// Acts on signals. Some code: it is time to exit with it.
    fn take_signals(&mut self) -> Option<ExitCode> {
        let mut child = false;
        while let Ok(Some(signal)) = self.signals.next() {
            match signal {
                Signal::SIGTERM | Signal::SIGINT if self.init => self.begin_to_stop(0),
                Signal::SIGHUP if self.init => self.begin_to_stop(HUNG_UP),
                Signal::SIGTERM => return Some(ExitCode::SUCCESS),
                Signal::SIGHUP => {
                    self.executor.signal(self.plan.running(), Signal::SIGTERM);
                    return Some(ExitCode::from(HUNG_UP));
                }
                Signal::SIGUSR2 => self.begin_to_reexec(),
                _ => child = true,
            }
        }
        if child {
            self.reap();
        }
        None
    }

    /// Collects every child that has ended, also those this process did not start.
    fn reap(&mut self) {
        while let Some(reaped) = self.executor.reap() {
            match reaped {
                Reaped::Runsv(service) => self.runsv_ended(service),
                Reaped::Stranger(pid, status) => self.stranger_ended(pid, status),
            }
        }
    }

    fn runsv_ended(&mut self, service: Identity) {
        let now = now();
        self.plan.exited(service, now);
        if !self.plan.knows(service) {
            self.executor.forget(service);
        }
        // Where changes go unnoticed, a runsv may have ended because its directory is gone.
        if !self.changes.are_complete() {
            self.schedule.changed(now);
        }
    }

    /// From now on nothing is started, and the directory does not matter.
    fn begin_to_stop(&mut self, code: u8) {
        if self.stop.is_none() {
            let now = now();
            self.stop = Some(Stop::new(code, now, self.stop_timeout));
            self.observe(Sighting { whole: true, ..Sighting::default() }, now);
        }
    }

    /// Some code: all has been done, and it is time to exit with it.
    fn go_on_stopping(&mut self, now: Duration) -> Option<u8> {
        loop {
            let left = Left { runsvs: self.executor.has_runsvs(), children: process::has_children() };
            match self.stop.as_mut()?.step(left, now)? {
                Step::KillServices => {
                    for (_, name) in self.plan.leaving() {
                        self.executor.kill_service(name);
                    }
                    self.tell_late();
                }
                Step::EndOrphans => children::signal_all(Signal::SIGTERM),
                Step::KillAll => {
                    let runsvs = self.plan.leaving().map(|(service, _)| service);
                    self.executor.signal(runsvs, Signal::SIGKILL);
                    children::signal_all(Signal::SIGKILL);
                    self.tell_late();
                }
                Step::Exit(code) => return Some(code),
            }
        }
    }

    /// Says who has not stopped in time.
    fn tell_late(&mut self) {
        let mut names = OsString::new();
        for (_, name) in self.plan.leaving() {
            names.push(if names.is_empty() { "" } else { ", " });
            names.push(name);
        }
        if !names.is_empty() && !self.has_told_late {
            self.has_told_late = true;
            self.diag.warning(&("killed, not having stopped in time: ", names));
        }
    }

    fn begin_to_reexec(&mut self) {
        let state = self.state().encode();
        self.reexec.begin(&state, now(), &self.diag);
    }

    fn stranger_ended(&mut self, pid: Pid, status: ExitStatus) {
        if self.reexec.ended(pid, status) {
            let state = self.state().encode();
            let mut kept = self.executor.descriptors();
            kept.extend(self.log.as_ref().map(LogArgument::pipe));
            mem::take(&mut self.reexec).go_on(&state, &kept, &self.diag);
        }
    }

    /// What the next runsvdir in this process has to know.
    fn state(&self) -> State {
        let mut state = State::new(getpid());
        self.executor.save(&mut state);
        state.log = self.log.as_ref().map(LogArgument::save);
        state.stop.clone_from(&self.stop);
        state.services = self.plan.entries().collect();
        state
    }
}
