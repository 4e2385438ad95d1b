//! Performing what has been decided.

use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use svlib::diag::Diag;
use svlib::keeper::Held;
use svlib::moment::Moment;
use svlib::record::{ProcessId, Record, Tree};
use svlib::sys::reexec::Reexec;
use svlib::sys::{fd, process};
use svlib::{Error, paths};

use crate::cgroup::Cgroup;
use crate::child::{self, Surroundings};
use crate::foreign::Foreign;
use crate::keeper::Keeper;
use crate::machine::pair::{self, Pair};
use crate::machine::{self, Event, Outcome, Program, Role, State};
use crate::notify::{NotifyPipe, NotifySocket};
use crate::settings::{Problem, Settings};
use crate::setup::{Control, LogPipe, Supervised};
use crate::{setup, start, tree};

/// How long is waited for a descriptor to tell everybody by that a supervisor is there.
const ANNOUNCE: Duration = Duration::from_secs(1);

/// All that a supervisor holds of the system, and what it does with it. No failure here ends the supervision: it is warned of.
#[derive(Debug)]
pub struct Executor {
    /// Where warnings go.
    pub diag: Diag,
    /// What is held for the service.
    pub service: Supervised,
    /// What is held for the log service.
    pub log: Option<Supervised>,
    /// From the one to the other.
    pub pipe: Option<LogPipe>,
    /// The runsvdir above us.
    pub keeper: Option<Keeper>,
    /// Processes that were taken over.
    pub foreign: Vec<Foreign>,
    /// Where the `run` that runs says that it is ready.
    pub notify_pipe: Option<NotifyPipe>,
    /// Where every `run` may say so.
    pub notify_socket: Option<NotifySocket>,
    /// Who this is.
    pub own: Own,
    /// Children, and when they were started: until they are reaped.
    pub known: Vec<ProcessId>,
    /// The control group of the service.
    pub cgroup: Option<Cgroup>,
    /// What the settings were when they were last read.
    pub last_settings: Settings,
    /// What was wrong with them.
    pub problems: Vec<Problem>,
    /// They could not be read for want of a descriptor, and that was told.
    pub is_short: bool,
    /// What `run` leaves behind becomes our child.
    pub adopts_orphans: bool,
    /// When it is tried again to tell everybody that a supervisor is there, on the monotonic clock.
    pub announce_at: Option<Duration>,
    /// Becoming another program file.
    pub reexec: Reexec,
}

/// What this process writes down of itself.
#[derive(Clone, Debug)]
pub struct Own {
    /// This boot.
    pub boot: String,
    /// This process.
    pub process: ProcessId,
    /// How often it has become another program file.
    pub reexecs: u64,
}

impl Executor {
    /// Holds no more than what nobody can supervise without.
    pub fn new(diag: &Diag, own: Own, service: Supervised) -> Self {
        Self {
            diag: diag.clone(),
            service,
            log: None,
            pipe: None,
            keeper: None,
            foreign: Vec::new(),
            notify_pipe: None,
            notify_socket: None,
            own,
            known: Vec::new(),
            cgroup: None,
            last_settings: Settings::default(),
            problems: Vec::new(),
            is_short: false,
            adopts_orphans: false,
            announce_at: None,
            reexec: Reexec::default(),
        }
    }

    /// Performs `action`, and tells what came of it where that is asked. `pair` is how things are now.
    ///
    /// To exit is left to the caller.
    pub fn perform(&mut self, action: pair::Action, pair: &Pair, now: Moment) -> Option<pair::Event> {
        match action {
            pair::Action::Do(role, action) => self.perform_for(role, action, pair, now),
            pair::Action::FindLog => self.find_log(now),
            pair::Action::CloseLogPipe => {
                self.pipe = None;
                self.hold(now.monotonic);
                None
            }
            pair::Action::Exit => None,
        }
    }

