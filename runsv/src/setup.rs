//! What has to be there before a process can be supervised: its supervise directory, lock and fifos, and the log pipe.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::stat::fstat;
use nix::unistd::Pid;
use svlib::diag::{Diag, Message};
use svlib::moment::Moment;
use svlib::record::Record;
use svlib::status::{Status, Want};
use svlib::sys::lock::Lock;
use svlib::sys::pidfd::{Found, Pidfd};
use svlib::sys::poll::{self, PollFd, PollFlags};
use svlib::sys::signal::Signals;
use svlib::sys::{clock, fd, fifo, process};
use svlib::{Context, Error, error, paths};

use crate::machine::Role;
use crate::publish::Publisher;
use crate::record_file::RecordFile;

/// How long a lock that somebody else holds is left alone at first, and at most: each time twice as long. No event tells
/// that it was released, but to a process that waits in flock(2) and can do nothing else.
const LOCK_RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long an orphaned lock may last, and how often it is looked for.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_PACE: Duration = Duration::from_millis(1);
const SUPERVISE_MODE: u32 = 0o700;
const FIFO_MODE: u32 = 0o600;

/// Why a process cannot be supervised.
#[derive(Debug)]
pub enum Failure {
    /// The system refused something.
    System(Error),
    /// This lock is another's.
    Locked(PathBuf),
    /// This should be a fifo.
    NotFifo(PathBuf),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::System(error)
    }
}

impl Message for Failure {
    fn append_to(&self, line: &mut Vec<u8>) {
        match self {
            Self::System(error) => error.append_to(line),
            Self::Locked(path) => ("unable to lock ", path, ": temporary failure").append_to(line),
            Self::NotFifo(path) => (path, " exists but is not a fifo").append_to(line),
        }
    }
}

/// `name`, one of [`paths`], in the directory of `role`, seen from the service directory.
pub fn path(role: Role, name: &str) -> PathBuf {
    match role {
        Role::Service => PathBuf::from(name),
        Role::Log => Path::new(paths::LOG).join(name),
    }
}

/// What is wanted at first: `down` holds a service back.
pub fn first_want(role: Role) -> Want {
    if path(role, paths::DOWN).exists() { Want::Down } else { Want::Up }
}

/// Whether there is a log service. One that cannot be is warned of.
pub fn has_log(diag: &Diag) -> bool {
    match fs::metadata(paths::LOG) {
        Ok(metadata) if metadata.is_dir() => true,
        Ok(_) => {
            diag.warning(&"./log: not a directory.");
            false
        }
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => {
            diag.warning(&Error {
                operation: "stat",
                path: Some("./log".into()),
                errno: error::errno(&error),
            });
            false
        }
    }
}

/// The pipe from a service to its log service. It is the supervisor's, so that it survives both; and if the supervisor is
/// killed, runsvdir keeps it for the next one.
#[derive(Debug)]
pub struct LogPipe {
    /// Standard input of the log service.
    pub read: OwnedFd,
    /// Standard output of the service.
    pub write: OwnedFd,
}

impl LogPipe {
    /// A new pipe.
    ///
    /// # Errors
    /// The system's, where there are no descriptors left.
    pub fn new() -> Result<Self, Error> {
        let (read, write) = fd::pipe()?;
        Ok(Self { read, write })
    }

    /// The pipe with this inode that one of `processes` has open; None if none has, or it may not be seen.
    pub fn of_processes(inode: u64, processes: &[Pid]) -> Option<Self> {
        let found = pipe_of(inode, processes)?;
        // Opened anew, so that neither end is the other's. Neither open waits, as whoever opens first is both for a moment.
        let both = OpenOptions::new().read(true).write(true).open(&found).ok()?;
        let read = OpenOptions::new().read(true).open(&found).ok()?;
        let write = OpenOptions::new().write(true).open(&found).ok()?;
        drop(both);
        let pipe = Self { read: read.into(), write: write.into() };
        (pipe.inode() == Some(inode)).then_some(pipe)
    }

    /// What tells it from other pipes.
    pub fn inode(&self) -> Option<u64> {
        inode(&self.read)
    }
}

/// Where one of `processes` has the pipe with this inode open, below `/proc`.
pub fn pipe_of(inode: u64, processes: &[Pid]) -> Option<PathBuf> {
    let name = format!("pipe:[{inode}]");
    processes.iter().find_map(|pid| {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let mut paths = entries.flatten().map(|entry| entry.path());
        paths.find(|path| fs::read_link(path).is_ok_and(|target| target.as_os_str() == name.as_str()))
    })
}

/// The inode of an open file.
pub fn inode(fd: impl AsFd) -> Option<u64> {
    fstat(fd).ok().map(|found| found.st_ino)
}

/// Makes the supervise directory and locks it.
///
/// # Errors
/// The directory or the lock file cannot be made, or another holds the lock.
pub fn lock(role: Role) -> Result<Lock, Failure> {
    make_supervise_directory(&path(role, paths::SUPERVISE))?;
    let path = path(role, paths::LOCK);
    Lock::try_exclusive(&path)?.ok_or(Failure::Locked(path))
}

