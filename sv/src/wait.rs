//! Waits for all services at once, until each has reached its goal or time is up.
//!
//! A change is seen when it happens: runsv renames a new status into its supervise directory and rewrites its record there,
//! which inotify reports; a runsv that exits leaves its `ok` fifo without a reader, which poll(2) reports on a descriptor
//! open for writing; a `check` that ends is a child. Behind that, every service is looked at every 420 ms, as runit does, for file systems
//! that report nothing. To give up an inotify instance takes the kernel up to 20 ms, more than a quick service needs to
//! restart, so statuses are watched only when the first quick looks have not been enough.
//!
//! One service's `check` holds up no other service. One that runs when time is up is waited for and its answer counts, as
//! in runit; a service that runs but is not believed to last, or whose `check` is pausing, is asked a last time then.
//!
//! A service that says itself when it is ready is not asked by `check`, and has a time of its own to say so.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use svlib::command::Command;
use svlib::moment::Moment;
use svlib::paths;
use svlib::status::{Status, Want};
use svlib::sys::inotify::{Mask, Watcher};
use svlib::sys::poll::{self, PollFd, PollFlags};
use svlib::sys::signal::{Signal, Signals};
use svlib::sys::{clock, process};

use crate::check::{Goal, Verdict};
use crate::check_script::CheckScript;
use crate::client::{Doing, Service, doing};
use crate::console::Console;
use crate::report::{Outcome, Trouble, outcome_line};
use crate::seen::{Recorded, Seen};
use crate::steadiness::{Steadiness, Trial};
use crate::timeout;
use crate::verb;

/// How long is waited unless told otherwise, in seconds.
const USUAL_SECONDS: u64 = 7;
/// The longest time between two looks.
const LOOK: Duration = Duration::from_millis(420);
/// How long statuses are looked at rather than watched, and the time between two of these looks.
const QUICK: Duration = Duration::from_millis(60);
const QUICK_LOOK: Duration = Duration::from_millis(2);
/// How long the record may contradict the status before it is taken for useless: its runsv lives, but cannot write, perhaps.
const CONTRADICTION: Duration = Duration::from_secs(5);
/// How long it may be torn. One that runsv left so when the machine went down stays so if another runsv came after it.
const TEAR: Duration = Duration::from_secs(1);
/// The time between two looks at what a new process does.
const UNSETTLED_LOOK: Duration = Duration::from_millis(2);

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
    /// Whether it has been seen wanted up.
    was_wanted_up: bool,
    /// Why its record is of no use for now.
    doubt: Option<Doubt>,
    /// When it must have said that it is ready; known once it runs.
    ready_by: Option<Duration>,
    /// What was seen when its waiting ended in vain, and how.
    late: Option<(Seen, Outcome)>,
}

/// A contradiction between status and record, or a tear.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// [`CONTRADICTION`] or [`TEAR`].
    limit: Duration,
    since: Duration,
}

/// How long is waited.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Until then.
    deadline: Duration,
    /// Whether that was said, so that it holds for every service.
    is_said: bool,
    /// How it ends for a service that is late.
    late: Outcome,
}

