//! Processes that were taken over: they are not our children, so others learn how they end, and tell.
//!
//! Their parent is the runsvdir above us, which reaps and tells; or some init, and then the kernel tells once it has reaped
//! (Linux 6.15). Otherwise it stays unknown.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use svlib::exit_status::ExitStatus;
use svlib::keeper::Answer;
use svlib::record::ProcessId;
use svlib::sys::pidfd::Pidfd;
use svlib::sys::poll::PollFlags;

use crate::keeper::Keeper;

/// How long it may take until a process that has ended is reaped; then nobody seems to do that.
const REAPING: Duration = Duration::from_secs(1);

/// One of them.
#[derive(Debug)]
pub struct Foreign {
    process: ProcessId,
    /// None: it had ended when it was taken over.
    pidfd: Option<Pidfd>,
    source: Source,
}

/// Who tells of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// runsvdir.
    Keeper,
    /// The kernel.
    Kernel,
    /// The kernel, once it is reaped, or nobody after this time.
    Reaping(Duration),
}

impl Foreign {
    /// Watches `process` from now on; `pidfd` is none if it has ended.
    pub fn new(process: ProcessId, pidfd: Option<Pidfd>, keeper: Option<&Keeper>) -> Self {
        let is_told = keeper.is_some_and(|keeper| keeper.watch(process));
        Self { process, pidfd, source: if is_told { Source::Keeper } else { Source::Kernel } }
    }

    /// Its number.
    pub const fn pid(&self) -> Pid {
        self.process.pid
    }

    /// Which process it is.
    pub const fn process(&self) -> ProcessId {
        self.process
    }

    /// Sends it a signal. One that has ended gets none.
    ///
    /// # Errors
    /// What pidfd_send_signal(2) reports.
    pub fn signal(&self, signal: Signal) -> nix::Result<()> {
        match self.pidfd.as_ref().map(|pidfd| pidfd.send(Some(signal))) {
            None | Some(Err(Errno::ESRCH)) => Ok(()),
            Some(result) => result,
        }
    }

    /// Whether it has not been reaped yet.
    pub fn is_there(&self) -> bool {
        self.pidfd.as_ref().is_some_and(|pidfd| pidfd.send(None) != Err(Errno::ESRCH))
    }

    /// What to wait for, if anything but the time.
    pub fn polled(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let fd = self.pidfd.as_ref()?.as_fd();
        match self.source {
            Source::Keeper => None,
            Source::Kernel => Some((fd, PollFlags::POLLIN)),
            // Only that it is hung up.
            Source::Reaping(_) => Some((fd, PollFlags::empty())),
        }
    }

    /// When [`ended`](Self::ended) has something to say even if nothing happens, on the monotonic clock.
    pub fn deadline(&self) -> Option<Duration> {
        match (self.source, &self.pidfd) {
            (Source::Keeper, _) | (Source::Kernel, Some(_)) => None,
            (Source::Kernel, None) => Some(Duration::ZERO),
            (Source::Reaping(until), _) => Some(until),
        }
    }

    /// How it ended, if it has and somebody knows, or nobody will. `ready` says that what is [`polled`](Self::polled) is
    /// ready.
    pub fn ended(&mut self, ready: bool, now: Duration) -> Option<ExitStatus> {
        let known = || self.pidfd.as_ref().and_then(Pidfd::exit_status);
        match self.source {
            Source::Keeper => None,
            Source::Kernel if self.pidfd.is_none() => Some(ExitStatus::UNKNOWN),
            Source::Kernel if ready => {
                let status = known();
                self.source = Source::Reaping(now + REAPING);
                status
            }
            Source::Kernel => None,
            Source::Reaping(until) if ready || until <= now => Some(known().unwrap_or(ExitStatus::UNKNOWN)),
            Source::Reaping(_) => known(),
        }
    }

    /// Whether it has ended, and how is about to be told.
    pub fn is_awaited(&self) -> bool {
        self.pidfd.is_none()
    }

    /// Takes in what runsvdir says. Some: it ended so.
    pub fn told(&mut self, answer: &Answer) -> Option<ExitStatus> {
        match *answer {
            Answer::Ended(process, status) if process == self.process => Some(status),
            Answer::Unknown(process) if process == self.process => {
                self.source = Source::Kernel;
                None
            }
            _ => None,
        }
    }

    /// runsvdir is gone, and will not tell.
    pub fn keeper_is_gone(&mut self) {
        if self.source == Source::Keeper {
            self.source = Source::Kernel;
        }
    }
}
