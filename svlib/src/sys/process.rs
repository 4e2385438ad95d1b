//! Starting programs, becoming another, and seeing children end.
//!
//! A program that is started here finds what this process found when it began: its environment, SIGPIPE as it was, and the
//! standard descriptors that were closed closed. Its signal mask is empty.

use std::ffi::{CString, OsStr, OsString, c_char, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use super::startup;
use crate::error::{Context, Result};
use crate::exit_status::ExitStatus;

/// A program to start as a child (posix_spawn(3)).
///
/// Descriptors 0, 1 and 2 are inherited unless replaced. Replacements must be descriptors above 2 of this process, as all
/// it opens are.
#[derive(Debug)]
pub struct Spawn<'a> {
    program: OsString,
    arguments: Vec<OsString>,
    directory: Option<Directory<'a>>,
    descriptors: Vec<(RawFd, BorrowedFd<'a>)>,
    stdout_closed: bool,
    new_session: bool,
    search_path: bool,
}

#[derive(Clone, Copy, Debug)]
enum Directory<'a> {
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
            directory: None,
            descriptors: Vec::new(),
            stdout_closed: false,
            new_session: false,
            search_path: false,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
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
        // SAFETY: no other thread changes the environment.
        let environment = unsafe { libc::environ };
        let mut pid = 0;
        // SAFETY: all pointers are to initialised values that outlive the call, and the vectors end with null.
        let error = unsafe {
            spawn(
                &raw mut pid,
                program.as_ptr(),
                &raw const actions.actions,
                &raw const attributes.0,
                vector.as_ptr().cast(),
                environment.cast_const().cast(),
            )
        };
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
        for number in startup::closed().chain(self.stdout_closed.then_some(libc::STDOUT_FILENO)) {
            if !self.descriptors.iter().any(|&(replaced, _)| replaced == number) {
                actions.close(number)?;
            }
        }
        Ok(actions)
    }
}

/// A child that has ended, if there is one (waitpid(2)); it is then forgotten by the kernel.
pub fn reap() -> Option<(Pid, ExitStatus)> {
    wait_for(-1, libc::WNOHANG).ok().flatten()
}

/// Waits until the child `pid` has ended.
///
/// # Errors
/// What waitpid(2) reports: ECHILD if `pid` is no child.
pub fn wait(pid: Pid) -> Result<ExitStatus> {
    loop {
        match wait_for(pid.as_raw(), 0) {
            Ok(Some((_, status))) => return Ok(status),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).during("wait for child"),
        }
    }
}

/// A program that this process is about to become (execve(2)), all memory for it at hand.
///
/// No shell runs a file that the kernel cannot execute.
#[derive(Debug)]
pub struct Exec {
    candidates: Vec<CString>,
    arguments: Vector,
    environment: Vector,
}

impl Exec {
    /// Prepares to run `program` with the arguments and the environment given.
    ///
    /// A `program` without a slash is looked up in the directories of `path`, which a colon separates and of which an empty
    /// one is the current directory. One that may not be executed is passed over for a later one.
    ///
    /// # Errors
    /// ENOENT for an empty name, EINVAL for a NUL byte in any text.
    pub fn new(
        program: &OsStr,
        arguments: &[OsString],
        environment: &[(OsString, OsString)],
        path: &OsStr,
    ) -> nix::Result<Self> {
        Ok(Self {
            candidates: candidates(program, path)?,
            arguments: Vector::new(arguments.iter().map(|argument| c_string(argument)))?,
            environment: Vector::new(environment.iter().map(variable))?,
        })
    }

    /// Becomes the program; comes back only with the reason why not.
    pub fn run(&self) -> Errno {
        hand_back_startup();
        execute(&self.candidates, &self.arguments.pointers, &self.environment.pointers)
    }
}

/// A null-terminated vector, and the strings it points to.
#[derive(Debug)]
struct Vector {
    pointers: Vec<*const c_char>,
    #[expect(dead_code, reason = "the pointers point here")]
    strings: Vec<CString>,
}

