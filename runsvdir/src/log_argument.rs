//! The `log` argument: what the whole tree writes to standard error, shown in the process list.
//!
//! Standard error becomes a pipe that all children inherit and this process alone reads. Neither end blocks:
//! a service must not wait because nobody reads, and this process must not wait for itself.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::dup2_stderr;
use svlib::sys::{fd, proctitle, startup};
use svlib::{Context as _, Result};

use crate::cli;
use crate::readproctitle::RollingLog;

/// The time between two dots, which let old messages expire.
pub const DOT: Duration = Duration::from_secs(15 * 60);

/// The log, and the pipe that feeds it.
#[derive(Debug)]
pub struct LogArgument {
    log: RollingLog,
    memory: proctitle::Argument,
    pipe: OwnedFd,
    next_dot: Duration,
}

impl LogArgument {
    /// Turns standard error into the log; none if the argument is too short. The first dot is due at `now`. Where another
    /// runsvdir in this process did so before, its pipe and the time of its next dot are `inherited`, and the argument
    /// says what the log shows.
    ///
    /// # Errors
    ///
    /// No pipe could be made of standard error, or the C library does not tell where the arguments are (ENOSYS).
    pub fn install(
        argument: &cli::LogArgument,
        now: Duration,
        inherited: Option<(OwnedFd, Duration)>,
    ) -> Result<Option<Self>> {
        let Some(log) = RollingLog::new(argument.text.as_bytes()) else { return Ok(None) };
        let memory = proctitle::Argument::at(argument.index).ok_or(Errno::ENOSYS);
        let memory = memory.during("show the log in the process list")?;
        if let Some((pipe, next_dot)) = inherited {
            return Ok(Some(Self { log, memory, pipe, next_dot }));
        }
        let (pipe, writing) = fd::pipe()?;
        fd::set_nonblocking(&pipe, true)?;
        fd::set_nonblocking(&writing, true)?;
        dup2_stderr(writing).during("set standard error")?;
        startup::opened_stderr();
        Ok(Some(Self { log, memory, pipe, next_dot: now }))
    }

    /// Readable when something was written to standard error.
    #[must_use]
    pub fn pipe(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// The number of the pipe, and when the next dot is due.
    #[must_use]
    pub fn save(&self) -> (RawFd, Duration) {
        (self.pipe.as_raw_fd(), self.next_dot)
    }

    /// Shows what was written, as much of it as one read gives: the rest must not keep the loop from its other work.
    pub fn read(&mut self) {
        let mut buffer = [0; 4096];
        if let Ok(count) = fd::read(&self.pipe, &mut buffer)
            && count > 0
        {
            self.show(&buffer[..count]);
        }
    }

    /// When the next dot is due.
    #[must_use]
    pub fn next_dot(&self) -> Duration {
        self.next_dot
    }

    /// Shows a dot if one is due.
    pub fn tick(&mut self, now: Duration) {
        if now >= self.next_dot {
            self.next_dot = now + DOT;
            self.show(b".");
        }
    }

    fn show(&mut self, bytes: &[u8]) {
        self.log.push(bytes);
        self.memory.overwrite(self.log.text());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_that_cannot_be_found_in_memory_is_not_one_that_is_too_short() {
        let argument = |text: &str| cli::LogArgument { text: text.into(), index: usize::MAX };
        let error = LogArgument::install(&argument("long enough"), Duration::ZERO, None).unwrap_err();
        assert_eq!(error.to_string(), "unable to show the log in the process list: Function not implemented");
        assert!(LogArgument::install(&argument("short"), Duration::ZERO, None).unwrap().is_none());
    }
}
