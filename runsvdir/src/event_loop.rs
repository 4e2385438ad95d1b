//! One thread that waits for signals, changes, the log and the next deadline, and for nothing else.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::Duration;

use nix::errno::Errno;
use svlib::diag::Diag;
use svlib::sys::poll::{PollFd, PollFlags};
use svlib::sys::signal::{Signal, Signals};
use svlib::sys::{clock, environment, memory, poll, process};
use svlib::{Context, Error, Result, keeper};

use crate::changes::Changes;
use crate::cli::Request;
use crate::executor::{Executor, Reaped};
use crate::limits;
use crate::log_argument::LogArgument;
use crate::plan::{Identity, Plan};
use crate::poller::Poller;
use crate::scan::{Scan, scan};
use crate::schedule::Schedule;

/// The exit code of a fatal error.
const FATAL: u8 = 100;
/// The exit code after HUP.
const HUNG_UP: u8 = 111;
/// How many runsvs are started before signals are looked at again.
const BATCH: usize = 32;

/// Supervises `request.directory` until TERM or HUP.
pub fn run(request: Request) -> ExitCode {
    let diag = Diag::new("runsvdir", Some(request.directory.as_os_str()));
    let (signals, poller) = match prepare(&request) {
        Ok(prepared) => prepared,
        Err(error) => {
            diag.fatal(&error);
            return ExitCode::from(FATAL);
        }
    };
    let log = install_log(&request, &diag);
    let mut executor = Executor::new(request.directory, request.new_sessions, poller);
    executor.descriptor_limit = limits::raise_descriptors();
    // Of a killed runsv there may be orphans whose end its successor must know of.
    if let Err(error) = process::adopt_orphans() {
        diag.warning(&error);
    }
    // It is for this process at most, and its runsvs get their own.
    let _ = environment::take(keeper::VARIABLE);
    Supervisor {
        diag,
        log,
        executor,
        signals,
        changes: Changes::new(),
        schedule: Schedule::new(now()),
        plan: Plan::default(),
        reported: BTreeSet::new(),
    }
    .run()
}

/// What must work before anything is started.
///
/// A services directory that is not there may come later, by a mount say, and is waited for as runit does. What
/// is there and is no directory is a mistake.
fn prepare(request: &Request) -> Result<(Signals, Poller)> {
    let signals = Signals::block(&[Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD])?;
    let not_a_directory = match fs::metadata(&request.directory) {
        Ok(found) => !found.is_dir(),
        Err(error) => error.kind() == ErrorKind::NotADirectory,
    };
    if not_a_directory {
        return Err(Errno::ENOTDIR).on("open directory", &request.directory);
    }
    Ok((signals, Poller::new()?))
}

fn install_log(request: &Request, diag: &Diag) -> Option<LogArgument> {
    let argument = request.log.as_ref()?;
    match LogArgument::install(argument, now()) {
        Ok(Some(log)) => return Some(log),
        Ok(None) => diag.warning(&"log must have at least seven characters."),
        Err(error) => diag.warning(&error),
    }
    diag.warning(&"log service disabled.");
    None
}

fn now() -> Duration {
    clock::now().monotonic
}

/// What can be ready.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Notifications,
    Mounts,
    Log,
    Runsvs,
}

struct Supervisor {
    diag: Diag,
    log: Option<LogArgument>,
    executor: Executor,
    signals: Signals,
    changes: Changes,
    schedule: Schedule,
    plan: Plan,
    /// The problems of the last look: what lasts is said once.
    reported: BTreeSet<String>,
}

impl Supervisor {
    fn run(mut self) -> ExitCode {
        loop {
            let now = now();
            if self.schedule.next().is_some_and(|due| due <= now) {
                self.look(now);
            }
            if !self.schedule.is_stale() {
                self.start(now);
            }
            if let Some(log) = &mut self.log {
                log.tick(now);
            }
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
        let vanished = self.plan.observe(sighting, began);
        self.executor.signal(vanished, Signal::SIGTERM);
        self.executor.forget_unknown(|service| self.plan.knows(service));
        memory::trim();
        self.schedule.looked(began, now(), sufficient);
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
        let start = if self.schedule.is_stale() { None } else { self.plan.next_start() };
        let dot = self.log.as_ref().map(LogArgument::next_dot);
        let deadline = [self.schedule.next(), start, dot].into_iter().flatten().min();

        let mut sources = vec![(Source::Signals, self.signals.as_fd(), PollFlags::POLLIN)];
        sources.extend(self.changes.notifications().map(|fd| (Source::Notifications, fd, PollFlags::POLLIN)));
        sources.extend(self.changes.mounts().map(|fd| (Source::Mounts, fd, PollFlags::POLLPRI)));
        sources.push((Source::Runsvs, self.executor.poller().as_fd(), PollFlags::POLLIN));
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
                Source::Runsvs => {
                    for service in self.executor.take_in() {
                        self.runsv_ended(service);
                    }
                }
                Source::Mounts => self.schedule.changed(now()),
                Source::Log => {
                    if let Some(log) = &mut self.log {
                        log.read();
                    }
                }
            }
        }
    }

    /// Acts on signals. Some code: it is time to exit with it.
    fn take_signals(&mut self) -> Option<ExitCode> {
        let mut child = false;
        while let Ok(Some(signal)) = self.signals.next() {
            match signal {
                Signal::SIGTERM => return Some(ExitCode::SUCCESS),
                Signal::SIGHUP => {
                    self.executor.signal(self.plan.running(), Signal::SIGTERM);
                    return Some(ExitCode::from(HUNG_UP));
                }
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
            if let Reaped::Runsv(service) = reaped {
                self.runsv_ended(service);
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
}
