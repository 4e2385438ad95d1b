//! What can be done about it.

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use svlib::command::Command;
use svlib::exit_status::ExitStatus;
use svlib::record::Tree;
use svlib::status::Status;

/// Something to be done, in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish the status. It comes before everything else of one step, so that whoever is affected finds it published.
    Publish(Status),
    /// Start a program and answer with [`Event::Spawned`](super::Event::Spawned).
    Spawn(Program),
    /// Send a signal to a process that has not been reaped.
    Signal(Pid, Signal),
    /// Send a signal to `run`, which has not been reaped, and to all that belongs to it.
    SignalTree(Pid, Tree, Signal),
    /// `run` has ended: kill what is left of it where that is wanted, and answer with [`Event::Left`](super::Event::Left).
    EndTree(Pid, Tree),
    /// Tell that the service is given up, which ended so at last, after so many restarts.
    TellGivenUp(ExitStatus, u64),
    /// There is nothing left to do for this process.
    Exit,
}

/// A program in the service directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `./run`, which has to be there.
    Run,
    /// `./finish`, if it is there, told how `run` ended.
    Finish(ExitStatus),
    /// `control/<letter>`, if it is there and executable.
    Control(Command),
}
