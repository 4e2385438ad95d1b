//! Signals: received through a descriptor, sent to a process.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use crate::error::{Context, Result};

pub use nix::sys::signal::Signal;

/// The signals that this process takes one by one from a descriptor instead of being interrupted (signalfd(2)).
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Takes `signals` from now on. A disposition to ignore them, which a parent can leave behind, is undone: ignored
    /// signals would never come, and ignored children could not be waited for.
    ///
    /// # Errors
    /// What sigaction(2), sigprocmask(2) or signalfd(2) report.
    pub fn block(signals: &[Signal]) -> Result<Self> {
        let set: SigSet = signals.iter().copied().collect();
        set.thread_block().during("block signals")?;
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        for &signal in signals {
            // SAFETY: the default action is no handler that could run code of this process.
            unsafe { sigaction(signal, &default) }.during("set signal action")?;
        }
        SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .during("create signalfd")
            .map(Self)
    }

    /// The next signal that has come; `None` when there is no other. Several of one kind may come as one.
    ///
    /// # Errors
    /// What read(2) reports.
    pub fn next(&self) -> Result<Option<Signal>> {
        let info = self.0.read_signal().during("read signals")?;
        Ok(info
            .and_then(|info| i32::try_from(info.ssi_signo).ok())
            .and_then(|number| Signal::try_from(number).ok()))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends `signal` to the process `pid` (kill(2)).
///
/// # Errors
/// What kill(2) reports.
pub fn send(pid: Pid, signal: Signal) -> Result<()> {
    nix::sys::signal::kill(pid, signal).during("send signal")
}