/// Waits until every service has reached its goal, for at most `patience`, where that was said; reports each when its waiting
/// ends. A service that is late is sent KILL if `kills`.
pub fn wait(mut services: Vec<Waiting>, patience: Option<Duration>, kills: bool, console: &mut Console) {
    let mut wakeups = Wakeups::new();
    let start = clock::now().monotonic;
    let limits = Limits {
        deadline: start.saturating_add(patience.unwrap_or_else(|| verb::patience(USUAL_SECONDS))),
        is_said: patience.is_some(),
        late: if kills { Outcome::Killed } else { Outcome::TimedOut },
    };
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
        services.retain_mut(|one| match one.look(now, limits, console) {
            Look::Again(at) => {
                next = next.min(at);
                is_first = false;
                true
            }
            // Those that are late are told of in the order they were named in.
            Look::InVain(seen, outcome) if !is_first => {
                one.give_up(seen, outcome, console);
                true
            }
            Look::Reached(seen) => {
                one.report(Outcome::Reached, &seen, now, console);
                false
            }
            Look::InVain(seen, outcome) => {
                one.report(outcome, &seen, now, console);
                one.give_up(seen, outcome, console);
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
    Reached(Seen),
    /// It is not. Look again when something happens, or at this time.
    Again(Duration),
    /// It is not, and time is up, or it will not be reached.
    InVain(Seen, Outcome),
    /// The status is not known.
    Lost(Trouble),
}

impl Waiting {
    /// Waits for `service` to reach `goal`.
    pub fn new(service: Service, goal: Goal) -> Self {
        let was_wanted_up = matches!(goal, Goal::Effect { before, .. } if before.want == Want::Up);
        Self {
            service,
            goal,
            steadiness: None,
            check: CheckScript::NotAsked,
            runsv: None,
            was_wanted_up,
            doubt: None,
            ready_by: None,
            late: None,
        }
    }

    fn look(&mut self, now: Moment, limits: Limits, console: &Console) -> Look {
        if let Some((seen, outcome)) = &self.late {
            return Look::InVain(seen.clone(), *outcome);
        }
        if let CheckScript::Running { .. } = self.check {
            // Its answer is next, whatever becomes of runsv.
            self.runsv = None;
            return Look::Again(Duration::MAX);
        }
        let seen = match self.see() {
            Ok(seen) => seen,
            Err(trouble) => return Look::Lost(trouble),
        };
        let status = seen.status;
        let first = match self.goal {
            Goal::Effect { before, .. } => before,
            Goal::Requested | Goal::Reexec(_) => status,
        };
        let steadiness = self.steadiness.get_or_insert_with(|| Steadiness::new(&first, now));
        let trial = steadiness.note(&status, now);
        self.was_wanted_up |= status.want == Want::Up;
        let deadline = self.ready_by.unwrap_or(limits.deadline);
        let time_is_up = now.monotonic >= deadline;
        if self.is_in_doubt(&seen, now.monotonic) && !time_is_up {
            return Look::Again(deadline.min(now.monotonic + QUICK_LOOK));
        }
        match self.goal.judge(&seen, self.was_wanted_up) {
            Verdict::Met => return Look::Reached(seen),
            // There is nothing to kill.
            Verdict::Hopeless => return Look::InVain(seen, Outcome::TimedOut),
            Verdict::Unready if self.ready_by.is_none() && !limits.is_said => {
                let ready_by = now.monotonic.saturating_add(self.time_to_get_ready(console));
                self.ready_by = Some(ready_by);
                return Look::Again(ready_by);
            }
            Verdict::Pending | Verdict::Unready if time_is_up => return Look::InVain(seen, limits.late),
            Verdict::Pending | Verdict::Unready => return Look::Again(deadline),
            Verdict::IfCheckSucceeds if self.check.has_confirmed(&status) => return Look::Reached(seen),
            Verdict::IfCheckSucceeds => {}
        }
        let due = self.check.due(&status).max(end_of(trial, &status, now.monotonic));
        if time_is_up && self.check.answered_since(deadline) {
            Look::InVain(seen, limits.late)
        } else if !time_is_up && now.monotonic < due {
            Look::Again(due.min(deadline))
        } else {
            self.check.start(&self.service, &status, now.monotonic, console);
            // It may have answered already, having nothing to run.
            self.look(now, limits, console)
        }
    }

    fn see(&mut self) -> Result<Seen, Trouble> {
        self.runsv = Some(self.service.runsv()?);
        self.service.see()
    }

    /// Whether status and record are being rewritten. A record that stays what it is is as good as none after a while.
    fn is_in_doubt(&mut self, seen: &Seen, now: Duration) -> bool {
        let limit = match (&seen.recorded, self.goal) {
            // The status does not tell which runsv there is.
            (Recorded::Nothing | Recorded::Facts(_), _) | (Recorded::Unsettled(_), Goal::Reexec(_)) => {
                self.doubt = None;
                return false;
            }
            (Recorded::Unsettled(_), _) => CONTRADICTION,
            (Recorded::Torn, _) => TEAR,
        };
        // A doubt that follows another is a new one: the record was rewritten.
        let doubt = self.doubt.filter(|doubt| doubt.limit == limit).unwrap_or(Doubt { limit, since: now });
        self.doubt = Some(doubt);
        now < doubt.since + limit
    }

    /// How long the service, which runs now, may take to say that it is ready.
    fn time_to_get_ready(&self, console: &Console) -> Duration {
        let told = self.service.timeout_ready().unwrap_or_else(|reason| {
            console.warning(&(self.service.path(timeout::FILE), ": ", reason, "; sv waits for a minute"));
            None
        });
        told.unwrap_or(timeout::DEFAULT)
    }

    fn report(&self, outcome: Outcome, seen: &Seen, now: Moment, console: &Console) {
        let text = console.describe(&self.service, self.service.name(), seen, now.wall).unwrap_or_default();
        console.print(&outcome_line(outcome, &text));
    }

    /// Its waiting has ended in vain, and that does not change any more. KILL is sent now, whenever it is told.
    fn give_up(&mut self, seen: Seen, outcome: Outcome, console: &mut Console) {
        // Nothing that happens to runsv is of interest any more.
        self.runsv = None;
        if self.late.replace((seen, outcome)).is_none() {
            console.count_failure();
            if outcome == Outcome::Killed
                && let Err(trouble) = self.service.send(&[Command::Kill])
            {
                console.trouble(&self.service, trouble);
            }
        }
    }
}

/// When the trial of the process in `status` ends, as far as can be told now: one that does something is looked at again.
fn end_of(trial: Trial, status: &Status, now: Duration) -> Duration {
    if now < trial.earliest || now >= trial.latest {
        return trial.earliest;
    }
    match status.pid.map(doing) {
        Some(Doing::Something) => trial.latest.min(now + UNSETTLED_LOOK),
        Some(Doing::WaitingAsScript) if now < trial.script => trial.script.min(now + UNSETTLED_LOOK),
        _ => trial.earliest,
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
                let _ = watcher.add(&one.service.path(paths::SUPERVISE), Mask::IN_MOVED_TO | Mask::IN_MODIFY);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seen::Incarnation;
    use nix::unistd::Pid;
    use std::ffi::OsStr;
    use std::path::Path;

    const RUNSV: Incarnation = Incarnation { pid: Pid::from_raw(41), reexecs: 3 };

    /// Looks are at so many milliseconds, with `u` (unsettled), `t` (torn), `f` (facts) or `n` (nothing) recorded; each says
    /// whether a wait for `goal` is in doubt then.
    fn assert_doubts(goal: Goal, looks: &[(u64, char, bool)]) {
        let mut waiting = Waiting::new(Service::named(OsStr::new("web"), Path::new("/service")), goal);
        let status = Status::decode(&[0; 20]).unwrap();
        for &(at, recorded, expected) in looks {
            let recorded = match recorded {
                'u' => Recorded::Unsettled(RUNSV),
                't' => Recorded::Torn,
                'f' => Recorded::Facts(Box::default()),
                _ => Recorded::Nothing,
            };
            let is_in_doubt = waiting.is_in_doubt(&Seen { status, recorded }, Duration::from_millis(at));
            assert_eq!(is_in_doubt, expected, "at {at} of {looks:?}");
        }
    }

    #[test]
    fn each_doubt_has_its_own_time() {
        let cases: [&[(u64, char, bool)]; 6] = [
            &[(7, 'u', true), (5006, 'u', true), (5007, 'u', false), (9000, 'u', false)],
            &[(7, 't', true), (1006, 't', true), (1007, 't', false)],
            &[(7, 'n', false), (8, 'f', false)],
            &[(7, 't', true), (900, 'f', false), (1100, 't', true), (2100, 't', false)],
            &[(0, 'u', true), (3000, 't', true), (3999, 't', true), (4000, 't', false)],
            &[(0, 'u', true), (3000, 't', true), (3001, 'u', true), (8000, 'u', true)],
        ];
        for looks in cases {
            assert_doubts(Goal::Requested, looks);
        }
    }

    #[test]
    fn no_status_contradicts_which_runsv_there_is() {
        assert_doubts(Goal::Reexec(RUNSV), &[(7, 'u', false), (8, 't', true), (9, 'u', false)]);
    }
}
