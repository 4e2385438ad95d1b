//! Service directories: a builder, and a look at what the supervisor publishes.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::eventually::eventually;
use crate::proc::lock_holder;
use crate::process::Running;
use crate::sandbox::{Sandbox, write_script};
use crate::status_record::StatusRecord;

/// A `run` that lives until it is killed.
pub const SLEEP: &str = "exec sleep 1000";

/// Lays out one service directory. Scripts are shell, without their `#!` line, and run in the service directory.
#[derive(Debug)]
pub struct ServiceBuilder<'a> {
    sandbox: &'a Sandbox,
    dir: PathBuf,
}

impl<'a> ServiceBuilder<'a> {
    pub(crate) fn new(sandbox: &'a Sandbox, dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        Self { sandbox, dir }
    }

    /// `run`.
    pub fn run(self, body: &str) -> Self {
        self.script("run", body)
    }

    /// `finish`.
    pub fn finish(self, body: &str) -> Self {
        self.script("finish", body)
    }

    /// `check`.
    pub fn check(self, body: &str) -> Self {
        self.script("check", body)
    }

    /// `log/run`.
    pub fn log(self, body: &str) -> Self {
        self.script("log/run", body)
    }

    /// `control/LETTER`.
    pub fn control(self, letter: char, body: &str) -> Self {
        self.script(&format!("control/{letter}"), body)
    }

    /// `down`.
    pub fn down(self) -> Self {
        self.file("down", "")
    }

    /// Any executable.
    pub fn script(self, name: &str, body: &str) -> Self {
        let path = self.dir.join(name);
        self.parent(&path);
        write_script(&path, body);
        self
    }

    /// Any plain file.
    pub fn file(self, name: &str, content: &str) -> Self {
        let path = self.dir.join(name);
        self.parent(&path);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self
    }

    /// The finished directory.
    pub fn build(self) -> Service {
        Service { dir: self.dir }
    }

    /// The finished directory under a `runsv` that is ready for commands.
    pub fn supervise(self) -> Supervised {
        let sandbox = self.sandbox;
        let service = self.build();
        let runsv = sandbox.start(sandbox.command("runsv").arg(service.dir()));
        service.wait_ok();
        Supervised { service, runsv }
    }

    fn parent(&self, path: &Path) {
        let parent = path.parent().expect("inside the service directory");
        fs::create_dir_all(parent).unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
    }
}

/// A service directory.
#[derive(Clone, Debug)]
pub struct Service {
    dir: PathBuf,
}

impl Service {
    /// A service directory that is already there.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Its path.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    /// Its log service.
    pub fn log(&self) -> Self {
        Self { dir: self.dir.join("log") }
    }

