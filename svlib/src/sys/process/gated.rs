//! A child that becomes its program only when it is told to: its parent can write down who it is before it does anything.
//!
//! The child waits on one end of a socket. A parent that is killed meanwhile closes the other end, and the child ends. So
//! whoever finds no note of a process knows that there is none.

use std::ffi::{CString, c_char, c_int};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::{Spawn, c_string, pointers, reap};
use crate::error::{Context, Result};
use crate::exit_status::ExitStatus;
use crate::sys::process::spawn::Directory;
use crate::sys::{channel, fd, startup};

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
    /// The program is a path: `PATH` is not searched.
    ///
    /// # Errors
    /// EAGAIN, ENOMEM, EMFILE: there is no process or no descriptor to be had.
    pub fn prepare(&self) -> Result<Gated> {
        let fork = || -> nix::Result<Gated> {
            let child = Child::new(self)?;
            let (gate, inner) = channel::pair().map_err(|error| error.errno)?;
            // The inner end is read by a child that has nothing else to do.
            fd::set_nonblocking(&inner, false).map_err(|error| error.errno)?;
            // SAFETY: the child calls only functions that are safe after a fork of any process (signal-safety(7)), and uses
            // no memory but what has been made ready for it.
            match Errno::result(unsafe { libc::fork() })? {
                0 => child.run(inner.as_raw_fd(), gate.as_raw_fd()),
                pid => Ok(Gated { pid: Pid::from_raw(pid), gate }),
            }
        };
        fork().on("start", &self.program)
    }
}

/// All that the child needs, made before the fork.
struct Child {
    program: CString,
    _arguments: Vec<CString>,
    argument_pointers: Vec<*const c_char>,
    _environment: Vec<CString>,
    environment_pointers: Vec<*const c_char>,
    /// Opened by the child, or the descriptor of one that is open.
    directory: Option<ChildDirectory>,
    cgroup: Option<RawFd>,
    new_session: bool,
    descriptors: Vec<(RawFd, RawFd)>,
    closed: Vec<RawFd>,
    /// No descriptor that is replaced has a number above this one.
    highest: RawFd,
    restore_sigpipe: bool,
    no_signals: libc::sigset_t,
}

enum ChildDirectory {
    Named(CString),
    Open(RawFd),
}

impl Child {
    fn new(spawn: &Spawn<'_>) -> nix::Result<Self> {
        let arguments =
            spawn.arguments.iter().map(|argument| c_string(argument)).collect::<nix::Result<Vec<_>>>()?;
        let environment =
            spawn.variables.iter().map(|variable| c_string(variable)).collect::<nix::Result<Vec<_>>>()?;
        let directory = match spawn.directory {
            Some(Directory::Named(path)) => Some(ChildDirectory::Named(c_string(path.as_os_str())?)),
            Some(Directory::Open(fd)) => Some(ChildDirectory::Open(fd.as_raw_fd())),
            None => None,
        };
        let descriptors: Vec<_> =
            spawn.descriptors.iter().map(|&(number, source)| (number, source.as_raw_fd())).collect();
        let mut no_signals = std::mem::MaybeUninit::uninit();
        // SAFETY: there is room for what the call initialises; it cannot fail.
        unsafe { libc::sigemptyset(no_signals.as_mut_ptr()) };
        Ok(Self {
            program: c_string(&spawn.program)?,
            argument_pointers: pointers(&arguments),
            _arguments: arguments,
            environment_pointers: super::environment_pointers(&environment),
            _environment: environment,
            directory,
            cgroup: spawn.cgroup.map(|fd| fd.as_raw_fd()),
            new_session: spawn.new_session,
            highest: descriptors.iter().map(|&(number, _)| number).fold(libc::STDERR_FILENO, RawFd::max),
            closed: spawn.closed().collect(),
            descriptors,
            restore_sigpipe: !startup::sigpipe_was_ignored(),
            // SAFETY: initialised above.
            no_signals: unsafe { no_signals.assume_init() },
        })
    }

    /// The child from its beginning to its end, whatever that is.
    fn run(&self, gate: RawFd, parents_end: RawFd) -> ! {
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
        let (gate, errno) = self.become_program(gate);
        // SAFETY: writes the four bytes of a variable that is there.
        unsafe { libc::write(gate, (&raw const errno).cast(), size_of::<c_int>()) };
        // SAFETY: as above.
        unsafe { libc::_exit(ABANDONED) }
    }

    /// Comes back only with the reason why not, and where to write it.
    fn become_program(&self, gate: RawFd) -> (RawFd, c_int) {
        let failed = |result: c_int| result == -1;
        // Where nothing that is put in place replaces it.
        // SAFETY: duplicates a descriptor.
        let gate = match unsafe { libc::fcntl(gate, libc::F_DUPFD_CLOEXEC, self.highest + 1) } {
            -1 => return (gate, last_errno()),
            gate => gate,
        };
        if self.new_session {
            // SAFETY: cannot fail in a child that has just been forked.
            unsafe { libc::setsid() };
        }
        if let Some(cgroup) = self.cgroup {
            // SAFETY: writes one byte of a constant: "0" is who writes it (cgroups(7)).
            if unsafe { libc::write(cgroup, c"0".as_ptr().cast(), 1) } == -1 {
                return (gate, last_errno());
            }
        }
        let directory = match &self.directory {
            // SAFETY: the path ends with NUL.
            Some(ChildDirectory::Named(path)) => unsafe { libc::chdir(path.as_ptr()) },
            // SAFETY: only takes a number.
            Some(ChildDirectory::Open(fd)) => unsafe { libc::fchdir(*fd) },
            None => 0,
        };
        if failed(directory) {
            return (gate, last_errno());
        }
        for &(number, source) in &self.descriptors {
            // One that an earlier replacement may have taken the number of is nowhere: all that this process opens is above
            // the standard descriptors, and only a notification descriptor is, too; it comes last.
            // SAFETY: duplicates a descriptor.
            let replaced = if number == source {
                // SAFETY: as above; the copy under the same number shall stay open.
                unsafe { libc::fcntl(number, libc::F_SETFD, 0) }
            } else {
                // SAFETY: as above.
                unsafe { libc::dup2(source, number) }
            };
            if failed(replaced) {
                return (gate, last_errno());
            }
        }
        for &number in &self.closed {
            // SAFETY: nothing in this process uses it any more.
            unsafe { libc::close(number) };
        }
        if self.restore_sigpipe {
            // SAFETY: the default action is no handler.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        }
        // SAFETY: the set is initialised.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.no_signals, ptr::null_mut()) };
        // SAFETY: the strings end with NUL and the vectors with null.
        unsafe {
            libc::execve(
                self.program.as_ptr(),
                self.argument_pointers.as_ptr(),
                self.environment_pointers.as_ptr(),
            )
        };
        (gate, last_errno())
    }
}

fn last_errno() -> c_int {
    Errno::last_raw()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::fd::AsFd;
    use std::path::Path;
    use std::time::Duration;

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
        for number in [3, 5, 40, writer.as_raw_fd()] {
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
