//! Bytes into the files of one log directory: written and rotated.
//!
//! Nothing here waits. What cannot be written is kept until [`Writer::tend`] finds the obstacle gone, and the writer of
//! the log is held back meanwhile.

use std::ffi::OsStr;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;
use svlib::exit_status::ExitStatus;
use svlib::sys::{clock, timezone};
use svlib::tai64n::Tai64n;

use crate::config::setting::ClockRotation;
use crate::current::{Current, Failure, Found};
use crate::directory::Directory;
use crate::old_files::{Backlog, OldFiles, Underway};
use crate::policy::{Age, Policy, SyncDelay};
use crate::report::{InDirectory, Report};
use crate::schedule::Schedule;
use crate::{compress, processor};

/// What was gathered is written once it has grown to so many bytes.
const GATHER_LIMIT: usize = 64 << 10;

/// How long to wait before another try.
const RETRY: Duration = Duration::from_secs(1);

/// When `current` is rotated and synced.
pub struct Settings {
    /// By its size.
    pub policy: Policy,
    /// By its age.
    pub age: Option<Age>,
    /// On the wall clock.
    pub clock_rotation: Option<ClockRotation>,
    /// How long what was written may stay unsynced.
    pub fsync: Option<Duration>,
}

/// The files of one log directory.
pub struct Writer {
    directory: Directory,
    current: Current,
    old_files: OldFiles,
    policy: Policy,
    age: Option<Age>,
    schedule: Option<Schedule>,
    sync: Option<SyncDelay>,
    /// What was said of the last sync, so that it is said once.
    unsynced: Option<Failure>,
    /// What is to be written.
    gathered: Vec<u8>,
    rotation: Rotation,
    pause: Option<Pause>,
    /// What was said of the pause, so that it is said once.
    said: Option<Obstacle>,
}

/// `current`, found and opened.
pub struct Opened {
    current: Current,
    found: Found,
    /// It is not open yet, for want of something that there will be again.
    failure: Option<Failure>,
}

