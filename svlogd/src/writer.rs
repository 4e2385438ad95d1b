//! Bytes into the files of one log directory: written, rotated, processed, removed.
//!
//! Nothing here waits. What cannot be written is kept until [`Writer::tend`] finds the obstacle gone, and the writer of
//! the log is held back meanwhile.

use std::ffi::OsStr;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;
use svlib::exit_status::ExitStatus;
use svlib::log_name::{LogName, Stage};
use svlib::sys::{clock, timezone};
use svlib::tai64n::Tai64n;

use crate::config::setting::{ClockRotation, Zone};
use crate::current::{Current, Failure, Found};
use crate::directory::Directory;
use crate::policy::{Age, Policy, Surplus, SyncDelay};
use crate::processor::{Processor, WAITING_LIMIT};
use crate::report::{InDirectory, Report};
use crate::retention::Retention;
use crate::schedule::Schedule;

/// What was gathered is written once it has grown to so many bytes.
const GATHER_LIMIT: usize = 64 << 10;

/// How long to wait before another try.
const RETRY: Duration = Duration::from_secs(1);

/// What the config asks for as time goes on, on top of runit's.
pub struct Terms {
    /// When the wall clock rotates.
    pub clock_rotation: Option<ClockRotation>,
    /// Which old files are left.
    pub retention: Retention,
    /// How long what was written may stay unsynced.
    pub fsync: Option<Duration>,
}

/// The files of one log directory.
pub struct Writer {
    directory: Directory,
    current: Current,
    policy: Policy,
    age: Option<Age>,
    processor: Processor,
    /// So many old files were too many when there was none that could go.
    owed_removals: usize,
    schedule: Option<Schedule>,
    retention: Retention,
    /// At this time on the wall clock, a file will be too old.
    expiry: Option<Tai64n>,
    /// Once `current` has more bytes, the files have too many together.
    room: Option<u64>,
    sync: Option<SyncDelay>,
    /// What is to be written.
    gathered: Vec<u8>,
    rotation: Rotation,
    pause: Option<Pause>,
    /// What was said of the pause, so that it is said once.
    said: Option<Obstacle>,
    /// svlogd is about to end: what waits for the processor may be any number of files.
    ending: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rotation {
    None,
    /// As soon as it can be done: the age of `current` or a signal asks for it.
    Asked,
    /// Before anything else is written.
    Due,
}

/// What keeps bytes from being written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    Failure(Failure),
    /// Too many files wait for the processor.
    Processor,
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
    UntilProcessed,
}

impl Writer {
    /// A writer that first writes what is `unwritten`.
    ///
    /// # Errors
    /// `current` cannot be opened, and waiting would not help.
    pub fn open(
        directory: Directory,
        policy: Policy,
        age: Option<Age>,
        processor: Processor,
        unwritten: Vec<u8>,
        report: &Report,
    ) -> Result<Self, Failure> {
        let (current, found) = Current::find(&directory)?;
        let mut writer = Self {
            directory,
            current,
            policy,
            age,
            processor,
            owed_removals: 0,
            schedule: None,
            retention: Retention::default(),
            expiry: None,
            room: None,
            sync: None,
            gathered: unwritten,
            rotation: Rotation::None,
            pause: None,
            said: None,
            ending: false,
        };
        if let Found::SetAside(name) = found {
            writer.remove_old_files(name, report);
        }
        writer.processor.find_waiting(&writer.directory);
        match writer.current.open(&writer.directory) {
            Ok(_) => {}
            Err(failure) if is_shortage(failure.errno) => writer.pause(failure.into(), report),
            Err(failure) => return Err(failure),
        }
        let verb = if found == Found::Clean { "append: " } else { "new: " };
        report.info(&(verb, InDirectory(writer.directory.name(), "current")));
        Ok(writer)
    }

