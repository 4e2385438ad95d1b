//! What becomes of rotated files: they are sealed, processed, compressed and, in the end, removed.

use std::time::Duration;

use nix::unistd::Pid;
use svlib::exit_status::ExitStatus;
use svlib::log_name::{LogName, Packing, Stage};
use svlib::sys::clock;
use svlib::tai64n::Tai64n;

use crate::compress::{Compressor, Job};
use crate::config::setting::Compression;
use crate::directory::Directory;
use crate::helper::unless_gone;
use crate::processor::{Processor, Running};
use crate::report::{InDirectory, Report};
use crate::retention::{OldFile, Retention, Surplus};
use crate::seal::Sealer;

/// What was not looked at because the directory could not be read is looked at again after so long.
const PRUNE_RETRY: u64 = 60;

/// What the config says of old files.
pub struct Settings {
    /// The shell command that they are fed through.
    pub processor: Option<Vec<u8>>,
    /// How long that may take.
    pub processor_timeout: Option<Duration>,
    /// How they are compressed.
    pub compression: Option<Compression>,
    /// Which of them are left.
    pub retention: Retention,
}

/// What is being done to the files of a directory that is closed.
#[derive(Default)]
pub struct Underway {
    processor: Option<Running>,
    sealer: Sealer,
    compression: Option<Job>,
    owed_removals: usize,
}

impl Underway {
    /// Takes note that a child has ended. `false` if it is none of this directory's.
    pub fn child_ended(&mut self, pid: Pid) -> bool {
        self.processor.take_if(|running| running.is(pid)).is_some()
            || self.compression.take_if(|job| job.is(pid)).is_some()
            || self.sealer.forget(pid).is_some()
    }
}

/// What too many files wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Backlog {
    /// To be brought to the disk.
    Sealer,
    /// To be processed.
    Processor,
    /// To be compressed.
    Compressor,
}

/// The old files of one log directory.
pub struct OldFiles {
    processor: Processor,
    sealer: Sealer,
    compressor: Compressor,
    retention: Retention,
    /// So many old files were too many when there was none that could go.
    owed_removals: usize,
    /// At this time on the wall clock, a file will be too old, or it can perhaps be found out again.
    expiry: Option<Tai64n>,
    /// Once `current` has more bytes, the files have too many together.
    room: Option<u64>,
    /// svlogd is about to end: any number of files may wait.
    ending: bool,
}

impl OldFiles {
    /// Old files to which something may be done since before the config was read again.
    pub fn new(settings: Settings, underway: Underway) -> Self {
        Self {
            processor: Processor::new(settings.processor, settings.processor_timeout, underway.processor),
            sealer: underway.sealer,
            compressor: Compressor::new(settings.compression, underway.compression),
            retention: settings.retention,
            owed_removals: underway.owed_removals,
            expiry: None,
            room: None,
            ending: false,
        }
    }

    /// Takes up what another svlogd has left; it had not closed the file that was `set_aside`.
    pub fn take_over(&mut self, set_aside: Option<LogName>, directory: &Directory, report: &Report) {
        let Some(names) = self.names("unable to read directory", directory, report) else {
            self.owed_removals += usize::from(set_aside.is_some());
            // Perhaps one waits: it looks.
            return self.processor.add();
        };
        self.remove_leftovers(&names, directory, report);
        if set_aside.is_some() {
            self.remove_surplus(&names, set_aside, directory, report);
        }
        // Perhaps there is no processor any more that needs them.
        self.remove_owed(directory, report);
        self.processor.find_waiting(&names);
        if self.compressor.is_wanted() && self.stage() == Stage::Saved {
            let is_left = |name: &LogName| name.stage == Stage::Unprocessed && !self.processor.needs(*name);
            names.into_iter().filter(is_left).for_each(|name| self.sealer.seal(name));
        }
    }

