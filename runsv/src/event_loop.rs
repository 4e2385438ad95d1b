//! The loop: what happens becomes events, events become actions, and what comes of these becomes events.
//!
//! It waits in one place, for ever unless something is due.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use svlib::command::{Command, REEXEC};
use svlib::exit_status::ExitStatus;
use svlib::keeper::Answer;
use svlib::sys::poll::{self, PollFd, PollFlags};
use svlib::sys::signal::Signals;
use svlib::sys::{clock, fd, memory, process};

use crate::executor::Executor;
use crate::foreign::Foreign;
use crate::keeper::Message;
use crate::machine::pair::{self, Pair};
use crate::machine::{Event, Role, State, Word};
use crate::notify::Look;
use crate::reexec;

/// How long it is waited at the beginning to be told how processes ended.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many commands are obeyed before anything else is looked at again; the others stay in the fifo.
const COMMANDS: usize = 64;

/// What can be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Signals,
    Control(Role),
    Keeper,
    Foreign(Pid),
    NotifyPipe,
    NotifySocket,
}

/// What a wait ended with.
#[derive(Default)]
struct Ready {
    children: bool,
    terminate: bool,
    sources: Vec<Source>,
}

/// A supervisor at work.
struct Supervisor<'a> {
    executor: &'a mut Executor,
    signals: &'a Signals,
    /// What was left by another supervisor is taken in. Until this time, on the monotonic clock, it is waited to be told how
    /// processes ended.
    begun: Option<Duration>,
}

/// Supervises until told to exit. No failure ends it before: the service would be left without a supervisor.
pub fn run(pair: Pair, executor: &mut Executor, signals: &Signals) {
    let mut supervisor = Supervisor { executor, signals, begun: None };
    let mut next = supervisor.begin(pair);
    // What the start took is not held for years.
    memory::trim();
    while let ControlFlow::Continue(pair) = next {
        let ready = supervisor.wait(&pair);
        next = supervisor.react(pair, &ready);
    }
}