    /// The text of a file in it; empty when there is none.
    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.join(name)).unwrap_or_default()).into_owned()
    }

    /// The lines of the file `events`, where scripts of a test write what they did.
    pub fn events(&self) -> Vec<String> {
        self.read("events").lines().map(str::to_owned).collect()
    }

    /// Waits until `events` has at least `count` lines and returns them all.
    pub fn wait_events(&self, count: usize) -> Vec<String> {
        eventually(&format!("{count} events in {}, now {:?}", self.dir.display(), self.events()), || {
            let events = self.events();
            (events.len() >= count).then_some(events)
        })
    }

    /// Waits until the file `name` has `text`.
    pub fn wait_text(&self, name: &str, text: &str) {
        eventually(&format!("{text:?} in {}/{name}", self.dir.display()), || {
            self.read(name).contains(text).then_some(())
        });
    }

    /// Waits until `run` has written `ready` to `events`, and runsv has published that it runs: it may be faster than that.
    pub fn wait_ready(&self) {
        self.wait_text("events", "ready\n");
        self.wait_run();
    }

    /// `supervise/stat` without its newline.
    pub fn stat(&self) -> String {
        self.read("supervise/stat").trim_end_matches('\n').to_owned()
    }

    /// Waits until `supervise/stat` says `stat` and `supervise/status`, which is published after it, agrees.
    pub fn wait_stat(&self, stat: &str) {
        eventually(&format!("{stat:?} in {}/supervise/stat", self.dir.display()), || {
            (self.stat() == stat && self.try_status()?.agrees_with(stat)).then_some(())
        });
    }

    /// `supervise/status`, decoded.
    pub fn status(&self) -> StatusRecord {
        eventually(&format!("a status of 20 bytes in {}", self.dir.display()), || self.try_status())
    }

    /// `supervise/status` when it can be read and has 20 bytes.
    pub fn try_status(&self) -> Option<StatusRecord> {
        StatusRecord::decode(&fs::read(self.dir.join("supervise/status")).ok()?)
    }

    /// Waits for a running `run` and returns its pid. For a moment it may be published while it is still the copy of runsv that
    /// is about to execute it.
    pub fn wait_run(&self) -> u32 {
        eventually(&format!("a running process in {}", self.dir.display()), || {
            let status = self.try_status()?;
            let is_executed = || {
                let name = fs::read_to_string(format!("/proc/{}/comm", status.pid));
                name.map_or(true, |name| name != "runsv\n")
            };
            (status.state == 1 && status.pid != 0 && is_executed()).then_some(status.pid)
        })
    }

    /// Waits for a running `run` whose pid is not `old`.
    pub fn wait_restart(&self, old: u32) -> u32 {
        eventually(&format!("another process than {old} in {}", self.dir.display()), || {
            let status = self.try_status()?;
            (status.state == 1 && status.pid != 0 && status.pid != old).then_some(status.pid)
        })
    }

    /// Waits until the clock shows a later second than that of the last change: C's sv compares whole seconds, and takes
    /// a service that started in the second of the command for a restarted one.
    pub fn wait_next_second(&self) {
        let changed = self.status().unix_seconds();
        eventually("the next second", || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
            (now.as_secs().cast_signed() > changed).then_some(())
        });
    }

    /// True while a supervisor holds `supervise/ok` open.
    pub fn is_ok(&self) -> bool {
        self.open_fifo("ok").is_ok()
    }

    /// Waits for the supervisor.
    pub fn wait_ok(&self) {
        eventually(&format!("a supervisor in {}", self.dir.display()), || self.is_ok().then_some(()));
    }

    /// Writes control bytes, in one write.
    pub fn command(&self, bytes: &str) {
        let mut fifo = self.open_fifo("control").expect("supervise/control opens while a supervisor runs");
        fifo.write_all(bytes.as_bytes()).expect("a fifo with a reader takes bytes");
    }

    /// Writes control bytes, in one write, unless nobody would read them or the fifo is full.
    pub fn try_command(&self, bytes: &[u8]) -> bool {
        self.open_fifo("control").is_ok_and(|mut fifo| fifo.write_all(bytes).is_ok())
    }

    /// Whether there are commands that the supervisor has not read.
    pub fn has_unread_commands(&self) -> bool {
        let path = self.dir.join("supervise/control");
        let open = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
        open.is_ok_and(|fifo| {
            let mut fds = [PollFd::new(fifo.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
        })
    }

    /// The supervisor: the process that has `supervise/lock`.
    pub fn supervisor(&self) -> Option<u32> {
        lock_holder(&self.join("supervise/lock"))
    }

    /// Waits until another process than `old` supervises it, and takes commands.
    pub fn wait_supervisor_after(&self, old: u32) -> u32 {
        eventually(&format!("another supervisor than {old} in {}", self.dir.display()), || {
            self.supervisor().filter(|next| *next != old && self.is_ok())
        })
    }

    fn open_fifo(&self, name: &str) -> Result<fs::File, ErrorKind> {
        let path = self.dir.join("supervise").join(name);
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
        options.open(path).map_err(|error| error.kind())
    }
}

/// A service under a `runsv`.
#[derive(Debug)]
pub struct Supervised {
    service: Service,
    runsv: Running,
}

impl Supervised {
    /// The `runsv`.
    pub fn runsv(&mut self) -> &mut Running {
        &mut self.runsv
    }
}

impl Deref for Supervised {
    type Target = Service;
    fn deref(&self) -> &Service {
        &self.service
    }
}

impl DerefMut for Supervised {
    fn deref_mut(&mut self) -> &mut Service {
        &mut self.service
    }
}