    /// One more file has been rotated, beside a new `current` that is empty.
    pub fn add(&mut self, name: LogName, directory: &Directory, report: &Report) {
        match self.processor.stage() {
            Stage::Saved => self.sealer.seal(name),
            _ => self.sealer.sync(name),
        }
        self.processor.add();
        let names = self.names("unable to read directory", directory, report);
        self.compressor.add(name, names.as_deref());
        let surplus = names.map_or(Surplus::AllNeeded, |names| {
            self.remove_leftovers(&names, directory, report);
            self.remove_surplus(&names, Some(name), directory, report)
        });
        if surplus == Surplus::AllNeeded {
            self.owed_removals += 1;
        }
        self.prune(0, directory, report);
        self.tend(directory, clock::now().monotonic, report);
    }

    /// What a file will be once it is rotated.
    pub fn stage(&self) -> Stage {
        self.processor.stage()
    }

    /// What too many files wait for, so that there must not be more.
    pub fn backlog(&self) -> Option<Backlog> {
        if self.sealer.is_full() {
            // That is soon over, even for an svlogd that is about to end.
            return Some(Backlog::Sealer);
        }
        let full = [
            (self.processor.is_full(), Backlog::Processor),
            (self.compressor.is_full(), Backlog::Compressor),
        ];
        full.into_iter().find(|&(is_full, _)| is_full && !self.ending).map(|(_, backlog)| backlog)
    }

    /// Whether what there was too much of has become much less. What is merely slow is at the limit over and over.
    pub fn is_eased(&self, backlog: Backlog) -> bool {
        match backlog {
            Backlog::Sealer => !self.sealer.is_full(),
            Backlog::Processor => self.processor.is_eased(),
            Backlog::Compressor => self.compressor.is_eased(),
        }
    }

    /// Does what the time, or a child that has ended, makes possible.
    pub fn tend(&mut self, directory: &Directory, now: Duration, report: &Report) {
        // What waited for the disk when the config got a processor is not for that.
        if !self.sealer.is_sealing() {
            self.processor.tend(directory, now, report);
        }
        self.sealer.tend(directory, report);
        if self.compressor.is_ready(now) && !self.ending {
            let names = self.names("unable to read directory, want compress old logfile", directory, report);
            let Self { compressor, sealer, .. } = self;
            match names {
                Some(names) => compressor.start(&names, |name| !sealer.seals(name), directory, now, report),
                None => compressor.wait(now),
            }
        }
    }

    /// The time on the monotonic clock at which there is something to [`tend`](Self::tend) to.
    pub fn deadline(&self) -> Option<Duration> {
        let compressor = self.compressor.deadline().filter(|_| !self.ending);
        [self.processor.deadline(), compressor].into_iter().flatten().min()
    }

    /// The time on the wall clock at which a file will be too old.
    pub fn expiry(&self) -> Option<Tai64n> {
        self.expiry
    }

    /// Whether the files have too many bytes together with a `current` of so many.
    pub fn lack_room(&self, current: u64) -> bool {
        self.room.is_some_and(|room| current > room)
    }

    /// Takes note that a child has ended. `false` if it is none of this directory's.
    pub fn child_ended(
        &mut self,
        pid: Pid,
        status: ExitStatus,
        current: u64,
        directory: &Directory,
        report: &Report,
    ) -> bool {
        if self.sealer.ended(pid, status, directory, report) {
            self.compressor.look();
            return true;
        }
        if self.processor.is_running(pid) {
            report.info(&"sigchild received.");
        }
        let now = clock::now().monotonic;
        if let Some(doomed) = self.compressor.ended(pid, status, directory, now, report) {
            doomed.into_iter().for_each(|name| self.sealer.delete(name));
        } else if self.processor.ended(pid, status, directory, now, report) {
            self.compressor.look();
        } else {
            return false;
        }
        self.remove_owed(directory, report);
        self.prune(current, directory, report);
        true
    }

    /// No more files will come than the last `current`.
    pub fn end(&mut self) {
        self.ending = true;
    }

    /// Whether all are safely stored, and the processor has done what it can. Compression is not waited for: what has begun
    /// ends by itself, and the next svlogd goes on with the rest.
    pub fn is_finished(&self) -> bool {
        self.processor.is_finished() && self.sealer.is_finished()
    }

    /// Hands over what is being done.
    pub fn close(mut self, directory: &Directory, report: &Report) -> Underway {
        self.sealer.start_what_can(directory, report);
        Underway {
            processor: self.processor.into_running(),
            sealer: self.sealer,
            compression: self.compressor.into_job(),
            owed_removals: self.owed_removals,
        }
    }

