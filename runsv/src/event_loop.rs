//! The loop: what happens becomes events, events become actions, and what comes of these becomes events.
//!
//! It waits in one place, for ever unless something is due.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::os::fd::AsFd;

use nix::sys::signal::Signal;
use svlib::command::Command;
use svlib::sys::poll::{self, PollFd, PollFlags};
use svlib::sys::signal::Signals;
use svlib::sys::{clock, fd, process};

use crate::executor::Executor;
use crate::machine::pair::{self, Action, Pair};
use crate::machine::{Event, Role, State};
use crate::setup::Control;

/// How many commands are read at once; the others stay in the fifo.
const COMMANDS: usize = 64;

/// What a wait ended with.
#[derive(Default)]
struct Ready {
    children: bool,
    terminate: bool,
    controls: Vec<Role>,
}

/// Supervises until told to exit. No failure ends it before: the service would be left without a supervisor.
pub fn run(pair: Pair, executor: &mut Executor, signals: &Signals) {
    let mut next = deliver(pair, executor, pair::Event::Wake);
    while let ControlFlow::Continue(pair) = next {
        let ready = wait(&pair, executor, signals);
        next = react(pair, executor, &ready);
    }
}

/// Waits for signals, for commands where they can be acted on, and for what is due.
fn wait(pair: &Pair, executor: &Executor, signals: &Signals) -> Ready {
    let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    let mut roles = Vec::new();
    for (role, control) in executor.controls().filter(|&(role, _)| !is_busy(pair, role)) {
        fds.push(PollFd::new(control.read.as_fd(), PollFlags::POLLIN));
        roles.push(role);
    }
    let deadline = pair.deadline().into_iter().chain(executor.deadline()).min();
    let timeout = deadline.map(|deadline| deadline.saturating_sub(clock::now().monotonic));
    // Supervision goes on even where waiting fails (a limit of descriptors lowered from outside): nothing read here blocks.
    let unknown = poll::wait(&mut fds, timeout).is_err();

    let is_ready = |fd: &PollFd<'_>| unknown || poll::is_ready(fd);
    let controls = fds[1..].iter().zip(roles).filter(|(fd, _)| is_ready(fd)).map(|(_, role)| role).collect();
    let mut ready = Ready { controls, ..Ready::default() };
    while let Ok(Some(signal)) = signals.next() {
        ready.children |= signal == Signal::SIGCHLD;
        ready.terminate |= signal == Signal::SIGTERM;
    }
    ready
}

/// Children first: a command should find the state as it is.
fn react(mut pair: Pair, executor: &mut Executor, ready: &Ready) -> ControlFlow<(), Pair> {
    if ready.children {
        while let Some((pid, status)) = process::reap() {
            pair = deliver(pair, executor, pair::Event::Exited(pid, status))?;
        }
    }
    let now = clock::now().monotonic;
    executor.retry(now);
    if pair.deadline().is_some_and(|deadline| deadline <= now) {
        pair = deliver(pair, executor, pair::Event::Wake)?;
    }
    for &role in &ready.controls {
        for command in read_commands(executor, role) {
            pair = deliver(pair, executor, pair::Event::To(role, Event::Command(command)))?;
        }
    }
    if ready.terminate {
        pair = deliver(pair, executor, pair::Event::To(Role::Service, Event::Command(Command::Exit)))?;
    }
    ControlFlow::Continue(pair)
}

/// Decides about `event` and performs what is decided, until nothing more comes of it.
fn deliver(mut pair: Pair, executor: &mut Executor, event: pair::Event) -> ControlFlow<(), Pair> {
    let mut events = VecDeque::from([event]);
    while let Some(event) = events.pop_front() {
        let now = clock::now();
        let (next, actions) = pair::step(pair, event, now);
        pair = next;
        for action in actions {
            if action == Action::Exit {
                return ControlFlow::Break(());
            }
            events.extend(executor.perform(action, now));
        }
    }
    ControlFlow::Continue(pair)
}

fn is_busy(pair: &Pair, role: Role) -> bool {
    match role {
        Role::Service => pair.service.is_busy(),
        Role::Log => pair.log.as_ref().is_some_and(State::is_busy),
    }
}

/// What the fifo holds now. Bytes that are no command are ignored, and so is a fifo that cannot be read: it is opened for
/// reading, so nothing but its emptiness keeps it from being read.
fn read_commands(executor: &Executor, role: Role) -> Vec<Command> {
    let mut bytes = [0; COMMANDS];
    let control: Option<&Control> =
        executor.controls().find(|&(other, _)| other == role).map(|(_, control)| control);
    let length = control.map_or(0, |control| fd::read(&control.read, &mut bytes).unwrap_or(0));
    bytes[..length].iter().copied().filter_map(Command::from_byte).collect()
}
