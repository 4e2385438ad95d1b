//! Waits for all services at once, until each has reached its goal or time is up.
//!
//! A change is seen when it happens: runsv renames a new status into its supervise directory, which inotify reports; a
//! runsv that exits leaves its `ok` fifo without a reader, which poll(2) reports on a descriptor open for writing; a
//! `check` that ends is a child. Behind that, every service is looked at every 420 ms, as runit does, for file systems
//! that report nothing. To give up an inotify instance takes the kernel up to 20 ms, more than a quick service needs to
//! restart, so statuses are watched only when the first quick looks have not been enough.
//!
//! One service's `check` holds up no other service. One that runs when time is up is waited for and its answer counts, as
//! in runit; a service that runs but is not believed to last, or whose `check` is pausing, is asked a last time then.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use svlib::command::Command;
use svlib::moment::Moment;
use svlib::paths;
use svlib::status::Status;
use svlib::sys::inotify::{Mask, Watcher};
use svlib::sys::poll::{self, PollFd, PollFlags};
use svlib::sys::signal::{Signal, Signals};
use svlib::sys::{clock, process};

use crate::check::{Goal, Verdict};
use crate::check_script::CheckScript;
use crate::client::{Service, is_unsettled};
use crate::console::Console;
use crate::report::{Outcome, Trouble, outcome_line};
use crate::steadiness::{Steadiness, Trial};

/// The longest time between two looks.
const LOOK: Duration = Duration::from_millis(420);
/// How long statuses are looked at rather than watched, and the time between two of these looks.
const QUICK: Duration = Duration::from_millis(60);
const QUICK_LOOK: Duration = Duration::from_millis(2);
/// The time between two looks at what a new process does.
const UNSETTLED_LOOK: Duration = Duration::from_millis(10);

/// A service that is waited for.
#[derive(Debug)]
pub struct Waiting {
    service: Service,
    goal: Goal,
    /// From the first look on.
    steadiness: Option<Steadiness>,
    check: CheckScript,
    /// Tells when runsv exits.
    runsv: Option<OwnedFd>,
    /// The status when time was up.
    late: Option<Status>,
}

/// Waits until every service has reached its goal, for at most `patience`; reports each when its waiting ends. A service that
/// is late is sent KILL if `kills`.
pub fn wait(mut services: Vec<Waiting>, patience: Duration, kills: bool, console: &mut Console) {
    let mut wakeups = Wakeups::new();
    let start = clock::now().monotonic;
    let deadline = start.saturating_add(patience);
    loop {
        let is_quick = clock::now().monotonic < start + QUICK;
        if !is_quick {
            wakeups.watch_statuses(&services);
        }
        wakeups.clear();
        let now = clock::now();
        while let Some((child, status)) = process::reap() {
            for one in &mut services {
                one.check.reaped(child, status, now.monotonic);
            }
        }
        let mut next = now.monotonic + if is_quick { QUICK_LOOK } else { LOOK };
        let mut is_first = true;
        services.retain_mut(|one| match one.look(now, deadline, console) {
            Look::Again(at) => {
                next = next.min(at);
                is_first = false;
                true
            }
            // Those that are late are told of in the order they were named in.
            Look::TimedOut(status) if !is_first => {
                one.give_up(status, kills, console);
                true
            }
            Look::Reached(status) => {
                one.report(Outcome::Reached, &status, now, console);
                false
            }
            Look::TimedOut(status) => {
                one.report(if kills { Outcome::Killed } else { Outcome::TimedOut }, &status, now, console);
                one.give_up(status, kills, console);
                false
            }
            Look::Lost(trouble) => {
                console.trouble(&one.service, trouble);
                false
            }
        });
        if services.is_empty() {
            return;
        }
        wakeups.wait(&services, next.saturating_sub(now.monotonic));
    }
}

/// What a look at a service finds.
enum Look {
    /// The goal is reached.
    Reached(Status),
    /// It is not. Look again when something happens, or at this time.
    Again(Duration),
    /// It is not, and time is up.
    TimedOut(Status),
    /// The status is not known.
    Lost(Trouble),
}

impl Waiting {
    /// Waits for `service` to reach `goal`.
    pub fn new(service: Service, goal: Goal) -> Self {
        Self { service, goal, steadiness: None, check: CheckScript::NotAsked, runsv: None, late: None }
    }