/// As [`lock`], at the start: waits for a lock whose runsv is dead, a second at most.
///
/// # Errors
/// As of [`lock`].
pub fn lock_left(role: Role) -> Result<Lock, Failure> {
    let give_up = clock::now().monotonic + LINGER;
    loop {
        match lock(role) {
            Err(Failure::Locked(_)) if is_orphaned(role) && clock::now().monotonic < give_up => {
                poll::wait(&mut [], Some(LINGER_PACE)).during("poll")?;
            }
            result => return result,
        }
    }
}

/// Whether who had the lock is gone. What a runsv had forked when it was killed holds it until it has ended, or become the
/// program it was for.
fn is_orphaned(role: Role) -> bool {
    let record = RecordFile::open(&path(role, paths::RECORD)).ok().and_then(|file| file.read().ok()?);
    let is_here = |record: &Record| process::boot_id().is_ok_and(|boot| boot == record.boot);
    let supervisor = record.filter(is_here).and_then(|record| record.supervisor);
    supervisor.is_some_and(|supervisor| matches!(Pidfd::find(supervisor), Ok(Found::Gone)))
}

/// As [`lock`], but waits for the lock: the log service may still be another supervisor's. `None` if TERM comes first.
///
/// # Errors
/// The directory or the lock file cannot be made.
pub fn wait_for_lock(role: Role, signals: &Signals, diag: &Diag) -> Result<Option<Lock>, Failure> {
    let mut told = false;
    let (mut delay, longest) = LOCK_RETRY;
    loop {
        match if told { lock(role) } else { lock_left(role) } {
            Ok(lock) => return Ok(Some(lock)),
            Err(locked @ Failure::Locked(_)) if !told => {
                diag.warning(&(locked, ", waiting"));
                told = true;
            }
            Err(Failure::Locked(_)) => {}
            Err(failure) => return Err(failure),
        }
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        poll::wait(&mut fds, Some(delay)).during("poll")?;
        delay = longest.min(delay * 2);
        while let Some(signal) = signals.next()? {
            if signal == Signal::SIGTERM {
                return Ok(None);
            }
        }
    }
}

/// The fifo that commands are read from.
#[derive(Debug)]
pub struct Control {
    /// Does not block.
    pub read: OwnedFd,
    /// Never written to: with it the fifo always has a writer, and never end-of-file.
    pub write: OwnedFd,
}

impl Control {
    fn open(role: Role) -> Result<Self, Failure> {
        let path = path(role, paths::CONTROL);
        make_fifo(&path)?;
        Ok(Self { read: fifo::open_read(&path)?, write: fifo::open_write(&path)? })
    }
}

/// Everything held for one process, as long as it is supervised.
#[derive(Debug)]
pub struct Supervised {
    /// Where its commands come from.
    pub control: Control,
    /// Where its status goes.
    pub publisher: Publisher,
    /// What the next supervisor would need.
    pub record: RecordFile,
    /// Open as long as somebody supervises, from the first status on.
    pub ok: Option<OwnedFd>,
    /// Held as long as somebody supervises.
    pub lock: Lock,
}

impl Supervised {
    /// Opens what a process needs besides its lock and its record. Nobody knows of it before it is
    /// [announced](Self::announce).
    ///
    /// # Errors
    /// A fifo cannot be made or opened.
    pub fn open(role: Role, lock: Lock, record: RecordFile) -> Result<Self, Failure> {
        let control = Control::open(role)?;
        make_fifo(&path(role, paths::OK))?;
        Ok(Self { control, publisher: Publisher::new(role), record, ok: None, lock })
    }

    /// Tells everybody that a supervisor is there, once the first `status` is published: who finds `ok` open asks for it next.
    ///
    /// # Errors
    /// The fifo cannot be opened: no descriptor is left.
    pub fn announce(&mut self, role: Role, status: Status, now: Moment, diag: &Diag) -> Result<(), Error> {
        self.publisher.publish(status, now.monotonic, diag);
        self.ok = Some(fifo::open_read(&path(role, paths::OK))?);
        Ok(())
    }
}

fn make_fifo(path: &Path) -> Result<(), Failure> {
    fifo::make(path, FIFO_MODE).map_err(|error| match error.errno {
        Errno::EEXIST => Failure::NotFifo(path.to_owned()),
        _ => Failure::System(error),
    })
}

/// `supervise` may be a symbolic link, to a place on a writable file system; then the target is made.
fn make_supervise_directory(supervise: &Path) -> Result<(), Error> {
    let directory = match fs::read_link(supervise) {
        Ok(target) => supervise.parent().unwrap_or(Path::new("")).join(target),
        Err(_) => supervise.to_owned(),
    };
    match DirBuilder::new().mode(SUPERVISE_MODE).create(&directory) {
        Err(error) if !directory.is_dir() => Err(error).on("create directory", directory),
        _ => Ok(()),
    }
}
