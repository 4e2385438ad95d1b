//! Old files, compressed beside the writing: one after the other, each by a [`helper`] of low priority.
//!
//! What waits for it is on disk: the `@….s` files are the queue, so that whatever was killed, the next svlogd goes on where
//! this one was. A file is compressed into `@….t.gz`, which is synced and renamed to `@….s.gz` before `@….s` is deleted: at any
//! moment one of them is whole. The helper locks the file it works on, so that one which a killed svlogd left behind is waited
//! for.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{Pid, fsync};
use svlib::error::errno;
use svlib::exit_status::ExitStatus;
use svlib::log_name::{LogName, Packing, Stage};
use svlib::sys::{clock, priority};
use svlib::tai64n::Tai64n;

use crate::config::setting::{Compression, CompressionKind};
use crate::current::{Failure, failed};
use crate::directory::Directory;
use crate::helper::{self, unless_gone};
use crate::report::{InDirectory, Report};

/// With so many files waiting that were rotated since svlogd began, `current` is not rotated any more: once it is full, the
/// writer waits for the compression.
pub const WAITING_LIMIT: usize = 100;

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// As fast as a log is written, and still small.
const GZIP_LEVEL: i32 = 6;
const ZSTD_LEVEL: i32 = 3;

const BUFFER_SIZE: usize = 128 << 10;
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A helper at work.
pub struct Job {
    pid: Pid,
    file: LogName,
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
    failures: u32,
    retry_at: Option<Duration>,
}

impl Compressor {
    /// One that had this `job` running before the config was read again.
    pub fn new(setting: Option<Compression>, job: Option<Job>) -> Self {
        Self { is_due: setting.is_some(), setting, job, since: None, waiting: 0, failures: 0, retry_at: None }
    }

    /// Takes note of a rotation: `names` are the old files that there are now.
    pub fn add(&mut self, rotated: LogName, names: &[LogName]) {
        self.since.get_or_insert(rotated.time);
        self.count(names);
    }

    /// A file has become one that can be compressed.
    pub fn look(&mut self) {
        self.is_due = self.setting.is_some();
    }

    /// Whether there are as many files waiting as there may be.
    pub fn is_full(&self) -> bool {
        self.setting.is_some() && self.waiting >= WAITING_LIMIT
    }

    /// Whether a file is being compressed, so that it must not be removed.
    pub fn needs(&self, file: LogName) -> bool {
        self.job.as_ref().is_some_and(|job| job.file.time == file.time)
    }