    fn look(&mut self, now: Moment, deadline: Duration, console: &Console) -> Look {
        if let Some(status) = self.late {
            return Look::TimedOut(status);
        }
        if let CheckScript::Running { .. } = self.check {
            // Its answer is next, whatever becomes of runsv.
            self.runsv = None;
            return Look::Again(Duration::MAX);
        }
        let status = match self.status() {
            Ok(status) => status,
            Err(trouble) => return Look::Lost(trouble),
        };
        let first = match self.goal {
            Goal::Effect { before, .. } => before,
            Goal::Requested => status,
        };
        let steadiness = self.steadiness.get_or_insert_with(|| Steadiness::new(&first, now));
        let trial = steadiness.note(&status, now);
        let time_is_up = now.monotonic >= deadline;
        match self.goal.judge(&status) {
            Verdict::Met => return Look::Reached(status),
            Verdict::Pending if time_is_up => return Look::TimedOut(status),
            Verdict::Pending => return Look::Again(deadline),
            Verdict::IfCheckSucceeds if self.check.has_confirmed(&status) => return Look::Reached(status),
            Verdict::IfCheckSucceeds => {}
        }
        let due = self.check.due(&status).max(end_of(trial, &status, now.monotonic));
        if time_is_up && self.check.answered_since(deadline) {
            Look::TimedOut(status)
        } else if !time_is_up && now.monotonic < due {
            Look::Again(due.min(deadline))
        } else {
            self.check.start(&self.service, &status, now.monotonic, console);
            // It may have answered already, having nothing to run.
            self.look(now, deadline, console)
        }
    }

    fn status(&mut self) -> Result<Status, Trouble> {
        self.runsv = Some(self.service.runsv()?);
        self.service.status()
    }

    fn report(&self, outcome: Outcome, status: &Status, now: Moment, console: &Console) {
        let text = console.describe(&self.service, self.service.name(), status, now.wall).unwrap_or_default();
        console.print(&outcome_line(outcome, &text));
    }

    /// Time is up, and that does not change any more. KILL is sent now, whenever it is told.
    fn give_up(&mut self, status: Status, kills: bool, console: &mut Console) {
        // Nothing that happens to runsv is of interest any more.
        self.runsv = None;
        if self.late.replace(status).is_none() {
            console.count_failure();
            if kills && let Err(trouble) = self.service.send(&[Command::Kill]) {
                console.trouble(&self.service, trouble);
            }
        }
    }
}

/// When the trial of the process in `status` ends, as far as can be told now: an unsettled one is looked at again.
fn end_of(trial: Trial, status: &Status, now: Duration) -> Duration {
    let is_decided = now < trial.earliest || now >= trial.latest;
    if is_decided || !status.pid.is_some_and(is_unsettled) {
        trial.earliest
    } else {
        trial.latest.min(now + UNSETTLED_LOOK)
    }
}

/// What reports changes. Where something cannot be watched, the regular look remains.
struct Wakeups {
    statuses: Option<Watcher>,
    children: Option<Signals>,
}

impl Wakeups {
    fn new() -> Self {
        Self { statuses: None, children: Signals::block(&[Signal::SIGCHLD]).ok() }
    }

    fn watch_statuses(&mut self, services: &[Waiting]) {
        if self.statuses.is_some() {
            return;
        }
        self.statuses = Watcher::new().ok();
        if let Some(watcher) = &self.statuses {
            for one in services {
                let _ = watcher.add(&one.service.path(paths::SUPERVISE), Mask::IN_MOVED_TO);
            }
        }
    }

    /// Forgets what has been reported so far.
    fn clear(&self) {
        if let Some(watcher) = &self.statuses {
            let _ = watcher.drain();
        }
        if let Some(signals) = &self.children {
            while let Ok(Some(_)) = signals.next() {}
        }
    }

    fn wait(&self, services: &[Waiting], timeout: Duration) {
        let readable = [self.statuses.as_ref().map(AsFd::as_fd), self.children.as_ref().map(AsFd::as_fd)];
        let readers = services.iter().filter_map(|one| one.runsv.as_ref());
        let mut fds: Vec<PollFd<'_>> = readable
            .into_iter()
            .flatten()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .chain(readers.map(|fd| PollFd::new(fd.as_fd(), PollFlags::empty())))
            .collect();
        // Whatever it returns, the next thing to do is to look.
        let _ = poll::wait(&mut fds, Some(timeout));
    }
}
