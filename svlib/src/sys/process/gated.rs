//! A child that becomes its program only when it is told to: its parent can write down who it is before it does anything.
//!
//! The child waits on one end of a socket. A parent that is killed meanwhile closes the other end, and the child ends. So
//! whoever finds no note of a process knows that there is none.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::child::Child;
use super::{Spawn, reap};
use crate::error::{Context, Result};
use crate::exit_status::ExitStatus;
use crate::sys::{channel, fd};

/// The exit code of a child whose parent was killed before it let it go: that of a program that could not be executed.
const ABANDONED: c_int = match ExitStatus::NOT_EXECUTED.code() {
    Some(code) => code,
    None => 111,
};

/// A child that waits at the gate.
#[derive(Debug)]
pub struct Gated {
    pid: Pid,
    gate: OwnedFd,
}

impl Gated {
    /// The child.
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets the child become its program.
    ///
    /// # Errors
    /// Why it cannot: what chdir(2) and execve(2) report. The child has then ended and been reaped.
    pub fn release(self) -> nix::Result<Pid> {
        // A child that was killed meanwhile has not become anything; whoever waits for it will see.
        let _ = channel::send(&self.gate, b"x", &[]);
        let mut answer = [0; size_of::<c_int>()];
        // Executing the program closes the child's end.
        match fd::read_waiting(&self.gate, &mut answer) {
            Ok(length) if length == answer.len() => {
                reap::wait(self.pid.as_raw(), 0);
                Err(Errno::from_raw(c_int::from_ne_bytes(answer)))
            }
            _ => Ok(self.pid),
        }
    }
}

impl Spawn<'_> {
    /// Makes the child (fork(2)), and returns while it waits at the gate.
    ///
    /// # Errors
    /// EAGAIN, ENOMEM, EMFILE: there is no process or no descriptor to be had.
    pub fn prepare(&self) -> Result<Gated> {
        let fork = || -> nix::Result<Gated> {
            let child = Child::new(self)?;
            let (gate, inner) = channel::pair().map_err(|error| error.errno)?;
            // The inner end is read by a child that has nothing else to do.
            fd::set_nonblocking(&inner, false).map_err(|error| error.errno)?;
            // SAFETY: the child does only what `Child` may do, and reads and writes.
            match Errno::result(unsafe { libc::fork() })? {
                0 => run(&child, inner.as_raw_fd(), gate.as_raw_fd()),
                pid => Ok(Gated { pid: Pid::from_raw(pid), gate }),
            }
        };
        fork().on("start", &self.program)
    }
}

/// The child from its beginning to its end, whatever that is.
fn run(child: &Child, gate: RawFd, parents_end: RawFd) -> ! {
    // Else it would keep itself waiting for ever.
    // SAFETY: the child's copy is nobody else's.
    unsafe { libc::close(parents_end) };
    let mut go = 0_u8;
    // SAFETY: reads one byte into a variable that is there.
    let told = unsafe { libc::read(gate, (&raw mut go).cast(), 1) };
    if told != 1 {
        // SAFETY: ends the process without any of the parent's clean-up.
        unsafe { libc::_exit(ABANDONED) };
    }
    let (gate, errno) = match out_of_the_way(gate, child) {
        Ok(gate) => (gate, child.become_program()),
        Err(errno) => (gate, errno),
    };
    let errno = errno as c_int;
    // SAFETY: writes the four bytes of a variable that is there.
    unsafe { libc::write(gate, (&raw const errno).cast(), size_of::<c_int>()) };
    // SAFETY: as above.
    unsafe { libc::_exit(ABANDONED) }
}

/// The gate under a number that nothing is put in place of.
fn out_of_the_way(gate: RawFd, child: &Child) -> nix::Result<RawFd> {
    if !child.replaces(gate) {
        return Ok(gate);
    }
    // SAFETY: duplicates a descriptor.
    Errno::result(unsafe { libc::fcntl(gate, libc::F_DUPFD_CLOEXEC, child.highest_descriptor() + 1) })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::fd::AsFd;
    use std::path::Path;
    use std::time::Duration;

    use nix::sys::resource::{Resource, getrlimit};
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

    use super::*;
    use crate::sys::poll::{self, PollFd, PollFlags};

    fn wait(pid: Pid) -> WaitStatus {
        waitpid(pid, None).unwrap()
    }

    #[test]
    fn a_child_waits_and_then_becomes_its_program() {
        let (reader, writer) = fd::pipe().unwrap();
        let script = "pwd; echo $0 $1 $GREETING; exit 42";
        let shell = Spawn::new("/bin/sh").arg("-c").arg(script).arg("zero").arg("one").dir(Path::new("/"));
        let gated = shell.env("GREETING", "hello").stdout(writer.as_fd()).prepare().unwrap();
        drop(writer);
        let ready = |timeout| {
            let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
            poll::wait(&mut fds, Some(timeout)).unwrap()
        };
        assert_eq!(ready(Duration::from_millis(50)), 0);
        let pid = gated.release().unwrap();
        assert_eq!(wait(pid), WaitStatus::Exited(pid, 42));
        let mut text = [0; 64];
        let length = fd::read(&reader, &mut text).unwrap();
        assert_eq!(std::str::from_utf8(&text[..length]).unwrap(), "/\nzero one hello\n");
    }

    #[test]
    fn a_child_that_is_not_let_go_ends() {
        let gated = Spawn::new("/bin/true").prepare().unwrap();
        let pid = gated.pid();
        drop(gated);
        assert_eq!(wait(pid), WaitStatus::Exited(pid, 111));
    }

    #[test]
    fn a_failure_is_told_and_leaves_no_child() {
        for (program, errno) in [("/no/such/program", Errno::ENOENT), ("/", Errno::EACCES)] {
            let gated = Spawn::new(program).prepare().unwrap();
            let pid = gated.pid();
            assert_eq!(gated.release(), Err(errno));
            assert_eq!(waitpid(pid, Some(WaitPidFlag::WNOHANG)), Err(Errno::ECHILD));
        }
        let gated = Spawn::new("/bin/true").dir(Path::new("/no/such/directory")).prepare().unwrap();
        assert_eq!(gated.release(), Err(Errno::ENOENT));
    }

    #[test]
    fn a_descriptor_of_any_number_is_given() {
        let (reader, writer) = fd::pipe().unwrap();
        let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        for number in [3, 5, 40, writer.as_raw_fd(), RawFd::try_from(limit).unwrap() - 1] {
            // A shell's own redirection takes one digit.
            let script = format!("echo x >/proc/self/fd/{number}");
            let shell = Spawn::new("/bin/sh").arg("-c").arg(OsStr::new(&script)).fd(number, writer.as_fd());
            let pid = shell.prepare().unwrap().release().unwrap();
            assert_eq!(wait(pid), WaitStatus::Exited(pid, 0));
            assert_eq!(fd::read(&reader, &mut [0; 4]).unwrap(), 2);
        }
    }

    #[test]
    fn a_child_has_no_signal_blocked() {
        let (reader, writer) = fd::pipe().unwrap();
        let grep = Spawn::new("/bin/grep").arg("SigBlk").arg("/proc/self/status").stdout(writer.as_fd());
        let pid = grep.new_session().prepare().unwrap().release().unwrap();
        assert_eq!(wait(pid), WaitStatus::Exited(pid, 0));
        let mut text = [0; 64];
        let length = fd::read(&reader, &mut text).unwrap();
        assert!(text[..length].ends_with(b"0000000000000000\n"));
    }
}