    /// Whether there is nothing to wait for when svlogd ends: files that wait are left to the next one.
    pub fn is_finished(&self) -> bool {
        self.job.is_none()
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

    /// Starts with the oldest of the old files that can be compressed.
    pub fn start(&mut self, names: &[LogName], directory: &Directory, now: Duration, report: &Report) {
        self.count(names);
        let oldest = names.iter().copied().filter(|&name| can_be_compressed(name)).min();
        let (Some(setting), Some(file)) = (self.setting, oldest) else {
            self.is_due = false;
            return;
        };
        self.retry_at = None;
        let kind = match setting.kind {
            CompressionKind::Gzip => "gzip",
            CompressionKind::Zstd => "zstd",
        };
        let level = setting.level.unwrap_or(match setting.kind {
            CompressionKind::Gzip => GZIP_LEVEL,
            CompressionKind::Zstd => ZSTD_LEVEL,
        });
        let arguments = [kind.to_owned(), level.to_string(), file.to_string()];
        match helper::start(helper::COMPRESS, directory, arguments, report) {
            Ok(pid) => self.job = Some(Job { pid, file }),
            Err(errno) => {
                report.failure("unable to start compression", &directory.name(), errno);
                self.fail(now);
            }
        }
    }

    /// Takes note that a child has ended. `false` if it was not this compression.
    pub fn ended(
        &mut self,
        pid: Pid,
        status: ExitStatus,
        directory: &Directory,
        now: Duration,
        report: &Report,
    ) -> bool {
        let Some(job) = self.job.take_if(|job| job.is(pid)) else { return false };
        if status.success() {
            self.failures = 0;
        } else {
            let file = job.file.to_string();
            report.warning(&("compression failed, retry: ", InDirectory(directory.name(), &file)));
            self.fail(now);
        }
        true
    }

    fn count(&mut self, names: &[LogName]) {
        let since = self.since;
        let is_waiting =
            |name: &&LogName| can_be_compressed(**name) && since.is_some_and(|since| since <= name.time);
        self.waiting = names.iter().filter(is_waiting).count();
    }

    fn fail(&mut self, now: Duration) {
        let delay = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now.checked_add(delay);
    }
}

/// Leaves out what is the compressed form of another file in `names`, one that is about to be deleted: the two are one.
pub fn leave_out_copies(names: &mut Vec<LogName>) {
    names.sort_unstable();
    names.dedup_by_key(|name| (name.time, if name.stage == Stage::Saved { None } else { Some(*name) }));
}

fn can_be_compressed(name: LogName) -> bool {
    name.stage == Stage::Saved && name.packing == Packing::Plain
}

/// What the helper does; whether all went well. `None` for arguments that make no sense.
pub fn run(
    mut arguments: impl Iterator<Item = OsString>,
    directory: &Directory,
    report: &Report,
) -> Option<bool> {
    let kind = match arguments.next()?.to_str()? {
        "gzip" => CompressionKind::Gzip,
        "zstd" => CompressionKind::Zstd,
        _ => return None,
    };
    let level = arguments.next()?.to_str()?.parse().ok()?;
    let file = helper::file_name(&arguments.next()?)?;
    // It is no reason not to compress that it cannot be done at low priority.
    let _ = priority::nice(39);
    let _ = priority::idle_io();
    let result = replace(file, kind, level, directory, report);
    if let Err(failure) = result {
        let file = file.to_string();
        report.failure(failure.what, &InDirectory(directory.name(), &file), failure.errno);
    }
    Some(result.is_ok())
}

/// Puts a compressed file in the place of `file`.
fn replace(
    file: LogName,
    kind: CompressionKind,
    level: i32,
    directory: &Directory,
    report: &Report,
) -> Result<(), Failure> {
    let opened = unless_gone(directory.open_read(file.to_string()));
    let Some(source) = opened.map_err(failed("unable to open logfile to be compressed"))? else {
        return Ok(());
    };
    let source = Flock::lock(File::from(source), FlockArg::LockExclusive)
        .map_err(|(_, errno)| failed("unable to lock logfile")(errno))?;
    let before = fstat(source.as_fd()).map_err(failed("unable to stat logfile"))?;
    if !is_still(&before, file, directory) {
        return Ok(());
    }
    if let Some(packing) = found_packed(file, directory) {
        // It was complete, or it would not have its name: all that was missing is what follows.
        return finish(file, file.packed(packing), directory, report, before.st_size);
    }
    let packing = match kind {
        CompressionKind::Gzip => Packing::Gzip,
        CompressionKind::Zstd => Packing::Zstd,
    };
    let [output, packed] = [Stage::Temporary, Stage::Saved].map(|stage| file.at(stage).packed(packing));
    let done = compress_into(output, &source, &before, kind, level, directory, report).and_then(|()| {
        directory
            .rename(output.to_string(), packed.to_string())
            .map_err(failed("unable to rename compressed logfile"))
    });
    if done.is_err() {
        // There may be none; one that stays is removed at the next rotation.
        let _ = directory.unlink(output.to_string());
    }
    done?;
    finish(file, packed, directory, report, before.st_size)
}

/// The rename is on disk before the original goes.
fn finish(
    file: LogName,
    packed: LogName,
    directory: &Directory,
    report: &Report,
    size: i64,
) -> Result<(), Failure> {
    fsync(directory).map_err(failed("unable to fsync log directory"))?;
    unless_gone(directory.unlink(file.to_string())).map_err(failed("unable to unlink compressed logfile"))?;
    let after = directory.stat(packed.to_string()).map_or(0, |stat| stat.st_size);
    let packed = packed.to_string();
    let ratio = format!(" {size} {after} {}%", percent(after, size));
    report.info(&("compressed: ", InDirectory(directory.name(), &packed), &ratio));
    Ok(())
}

fn percent(part: i64, whole: i64) -> i64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(100)
}