    /// Removes what is too old or too much, beside a `current` of so many bytes.
    pub fn prune(&mut self, current: u64, directory: &Directory, report: &Report) {
        if !self.retention.is_limited() {
            return;
        }
        let Some(names) = self.names("unable to read directory", directory, report) else {
            let now = clock::wall();
            let seconds = now.seconds.saturating_add(PRUNE_RETRY);
            (self.expiry, self.room) = (Some(Tai64n { seconds, ..now }), None);
            return;
        };
        let mut files: Vec<_> = names.into_iter().filter_map(|name| old_file(name, directory)).collect();
        let is_needed = |name| self.processor.needs(name);
        let pruning = self.retention.prune(&mut files, current, clock::wall(), is_needed);
        (self.expiry, self.room) = (pruning.expiry, pruning.room);
        for (index, name) in pruning.remove.into_iter().enumerate() {
            self.delete(
                name,
                if index < pruning.too_old { " max-age" } else { " max-total" },
                directory,
                report,
            );
        }
        self.sealer.tend(directory, report);
    }

    /// On a full disk, one old file is removed if the config allows it. Whether one was.
    pub fn make_room(&mut self, directory: &Directory, report: &Report) -> bool {
        if self.sealer.delete_now(directory) {
            return true;
        }
        let want = "unable to read directory, want remove old logfile";
        let Some(names) = self.names(want, directory, report) else { return false };
        let expendable = self.retention.expendable(&names, |name| self.processor.needs(name));
        let Surplus::Oldest(oldest) = expendable else { return false };
        let file = oldest.to_string();
        report.warning(&("out of disk space, delete: ", InDirectory(directory.name(), &file)));
        // What a helper has open takes its room until that has ended. To wait for it would hold the log up; the next one
        // that goes in the meantime goes a little early.
        if self.compressor.needs(oldest) {
            self.compressor.doom();
            let names = [Packing::Plain, Packing::Gzip, Packing::Zstd].map(|packing| oldest.packed(packing));
            return names.into_iter().any(|name| directory.unlink(name.to_string()).is_ok());
        }
        self.sealer.delete(oldest);
        self.sealer.delete_now(directory)
    }

    /// Removes what a processor or a compression left behind.
    fn remove_leftovers(&self, names: &[LogName], directory: &Directory, report: &Report) {
        for &name in names.iter().filter(|name| name.stage == Stage::Temporary) {
            let file = name.to_string();
            let is_needed = match name.packing {
                Packing::Plain => self.processor.needs(name),
                // It is overwritten when that file is compressed, unless another svlogd's compression is still at it.
                _ if self.compressor.needs(name) => true,
                _ => {
                    self.compressor.is_wanted()
                        && names.contains(&name.at(Stage::Saved).packed(Packing::Plain))
                }
            };
            if !is_needed && let Err(errno) = unless_gone(directory.unlink(&file)) {
                report.failure("unable to unlink processor leftover", &file, errno);
            }
        }
    }

    /// Removes the oldest file if there are too many; never the `newest`, even if the clock has been set back.
    fn remove_surplus(
        &mut self,
        names: &[LogName],
        newest: Option<LogName>,
        directory: &Directory,
        report: &Report,
    ) -> Surplus {
        let newest = newest.map(|newest| newest.time);
        let is_needed = |name: LogName| self.processor.needs(name) || newest == Some(name.time);
        let surplus = self.retention.surplus(names, is_needed);
        if let Surplus::Oldest(oldest) = surplus {
            self.delete(oldest, "", directory, report);
        }
        surplus
    }

    /// Removes what was too much when nothing could go, as far as it can go now.
    fn remove_owed(&mut self, directory: &Directory, report: &Report) {
        while self.owed_removals > 0 {
            let Some(names) = self.names("unable to read directory", directory, report) else { break };
            match self.remove_surplus(&names, None, directory, report) {
                Surplus::Oldest(_) => self.owed_removals -= 1,
                Surplus::None => self.owed_removals = 0,
                Surplus::AllNeeded => break,
            }
        }
    }

