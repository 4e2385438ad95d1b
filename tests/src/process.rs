//! Processes of a test: run to their end with a deadline, or in the background until dropped.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::panicking;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::eventually::{eventually, within};
use crate::proc::{ProcStat, all_processes};
use crate::suite::note;

/// What a finished program left.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error, the same way.
    pub stderr: String,
}

/// A program in the background. Killed and reaped when dropped; what it started is the sandbox's to kill.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Starts `command` with its output in the files `stdout` and `stderr`.
    pub(crate) fn start(command: &mut Command, stdout: PathBuf, stderr: PathBuf) -> Self {
        command.stdout(create(&stdout)).stderr(create(&stderr));
        let child = {
            let _fork = exclude_forks();
            command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
        };
        let name = command.get_program().to_string_lossy().into_owned();
        Self { name, child, stdout, stderr }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).unwrap_or_else(|errno| panic!("kill {pid} {signal}: {errno}"));
    }

    /// The writing end of its standard input, when it was started with a pipe; dropping it is the end of file.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("standard input is a pipe, taken once")
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// The file that has its standard output.
    pub fn stdout_path(&self) -> &Path {
        &self.stdout
    }

    /// True until it has ended.
    pub fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    /// Waits for its end, which must not be a panic.
    pub fn wait(&mut self) -> Output {
        let what = format!("end of {} (pid {})", self.name, self.pid());
        let status = eventually(&what, || self.poll());
        assert!(!self.stderr().contains("panicked at"), "a panic reaches the user: {}", self.stderr());
        Output { code: status.code(), signal: status.signal(), stdout: self.stdout(), stderr: self.stderr() }
    }

    fn poll(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child can be waited for")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if panicking() {
            note(&format!("stdout of {}: {:?}", self.name, tail(&self.stdout())));
            note(&format!("stderr of {}: {:?}", self.name, tail(&self.stderr())));
        }
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// True when the process exists and is not a zombie.
pub fn is_running(pid: u32) -> bool {
    ProcStat::of(pid).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// Sends a signal to a process that is there.
pub fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal)
        .unwrap_or_else(|errno| panic!("kill {pid} {signal}: {errno}"));
}

/// Sends a signal to a process that may have ended.
pub fn try_send(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
}

/// Waits for the end of a process.
pub fn wait_end(pid: u32) {
    eventually(&format!("the end of process {pid}"), || (!is_running(pid)).then_some(()));
}

/// Kills a process and waits for its end.
pub fn kill_and_wait(pid: u32) {
    send(pid, Signal::SIGKILL);
    wait_end(pid);
}

/// Kills every process that has `tag` in its environment, until none is left; reaps those that became our children.
pub(crate) fn kill_tagged(tag: &str) {
    let mut killed = Vec::new();
    let gone = within(Duration::from_secs(20), || {
        let found = tagged(tag);
        for pid in &found {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        killed.extend_from_slice(&found);
        found.is_empty()
    });
    for pid in killed {
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
    }
    if !gone && !panicking() {
        panic!("processes of the test cannot be killed: {:?}", tagged(tag));
    }
}

/// Held while an executable is written and while a process is started: a child between fork and exec would hold the
/// descriptor that writes a script, and the script's start would fail with ETXTBSY.
pub(crate) fn exclude_forks() -> MutexGuard<'static, ()> {
    static FORK: Mutex<()> = Mutex::new(());
    FORK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a command that belongs to no sandbox to its end, and takes its output.
pub fn complete(command: &mut Command) -> process::Output {
    let started = {
        let _fork = exclude_forks();
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    started.and_then(Child::wait_with_output).unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The processes that have `tag` in their environment. A zombie has none any more.
pub(crate) fn tagged(tag: &str) -> Vec<Pid> {
    let own = process::id();
    let pids = all_processes().into_iter().filter(|pid| *pid != own && has_tag(*pid, tag));
    pids.map(|pid| Pid::from_raw(pid.cast_signed())).collect()
}

/// Whether a process has `tag` in its environment.
pub(crate) fn has_tag(pid: u32, tag: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == tag.as_bytes())
}

fn create(path: &Path) -> File {
    File::create(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The end of what a program said: enough for a report.
fn tail(text: &str) -> &str {
    const LONGEST: usize = 4 << 10;
    let start = (text.len().saturating_sub(LONGEST)..=text.len()).find(|at| text.is_char_boundary(*at));
    start.map_or(text, |start| &text[start..])
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
