//! One thread that waits for signals, changes, the log and the next deadline, and for nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::Duration;

use nix::errno::Errno;
use svlib::diag::Diag;
use svlib::sys::poll::{PollFd, PollFlags};
use svlib::sys::signal::{Signal, Signals};
use svlib::sys::{clock, memory, poll, process};
use svlib::{Context, Error, Result};

use crate::changes::Changes;
use crate::cli::Request;
use crate::executor::Executor;
use crate::log_argument::LogArgument;
use crate::plan::Plan;
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
    let signals = match prepare(&request) {
        Ok(signals) => signals,
        Err(error) => {
            diag.fatal(&error);
            return ExitCode::from(FATAL);
        }
    };
    let log = install_log(&request, &diag);
    let executor = Executor { directory: request.directory, new_sessions: request.new_sessions };
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
fn prepare(request: &Request) -> Result<Signals> {
    let not_a_directory = match fs::metadata(&request.directory) {
        Ok(found) => !found.is_dir(),
        Err(error) => error.kind() == ErrorKind::NotADirectory,
    };
    if not_a_directory {
        return Err(Errno::ENOTDIR).on("open directory", &request.directory);
    }
    Signals::block(&[Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD])
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
        self.executor.terminate(vanished);
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
        if let Err(error) = self.plan.start_due(now, BATCH, |name| self.executor.start(name)) {
            self.diag.warning(&error);
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
                    self.executor.terminate(self.plan.running());
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

    /// Collects every child that has exited, also those this process did not start.
    fn reap(&mut self) {
        let now = now();
        while let Some((pid, _)) = process::reap() {
            // Where changes go unnoticed, a runsv may have exited because its directory is gone.
            if self.plan.exited(pid, now) && !self.changes.are_complete() {
                self.schedule.changed(now);
            }
        }
    }
}