    fn delete(&mut self, name: LogName, reason: &str, directory: &Directory, report: &Report) {
        report.info(&("delete: ", InDirectory(directory.name(), &name.to_string()), reason));
        if self.compressor.needs(name) {
            self.compressor.doom();
        } else {
            self.sealer.delete(name);
        }
    }

    /// The old files, as they will be when all that is begun is done; `None` after a warning.
    fn names(&self, what: &str, directory: &Directory, report: &Report) -> Option<Vec<LogName>> {
        let found = directory.old_files().map_err(|errno| report.failure(what, &directory.name(), errno));
        let mut names = found.ok()?;
        // Without `compress`, what is packed is the operator's: runit counts and deletes only its own names too.
        let is_ours = |name: &LogName| {
            name.packing == Packing::Plain || name.stage == Stage::Temporary || self.compressor.is_wanted()
        };
        names.retain(is_ours);
        self.sealer.foresee(&mut names);
        self.compressor.foresee(&mut names);
        Some(names)
    }
}

/// What there is of a file. `None` if it is gone.
fn old_file(name: LogName, directory: &Directory) -> Option<OldFile> {
    // It may not have its name yet, be renamed this moment, or be compressed.
    let [gzip, zstd] = [Packing::Gzip, Packing::Zstd].map(|packing| name.packed(packing));
    let names = [name, name.at(Stage::Unprocessed), name, gzip, zstd];
    let stat = names.into_iter().find_map(|name| directory.stat(name.to_string()).ok())?;
    let written = Tai64n::from_unix(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default());
    Some(OldFile { name, bytes: u64::try_from(stat.st_size).unwrap_or_default(), written })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::{Command, Stdio};

    use nix::errno::Errno;

    use crate::config::setting::CompressionKind;

    #[test]
    fn what_is_not_known_is_asked_again() {
        let mut process = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let directory = Directory::open(format!("/proc/{}", process.id()).as_ref()).unwrap();
        drop(process.stdin.take());
        process.wait().unwrap();
        assert_eq!(directory.old_files(), Err(Errno::ESRCH), "a directory that cannot be read any more");
        let report = Report::new(false);
        let settings = Settings {
            processor: Some(b"cat".to_vec()),
            processor_timeout: None,
            compression: Some(Compression { kind: CompressionKind::Gzip, level: None }),
            retention: Retention { max_age: Some(Duration::from_secs(3600)), ..Retention::default() },
        };
        let mut old_files = OldFiles::new(settings, Underway::default());
        old_files.take_over(None, &directory, &report);
        assert!(!old_files.processor.is_finished());
        let now = clock::now().monotonic;
        old_files.tend(&directory, now, &report);
        for deadline in [old_files.processor.deadline(), old_files.compressor.deadline()] {
            assert!(deadline > Some(now));
        }
        let before = clock::wall();
        old_files.prune(0, &directory, &report);
        assert!(old_files.expiry() > Some(before));
        old_files.add(LogName::new(before, Stage::Unprocessed), &directory, &report);
        assert_eq!(old_files.owed_removals, 1);
    }

    /// The oldest of the files that are there is the one that a helper is about to rename.
    #[test]
    fn a_full_disk_costs_the_oldest_file_whoever_is_at_it() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path().as_os_str()).unwrap();
        let names = [1, 2, 3].map(|seconds| {
            LogName::new(Tai64n { seconds: (1 << 62) + seconds, nanos: 0 }, Stage::Unprocessed)
        });
        for name in names {
            fs::write(dir.path().join(name.to_string()), "line\n").unwrap();
        }
        let settings = Settings {
            processor: None,
            processor_timeout: None,
            compression: None,
            retention: Retention { keep: 10, keep_min: 1, ..Retention::default() },
        };
        let underway = Underway { sealer: Sealer::amid(&names[..2]), ..Underway::default() };
        let mut old_files = OldFiles::new(settings, underway);
        for left in [&names[1..], &names[2..]] {
            assert!(old_files.make_room(&directory, &Report::new(false)));
            let mut found = directory.old_files().unwrap();
            found.sort_unstable();
            assert_eq!(found, left);
        }
        assert!(!old_files.make_room(&directory, &Report::new(false)), "not below the minimum");
    }
}
