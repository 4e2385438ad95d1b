//! What can happen to one supervised process.

use nix::unistd::Pid;
use svlib::command::Command;
use svlib::exit_status::ExitStatus;

use super::action::Program;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time to look what is due: once at the beginning, then whenever [`State::deadline`](super::State::deadline) is reached.
    Wake,
    /// A command, read from the control fifo or meant by a signal.
    Command(Command),
    /// The answer to [`Action::Spawn`](super::Action::Spawn).
    Spawned(Program, Outcome),
    /// A child was reaped. It may be anybody's.
    Exited(Pid, ExitStatus),
    /// For the log service: the service is down for good, and the log pipe gets closed.
    Close,
    /// The service has said something of itself.
    Said(Word),
    /// So many processes were left when `run` had ended.
    Left(u32),
}

/// What a service can say of itself (sd_notify(3)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// It is ready.
    Ready,
    /// It is about to end.
    Stopping,
    /// It is alive.
    Alive,
    /// How it is, in words.
    Text(String),
}

/// What came of an attempt to start a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It runs.
    Started(Pid),
    /// There is no such program, and there need not be one.
    Absent,
    /// It cannot be executed.
    Failed,
    /// There is no process to be had now; another time there may be.
    NoProcess,
}
