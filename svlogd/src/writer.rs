//! Bytes into the files of one log directory: written, rotated, sealed, processed, compressed, removed.
//!
//! Nothing here waits. What cannot be written is kept until [`Writer::tend`] finds the obstacle gone, and the writer of
//! the log is held back meanwhile.

use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;
use svlib::exit_status::ExitStatus;
use svlib::log_name::{LogName, Stage};
use svlib::sys::clock;

use crate::compress::{self, Compressor, Job};
use crate::config::setting::Compression;
use crate::current::{Current, Failure, Found};
use crate::directory::Directory;
use crate::policy::{Age, Policy, Surplus};
use crate::processor::{self, Processor, Running};
use crate::report::{InDirectory, Report};
use crate::seal::{Batch, Sealer};

/// What was gathered is written once it has grown to so many bytes.
const GATHER_LIMIT: usize = 64 << 10;

/// How long to wait before another try.
const RETRY: Duration = Duration::from_secs(1);

/// What the config says of rotated files.
pub struct Afterwards {
    /// The shell command that they are fed through.
    pub processor: Option<Vec<u8>>,
    /// How long that may take.
    pub processor_timeout: Option<Duration>,
    /// How they are compressed.
    pub compress: Option<Compression>,
}

/// What remains of a writer that is closed, for the next one of its directory.
#[derive(Default)]
pub struct Left {
    processor: Option<Running>,
    sealing: Vec<Batch>,
    compression: Option<Job>,
    unwritten: Vec<u8>,
}

impl Left {
    /// How many bytes could not be written.
    pub fn unwritten(&self) -> usize {
        self.unwritten.len()
    }

    /// Takes note that a child has ended. `false` if it is none of this directory's.
    pub fn child_ended(&mut self, pid: Pid) -> bool {
        let sealing = self.sealing.len();
        self.sealing.retain(|batch| !batch.is(pid));
        self.processor.take_if(|running| running.is(pid)).is_some()
            || self.compression.take_if(|job| job.is(pid)).is_some()
            || sealing != self.sealing.len()
    }
}

/// The files of one log directory.
pub struct Writer {
    directory: Directory,
    current: Current,
    policy: Policy,
    age: Option<Age>,
    processor: Processor,
    sealer: Sealer,
    compressor: Compressor,
    /// So many old files were too many when there was none that could go.
    owed_removals: usize,
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
    /// Too many files wait.
    Waiting(Waiting),
}

