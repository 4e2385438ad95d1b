//! A directory and a set of processes of one test.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::process::{Output, Running, exclude_forks, has_tag, kill_tagged, tagged};
use crate::service_dir::{SLEEP, ServiceBuilder};
use crate::subject::{PROGRAMS, Subject};

/// A temporary directory with the subject's programs in `bin/` (first in `PATH`) and services in `services/` (`SVDIR`).
/// Dropping it kills every process that was started in it.
#[derive(Debug)]
pub struct Sandbox {
    dir: TempDir,
    tag: String,
    outputs: AtomicU32,
}

impl Sandbox {
    /// An empty sandbox with the subject's programs.
    pub fn new(subject: &Subject) -> Self {
        static SANDBOXES: AtomicU32 = AtomicU32::new(0);
        let dir = TempDir::with_prefix("svkit-test-").expect("a temporary directory");
        // Tests that drop privileges look in, too.
        chmod(dir.path(), 0o755);
        for name in ["bin", "services", "output"] {
            fs::create_dir(dir.path().join(name)).expect("a fresh directory takes entries");
        }
        for program in PROGRAMS {
            symlink(subject.program(program), dir.path().join("bin").join(program))
                .expect("a fresh directory");
        }
        let number = SANDBOXES.fetch_add(1, Ordering::Relaxed);
        let tag = format!("SVKIT_TEST_SANDBOX={}-{number}", process::id());
        Self { dir, tag, outputs: AtomicU32::new(0) }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The services directory, also `$SVDIR`.
    pub fn services(&self) -> PathBuf {
        self.join("services")
    }

    /// A command in the sandbox: clean environment, its `PATH` and `SVDIR`, no input. `program` is looked up in `PATH`
    /// unless it has a slash.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let program = program.as_ref();
        let own = self.join("bin").join(program);
        let mut command = Command::new(if own.exists() { own.as_os_str() } else { program });
        command.arg0(program);
        command.env_clear().current_dir(self.path()).stdin(Stdio::null());
        command.env("PATH", self.search_path()).env("SVDIR", self.services()).env("LC_ALL", "C");
        for kept in ["LLVM_PROFILE_FILE", "RUST_BACKTRACE"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        let (name, value) = self.tag.split_once('=').expect("a variable");
        command.env(name, value);
        command
    }

    /// Starts a command of [`Sandbox::command`] in the background.
    pub fn start(&self, command: &mut Command) -> Running {
        let number = self.outputs.fetch_add(1, Ordering::Relaxed);
        let path = |stream| self.join(format!("output/{number}.{stream}"));
        Running::start(command, path("out"), path("err"))
    }

    /// Runs a command of [`Sandbox::command`] to its end.
    pub fn finish(&self, command: &mut Command) -> Output {
        self.start(command).wait()
    }

    /// Runs a program with arguments to its end.
    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        self.finish(self.command(program).args(args))
    }

    /// Runs `sv` to its end.
    pub fn sv(&self, args: &[&str]) -> Output {
        self.run("sv", args)
    }

    /// A new service directory in `services/`.
    pub fn service(&self, name: impl AsRef<OsStr>) -> ServiceBuilder<'_> {
        ServiceBuilder::new(self, self.services().join(name.as_ref()))
    }

    /// A new service directory somewhere else in the sandbox.
    pub fn service_at(&self, path: impl AsRef<Path>) -> ServiceBuilder<'_> {
        ServiceBuilder::new(self, self.join(path))
    }

    /// Writes a file.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Makes a directory and those above it.
    pub fn mkdir(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Copies the programs to the new directory `name`: another user may not reach the place where they were built.
    pub fn copy_programs(&self, name: &str) -> PathBuf {
        let dir = self.mkdir(name);
        for program in PROGRAMS {
            install(&self.join("bin").join(program), &dir.join(program));
        }
        dir
    }

    /// Adds a service `name` below `services/` and waits until it runs: runsvdir has seen by then what was changed before.
    pub fn wait_scan(&self, name: &str) {
        // It is complete when its link shows.
        let service = self.service_at(Path::new("scanned").join(name)).run(SLEEP).build();
        symlink(service.dir(), self.services().join(name))
            .unwrap_or_else(|error| panic!("{name} in {}: {error}", self.services().display()));
        service.wait_run();
    }

    /// The processes that were started in it and have not ended, but for zombies.
    pub fn processes(&self) -> Vec<u32> {
        tagged(&self.tag).into_iter().map(|pid| pid.as_raw().cast_unsigned()).collect()
    }

    /// Whether this process was started in it and has not ended.
    pub fn owns(&self, pid: u32) -> bool {
        has_tag(pid, &self.tag)
    }

    fn search_path(&self) -> std::ffi::OsString {
        let mut path = self.join("bin").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
        path
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        kill_tagged(&self.tag);
    }
}

/// Writes an executable shell script.
pub fn write_script(path: &Path, body: &str) {
    let _fork = exclude_forks();
    fs::write(path, format!("#!/bin/sh\n{body}\n"))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    chmod(path, 0o755);
}

/// Puts a copy of the executable `from` in the place of `to`, at once.
pub fn install(from: &Path, to: &Path) {
    let new = to.with_extension("new");
    let copy = || {
        let _fork = exclude_forks();
        fs::copy(from, &new)
    };
    copy().and_then(|_| fs::rename(&new, to)).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