    fn perform_for(
        &mut self,
        role: Role,
        action: machine::Action,
        pair: &Pair,
        now: Moment,
    ) -> Option<pair::Event> {
        match action {
            machine::Action::Publish(status) => {
                if let Some((supervised, diag)) = self.supervised(role) {
                    supervised.publisher.publish(status, now.monotonic, diag);
                }
                None
            }
            machine::Action::Spawn(program) => {
                let outcome = self.spawn(role, program, pair, now);
                Some(pair::Event::To(role, Event::Spawned(program, outcome)))
            }
            machine::Action::Signal(pid, signal) => {
                self.signal(pid, Tree::Process, signal);
                None
            }
            machine::Action::SignalTree(pid, tree, signal) => {
                self.signal(pid, tree, signal);
                None
            }
            machine::Action::EndTree(pid, tree) => {
                let left = self.end_tree(pid, tree, pair);
                Some(pair::Event::To(role, Event::Left(left)))
            }
            machine::Action::TellGivenUp(last, restarts) => {
                let ended = match (last.code(), last.signal()) {
                    (Some(code), _) => format!("exited {code}"),
                    (_, Some(signal)) => format!("was killed by signal {signal}"),
                    _ => "ended".into(),
                };
                let what = format!("./run {ended}, after {restarts} restarts: given up until it is told up");
                self.diag.warning(&what);
                None
            }
            machine::Action::Exit => None,
        }
    }

    /// The fifos that commands come from.
    pub fn controls(&self) -> impl Iterator<Item = (Role, &Control)> {
        let log = self.log.as_ref().map(|log| (Role::Log, &log.control));
        [(Role::Service, &self.service.control)].into_iter().chain(log)
    }

    /// When [`retry`](Self::retry) is due, or something may have ended unseen, on the monotonic clock.
    pub fn deadline(&self) -> Option<Duration> {
        let of = |supervised: &Supervised| [supervised.publisher.deadline(), supervised.record.deadline()];
        let files = of(&self.service).into_iter().chain(self.log.as_ref().into_iter().flat_map(of));
        let keeper = self.keeper.as_ref().and_then(Keeper::deadline);
        let foreign = self.foreign.iter().map(Foreign::deadline);
        files.chain([keeper, self.reexec.deadline()]).chain(foreign).flatten().min()
    }

    /// Tries again what could not be done, if that is due.
    pub fn retry(&mut self, now: Duration) {
        for role in Role::BOTH {
            if let Some((supervised, diag)) = self.supervised(role) {
                supervised.publisher.retry(now, diag);
                supervised.record.retry(now, diag);
            }
        }
        if self.keeper.as_ref().and_then(Keeper::deadline).is_some_and(|due| due <= now) {
            self.hold(now);
        }
    }

    /// Publishes how things are.
    pub fn publish(&mut self, pair: &Pair, now: Moment) {
        for role in Role::BOTH {
            if let (Some(state), Some((supervised, diag))) = (pair.get(role), self.supervised(role)) {
                supervised.publisher.publish(state.status(), now.monotonic, diag);
            }
        }
    }

    /// Whether there is somebody who has not been told yet that a supervisor is there.
    pub fn is_unannounced(&self) -> bool {
        self.service.ok.is_none() || self.log.as_ref().is_some_and(|log| log.ok.is_none())
    }

    /// Tells everybody that a supervisor is there, where that has not been done yet. Where there is no descriptor left, it is
    /// tried again a second later: supervision goes on.
    pub fn announce(&mut self, pair: &Pair, now: Moment) {
        self.announce_at = None;
        for role in Role::BOTH {
            let Some(state) = pair.get(role) else { continue };
            let Some((supervised, diag)) = self.supervised(role) else { continue };
            if supervised.ok.is_some() {
                continue;
            }
            if let Err(error) = supervised.announce(role, state.status(), now, diag) {
                diag.warning(&error);
                self.announce_at = Some(now.monotonic + ANNOUNCE);
            }
        }
        self.hold(now.monotonic);
    }

    /// Writes down how things are with the processes of these, for the supervisor that would come after this one.
    pub fn write_down(&mut self, roles: impl IntoIterator<Item = Role>, pair: &Pair, now: Duration) {
        self.write_records(roles, pair, Some(self.own.process), now);
    }