/// What rotated files wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Processor,
    Sealer,
    Compressor,
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
    /// A writer that first writes what is left unwritten.
    ///
    /// # Errors
    /// `current` cannot be opened, and waiting would not help.
    pub fn open(
        directory: Directory,
        policy: Policy,
        age: Option<Age>,
        afterwards: Afterwards,
        left: Left,
        report: &Report,
    ) -> Result<Self, Failure> {
        let Left { processor, sealing, compression, unwritten } = left;
        let (current, found) = Current::find(&directory)?;
        let mut writer = Self {
            directory,
            current,
            policy,
            age,
            processor: Processor::new(afterwards.processor, afterwards.processor_timeout, processor),
            sealer: Sealer::new(sealing),
            compressor: Compressor::new(afterwards.compress, compression),
            owed_removals: 0,
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
        self.sealer.tend(&self.directory, report);
        self.tend_compressor(now, report);
        let paused = match self.pause {
            None => false,
            Some(Pause::Until(time)) => now < time,
            Some(Pause::UntilFewerWait) => self.too_many_wait().is_some(),
        };
        if self.age.as_mut().is_some_and(|age| age.take_due(now)) {
            self.ask_rotation();
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

    /// The time on the monotonic clock at which there is something to [`tend`](Self::tend) to.
    pub fn deadline(&self) -> Option<Duration> {
        let retry = match self.pause {
            Some(Pause::Until(time)) => Some(time),
            Some(Pause::UntilFewerWait) | None => None,
        };
        let age = self.age.as_ref().and_then(Age::due);
        let compressor = self.compressor.deadline().filter(|_| !self.ending);
        [retry, age, self.processor.deadline(), compressor].into_iter().flatten().min()
    }

    /// Takes note that a child has ended. `false` if it is none of this directory's.
    pub fn child_ended(&mut self, pid: Pid, status: ExitStatus, report: &Report) -> bool {
        let now = clock::now().monotonic;
        if self.processor.is_running(pid) {
            report.info(&"sigchild received.");
        }
        if self.processor.ended(pid, status, &self.directory, now, report)
            || self.sealer.ended(pid, status, &self.directory, report)
        {
            self.compressor.look();
        } else if !self.compressor.ended(pid, status, &self.directory, now, report) {
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
        true
    }

    /// No more bytes will come.
    pub fn end(&mut self) {
        self.ending = true;
    }

    /// Whether all is written and safely stored, the processor has done what it can, and no file is being compressed.
    pub fn is_finished(&self) -> bool {
        !self.is_held()
            && self.processor.is_finished()
            && self.sealer.is_finished()
            && self.compressor.is_finished()
    }

    /// Closes the files.
    pub fn close(self, report: &Report) -> Left {
        let name = self.directory.name();
        report.info(&("close: ", name));
        if let Err(failure) = self.current.close() {
            report.failure(failure.what, &name, failure.errno);
        }
        Left {
            processor: self.processor.into_running(),
            sealing: self.sealer.close(&self.directory, report),
            compression: self.compressor.into_job(),
            unwritten: self.gathered,
        }
    }

    fn tend_compressor(&mut self, now: Duration, report: &Report) {
        if self.compressor.is_ready(now) && !self.ending {
            let names = self.old_files("unable to read directory, want compress old logfile", report);
            self.compressor.start(&names, &self.directory, now, report);
        }
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

    fn make_room(&mut self, report: &Report) -> bool {
        if self.sealer.delete_now(&self.directory) {
            return true;
        }
        let names = self.old_files("unable to read directory, want remove old logfile", report);
        let Surplus::Oldest(oldest) = self.policy.expendable(&names, |name| self.needs(name)) else {
            return false;
        };
        let file = oldest.to_string();
        report.warning(&("out of disk space, delete: ", InDirectory(self.directory.name(), &file)));
        self.remove(&file, report)
    }

    fn rotate(&mut self, report: &Report) -> Result<(), Obstacle> {
        if self.current.size() > 0 {
            if let Some(waiting) = self.too_many_wait() {
                return Err(Obstacle::Waiting(waiting));
            }
            let name = match self.processor.stage() {
                Stage::Saved => {
                    let name = self.current.set_aside(&self.directory, report)?;
                    self.sealer.add(name);
                    name
                }
                stage => {
                    let name = self.current.rotate(&self.directory, stage, report)?;
                    self.processor.add();
                    name
                }
            };
            // What is started then finds the directory as it is to be.
            let opened = self.current.open(&self.directory).map(drop);
            self.remove_old_files(name, report);
            self.processor.tend(&self.directory, clock::now().monotonic, report);
            self.sealer.tend(&self.directory, report);
            opened?;
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
            if !self.needs(name)
                && let Err(errno) = self.directory.unlink(&file)
            {
                report.failure("unable to unlink processor leftover", &file, errno);
            }
        }
        self.compressor.add(newest, &names);
        if self.remove_surplus(&names, Some(newest), report) == Surplus::AllNeeded {
            self.owed_removals += 1;
        }
    }

    fn remove_surplus(&mut self, names: &[LogName], newest: Option<LogName>, report: &Report) -> Surplus {
        let is_needed =
            |name| self.processor.needs(name) || self.compressor.needs(name) || newest == Some(name);
        let surplus = self.policy.surplus(names, is_needed);
        if let Surplus::Oldest(oldest) = surplus {
            let file = self.sealer.name(oldest).to_string();
            report.info(&("delete: ", InDirectory(self.directory.name(), &file)));
            self.sealer.delete(oldest);
        }
        surplus
    }

    /// Whether a file is in use, so that it must not be removed.
    fn needs(&self, file: LogName) -> bool {
        self.processor.needs(file) || self.sealer.needs(file) || self.compressor.needs(file)
    }

    /// The old files, less those about to be deleted; none, with a warning, where they cannot be found.
    fn old_files(&self, what: &str, report: &Report) -> Vec<LogName> {
        let mut names = self.directory.old_files().unwrap_or_else(|errno| {
            report.failure(what, &self.directory.name(), errno);
            Vec::new()
        });
        names.retain(|&name| !self.sealer.deletes(name));
        compress::leave_out_copies(&mut names);
        names
    }

    fn remove(&self, file: &str, report: &Report) -> bool {
        let result = self.directory.unlink(file);
        if let Err(errno) = result {
            report.failure("unable to unlink oldest logfile", &self.directory.name(), errno);
        }
        result.is_ok()
    }

    /// What too many files wait for, so that there cannot be more. When svlogd ends, there may be any number.
    fn too_many_wait(&self) -> Option<Waiting> {
        let full = [
            (self.processor.is_full(), Waiting::Processor),
            (self.compressor.is_full(), Waiting::Compressor),
        ];
        let full = full.into_iter().find(|&(is_full, _)| is_full && !self.ending);
        // These are waited for when svlogd ends, and that is soon.
        full.map(|(_, waiting)| waiting).or(self.sealer.is_full().then_some(Waiting::Sealer))
    }

    fn pause(&mut self, obstacle: Obstacle, report: &Report) {
        self.pause = Some(match obstacle {
            Obstacle::Waiting(_) => Pause::UntilFewerWait,
            Obstacle::Failure(_) => Pause::Until(clock::now().monotonic.saturating_add(RETRY)),
        });
        if self.said.replace(obstacle) != Some(obstacle) {
            let name = self.directory.name();
            match obstacle {
                Obstacle::Failure(Failure { what, errno }) => {
                    report.pausing(&(what, ": ", name, ": ", errno.desc()));
                }
                // It is what the disk can take, no trouble.
                Obstacle::Waiting(Waiting::Sealer) => {}
                Obstacle::Waiting(Waiting::Processor) => {
                    let count = processor::WAITING_LIMIT.to_string();
                    report.pausing(&(&count, " files wait for the processor: ", name));
                }
                Obstacle::Waiting(Waiting::Compressor) => {
                    let count = compress::WAITING_LIMIT.to_string();
                    report.pausing(&(&count, " files wait for compression: ", name));
                }
            }
        }
    }
}

/// Whether the reason is one that passes.
fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::ENOSPC | Errno::EDQUOT | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)
}
