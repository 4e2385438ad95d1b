//! Starting a child.

use std::ffi::{OsStr, OsString, c_int, c_uint, c_void};
use std::os::fd::{BorrowedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::child::Child;
use super::{reap, search_path};
use crate::error::{Context, Result};
use crate::sys::startup;

/// A program to start as a child.
///
/// Descriptors 0, 1 and 2 are inherited unless replaced. What replaces them must be above 2, as all is that this process opens.
#[derive(Debug)]
pub struct Spawn<'a> {
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
    /// `NAME=value`, besides what this process has.
    pub(super) variables: Vec<OsString>,
    pub(super) directory: Option<Directory<'a>>,
    pub(super) descriptors: Vec<(RawFd, BorrowedFd<'a>)>,
    pub(super) cgroup: Option<BorrowedFd<'a>>,
    stdout_closed: bool,
    pub(super) new_session: bool,
    /// The directories to look the program up in.
    pub(super) path: Option<OsString>,
    pub(super) descriptor_limit: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Directory<'a> {
    Named(&'a Path),
    Open(BorrowedFd<'a>),
}

impl<'a> Spawn<'a> {
    /// The program at the path `program`, relative to the child's directory; its name is also its argument zero.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref().to_owned();
        Self {
            arguments: vec![program.clone()],
            program,
            variables: Vec::new(),
            directory: None,
            descriptors: Vec::new(),
            cgroup: None,
            stdout_closed: false,
            new_session: false,
            path: None,
            descriptor_limit: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Gives the child a variable that this process need not have.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let mut variable = OsString::from(name);
        variable.push("=");
        variable.push(value);
        self.variables.push(variable);
        self
    }

    /// Puts the child into a control group: `procs` is its file `cgroup.procs`, open for writing (cgroups(7)).
    #[must_use]
    pub const fn cgroup(mut self, procs: BorrowedFd<'a>) -> Self {
        self.cgroup = Some(procs);
        self
    }

    /// Gives the child other limits on the number of descriptors than this process has, the soft and the hard one.
    #[must_use]
    pub const fn descriptor_limit(mut self, limit: (u64, u64)) -> Self {
        self.descriptor_limit = Some(limit);
        self
    }

    /// Starts the program in `directory`.
    #[must_use]
    pub fn dir(mut self, directory: &'a Path) -> Self {
        self.directory = Some(Directory::Named(directory));
        self
    }

    /// Starts the program in a directory that is open, whatever its name is by now.
    #[must_use]
    pub const fn dir_fd(mut self, directory: BorrowedFd<'a>) -> Self {
        self.directory = Some(Directory::Open(directory));
        self
    }

    /// Tells the program another name than its own as argument zero.
    #[must_use]
    pub fn argument_zero(mut self, name: impl AsRef<OsStr>) -> Self {
        self.arguments[0] = name.as_ref().to_owned();
        self
    }

    /// Gives the child `source` as its descriptor `number`. The source of one that is given later must not have this number.
    #[must_use]
    pub fn fd(mut self, number: RawFd, source: BorrowedFd<'a>) -> Self {
        self.descriptors.push((number, source));
        self
    }

    /// Gives the child another standard input.
    #[must_use]
    pub fn stdin(self, source: BorrowedFd<'a>) -> Self {
        self.fd(libc::STDIN_FILENO, source)
    }

    /// Gives the child another standard output.
    #[must_use]
    pub fn stdout(self, source: BorrowedFd<'a>) -> Self {
        self.fd(libc::STDOUT_FILENO, source)
    }

    /// Gives the child another standard error.
    #[must_use]
    pub fn stderr(self, source: BorrowedFd<'a>) -> Self {
        self.fd(libc::STDERR_FILENO, source)
    }

    /// Starts the child without a standard output.
    #[must_use]
    pub const fn close_stdout(mut self) -> Self {
        self.stdout_closed = true;
        self
    }

    /// Makes the child the leader of a new session and process group (setsid(2)).
    #[must_use]
    pub const fn new_session(mut self) -> Self {
        self.new_session = true;
        self
    }

    /// Looks a program name without a slash up in this process's `PATH`.
    #[must_use]
    pub fn search_path(mut self) -> Self {
        self.path = Some(search_path());
        self
    }

    /// Starts the program, and returns once it has been executed.
    ///
    /// The child is made with clone(2) as posix_spawn(3) does it, in the memory of this process, which waits meanwhile. But
    /// unlike there it has no copy of every descriptor: to copy and to close those costs more the more there are, and
    /// runsvdir holds some for each service. It sees them all (`CLONE_FILES`) until it takes its own copy of those that it
    /// may need, and of no other (`CLOSE_RANGE_UNSHARE` of close_range(2), Linux 5.9). Cheap is thus a child whose
    /// descriptors have low numbers ([`fd::lift`](crate::sys::fd::lift)).
    ///
    /// # Errors
    /// Why there is no new process, or why it could not execute the program: ENOENT, EACCES, ENOEXEC, EAGAIN and others of
    /// clone(2), chdir(2) and execve(2).
    pub fn spawn(&self) -> Result<Pid> {
        self.try_spawn().on("start", &self.program)
    }

    fn try_spawn(&self) -> nix::Result<Pid> {
        let child = Child::new(self)?;
        let highest = startup::highest_inherited().map(|inherited| inherited.max(child.highest_descriptor()));
        let birth = Birth {
            first_unused: highest.filter(|_| can_unshare()).map(|highest| highest + 1),
            child,
            errno: AtomicI32::new(0),
        };
        let files = if birth.first_unused.is_some() { libc::CLONE_FILES } else { 0 };
        let mut stack = vec![0_u128; STACK_SIZE / size_of::<u128>()];
        // SAFETY: the child has a stack of its own and does only what `Child` may do; as this process waits until the child
        // has become its program or ended, both the stack and what it is told are there all that time.
        let pid = Errno::result(unsafe {
            libc::clone(
                be_born,
                stack.as_mut_ptr_range().end.cast(),
                libc::CLONE_VM | libc::CLONE_VFORK | files | libc::SIGCHLD,
                (&raw const birth).cast_mut().cast(),
            )
        })?;
        match birth.errno.load(Ordering::Relaxed) {
            0 => Ok(Pid::from_raw(pid)),
            errno => {
                reap::wait(pid, 0);
                Err(Errno::from_raw(errno))
            }
        }
    }

    /// The descriptors that the child shall not have.
    pub(super) fn closed(&self) -> impl Iterator<Item = RawFd> {
        let closed = startup::closed().chain(self.stdout_closed.then_some(libc::STDOUT_FILENO));
        closed.filter(|number| !self.descriptors.iter().any(|(replaced, _)| replaced == number))
    }
}

/// What the child of [`Spawn::spawn`] is told, and what it answers.
struct Birth {
    child: Child,
    /// The child needs no descriptor from this number on, and shares them all with its parent. None if it has copies.
    first_unused: Option<RawFd>,
    /// Why there is no program. Zero until then.
    errno: AtomicI32,
}

extern "C" fn be_born(birth: *mut c_void) -> c_int {
    // SAFETY: the parent handed it over, and waits.
    let birth = unsafe { &*birth.cast::<Birth>() };
    let own = birth.first_unused.map_or(Ok(()), |first| close_from(first, libc::CLOSE_RANGE_UNSHARE));
    let errno = match own {
        Ok(()) => birth.child.become_program(),
        Err(errno) => errno,
    };
    birth.errno.store(errno as c_int, Ordering::Relaxed);
    // SAFETY: ends the process without any of the parent's clean-up.
    unsafe { libc::_exit(UNBORN) }
}

/// Whether close_range(2) is there, and allowed.
fn can_unshare() -> bool {
    // No descriptor has that number.
    close_from(RawFd::MAX, 0).is_ok()
}

fn close_from(first: RawFd, flags: c_uint) -> nix::Result<()> {
    // SAFETY: nothing in the calling process uses these descriptors.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, flags) }).map(drop)
}

/// Bytes. More than enough: what the child does calls nothing that is deep.
const STACK_SIZE: usize = 32 << 10;

/// Seen by nobody but [`Spawn::spawn`].
const UNBORN: c_int = 127;

#[cfg(test)]
mod tests {
    use std::env;
    use std::os::fd::AsFd as _;

    use nix::sys::wait::{WaitStatus, waitpid};

    use super::*;
    use crate::sys::fd;

    /// The child's exit code, and what it wrote.
    fn output_of(spawn: impl FnOnce(BorrowedFd<'_>) -> Pid) -> (Option<i32>, String) {
        let (reader, writer) = fd::pipe().unwrap();
        let pid = spawn(writer.as_fd());
        drop(writer);
        let mut output = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match fd::read(&reader, &mut buffer).unwrap() {
                0 => break,
                length => output.extend_from_slice(&buffer[..length]),
            }
        }
        let code = match waitpid(pid, None).unwrap() {
            WaitStatus::Exited(_, code) => Some(code),
            _ => None,
        };
        (code, String::from_utf8(output).unwrap())
    }

    #[test]
    fn a_child_gets_directory_arguments_and_descriptors() {
        let (code, output) = output_of(|writer| {
            let script = "pwd; echo $0 $1; read line; exit 42";
            let shell = Spawn::new("sh").search_path().arg("-c").arg(script).arg("zero").arg("one");
            shell.dir(Path::new("/")).stdout(writer).spawn().unwrap()
        });
        assert_eq!((code, output.as_str()), (Some(42), "/\nzero one\n"));
    }

    #[test]
    fn a_child_gets_an_open_directory_and_another_name() {
        let root = std::fs::File::open("/").unwrap();
        let (_, output) = output_of(|writer| {
            let shell = Spawn::new("/bin/sh").argument_zero("named").arg("-c").arg("pwd; echo $0");
            shell.dir_fd(root.as_fd()).stdout(writer).spawn().unwrap()
        });
        assert_eq!(output, "/\nnamed\n");
    }

    #[test]
    fn a_child_sees_no_signal_of_ours_blocked_or_ignored() {
        let (_, output) = output_of(|writer| {
            let own =
                Spawn::new("grep").search_path().arg("-E").arg("SigBlk|SigIgn").arg("/proc/self/status");
            own.stdout(writer).spawn().unwrap()
        });
        let sigpipe = 1 << (libc::SIGPIPE - 1);
        for line in output.lines() {
            let bits = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
            assert!(bits & sigpipe == 0 || startup::sigpipe_was_ignored(), "{output}");
            assert!(line.starts_with("SigIgn") || bits == 0, "{output}");
        }
        assert_eq!(output.lines().count(), 2);
    }

    /// Its own are not, whatever their numbers.
    #[test]
    fn an_inherited_descriptor_is_handed_on() {
        let (_, output) = output_of(|writer| {
            // A process that has inherited descriptor 99, and whose own are around it, is another one.
            let test = "sys::process::spawn::tests::hand_on";
            let this = Spawn::new(env::current_exe().unwrap()).arg("--exact").arg("--nocapture").arg(test);
            this.env("HAND_ON", "1").fd(99, writer).stdout(writer).spawn().unwrap()
        });
        assert!(output.contains(" 99 -> ") && !output.contains(" -> /\n"), "{output}");
    }

    #[test]
    fn hand_on() {
        if env::var_os("HAND_ON").is_none() {
            return;
        }
        let own: Vec<_> = (0..300).map(|_| std::fs::File::open("/").unwrap()).collect();
        assert!(startup::highest_inherited() >= Some(99));
        let pid = Spawn::new("ls").search_path().arg("-l").arg("/proc/self/fd").spawn().unwrap();
        assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, 0)));
        drop(own);
    }

    #[test]
    fn a_program_that_cannot_be_executed_is_an_error() {
        let error = Spawn::new("./missing").dir(Path::new("/")).spawn().unwrap_err();
        assert_eq!(error.to_string(), "unable to start ./missing: No such file or directory");
        let error = Spawn::new("/").spawn().unwrap_err();
        assert_eq!(error.errno, Errno::EACCES);
    }

    #[test]
    fn a_script_without_interpreter_is_not_given_to_a_shell() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("run");
        std::fs::write(&script, "exit 0\n").unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(Spawn::new(&script).spawn().unwrap_err().errno, Errno::ENOEXEC);
    }
}