    /// Writes down that this supervisor has ended, and that nothing is left to take over.
    pub fn sign_off(&mut self, pair: &Pair, now: Duration) {
        self.write_records(Role::BOTH, pair, None, now);
        if let Some(keeper) = self.keeper.take() {
            keeper.release();
        }
    }

    fn write_records(
        &mut self,
        roles: impl IntoIterator<Item = Role>,
        pair: &Pair,
        supervisor: Option<ProcessId>,
        now: Duration,
    ) {
        for role in roles {
            let Some(state) = pair.get(role) else { continue };
            let lines = Record { supervisor, ..self.record(state) }.lines();
            if let Some((supervised, diag)) = self.supervised(role) {
                supervised.record.write(&lines, now, diag);
            }
        }
    }

    /// The record of one process.
    pub fn record(&mut self, state: &State) -> Record {
        let (known, foreign) = (&mut self.known, &self.foreign);
        let record = state.record(|pid| identify(known, foreign, pid));
        self.frame().around(record)
    }

    fn frame(&self) -> Frame {
        Frame {
            own: self.own.clone(),
            pipe: self.pipe.as_ref().and_then(LogPipe::inode),
            notify_pipe: self.notify_pipe.as_ref().and_then(|pipe| setup::inode(&pipe.0)),
            notify_socket: self.notify_socket.as_ref().map_or_else(String::new, |socket| socket.name.clone()),
        }
    }

    /// A process has been reaped: its number means nothing any more.
    pub fn forget(&mut self, pid: Pid) {
        self.known.retain(|process| process.pid != pid);
        self.foreign.retain(|foreign| foreign.pid() != pid);
    }

