//! Waiting for descriptors.

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::ppoll;
use nix::sys::time::TimeSpec;

pub use nix::poll::{PollFd, PollFlags};

/// Waits until one of `fds` is ready or `timeout` has passed; for ever without one (ppoll(2)). The number of ready ones;
/// zero also after an interruption by a signal.
///
/// # Errors
/// What ppoll(2) reports.
pub fn wait(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    match ppoll(fds, timeout.map(TimeSpec::from_duration), None) {
        Ok(ready) => Ok(usize::try_from(ready).unwrap_or_default()),
        Err(Errno::EINTR) => Ok(0),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether a poll found something for a descriptor: readiness, an error or a hang-up.
pub fn is_ready(fd: &PollFd<'_>) -> bool {
    fd.any().unwrap_or(true)
}
