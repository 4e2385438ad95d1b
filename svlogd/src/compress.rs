//! Old files, compressed beside the writing: one after the other, the oldest first, each by a [`helper`] that [packs](crate::pack)
//! it.
//!
//! What waits for it is on disk: the `@….s` files are the queue, so that whatever was killed, the next svlogd goes on where
//! this one was.

use std::time::Duration;

use nix::unistd::Pid;
use svlib::exit_status::ExitStatus;
use svlib::log_name::{LogName, Packing, Stage};
use svlib::sys::signal::{self, Signal};
use svlib::tai64n::Tai64n;

use crate::config::setting::{Compression, CompressionKind};
use crate::directory::Directory;
use crate::helper;
use crate::report::{InDirectory, Report};

/// With so many files waiting that were rotated since svlogd began, `current` is not rotated any more: once it is full, the
/// writer waits for the compression.
pub const WAITING_LIMIT: usize = 100;

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// As fast as a log is written, and still small.
const GZIP_LEVEL: i32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// A helper at work.
pub struct Job {
    pid: Pid,
    file: LogName,
    /// The file is to be deleted.
    doomed: bool,
}

impl Job {
    /// Whether it is this process.
    pub fn is(&self, pid: Pid) -> bool {
        self.pid == pid
    }
}

/// The compression of one directory.
pub struct Compressor {
    setting: Option<Compression>,
    job: Option<Job>,
    /// There may be files to compress.
    is_due: bool,
    /// The first file that was rotated by this svlogd.
    since: Option<Tai64n>,
    waiting: usize,
    /// These are tried again after all others.
    failed: Vec<LogName>,
    failures: u32,
    retry_at: Option<Duration>,
}

impl Compressor {
    /// One that had this `job` running before the config was read again.
    pub fn new(setting: Option<Compression>, job: Option<Job>) -> Self {
        Self {
            is_due: setting.is_some(),
            setting,
            job,
            since: None,
            waiting: 0,
            failed: Vec::new(),
            failures: 0,
            retry_at: None,
        }
    }

    /// Whether the config asks for it.
    pub fn is_wanted(&self) -> bool {
        self.setting.is_some()
    }

    /// Takes note of a rotation: `names` are the old files that there are now, if they are known.
    pub fn add(&mut self, rotated: LogName, names: Option<&[LogName]>) {
        self.since.get_or_insert(rotated.time);
        match names {
            Some(names) => self.count(names),
            None => self.waiting += 1,
        }
    }

    /// A file has become one that can be compressed.
    pub fn look(&mut self) {
        self.is_due = self.is_wanted();
    }

    /// Whether there are as many files waiting as there may be.
    pub fn is_full(&self) -> bool {
        self.is_wanted() && self.waiting >= WAITING_LIMIT
    }

    /// Whether at most half as many files wait.
    pub fn is_eased(&self) -> bool {
        self.waiting <= WAITING_LIMIT / 2
    }

    /// Whether this file is being compressed.
    pub fn needs(&self, file: LogName) -> bool {
        self.job.as_ref().is_some_and(|job| job.file.time == file.time)
    }

    /// Has the file that is being compressed deleted.
    pub fn doom(&mut self) {
        if let Some(job) = &mut self.job {
            job.doomed = true;
            // It has not been waited for: no other process has its number.
            let _ = signal::send(job.pid, Signal::SIGKILL);
        }
    }

    /// Makes of the files that are there those that will be there when all is done: each once, and what is being compressed
    /// under the name it had.
    pub fn foresee(&self, names: &mut Vec<LogName>) {
        if let Some(job) = &self.job {
            names.retain(|name| name.time != job.file.time || name.stage == Stage::Temporary);
            names.extend((!job.doomed).then_some(job.file));
        }
        // One that was compressed and not yet deleted when its helper was killed is there twice.
        names.sort_unstable();
        names.dedup_by_key(|name| (name.time, if name.stage == Stage::Saved { None } else { Some(*name) }));
    }

    /// Hands over what is running.
    pub fn into_job(self) -> Option<Job> {
        self.job
    }

    /// When to try again after a failure, on the monotonic clock.
    pub fn deadline(&self) -> Option<Duration> {
        self.retry_at.filter(|_| self.job.is_none() && self.is_due)
    }

    /// Whether it is time for [`start`](Self::start).
    pub fn is_ready(&self, now: Duration) -> bool {
        self.is_due && self.job.is_none() && self.retry_at.is_none_or(|retry_at| retry_at <= now)
    }

