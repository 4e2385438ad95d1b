//! What a new process does between its birth and the program that it becomes.
//!
//! Only functions that are safe after a fork of any process (signal-safety(7)), and no memory but what was made ready before:
//! the process may even share the memory of its parent.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

use nix::errno::Errno;

use super::exec::{candidates, execute};
use super::spawn::{Directory, Spawn};
use super::{c_string, environment_pointers, pointers};
use crate::sys::startup;

/// All that the child needs.
pub(super) struct Child {
    /// The files that may be the program.
    programs: Vec<CString>,
    _arguments: Vec<CString>,
    argument_pointers: Vec<*const c_char>,
    _environment: Vec<CString>,
    environment_pointers: Vec<*const c_char>,
    directory: Option<ChildDirectory>,
    cgroup: Option<RawFd>,
    new_session: bool,
    descriptors: Vec<(RawFd, RawFd)>,
    closed: Vec<RawFd>,
    descriptor_limit: Option<libc::rlimit>,
    restore_sigpipe: bool,
    no_signals: libc::sigset_t,
}

/// The directory that the child starts its program in.
enum ChildDirectory {
    Named(CString),
    Open(RawFd),
}

impl Child {
    /// # Errors
    /// EINVAL for a NUL byte in any text, ENOENT for an empty name.
    pub(super) fn new(spawn: &Spawn<'_>) -> nix::Result<Self> {
        let arguments =
            spawn.arguments.iter().map(|argument| c_string(argument)).collect::<nix::Result<Vec<_>>>()?;
        let environment =
            spawn.variables.iter().map(|variable| c_string(variable)).collect::<nix::Result<Vec<_>>>()?;
        let directory = match spawn.directory {
            Some(Directory::Named(path)) => Some(ChildDirectory::Named(c_string(path.as_os_str())?)),
            Some(Directory::Open(fd)) => Some(ChildDirectory::Open(fd.as_raw_fd())),
            None => None,
        };
        let mut no_signals = MaybeUninit::uninit();
        // SAFETY: there is room for what the call initialises; it cannot fail.
        unsafe { libc::sigemptyset(no_signals.as_mut_ptr()) };
        Ok(Self {
            programs: match &spawn.path {
                Some(path) => candidates(&spawn.program, path)?,
                None => vec![c_string(&spawn.program)?],
            },
            argument_pointers: pointers(&arguments),
            _arguments: arguments,
            environment_pointers: environment_pointers(&environment),
            _environment: environment,
            directory,
            cgroup: spawn.cgroup.map(|fd| fd.as_raw_fd()),
            new_session: spawn.new_session,
            descriptors: spawn
                .descriptors
                .iter()
                .map(|&(number, source)| (number, source.as_raw_fd()))
                .collect(),
            closed: spawn.closed().collect(),
            descriptor_limit: spawn
                .descriptor_limit
                .map(|(soft, hard)| libc::rlimit { rlim_cur: soft, rlim_max: hard }),
            restore_sigpipe: !startup::sigpipe_was_ignored(),
            // SAFETY: initialised above.
            no_signals: unsafe { no_signals.assume_init() },
        })
    }

    /// The highest number of a descriptor that the child uses or makes, at least that of standard error.
    pub(super) fn highest_descriptor(&self) -> RawFd {
        let directory = match self.directory {
            Some(ChildDirectory::Open(fd)) => Some(fd),
            _ => None,
        };
        let given = self.descriptors.iter().flat_map(|&(number, source)| [number, source]);
        given.chain(directory).chain(self.cgroup).fold(libc::STDERR_FILENO, RawFd::max)
    }

    /// Whether a descriptor is put in place of this one.
    pub(super) fn replaces(&self, fd: RawFd) -> bool {
        self.descriptors.iter().any(|&(number, _)| number == fd)
    }

    /// Becomes the program. Comes back only with the reason why not: what setrlimit(2), write(2) to the control group,
    /// chdir(2), dup2(2) and execve(2) report.
    pub(super) fn become_program(&self) -> Errno {
        match self.prepare() {
            Ok(()) => execute(&self.programs, &self.argument_pointers, &self.environment_pointers),
            Err(errno) => errno,
        }
    }

    fn prepare(&self) -> nix::Result<()> {
        if self.new_session {
            // SAFETY: cannot fail in a child that has just been forked.
            unsafe { libc::setsid() };
        }
        if let Some(cgroup) = self.cgroup {
            // SAFETY: writes one byte of a constant: "0" is who writes it (cgroups(7)).
            Errno::result(unsafe { libc::write(cgroup, c"0".as_ptr().cast(), 1) })?;
        }
        // Before the descriptors: the directory's number may be one of those that are replaced.
        Errno::result(match &self.directory {
            // SAFETY: the path ends with NUL.
            Some(ChildDirectory::Named(path)) => unsafe { libc::chdir(path.as_ptr()) },
            // SAFETY: only takes a number.
            Some(ChildDirectory::Open(fd)) => unsafe { libc::fchdir(*fd) },
            None => 0,
        })?;
        for &(number, source) in &self.descriptors {
            // No earlier replacement has taken the number of its source: see `Spawn::fd`.
            Errno::result(if number == source {
                // SAFETY: only takes a number; the copy under the same number shall stay open.
                unsafe { libc::fcntl(number, libc::F_SETFD, 0) }
            } else {
                // SAFETY: duplicates a descriptor; nothing in this process uses the one that is replaced.
                unsafe { libc::dup2(source, number) }
            })?;
        }
        for &number in &self.closed {
            // SAFETY: nothing in this process uses it any more.
            unsafe { libc::close(number) };
        }
        if let Some(limit) = &self.descriptor_limit {
            // SAFETY: the limit is initialised.
            Errno::result(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) })?;
        }
        if self.restore_sigpipe {
            // SAFETY: the default action is no handler.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        }
        // SAFETY: the set is initialised.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.no_signals, ptr::null_mut()) };
        Ok(())
    }
}