    /// What the files in the service directory say now. What is wrong with them is told once. `tree` is how the `run` that
    /// runs is ended, as they said when it was started.
    pub fn settings(&mut self, tree: Tree) -> Settings {
        let (mut settings, mut problems) = match Settings::read(Path::new("")) {
            Ok(read) => read,
            Err(error) => {
                if !mem::replace(&mut self.is_short, true) {
                    self.diag.warning(&error);
                }
                return self.last_settings.clone();
            }
        };
        self.is_short = false;
        let needs_cgroup = settings.kill_mode == Some(Tree::Cgroup);
        if (needs_cgroup || tree == Tree::Cgroup) && self.cgroup.is_none() {
            match Cgroup::of_service() {
                Ok(cgroup) => self.cgroup = Some(cgroup),
                Err(_) if !needs_cgroup => {}
                Err(error) => {
                    settings.kill_mode = Some(Tree::Group);
                    problems.push(Problem {
                        file: "kill-mode",
                        what: format!("{error}: using the process group"),
                    });
                }
            }
        }
        if settings.kill_mode.is_some() && !self.adopts_orphans {
            self.adopts_orphans = true;
            if let Err(error) = process::adopt_orphans() {
                self.diag.warning(&error);
            }
        }
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            self.diag.warning(&("./", problem.file, ": ", problem.what.as_str()));
        }
        self.problems = problems;
        self.last_settings.clone_from(&settings);
        settings
    }

    /// Has runsvdir hold what the next supervisor would need.
    pub fn hold(&mut self, now: Duration) {
        if let Some(keeper) = &mut self.keeper {
            let pipes = (self.pipe.as_ref(), self.notify_pipe.as_ref(), self.notify_socket.as_ref());
            keeper.hold(&held([Some(&self.service), self.log.as_ref()], pipes), now);
        }
    }

    fn supervised(&mut self, role: Role) -> Option<(&mut Supervised, &Diag)> {
        match role {
            Role::Service => Some((&mut self.service, &self.diag)),
            Role::Log => self.log.as_mut().map(|log| (log, &self.diag)),
        }
    }

    fn spawn(&mut self, role: Role, program: Program, pair: &Pair, now: Moment) -> Outcome {
        let Some(state) = pair.get(role) else { return Outcome::Failed };
        let settings = state.settings();
        let is_run = role == Role::Service && program == Program::Run;
        let writer = if is_run { self.prepare_notification(settings, now.monotonic) } else { None };
        // All that the record needs but the process itself is known before.
        let frame = self.frame();
        let tree = settings.kill_mode.unwrap_or_default();
        let around = Surroundings {
            pipe: self.pipe.as_ref(),
            notify_pipe: settings.notification_fd.zip(writer.as_ref().map(AsFd::as_fd)),
            notify_socket: self.notify_socket.as_ref().map(|socket| socket.name.as_str()),
            watchdog: settings.timeout_watchdog,
            new_session: tree != Tree::Process,
            cgroup: self.cgroup.as_ref().filter(|_| tree == Tree::Cgroup).map(Cgroup::procs),
        };
        let (known, foreign) = (&mut self.known, &self.foreign);
        let (diag, keeper) = (&self.diag, &mut self.keeper);
        let (service, log) = (&mut self.service, &mut self.log);
        let pipes = (self.pipe.as_ref(), self.notify_pipe.as_ref(), self.notify_socket.as_ref());
        let outcome = child::spawn(role, program, &around, diag, |pid| {
            let next = state.clone().executed(program, pid, now);
            let lines = frame.around(next.record(|pid| identify(known, foreign, pid))).lines();
            let supervised = match role {
                Role::Service => Some(&mut *service),
                Role::Log => log.as_mut(),
            };
            let Some(supervised) = supervised else { return };
            supervised.record.write(&lines, now.monotonic, diag);
            // A service that starts at once has no other status before, and `run` finds a supervisor. Later it is published
            // while the program is executed.
            if supervised.ok.is_none() {
                if let Err(error) = supervised.announce(role, next.status(), now, diag) {
                    diag.warning(&error);
                }
                if let Some(keeper) = keeper {
                    keeper.hold(&held([Some(&*service), log.as_ref()], pipes), now.monotonic);
                }
            }
        });
        if !matches!(outcome, Outcome::Started(_)) {
            self.known.retain(|process| process::is_child(process.pid));
        }
        outcome
    }

    /// Makes ready what a `run` says on that it is ready. Returns the end that it gets.
    fn prepare_notification(&mut self, settings: &Settings, now: Duration) -> Option<OwnedFd> {
        let had_pipe = self.notify_pipe.take().is_some();
        let had_socket = self.notify_socket.is_some();
        let mut writer = None;
        if settings.notification_fd.is_some() {
            match fd::pipe().and_then(|ends| fd::set_nonblocking(&ends.0, true).map(|()| ends)) {
                Ok((reader, end)) => {
                    self.notify_pipe = Some(NotifyPipe(reader));
                    writer = Some(end);
                }
                Err(error) => self.diag.warning(&error),
            }
        }
        if !settings.notify_socket {
            self.notify_socket = None;
        } else if self.notify_socket.is_none() {
            match NotifySocket::new(None) {
                Ok(socket) => self.notify_socket = Some(socket),
                Err(error) => self.diag.warning(&error),
            }
        }
        if had_pipe || self.notify_pipe.is_some() || had_socket != self.notify_socket.is_some() {
            self.hold(now);
        }
        writer
    }

    /// A process that has ended and is to be reaped gets none.
    fn signal(&mut self, pid: Pid, tree: Tree, signal: Signal) {
        let foreign = self.foreign.iter().find(|foreign| foreign.pid() == pid);
        let tree = if self.cgroup.is_none() && tree == Tree::Cgroup { Tree::Group } else { tree };
        let sent = match (tree, foreign) {
            (Tree::Process, Some(foreign)) => foreign.signal(signal),
            // Its number is its own only as long as it has not been reaped.
            (Tree::Group, Some(foreign)) => {
                if foreign.is_there() {
                    tree::signal_foreign_group(pid, signal);
                }
                Ok(())
            }
            _ => tree::signal(tree, pid, self.cgroup.as_ref(), signal),
        };
        match sent {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => self.diag.warning(&Error::new("send signal", errno)),
        }
    }

    fn end_tree(&mut self, run: Pid, tree: Tree, pair: &Pair) -> u32 {
        let states = Role::BOTH.into_iter().filter_map(|role| pair.get(role));
        let ours: Vec<Pid> = states.flat_map(State::processes).chain(self.reexec.test()).collect();
        let left = tree::end(tree, run, self.cgroup.as_ref(), &ours);
        if !left.killed.is_empty() {
            self.diag.warning(&("./run left ", tree::describe(&left.killed), " behind: killed"));
        }
        if !left.alive.is_empty() {
            self.diag.warning(&("./run left ", tree::describe(&left.alive), " behind"));
        }
        u32::try_from(left.alive.len()).unwrap_or(u32::MAX)
    }

    fn find_log(&mut self, now: Moment) -> Option<pair::Event> {
        if !Path::new(paths::LOG).is_dir() {
            return None;
        }
        match self.take_up_log(now) {
            Ok(state) => Some(pair::Event::LogFound(Box::new(state))),
            Err(failure) => {
                self.diag.warning(&failure);
                None
            }
        }
    }

    fn take_up_log(&mut self, now: Moment) -> Result<State, setup::Failure> {
        let pipe = LogPipe::new()?;
        let lock = setup::lock(Role::Log)?;
        let mut begun = start::begin(Role::Log, lock, &self.own.boot, now, &self.diag)?;
        self.foreign.extend(begun.foreign(self.keeper.as_ref()));
        self.log = Some(begun.supervised);
        self.pipe = Some(pipe);
        self.hold(now.monotonic);
        Ok(begun.state)
    }
}