    /// Starts with the oldest of the old files, those first that have not failed; not with one that is not yet sealed.
    pub fn start(
        &mut self,
        names: &[LogName],
        is_sealed: impl Fn(LogName) -> bool,
        directory: &Directory,
        now: Duration,
        report: &Report,
    ) {
        self.count(names);
        self.retry_at = None;
        let files = || names.iter().copied().filter(|&name| can_be_compressed(name) && is_sealed(name));
        let next = files().filter(|name| !self.failed.contains(name)).min().or_else(|| {
            self.failed.clear();
            files().min()
        });
        let (Some(setting), Some(file)) = (self.setting, next) else {
            self.is_due = false;
            return;
        };
        let (kind, level) = match setting.kind {
            CompressionKind::Gzip => (Packing::Gzip, GZIP_LEVEL),
            CompressionKind::Zstd => (Packing::Zstd, ZSTD_LEVEL),
        };
        let packed = file.packed(kind).to_string();
        report.info(&("compressing: ", InDirectory(directory.name(), &packed)));
        let arguments = [packed, setting.level.unwrap_or(level).to_string()];
        match helper::start(helper::COMPRESS, directory, arguments, report) {
            Ok(pid) => self.job = Some(Job { pid, file, doomed: false }),
            Err(errno) => {
                report.failure("unable to start compression", &directory.name(), errno);
                self.fail(file, now);
            }
        }
    }

    /// Takes note that a child has ended: `None` if it was not this compression, else the files that are to be deleted.
    pub fn ended(
        &mut self,
        pid: Pid,
        status: ExitStatus,
        directory: &Directory,
        now: Duration,
        report: &Report,
    ) -> Option<Vec<LogName>> {
        let Job { file, doomed, .. } = self.job.take_if(|job| job.is(pid))?;
        self.look();
        if !status.success() {
            for packing in [Packing::Gzip, Packing::Zstd] {
                // There may be none; one that stays is overwritten by the next try.
                let _ = directory.unlink(file.at(Stage::Temporary).packed(packing).to_string());
            }
        }
        if doomed {
            return Some(
                [Packing::Plain, Packing::Gzip, Packing::Zstd].map(|packing| file.packed(packing)).to_vec(),
            );
        }
        if status.success() {
            let packed = [Packing::Gzip, Packing::Zstd].map(|packing| file.packed(packing).to_string());
            // What was gone was not compressed.
            let count = packed.into_iter().filter(|name| directory.stat(name).is_ok()).count();
            report.counters.compressed.add(count.min(1) as u64);
            self.waiting = self.waiting.saturating_sub(1);
            if self.failed.is_empty() {
                self.failures = 0;
            }
        } else {
            let name = file.to_string();
            report.warning(&("compression failed, retry: ", InDirectory(directory.name(), &name)));
            self.fail(file, now);
        }
        Some(Vec::new())
    }

    fn count(&mut self, names: &[LogName]) {
        let since = self.since;
        let is_waiting =
            |name: &&LogName| can_be_compressed(**name) && since.is_some_and(|since| since <= name.time);
        self.waiting = names.iter().filter(is_waiting).count();
    }

    fn fail(&mut self, file: LogName, now: Duration) {
        self.failed.push(file);
        self.wait(now);
    }

    /// Waits after a failure, longer each time.
    pub fn wait(&mut self, now: Duration) {
        let delay = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now.checked_add(delay);
    }
}

fn can_be_compressed(name: LogName) -> bool {
    name.stage == Stage::Saved && name.packing == Packing::Plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(seconds: u64) -> LogName {
        LogName::new(Tai64n { seconds: (1 << 62) + seconds, nanos: 0 }, Stage::Saved)
    }

    fn compressor() -> Compressor {
        let kind = CompressionKind::Gzip;
        Compressor::new(Some(Compression { kind, level: None }), None)
    }

    fn busy(seconds: u64) -> Compressor {
        let job = Job { pid: Pid::from_raw(i32::MAX), file: name(seconds), doomed: false };
        Compressor { job: Some(job), ..compressor() }
    }

    #[test]
    fn files_are_foreseen() {
        let packed = |seconds| name(seconds).packed(Packing::Gzip);
        let names = [name(1), packed(1), name(2), packed(2), packed(3), name(4).at(Stage::Temporary)];
        let mut compressor = busy(2);
        // A file that is being renamed may be listed under both names, or under none.
        for overlooked in [false, true] {
            let mut found = names.to_vec();
            found.retain(|file| !overlooked || file.time != name(2).time);
            compressor.foresee(&mut found);
            assert_eq!(found, [name(1), name(2), packed(3), name(4).at(Stage::Temporary)]);
        }
        compressor.doom();
        let mut found = names.to_vec();
        compressor.foresee(&mut found);
        assert_eq!(found, [name(1), packed(3), name(4).at(Stage::Temporary)]);
    }

    #[test]
    fn what_was_there_before_holds_nobody_back() {
        let names: Vec<_> = (0..1000).map(name).collect();
        let mut compressor = compressor();
        compressor.add(name(900), Some(&names));
        assert!(compressor.is_full());
        compressor.add(name(1000), Some(&names[..999]));
        assert!(!compressor.is_full());
        let packed: Vec<_> = names.iter().map(|name| name.packed(Packing::Zstd)).collect();
        compressor.add(name(1001), Some(&packed));
        assert!(!compressor.is_full());
    }

    #[test]
    fn one_that_failed_waits_longer_each_time() {
        let mut compressor = compressor();
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            compressor.fail(name(1), now);
            let next = compressor.deadline().unwrap();
            assert!(!compressor.is_ready(now) && compressor.is_ready(next));
            pauses.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