impl Opened {
    /// Finds and opens `current`.
    ///
    /// # Errors
    /// It cannot be opened, and waiting would not help.
    pub fn new(directory: &Directory) -> Result<Self, Failure> {
        let (mut current, found) = Current::find(directory)?;
        let failure = current.open(directory).err();
        match failure {
            Some(failure) if !is_shortage(failure.errno) => Err(failure),
            failure => Ok(Self { current, found, failure }),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rotation {
    None,
    /// As soon as it can be done, for this reason.
    Asked(&'static str),
    /// Before anything else is written.
    Due,
}

/// What keeps bytes from being written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    Failure(Failure),
    /// Too many files wait.
    Backlog(Backlog),
}

impl From<Failure> for Obstacle {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

#[derive(Clone, Copy)]
enum Pause {
    /// Until this time on the monotonic clock.
    Until(Duration),
    UntilFewerWait,
}

impl Writer {
    /// A writer of what was `opened`, which first writes what is `unwritten`.
    pub fn open(
        directory: Directory,
        opened: Opened,
        settings: &Settings,
        old_files: OldFiles,
        unwritten: Vec<u8>,
        report: &Report,
    ) -> Self {
        let Opened { current, found, failure } = opened;
        let schedule = settings.clock_rotation.map(|rotation| schedule(rotation, &current));
        let mut writer = Self {
            directory,
            current,
            old_files,
            policy: settings.policy,
            age: settings.age,
            schedule,
            sync: settings.fsync.map(SyncDelay::new),
            unsynced: None,
            gathered: unwritten,
            rotation: Rotation::None,
            pause: None,
            said: None,
        };
        writer.old_files.take_over(found.set_aside(), &writer.directory, report);
        if let Some(failure) = failure {
            writer.pause(failure.into(), report);
        }
        let verb = if found == Found::Clean { "append: " } else { "new: " };
        report.info(&(verb, InDirectory(writer.directory.name(), "current")));
        writer.prune(report);
        writer
    }

    /// Writes `bytes` after what was gathered; what cannot be written now is gathered too.
    pub fn write(&mut self, bytes: &[u8], report: &Report) {
        self.flush(report);
        let written = if self.gathered.is_empty() { self.put(bytes, report) } else { 0 };
        self.gathered.extend_from_slice(&bytes[written..]);
    }

    /// Adds `bytes` to what is written by the next [`flush`](Self::flush).
    pub fn gather(&mut self, bytes: &[u8]) {
        self.gathered.extend_from_slice(bytes);
    }

    /// What is written by the next [`flush`](Self::flush), to be added to.
    pub fn gathered(&mut self) -> &mut Vec<u8> {
        &mut self.gathered
    }

    /// Writes what was gathered if it is much.
    pub fn flush_if_much(&mut self, report: &Report) {
        if self.gathered.len() >= GATHER_LIMIT {
            self.flush(report);
        }
    }

    /// Writes what was gathered, as far as that is possible.
    pub fn flush(&mut self, report: &Report) {
        if !self.gathered.is_empty() && self.pause.is_none() {
            let mut gathered = std::mem::take(&mut self.gathered);
            let written = self.put(&gathered, report);
            gathered.drain(..written);
            self.gathered = gathered;
        }
    }

    /// Gives back the memory that busier times have taken.
    pub fn shrink(&mut self) {
        self.gathered.shrink_to_fit();
    }

    /// Whether nothing is gathered.
    pub fn is_empty(&self) -> bool {
        self.gathered.is_empty()
    }

    /// Whether the writer of the log has to wait.
    pub fn is_held(&self) -> bool {
        self.pause.is_some() || !self.gathered.is_empty()
    }

    /// Rotates `current` as soon as it can be done, if it is not empty. Only `-v` tells the reason.
    pub fn ask_rotation(&mut self, reason: &'static str) {
        if self.rotation == Rotation::None {
            self.rotation = Rotation::Asked(reason);
        }
    }

    /// Whether nothing can be written because the directory was removed, and there is another of its name.
    pub fn can_move(&self) -> bool {
        self.pause.is_some() && self.directory.is_removed() && self.directory.path().is_dir()
    }

    /// Does what the time, or a child that has ended, makes possible.
    pub fn tend(&mut self, now: Duration, report: &Report) {
        self.old_files.tend(&self.directory, now, report);
        let paused = match self.pause {
            None => false,
            Some(Pause::Until(time)) => now < time,
            Some(Pause::UntilFewerWait) => self.old_files.backlog().is_some(),
        };
        if self.age.as_mut().is_some_and(|age| age.take_due(now)) {
            self.ask_rotation("its age");
        }
        if self.sync.as_mut().is_some_and(|sync| sync.take_due(now)) {
            let failure = self.current.sync().err();
            if let Some(Failure { what, errno }) = failure
                && failure != self.unsynced
            {
                report.failure(what, &self.directory.name(), errno);
            }
            self.unsynced = failure;
        }
        if paused {
            return;
        }
        if self.pause.take().is_some()
            && let Err(failure) = self.current.open(&self.directory)
        {
            return self.pause(failure.into(), report);
        }
        self.flush(report);
        self.rotate_if_asked(report);
        let is_over = match self.said {
            Some(Obstacle::Backlog(backlog)) => self.old_files.is_eased(backlog),
            Some(Obstacle::Failure(_)) | None => true,
        };
        if self.pause.is_none() && is_over {
            self.said = None;
        }
    }

    /// Does what the wall clock asks for: when the time of [`wall_deadline`](Self::wall_deadline) has come, or the clock was
    /// set. What is gathered is of the time before.
    pub fn tend_wall(&mut self, now: Tai64n, report: &Report) {
        if let Some(schedule) = &mut self.schedule
            && schedule.take_due(now.unix_seconds(), timezone::offset_at)
        {
            self.ask_rotation("the time");
            self.flush(report);
            self.rotate_if_asked(report);
        }
        if self.old_files.expiry().is_some_and(|expiry| expiry <= now) {
            self.prune(report);
        }
    }

    /// When the wall clock asks for something, in Unix seconds.
    pub fn wall_deadline(&self) -> Option<i64> {
        let rotation = self.schedule.as_ref().map(Schedule::due);
        let expiry = self.old_files.expiry().map(Tai64n::unix_seconds);
        [rotation, expiry].into_iter().flatten().min()
    }

    /// The time on the monotonic clock at which there is something to [`tend`](Self::tend) to.
    pub fn deadline(&self) -> Option<Duration> {
        let retry = match self.pause {
            Some(Pause::Until(time)) => Some(time),
            Some(Pause::UntilFewerWait) | None => None,
        };
        let age = self.age.as_ref().and_then(Age::due);
        let sync = self.sync.as_ref().and_then(SyncDelay::due);
        [retry, age, sync, self.old_files.deadline()].into_iter().flatten().min()
    }

    /// Takes note that a child has ended. `false` if it is none of this directory's.
    pub fn child_ended(&mut self, pid: Pid, status: ExitStatus, report: &Report) -> bool {
        self.old_files.child_ended(pid, status, self.current.size(), &self.directory, report)
    }

    /// No more bytes will come.
    pub fn end(&mut self) {
        self.old_files.end();
    }

    /// Whether all is written, and done with.
    pub fn is_finished(&self) -> bool {
        !self.is_held() && self.old_files.is_finished()
    }

    /// The name of the directory.
    pub fn directory_name(&self) -> &OsStr {
        self.directory.name()
    }

    /// Closes the files; returns what is being done to old ones, and what could not be written.
    pub fn close(self, report: &Report) -> (Underway, Vec<u8>) {
        let name = self.directory.name();
        report.info(&("close: ", name));
        if let Err(failure) = self.current.close(&self.directory) {
            report.failure(failure.what, &name, failure.errno);
        }
        (self.old_files.close(&self.directory, report), self.gathered)
    }

    /// Writes and rotates until there are no more bytes or there is an obstacle; returns how many were written.
    fn put(&mut self, bytes: &[u8], report: &Report) -> usize {
        let mut written = 0;
        while self.pause.is_none() {
            match self.put_some(&bytes[written..], report) {
                Ok(0) => break,
                Ok(count) => written += count,
                Err(obstacle) => self.pause(obstacle, report),
            }
        }
        written
    }

    /// Writes once, after the rotation if one is due. Zero if there is nothing more to do.
    fn put_some(&mut self, bytes: &[u8], report: &Report) -> Result<usize, Obstacle> {
        if !bytes.is_empty() {
            self.current.verify(&self.directory, report);
        }
        let is_full =
            !bytes.is_empty() && self.policy.is_full(self.current.size(), self.current.is_mid_line());
        if is_full || self.rotation == Rotation::Due {
            self.rotate(report)?;
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        let portion = self.policy.portion(self.current.size(), bytes);
        let count = self.write_making_room(&bytes[..portion.length], report)?;
        if let Some(sync) = &mut self.sync {
            sync.written(clock::now().monotonic);
        }
        if self.old_files.lack_room(self.current.size()) {
            self.prune(report);
        }
        if portion.rotate && count == portion.length {
            self.rotation = Rotation::Due;
        }
        Ok(count)
    }

    /// On a full disk, old files are removed as far as the config allows it.
    fn write_making_room(&mut self, bytes: &[u8], report: &Report) -> Result<usize, Failure> {
        loop {
            match self.current.write(&self.directory, bytes) {
                Err(failure)
                    if failure.errno == Errno::ENOSPC
                        && self.old_files.make_room(&self.directory, report) => {}
                result => return result,
            }
        }
    }

    fn rotate_if_asked(&mut self, report: &Report) {
        if matches!(self.rotation, Rotation::Asked(_))
            && self.pause.is_none()
            && let Err(Obstacle::Failure(failure)) = self.rotate(report)
        {
            self.pause(failure.into(), report);
        }
    }

    fn rotate(&mut self, report: &Report) -> Result<(), Obstacle> {
        self.current.verify(&self.directory, report);
        if self.current.size() > 0 {
            if let Some(backlog) = self.old_files.backlog() {
                return Err(Obstacle::Backlog(backlog));
            }
            if let Rotation::Asked(reason) = self.rotation {
                report.info(&("rotate: ", InDirectory(self.directory.name(), "current"), " ", reason));
            }
            let name = self.current.rotate(&self.directory, self.old_files.stage(), report)?;
            if let Some(sync) = &mut self.sync {
                sync.synced();
            }
            self.rotation = Rotation::None;
            // What is started now finds the directory as it is to be.
            let opened = self.current.open(&self.directory).map(drop);
            self.old_files.add(name, &self.directory, report);
            return Ok(opened?);
        }
        self.rotation = Rotation::None;
        self.current.open(&self.directory)?;
        Ok(())
    }

    fn prune(&mut self, report: &Report) {
        self.old_files.prune(self.current.size(), &self.directory, report);
    }

    fn pause(&mut self, obstacle: Obstacle, report: &Report) {
        self.pause = Some(match obstacle {
            Obstacle::Backlog(_) => Pause::UntilFewerWait,
            Obstacle::Failure(_) => Pause::Until(clock::now().monotonic.saturating_add(RETRY)),
        });
        // It is what the disk can take, no trouble.
        let is_trouble = obstacle != Obstacle::Backlog(Backlog::Sealer);
        if is_trouble && self.said.replace(obstacle) != Some(obstacle) {
            let name = self.directory.name();
            match obstacle {
                Obstacle::Failure(Failure { what, errno }) => {
                    report.pausing(&(what, ": ", name, ": ", errno.desc()));
                }
                Obstacle::Backlog(Backlog::Processor) => {
                    let count = processor::WAITING_LIMIT.to_string();
                    report.pausing(&(&count, " files wait for the processor: ", name));
                }
                Obstacle::Backlog(Backlog::Compressor) => {
                    let count = compress::WAITING_LIMIT.to_string();
                    report.pausing(&(&count, " files wait for compression: ", name));
                }
                Obstacle::Backlog(Backlog::Sealer) => {}
            }
        }
    }
}

/// What was due while no svlogd ran is due now.
fn schedule(rotation: ClockRotation, current: &Current) -> Schedule {
    let now = clock::wall().unix_seconds();
    let since = current.written_before().map_or(now, |written| written.min(now));
    Schedule::new(rotation, since, timezone::offset_at)
}

/// Whether the reason is one that passes.
pub fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::ENOSPC | Errno::EDQUOT | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)
}