/// The log pipe, and what readiness is said on.
type Pipes<'a> = (Option<&'a LogPipe>, Option<&'a NotifyPipe>, Option<&'a NotifySocket>);

/// What the next supervisor would need of `supervised`, the service and its log service, and of what is between them.
fn held<'a>(supervised: [Option<&'a Supervised>; 2], pipes: Pipes<'a>) -> Vec<(Held, BorrowedFd<'a>)> {
    let (pipe, notify_pipe, notify_socket) = pipes;
    let ends = pipe.map(|pipe| [(Held::LogRead, pipe.read.as_fd()), (Held::LogWrite, pipe.write.as_fd())]);
    let notify_pipe = notify_pipe.map(|pipe| (Held::NotifyRead, pipe.0.as_fd()));
    let notify_socket = notify_socket.map(|socket| (Held::NotifySocket, socket.socket.as_fd()));
    let fifos = supervised.into_iter().flatten();
    let fifos =
        fifos.flat_map(|supervised| [Some(&supervised.control.read), supervised.ok.as_ref()]).flatten();
    let fifos = fifos.map(|fd| (Held::Fifo, fd.as_fd()));
    ends.into_iter().flatten().chain(notify_pipe).chain(notify_socket).chain(fifos).collect()
}

/// What a record says besides the state.
struct Frame {
    own: Own,
    pipe: Option<u64>,
    notify_pipe: Option<u64>,
    notify_socket: String,
}

impl Frame {
    fn around(self, record: Record) -> Record {
        Record {
            boot: self.own.boot,
            supervisor: Some(self.own.process),
            reexecs: self.own.reexecs,
            pipe: self.pipe,
            notify_pipe: self.notify_pipe,
            notify_socket: self.notify_socket,
            ..record
        }
    }
}

/// When a process was started: of one that was taken over that is known, of a child it is looked up once.
fn identify(known: &mut Vec<ProcessId>, foreign: &[Foreign], pid: Pid) -> ProcessId {
    let mut processes = foreign.iter().map(Foreign::process).chain(known.iter().copied());
    if let Some(process) = processes.find(|process| process.pid == pid) {
        return process;
    }
    let process = process::identify(pid);
    known.push(process);
    process
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_looked_up_once() {
        let mut known = vec![ProcessId { pid: nix::unistd::getpid(), start: 1 }];
        assert_eq!(identify(&mut known, &[], nix::unistd::getpid()).start, 1);
        assert!(identify(&mut known, &[], nix::unistd::getppid()).start > 1);
        assert_eq!(known.len(), 2);
    }
}