/// Whether the file that was locked still has its name.
fn is_still(locked: &FileStat, file: LogName, directory: &Directory) -> bool {
    let named = directory.stat(file.to_string());
    named.is_ok_and(|named| (named.st_dev, named.st_ino) == (locked.st_dev, locked.st_ino))
}

fn found_packed(file: LogName, directory: &Directory) -> Option<Packing> {
    let exists = |&packing: &Packing| directory.stat(file.packed(packing).to_string()).is_ok();
    [Packing::Gzip, Packing::Zstd].into_iter().find(exists)
}

/// The compressed file is on disk, with the owner's permissions and the times of the original.
fn compress_into(
    output: LogName,
    source: &File,
    before: &FileStat,
    kind: CompressionKind,
    level: i32,
    directory: &Directory,
    report: &Report,
) -> Result<(), Failure> {
    let file = directory
        .open_truncate(output.to_string())
        .map_err(failed("unable to open output for compression"))?;
    let mut progress = Progress::new(output.at(Stage::Saved), before.st_size, directory, report);
    let written = match kind {
        CompressionKind::Gzip => gzip(source, file, level, &mut progress),
        CompressionKind::Zstd => zstd(source, file, level, &mut progress),
    };
    let file = written.map_err(|error| failed("unable to compress logfile")(errno(&error)))?;
    let accessed = TimeSpec::new(before.st_atime, before.st_atime_nsec);
    let modified = TimeSpec::new(before.st_mtime, before.st_mtime_nsec);
    futimens(&file, &accessed, &modified)
        .and_then(|()| fchmod(&file, Mode::from_bits_truncate(before.st_mode)))
        .and_then(|()| fsync(&file))
        .map_err(failed("unable to sync compressed logfile"))
}

fn gzip(source: &File, output: OwnedFd, level: i32, progress: &mut Progress<'_>) -> io::Result<File> {
    let level = flate2::Compression::new(level.clamp(0, 9).unsigned_abs());
    let mut encoder = flate2::write::GzEncoder::new(File::from(output), level);
    copy(source, &mut encoder, progress)?;
    encoder.finish()
}

fn zstd(source: &File, output: OwnedFd, level: i32, progress: &mut Progress<'_>) -> io::Result<File> {
    let mut encoder = zstd::stream::write::Encoder::new(File::from(output), level)?;
    encoder.include_checksum(true)?;
    copy(source, &mut encoder, progress)?;
    encoder.finish()
}

fn copy(mut source: &File, output: &mut impl Write, progress: &mut Progress<'_>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_SIZE];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(()),
            count => {
                output.write_all(&buffer[..count])?;
                progress.add(count);
            }
        }
    }
}

/// What `-v` tells of a file that takes long.
struct Progress<'a> {
    file: String,
    size: i64,
    done: i64,
    next: Duration,
    directory: &'a Directory,
    report: &'a Report,
}

impl<'a> Progress<'a> {
    fn new(file: LogName, size: i64, directory: &'a Directory, report: &'a Report) -> Self {
        let next = clock::now().monotonic.saturating_add(PROGRESS_INTERVAL);
        Self { file: file.to_string(), size, done: 0, next, directory, report }
    }

    fn add(&mut self, count: usize) {
        self.done = self.done.saturating_add_unsigned(count as u64);
        let now = clock::now().monotonic;
        if now >= self.next {
            self.next = now.saturating_add(PROGRESS_INTERVAL);
            let done = format!(" {}%", percent(self.done, self.size));
            self.report.info(&("compressing: ", InDirectory(self.directory.name(), &self.file), &done));
        }
    }
}
