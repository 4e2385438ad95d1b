//! Processes that are not our children, held by a descriptor (pidfd_open(2)): it never means another process.

use std::ffi::c_long;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::exit_status::ExitStatus;
use crate::record::ProcessId;
use crate::sys::{fd, process};

/// A process. Its descriptor is readable once the process has ended, and hung up once somebody has reaped it.
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

/// What is known of a process that somebody wrote down.
#[derive(Debug)]
pub enum Found {
    /// It is this one, and has not been reaped.
    Alive(Pidfd),
    /// It has ended: nobody has its number, or another process that was started at another time.
    Gone,
    /// A process has its number, and it cannot be told whether it is the same.
    Unproven(Pidfd),
}

impl Pidfd {
    /// The process that has this number now.
    ///
    /// # Errors
    /// What pidfd_open(2) reports: ESRCH if there is none, ENOSYS before Linux 5.3.
    pub fn open(pid: Pid) -> nix::Result<Self> {
        // SAFETY: the call takes two numbers and touches no memory.
        let number =
            Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, c_long::from(pid.as_raw()), 0) })?;
        let number = RawFd::try_from(number).map_err(|_| Errno::EBADF)?;
        // SAFETY: the kernel has just made this descriptor, for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(number) }))
    }

    /// The same one, to be kept for long ([`fd::lift`]).
    #[must_use]
    pub fn lifted(self) -> Self {
        Self(fd::lift(self.0))
    }

    /// Finds a process that was written down in this boot. Its number may be another's by now.
    ///
    /// # Errors
    /// What pidfd_open(2) reports besides ESRCH: no descriptor is left, say. Then nothing is known.
    pub fn find(process: ProcessId) -> nix::Result<Found> {
        let pidfd = match Self::open(process.pid) {
            Ok(pidfd) => pidfd,
            Err(Errno::ESRCH) => return Ok(Found::Gone),
            // Without a descriptor, what is gone can still be told.
            Err(_) if process.start != 0 && is_another(process) => return Ok(Found::Gone),
            Err(errno) => return Err(errno),
        };
        let start = process::start_time(process.pid);
        // What was read is of this process only if it has not been reaped meanwhile.
        if pidfd.send(None) == Err(Errno::ESRCH) {
            return Ok(Found::Gone);
        }
        Ok(match start {
            Some(start) if start == process.start => Found::Alive(pidfd),
            Some(_) if process.start != 0 => Found::Gone,
            _ => Found::Unproven(pidfd),
        })
    }

    /// Sends `signal`; None only finds out whether it could be sent (pidfd_send_signal(2)).
    ///
    /// # Errors
    /// ESRCH: it has been reaped. EPERM: it is somebody else's.
    pub fn send(&self, signal: Option<Signal>) -> nix::Result<()> {
        let (fd, signal) = (self.0.as_raw_fd(), signal.map_or(0, |signal| signal as i32));
        let no_info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: without siginfo the call touches no memory.
        Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, no_info, 0) }).map(drop)
    }

    /// How it ended; None if it has not been reaped yet, or the kernel does not tell (before Linux 6.15).
    pub fn exit_status(&self) -> Option<ExitStatus> {
        let mut info = Info { mask: INFO_EXIT, ..Info::default() };
        // SAFETY: the request writes at most as many bytes as its number says, which is the size of the struct.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), GET_INFO, &raw mut info) };
        let known = result == 0 && info.mask & INFO_EXIT != 0;
        known.then(|| ExitStatus::from_raw(info.exit_code))
    }
}

/// Whether a process started at another time has the number. What cannot be read proves nothing.
fn is_another(process: ProcessId) -> bool {
    process::start_time(process.pid).is_some_and(|start| start != process.start)
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `struct pidfd_info` of linux/pidfd.h, in its first form.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    pids: [u32; 3],
    ids: [u32; 8],
    exit_code: i32,
}

/// `PIDFD_INFO_EXIT`.
const INFO_EXIT: u64 = 1 << 3;
/// `PIDFD_GET_INFO`: `_IOWR(0xFF, 11, struct pidfd_info)`.
const GET_INFO: libc::Ioctl = 3 << 30 | (size_of::<Info>() as libc::Ioctl) << 16 | 0xff << 8 | 11;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        let start = process::start_time(pid).unwrap();
        let find = |start| Pidfd::find(ProcessId { pid, start }).unwrap();
        assert!(matches!(find(start + 1), Found::Gone));
        assert!(matches!(find(0), Found::Unproven(_)));
        let Found::Alive(pidfd) = find(start) else { panic!("it is alive") };
        assert!(pidfd.exit_status().is_none());
        pidfd.send(Some(Signal::SIGKILL)).unwrap();
        child.wait().unwrap();
        assert!(matches!(find(start), Found::Gone));
        assert_eq!(pidfd.send(Some(Signal::SIGKILL)), Err(Errno::ESRCH));
        // An old kernel does not tell.
        assert!(pidfd.exit_status().is_none_or(|status| status == ExitStatus::killed(9)));
    }
}
