//! Starting a child.

use std::ffi::{OsStr, OsString, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use super::{c_string, environment_pointers, pointers};
use crate::error::{Context, Result};
use crate::sys::startup;

/// A program to start as a child (posix_spawn(3)).
///
/// Descriptors 0, 1 and 2 are inherited unless replaced. Replacements must be descriptors above 2 of this process, as all
/// it opens are.
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
    search_path: bool,
    descriptor_limit: Option<(u64, u64)>,
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
            search_path: false,
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

    /// Puts the child into a control group: `procs` is its file `cgroup.procs`, open for writing (cgroups(7)). Only for
    /// [`prepare`](Self::prepare).
    #[must_use]
    pub const fn cgroup(mut self, procs: BorrowedFd<'a>) -> Self {
        self.cgroup = Some(procs);
        self
    }

    /// Gives the child other limits on the number of descriptors than this process has, the soft and the hard one. Only for
    /// [`spawn`](Self::spawn).
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

    /// Gives the child `source` as its descriptor `number`.
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

    /// Looks a program name without a slash up in `PATH`.
    #[must_use]
    pub const fn search_path(mut self) -> Self {
        self.search_path = true;
        self
    }

    /// Starts the program, and returns once it has been executed.
    ///
    /// # Errors
    /// Why there is no new process, or why it could not execute the program: ENOENT, EACCES, ENOEXEC, EAGAIN and others of
    /// fork(2), chdir(2) and execve(2).
    pub fn spawn(&self) -> Result<Pid> {
        self.try_spawn().on("start", &self.program)
    }

    fn try_spawn(&self) -> nix::Result<Pid> {
        let program = c_string(&self.program)?;
        let arguments =
            self.arguments.iter().map(|argument| c_string(argument)).collect::<nix::Result<Vec<_>>>()?;
        let actions = self.file_actions()?;
        let attributes = Attributes::new(self.new_session)?;
        let spawn = if self.search_path { libc::posix_spawnp } else { libc::posix_spawn };
        let vector = pointers(&arguments);
        let variables =
            self.variables.iter().map(|variable| c_string(variable)).collect::<nix::Result<Vec<_>>>()?;
        let environment = environment_pointers(&variables);
        let limited = self.descriptor_limit.map(LimitedDescriptors::new).transpose()?;
        let mut pid = 0;
        // SAFETY: all pointers are to initialised values that outlive the call, and the vectors end with null.
        let error = unsafe {
            spawn(
                &raw mut pid,
                program.as_ptr(),
                &raw const actions.actions,
                &raw const attributes.0,
                vector.as_ptr().cast(),
                environment.as_ptr().cast(),
            )
        };
        drop(limited);
        check(error)?;
        Ok(Pid::from_raw(pid))
    }

    fn file_actions(&self) -> nix::Result<FileActions> {
        let mut actions = FileActions::new()?;
        // First, as the directory's number may be one of those that are replaced.
        match self.directory {
            Some(Directory::Named(path)) => {
                // Not posix_spawn_file_actions_addchdir_np(3): std declares it weak, and a static link then leaves it null.
                let fd = open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
                actions.change_directory(fd.as_fd())?;
                actions.directory = Some(fd);
            }
            Some(Directory::Open(fd)) => actions.change_directory(fd)?,
            None => {}
        }
        for &(number, source) in &self.descriptors {
            actions.duplicate(source, number)?;
        }
        for number in self.closed() {
            actions.close(number)?;
        }
        Ok(actions)
    }

    /// The descriptors that the child shall not have.
    pub(super) fn closed(&self) -> impl Iterator<Item = RawFd> {
        let closed = startup::closed().chain(self.stdout_closed.then_some(libc::STDOUT_FILENO));
        closed.filter(|number| !self.descriptors.iter().any(|(replaced, _)| replaced == number))
    }
}

/// While it lasts, this process has other limits on the number of descriptors, which a child made meanwhile keeps.
struct LimitedDescriptors {
    own: (u64, u64),
}

impl LimitedDescriptors {
    fn new((soft, hard): (u64, u64)) -> nix::Result<Self> {
        let own = getrlimit(Resource::RLIMIT_NOFILE)?;
        // The hard limit can be lowered for good only: so whoever raised it is able to do it again.
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
        Ok(Self { own })
    }
}

impl Drop for LimitedDescriptors {
    fn drop(&mut self) {
        // It was so a moment ago.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, self.own.0, self.own.1);
    }
}

/// The posix_spawn family returns its error number.
fn check(error: c_int) -> nix::Result<()> {
    if error == 0 { Ok(()) } else { Err(Errno::from_raw(error)) }
}

struct FileActions {
    actions: libc::posix_spawn_file_actions_t,
    /// The directory that the actions change to, if it was opened for them.
    directory: Option<OwnedFd>,
}

impl FileActions {
    fn new() -> nix::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: there is room for what the call initialises.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: the call above succeeded.
        Ok(Self { actions: unsafe { actions.assume_init() }, directory: None })
    }

    fn duplicate(&mut self, source: BorrowedFd<'_>, number: RawFd) -> nix::Result<()> {
        // SAFETY: the actions are initialised.
        check(unsafe {
            libc::posix_spawn_file_actions_adddup2(&raw mut self.actions, source.as_raw_fd(), number)
        })
    }

    fn close(&mut self, number: RawFd) -> nix::Result<()> {
        // SAFETY: the actions are initialised.
        check(unsafe { libc::posix_spawn_file_actions_addclose(&raw mut self.actions, number) })
    }

    fn change_directory(&mut self, directory: BorrowedFd<'_>) -> nix::Result<()> {
        // SAFETY: the actions are initialised.
        check(unsafe {
            libc::posix_spawn_file_actions_addfchdir_np(&raw mut self.actions, directory.as_raw_fd())
        })
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: the actions are initialised and not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.actions) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new(new_session: bool) -> nix::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: there is room for what the call initialises.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: the call above succeeded.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let mut flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        if new_session {
            flags |= c_int::from(libc::POSIX_SPAWN_SETSID);
        }
        let mut defaults = SigSet::empty();
        if !startup::sigpipe_was_ignored() {
            defaults.add(Signal::SIGPIPE);
        }
        let mask = SigSet::empty();
        // SAFETY: the attributes and the set are initialised; the set is copied.
        check(unsafe { libc::posix_spawnattr_setsigmask(&raw mut attributes.0, mask.as_ref()) })?;
        // SAFETY: as above.
        check(unsafe { libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, defaults.as_ref()) })?;
        let flags = libc::c_short::try_from(flags).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the attributes are initialised.
        check(unsafe { libc::posix_spawnattr_setflags(&raw mut attributes.0, flags) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: the attributes are initialised and not used again.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

#[cfg(test)]
mod tests {
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
