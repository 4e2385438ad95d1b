//! Children that have ended.

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::exit_status::ExitStatus;

/// A child that has ended, if there is one (waitpid(2)); it is then forgotten by the kernel.
pub fn reap() -> Option<(Pid, ExitStatus)> {
    let mut status = 0;
    // SAFETY: the status is written to a variable that is there.
    match Errno::result(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) }) {
        Ok(0) | Err(_) => None,
        Ok(pid) => Some((Pid::from_raw(pid), ExitStatus::from_raw(status))),
    }
}
