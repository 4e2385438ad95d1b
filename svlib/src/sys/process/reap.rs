//! Children that have ended.

use std::fs;
use std::mem::MaybeUninit;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::Pid;

use crate::error::{Context, Result};
use crate::exit_status::ExitStatus;

/// A child that has ended, if there is one (waitpid(2)); it is then forgotten by the kernel.
pub fn reap() -> Option<(Pid, ExitStatus)> {
    wait(-1, libc::WNOHANG)
}

/// How the child `pid` ended, if it is ours and has; it is then forgotten by the kernel.
pub fn reap_one(pid: Pid) -> Option<ExitStatus> {
    wait(pid.as_raw(), libc::WNOHANG).map(|(_, status)| status)
}

/// A child that has ended and is still to be reaped: until then its number is nobody else's (waitid(2), WNOWAIT).
pub fn ended() -> Option<Pid> {
    let pid = look(libc::P_ALL, 0).ok()?;
    (pid > 0).then(|| Pid::from_raw(pid))
}

/// Whether there is a child of ours, ended or not.
pub fn has_children() -> bool {
    look(libc::P_ALL, 0) != Err(Errno::ECHILD)
}

/// Whether `pid` is a child of ours, ended or not.
pub fn is_child(pid: Pid) -> bool {
    libc::id_t::try_from(pid.as_raw()).is_ok_and(|id| look(libc::P_PID, id).is_ok())
}

/// Makes the orphans among the descendants of this process its children, so that it can tell how they ended
/// (PR_SET_CHILD_SUBREAPER(2const)).
///
/// # Errors
/// What prctl(2) reports: EINVAL before Linux 3.4.
pub fn adopt_orphans() -> Result<()> {
    prctl::set_child_subreaper(true).during("become a subreaper")
}

/// The children of this process that can be seen, ended or not (proc(5), `/proc/PID/task/TID/children`); none where the kernel
/// does not tell.
pub fn children() -> Vec<Pid> {
    let text = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}

pub(super) fn wait(pid: libc::pid_t, flags: i32) -> Option<(Pid, ExitStatus)> {
    let mut status = 0;
    loop {
        // SAFETY: the status is written to a variable that is there.
        match Errno::result(unsafe { libc::waitpid(pid, &raw mut status, flags) }) {
            Err(Errno::EINTR) => {}
            Ok(0) | Err(_) => return None,
            Ok(pid) => return Some((Pid::from_raw(pid), ExitStatus::from_raw(status))),
        }
    }
}

/// The number of a child that has ended, 0 if none has.
fn look(kind: libc::idtype_t, id: libc::id_t) -> nix::Result<libc::pid_t> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: there is room for what is written.
    Errno::result(unsafe { libc::waitid(kind, id, info.as_mut_ptr(), flags) })?;
    // SAFETY: all bytes zero is a valid siginfo, and the call may have filled in another.
    let info = unsafe { info.assume_init() };
    // SAFETY: waitid(2) fills in this field, or leaves the zero.
    Ok(unsafe { info.si_pid() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::Spawn;

    #[test]
    fn a_child_is_ours_until_it_is_reaped() {
        let pid = Spawn::new("/bin/sh").arg("-c").arg("exit 7").spawn().unwrap();
        assert!(has_children() && is_child(pid) && children().contains(&pid));
        let status = loop {
            if let Some(status) = reap_one(pid) {
                break status;
            }
            std::thread::yield_now();
        };
        assert_eq!(status, ExitStatus::exited(7));
        assert!(!is_child(pid) && reap_one(pid).is_none());
        assert!(!is_child(Pid::from_raw(1)));
    }
}