impl Vector {
    fn new(strings: impl Iterator<Item = nix::Result<CString>>) -> nix::Result<Self> {
        let strings = strings.collect::<nix::Result<Vec<_>>>()?;
        Ok(Self { pointers: pointers(&strings), strings })
    }
}

/// The files that may be `program`.
fn candidates(program: &OsStr, path: &OsStr) -> nix::Result<Vec<CString>> {
    if program.is_empty() {
        return Err(Errno::ENOENT);
    }
    if program.as_bytes().contains(&b'/') {
        return Ok(vec![c_string(program)?]);
    }
    let directories = path.as_bytes().split(|&byte| byte == b':');
    directories
        .map(|directory| if directory.is_empty() { b"." } else { directory })
        .map(|directory| c_string(Path::new(OsStr::from_bytes(directory)).join(program).as_os_str()))
        .collect()
}

fn variable((name, value): &(OsString, OsString)) -> nix::Result<CString> {
    let mut variable = name.clone();
    variable.push("=");
    variable.push(value);
    c_string(&variable)
}

fn execute(candidates: &[CString], arguments: &[*const c_char], environment: &[*const c_char]) -> Errno {
    let mut reason = Errno::ENOENT;
    for candidate in candidates {
        // SAFETY: the strings end with NUL and the vectors with null, and all outlive the call.
        unsafe { libc::execve(candidate.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        match Errno::last() {
            Errno::ENOENT | Errno::ENOTDIR => {}
            errno @ (Errno::EACCES | Errno::EPERM | Errno::EISDIR) => reason = errno,
            errno => return errno,
        }
    }
    reason
}

/// Gives up what Rust's runtime put in place of what the parent handed over.
fn hand_back_startup() {
    for number in startup::closed() {
        // SAFETY: the runtime's /dev/null is behind this number, or the program's own wish replaced it, and nothing
        // owns it.
        unsafe { libc::close(number) };
    }
    if !startup::sigpipe_was_ignored() {
        // SAFETY: the default action is no handler that could run code of this process.
        let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    }
}

fn wait_for(pid: libc::pid_t, options: c_int) -> nix::Result<Option<(Pid, ExitStatus)>> {
    let mut status = 0;
    // SAFETY: the status is written to a variable that is there.
    match Errno::result(unsafe { libc::waitpid(pid, &raw mut status, options) })? {
        0 => Ok(None),
        pid => Ok(Some((Pid::from_raw(pid), ExitStatus::from_raw(status)))),
    }
}

fn c_string(text: &OsStr) -> nix::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| Errno::EINVAL)
}

/// The null-terminated vector that execve(2) wants; it borrows from `strings`.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
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
        let mut defaults = nix::sys::signal::SigSet::empty();
        if !startup::sigpipe_was_ignored() {
            defaults.add(Signal::SIGPIPE);
        }
        let mask = nix::sys::signal::SigSet::empty();
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
    use super::*;
    use crate::sys::fd;
    use std::os::fd::AsFd;

    fn output_of(spawn: impl FnOnce(BorrowedFd<'_>) -> Pid) -> (ExitStatus, String) {
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
        (wait(pid).unwrap(), String::from_utf8(output).unwrap())
    }

    #[test]
    fn a_child_gets_directory_arguments_and_descriptors() {
        let (status, output) = output_of(|writer| {
            let script = "pwd; echo $0 $1; read line; exit 42";
            let shell = Spawn::new("sh").search_path().arg("-c").arg(script).arg("zero").arg("one");
            shell.dir(Path::new("/")).stdout(writer).spawn().unwrap()
        });
        assert_eq!((status.code(), output.as_str()), (Some(42), "/\nzero one\n"));
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

    #[test]
    fn exec_passes_over_what_is_not_there() {
        let exec =
            |program| match Exec::new(OsStr::new(program), &[], &[], OsStr::new("/no/such/directory:/:")) {
                Ok(exec) => exec.run(),
                Err(errno) => errno,
            };
        assert_eq!(exec("no-such-program"), Errno::ENOENT);
        assert_eq!(exec(""), Errno::ENOENT);
        assert_eq!(exec("/"), Errno::EACCES);
    }
}