impl Supervisor<'_> {
    /// Starts what is to be started, and takes in what ended before.
    fn begin(&mut self, pair: Pair) -> ControlFlow<(), Pair> {
        let mut pair = self.deliver(pair, pair::Event::Wake)?;
        for (pid, status) in self.foreign_ends(&Ready::default()) {
            pair = self.ended(pair, pid, status)?;
        }
        self.begun = Some(clock::now().monotonic + PATIENCE);
        self.announce(&pair);
        // Children of the program file before this one may have ended already.
        self.react(pair, &Ready { children: true, ..Ready::default() })
    }

    /// Tells everybody that a supervisor is there, where that has not been done and is due.
    fn announce(&mut self, pair: &Pair) {
        let now = clock::now();
        if self.announcement().is_some_and(|due| due <= now.monotonic) {
            self.executor.announce(pair, now);
        }
    }

    /// When that is due, or due again. Of a process that has ended nobody is told: its number may be another's.
    fn announcement(&self) -> Option<Duration> {
        let patience = self.begun?;
        let is_awaited = self.executor.foreign.iter().any(Foreign::is_awaited);
        let first = if is_awaited { patience } else { Duration::ZERO };
        self.executor.is_unannounced().then(|| self.executor.announce_at.unwrap_or(first))
    }

    /// Waits for signals, for commands where they can be acted on, for those above us and for what is due.
    fn wait(&self, pair: &Pair) -> Ready {
        let executor = &*self.executor;
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let mut sources = vec![Source::Signals];
        for (role, control) in executor.controls().filter(|&(role, _)| !is_busy(pair, role)) {
            fds.push(PollFd::new(control.read.as_fd(), PollFlags::POLLIN));
            sources.push(Source::Control(role));
        }
        let keeper = executor.keeper.as_ref().map(|keeper| (Source::Keeper, keeper.as_fd()));
        let pipe = executor.notify_pipe.as_ref().map(|pipe| (Source::NotifyPipe, pipe.0.as_fd()));
        let socket =
            executor.notify_socket.as_ref().map(|socket| (Source::NotifySocket, socket.socket.as_fd()));
        for (source, fd) in [keeper, pipe, socket].into_iter().flatten() {
            fds.push(PollFd::new(fd, PollFlags::POLLIN));
            sources.push(source);
        }
        for foreign in &executor.foreign {
            if let Some((fd, flags)) = foreign.polled() {
                fds.push(PollFd::new(fd, flags));
                sources.push(Source::Foreign(foreign.pid()));
            }
        }
        let deadlines = [pair.deadline(), executor.deadline(), self.announcement()];
        let deadline = deadlines.into_iter().flatten().min();
        let timeout = deadline.map(|deadline| deadline.saturating_sub(clock::now().monotonic));
        // It may be for years.
        memory::trim_stack();
        // Supervision goes on even where waiting fails (a limit of descriptors lowered from outside): nothing read here
        // blocks.
        let unknown = poll::wait(&mut fds, timeout).is_err();

        // But that a process has ended is not read, it is believed.
        let is_ready = |fd: &PollFd<'_>, source| match source {
            Source::Foreign(_) => !unknown && poll::is_ready(fd),
            _ => unknown || poll::is_ready(fd),
        };
        let both = fds.iter().zip(sources).filter(|&(fd, source)| is_ready(fd, source));
        // What a script kept from being read comes before what is due once it has ended.
        let held_back = executor.controls().filter(|&(role, _)| is_busy(pair, role));
        let held_back = held_back.map(|(role, _)| Source::Control(role));
        let sources = both.map(|(_, source)| source).chain(held_back).collect();
        let mut ready = Ready { sources, ..Ready::default() };
        while let Ok(Some(signal)) = self.signals.next() {
            ready.children |= signal == Signal::SIGCHLD;
            ready.terminate |= signal == Signal::SIGTERM;
        }
        ready
    }

    /// What has ended first: a command should find the state as it is.
    #[inline(never)] // Its frame would lie on the stack for as long as the loop waits.
    fn react(&mut self, mut pair: Pair, ready: &Ready) -> ControlFlow<(), Pair> {
        if ready.children {
            while let Some((pid, status)) = process::reap() {
                if !self.executor.reexec.ended(pid, status) {
                    pair = self.ended(pair, pid, status)?;
                }
            }
        }
        if ready.sources.contains(&Source::Keeper) {
            pair = self.listen(pair)?;
        }
        for (pid, status) in self.foreign_ends(ready) {
            pair = self.ended(pair, pid, status)?;
        }
        if ready.sources.contains(&Source::NotifyPipe) || ready.sources.contains(&Source::NotifySocket) {
            pair = self.hear(pair)?;
        }
        let now = clock::now().monotonic;
        self.executor.retry(now);
        self.executor.reexec.hurry(now);
        for role in Role::BOTH {
            if ready.sources.contains(&Source::Control(role)) {
                pair = self.obey(pair, role)?;
            }
        }
        // After the commands: what they keep from being started is not.
        if pair.deadline().is_some_and(|deadline| deadline <= now) {
            pair = self.deliver(pair, pair::Event::Wake)?;
        }
        if ready.terminate {
            pair = self.deliver(pair, pair::Event::To(Role::Service, Event::Command(Command::Exit)))?;
        }
        self.announce(&pair);
        // Commands that wait, and signals that have been received, would be lost.
        if self.executor.reexec.is_tested() && !Role::BOTH.iter().any(|role| is_busy(&pair, *role)) {
            reexec::go_on(&pair, self.executor);
        }
        ControlFlow::Continue(pair)
    }

    /// One of ours has ended. What runsv's own orphans do is nobody's concern.
    fn ended(&mut self, pair: Pair, pid: Pid, status: ExitStatus) -> ControlFlow<(), Pair> {
        self.executor.forget(pid);
        if pair.service.run() == Some(pid) {
            // What it said last counts.
            let pair = self.hear(pair)?;
            self.executor.notify_pipe = None;
            return self.deliver(pair, pair::Event::Exited(pid, status));
        }
        self.deliver(pair, pair::Event::Exited(pid, status))
    }

    /// Takes in what runsvdir says.
    fn listen(&mut self, mut pair: Pair) -> ControlFlow<(), Pair> {
        while let Some(message) = self.executor.keeper.as_ref().and_then(crate::keeper::Keeper::next) {
            match message {
                Message::Answer(Answer::Back(_), _) => {}
                Message::Answer(answer, _) => {
                    let told = |foreign: &mut Foreign| Some((foreign.pid(), foreign.told(&answer)?));
                    if let Some((pid, status)) = self.executor.foreign.iter_mut().find_map(told) {
                        pair = self.ended(pair, pid, status)?;
                    }
                }
                Message::Gone => {
                    self.executor.keeper = None;
                    self.executor.foreign.iter_mut().for_each(Foreign::keeper_is_gone);
                }
            }
        }
        ControlFlow::Continue(pair)
    }

    /// Those of the processes taken over that have ended.
    fn foreign_ends(&mut self, ready: &Ready) -> Vec<(Pid, ExitStatus)> {
        let now = clock::now().monotonic;
        let ended = |foreign: &mut Foreign| {
            let is_ready = ready.sources.contains(&Source::Foreign(foreign.pid()));
            Some((foreign.pid(), foreign.ended(is_ready, now)?))
        };
        self.executor.foreign.iter_mut().filter_map(ended).collect()
    }

    /// Takes in what the service says of itself.
    fn hear(&mut self, mut pair: Pair) -> ControlFlow<(), Pair> {
        let mut words = Vec::new();
        if let Some(pipe) = &self.executor.notify_pipe {
            match pipe.look() {
                Look::Ready => words.push(Word::Ready),
                Look::NotYet => {}
                Look::Closed => self.executor.notify_pipe = None,
            }
        }
        if let Some(socket) = &self.executor.notify_socket {
            words.extend(socket.words(pair.service.run()));
        }
        for word in words {
            pair = self.deliver(pair, pair::Event::To(Role::Service, Event::Said(word)))?;
        }
        ControlFlow::Continue(pair)
    }

    /// Takes commands out of the fifo one by one, as they can be acted on: one that is left there is not lost with us.
    fn obey(&mut self, mut pair: Pair, role: Role) -> ControlFlow<(), Pair> {
        for _ in 0..COMMANDS {
            if is_busy(&pair, role) {
                break;
            }
            match read_byte(self.executor, role) {
                Some(REEXEC) => reexec::begin(&pair, self.executor),
                Some(byte) => {
                    if let Some(command) = Command::from_byte(byte) {
                        pair = self.deliver(pair, pair::Event::To(role, Event::Command(command)))?;
                    }
                }
                None => break,
            }
        }
        ControlFlow::Continue(pair)
    }

    /// Decides about `event` and performs what is decided, until nothing more comes of it. Then it is written down.
    #[inline(never)] // As above.
    fn deliver(&mut self, mut pair: Pair, event: pair::Event) -> ControlFlow<(), Pair> {
        let settings = self.executor.settings(pair.service.tree());
        pair.service = pair.service.with_settings(settings);
        let mut events = VecDeque::from([(event, clock::now())]);
        while let Some((event, now)) = events.pop_front() {
            let (next, actions) = pair::step(pair, event, now);
            pair = next;
            // Who sees a change may rely on it. But a signal counts as sent only when it has been: it is rather sent twice.
            if !actions.iter().any(pair::Action::is_signal) {
                let writable = pair::writable(events.iter().map(|(event, _)| event));
                self.executor.write_down(writable, &pair, now.monotonic);
            }
            for action in actions {
                if action == pair::Action::Exit {
                    self.executor.sign_off(&pair, now.monotonic);
                    return ControlFlow::Break(());
                }
                // What was written down at its time has happened at this time.
                events.extend(self.executor.perform(action, &pair, now).map(|event| (event, now)));
            }
        }
        self.executor.write_down(Role::BOTH, &pair, clock::now().monotonic);
        self.announce(&pair);
        ControlFlow::Continue(pair)
    }
}

fn is_busy(pair: &Pair, role: Role) -> bool {
    pair.get(role).is_some_and(State::is_busy)
}

/// The next byte in the fifo. One that cannot be read counts as empty: it is opened for reading, so nothing but its emptiness
/// keeps it from being read.
fn read_byte(executor: &Executor, role: Role) -> Option<u8> {
    let (_, control) = executor.controls().find(|&(other, _)| other == role)?;
    let mut byte = [0];
    match fd::read(&control.read, &mut byte) {
        Ok(1) => Some(byte[0]),
        _ => None,
    }
}