    /// What is done as time goes on, on top of runit's.
    pub fn set_terms(&mut self, terms: Terms, report: &Report) {
        let now = clock::wall().unix_seconds();
        // What was due while no svlogd ran is due now.
        let since = self.current.written_before().map_or(now, |written| written.min(now));
        if terms.clock_rotation.is_some_and(|rotation| rotation.zone == Zone::Local) {
            timezone::reload();
        }
        let schedule = |rotation| Schedule::new(rotation, since, timezone::offset_at);
        self.schedule = terms.clock_rotation.map(schedule);
        self.sync = terms.fsync.map(SyncDelay::new);
        self.retention = terms.retention;
        self.prune(report);
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

    /// Whether nothing is gathered.
    pub fn is_empty(&self) -> bool {
        self.gathered.is_empty()
    }

    /// Whether the writer of the log has to wait.
    pub fn is_held(&self) -> bool {
        self.pause.is_some() || !self.gathered.is_empty()
    }

    /// Rotates `current` as soon as it can be done, if it is not empty.
    pub fn ask_rotation(&mut self) {
        if self.rotation == Rotation::None {
            self.rotation = Rotation::Asked;
        }
    }

    /// Does what the time, or a child that has ended, makes possible.
    pub fn tend(&mut self, now: Duration, report: &Report) {
        self.processor.tend(&self.directory, now, report);
        let paused = match self.pause {
            None => false,
            Some(Pause::Until(time)) => now < time,
            Some(Pause::UntilProcessed) => self.is_processor_full(),
        };
        if self.age.as_mut().is_some_and(|age| age.take_due(now)) {
            self.ask_rotation();
        }
        if self.sync.as_mut().is_some_and(|sync| sync.take_due(now))
            && let Err(failure) = self.current.sync()
        {
            report.failure(failure.what, &self.directory.name(), failure.errno);
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
        if self.rotation == Rotation::Asked
            && self.pause.is_none()
            && let Err(Obstacle::Failure(failure)) = self.rotate(report)
        {
            self.pause(failure.into(), report);
        }
        if self.pause.is_none() {
            self.said = None;
        }
    }

    /// Does what the wall clock asks for: when the time of [`wall_deadline`](Self::wall_deadline) has come, or the clock was
    /// set. A rotation is left to [`tend`](Self::tend).
    pub fn tend_wall(&mut self, now: Tai64n, report: &Report) {
        if let Some(schedule) = &mut self.schedule
            && schedule.take_due(now.unix_seconds(), timezone::offset_at)
        {
            self.ask_rotation();
        }
        if self.expiry.is_some_and(|expiry| expiry <= now) {
            self.prune(report);
        }
    }

    /// When the wall clock asks for something, in Unix seconds.
    pub fn wall_deadline(&self) -> Option<i64> {
        let rotation = self.schedule.as_ref().map(Schedule::due);
        let expiry = self.expiry.map(Tai64n::unix_seconds);
        [rotation, expiry].into_iter().flatten().min()
    }

    /// The time on the monotonic clock at which there is something to [`tend`](Self::tend) to.
    pub fn deadline(&self) -> Option<Duration> {
        let retry = match self.pause {
            Some(Pause::Until(time)) => Some(time),
            Some(Pause::UntilProcessed) | None => None,
        };
        let age = self.age.as_ref().and_then(Age::due);
        let sync = self.sync.as_ref().and_then(SyncDelay::due);
        [retry, age, sync, self.processor.deadline()].into_iter().flatten().min()
    }

    /// Takes note that a child has ended. `false` if it is none of this directory's.
    pub fn child_ended(&mut self, pid: Pid, status: ExitStatus, report: &Report) -> bool {
        let now = clock::now().monotonic;
        if !self.processor.ended(pid, status, &self.directory, now, report) {
            return false;
        }
        while self.owed_removals > 0 {
            let names = self.old_files("unable to read directory", report);
            match self.remove_surplus(&names, None, report) {
                Surplus::Oldest(_) => self.owed_removals -= 1,
                Surplus::None => self.owed_removals = 0,
                Surplus::AllNeeded => break,
            }
        }
        self.prune(report);
        true
    }

    /// No more bytes will come.
    pub fn end(&mut self) {
        self.ending = true;
    }

    /// Whether all is written and the processor has done what it can.
    pub fn is_finished(&self) -> bool {
        !self.is_held() && self.processor.is_finished()
    }

    /// The name of the directory.
    pub fn directory_name(&self) -> &OsStr {
        self.directory.name()
    }

    /// Closes the files; returns the processor and what could not be written.
    pub fn close(self, report: &Report) -> (Processor, Vec<u8>) {
        let name = self.directory.name();
        report.info(&("close: ", name));
        if let Err(failure) = self.current.close(&self.directory) {
            report.failure(failure.what, &name, failure.errno);
        }
        (self.processor, self.gathered)
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
        let is_full = !bytes.is_empty() && self.policy.is_full(self.current.size());
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
        if self.room.is_some_and(|room| self.current.size() > room) {
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
                Err(failure) if failure.errno == Errno::ENOSPC && self.make_room(report) => {}
                result => return result,
            }
        }
    }

    fn make_room(&self, report: &Report) -> bool {
        let names = self.old_files("unable to read directory, want remove old logfile", report);
        let Surplus::Oldest(oldest) = self.policy.expendable(&names, |name| self.processor.needs(name))
        else {
            return false;
        };
        let file = oldest.to_string();
        report.warning(&("out of disk space, delete: ", InDirectory(self.directory.name(), &file)));
        self.remove(&file, report)
    }

    fn rotate(&mut self, report: &Report) -> Result<(), Obstacle> {
        if self.current.size() > 0 {
            if self.is_processor_full() {
                return Err(Obstacle::Processor);
            }
            let name = self.current.rotate(&self.directory, self.processor.stage(), report)?;
            self.processor.add();
            if let Some(sync) = &mut self.sync {
                sync.synced();
            }
            self.remove_old_files(name, report);
            self.prune(report);
            self.processor.tend(&self.directory, clock::now().monotonic, report);
        }
        self.rotation = Rotation::None;
        self.current.open(&self.directory)?;
        Ok(())
    }

    /// Removes what a processor left behind, and the oldest file if there are too many; never the `newest`, even if the
    /// clock has been set back.
    fn remove_old_files(&mut self, newest: LogName, report: &Report) {
        let names = self.old_files("unable to read directory", report);
        for &name in names.iter().filter(|name| name.stage == Stage::Temporary) {
            let file = name.to_string();
            if !self.processor.needs(name)
                && let Err(errno) = self.directory.unlink(&file)
            {
                report.failure("unable to unlink processor leftover", &file, errno);
            }
        }
        if self.remove_surplus(&names, Some(newest), report) == Surplus::AllNeeded {
            self.owed_removals += 1;
        }
    }

    fn remove_surplus(&self, names: &[LogName], newest: Option<LogName>, report: &Report) -> Surplus {
        let is_needed = |name| self.processor.needs(name) || newest == Some(name);
        let surplus = self.policy.surplus(names, is_needed);
        if let Surplus::Oldest(oldest) = surplus {
            let file = oldest.to_string();
            report.info(&("delete: ", InDirectory(self.directory.name(), &file)));
            self.remove(&file, report);
        }
        surplus
    }

    /// Removes what is too old or too much.
    fn prune(&mut self, report: &Report) {
        if !self.retention.is_limited() {
            return;
        }
        let mut files = self.directory.old_file_sizes().unwrap_or_else(|errno| {
            report.failure("unable to read directory", &self.directory.name(), errno);
            Vec::new()
        });
        let is_needed = |name| self.processor.needs(name);
        let pruning = self.retention.prune(&mut files, self.current.size(), clock::wall(), is_needed);
        (self.expiry, self.room) = (pruning.expiry, pruning.room);
        for name in pruning.remove {
            let file = name.to_string();
            report.info(&("delete: ", InDirectory(self.directory.name(), &file)));
            self.remove(&file, report);
        }
    }

    /// The old files; none, with a warning, where they cannot be found.
    fn old_files(&self, what: &str, report: &Report) -> Vec<LogName> {
        self.directory.old_files().unwrap_or_else(|errno| {
            report.failure(what, &self.directory.name(), errno);
            Vec::new()
        })
    }

    fn remove(&self, file: &str, report: &Report) -> bool {
        let result = self.directory.unlink(file);
        if let Err(errno) = result {
            report.failure("unable to unlink oldest logfile", &self.directory.name(), errno);
        }
        result.is_ok()
    }

    fn is_processor_full(&self) -> bool {
        self.processor.is_full() && !self.ending
    }

    fn pause(&mut self, obstacle: Obstacle, report: &Report) {
        self.pause = Some(match obstacle {
            Obstacle::Processor => Pause::UntilProcessed,
            Obstacle::Failure(_) => Pause::Until(clock::now().monotonic.saturating_add(RETRY)),
        });
        if self.said.replace(obstacle) != Some(obstacle) {
            let name = self.directory.name();
            match obstacle {
                Obstacle::Failure(Failure { what, errno }) => {
                    report.pausing(&(what, ": ", name, ": ", errno.desc()));
                }
                Obstacle::Processor => {
                    let count = WAITING_LIMIT.to_string();
                    report.pausing(&(&count, " files wait for the processor: ", name));
                }
            }
        }
    }
}

/// Whether the reason is one that passes.
fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::ENOSPC | Errno::EDQUOT | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)
}
