//! Waiting for descriptors.

use std::io;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::ppoll;
use nix::sys::time::TimeSpec;

pub use nix::poll::{PollFd, PollFlags};

/// No timeout is longer than a year: the kernel takes no number of seconds that does not fit its own.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long a failure takes at most.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits until one of `fds` is ready or `timeout` has passed; for ever without one (ppoll(2)). The number of ready ones;
/// zero also after an interruption by a signal, and at the latest after a year.
///
/// # Errors
/// What ppoll(2) reports: EINVAL when fewer descriptors are allowed than are asked about, ENOMEM. A second has then passed, or
/// the timeout, so that whoever goes on regardless does not go round and round.
pub fn wait(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<usize> {
    match ppoll(fds, timeout.map(|timeout| TimeSpec::from_duration(timeout.min(LONGEST))), None) {
        Ok(ready) => Ok(usize::try_from(ready).unwrap_or_default()),
        Err(Errno::EINTR) => Ok(0),
        Err(errno) => {
            thread::sleep(timeout.unwrap_or(PAUSE).min(PAUSE));
            Err(errno.into())
        }
    }
}

/// Whether a poll found something for a descriptor: readiness, an error or a hang-up.
pub fn is_ready(fd: &PollFd<'_>) -> bool {
    fd.any().unwrap_or(true)
}
