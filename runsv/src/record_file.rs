//! `supervise/record` as a file: one descriptor, held open, and one write(2) a change.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;
use svlib::diag::Diag;
use svlib::record::{BadRecord, RECORD_LENGTH, Record};
use svlib::{Context, Result};

/// How long a file system that refuses to be written to is left alone.
const RETRY: Duration = Duration::from_secs(1);
const MODE: u32 = 0o644;

/// The file of one process.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    file: File,
    seq: u64,
    /// What it holds, as far as is known.
    lines: String,
    failed: Option<Failed>,
}

/// Lines that could not be written.
#[derive(Debug)]
struct Failed {
    lines: String,
    retry: Duration,
}

impl RecordFile {
    /// Opens the file `path`, and makes it if need be.
    ///
    /// # Errors
    /// What open(2) reports.
    pub fn open(path: &Path) -> Result<Self> {
        // Not to wait for a reader should it be a fifo.
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .custom_flags(OFlag::O_NONBLOCK.bits());
        Ok(Self::new(path, options.open(path).on("open", path)?))
    }

    /// The file `path` that is open already.
    pub fn inherited(path: &Path, file: OwnedFd) -> Self {
        Self::new(path, file.into())
    }

    fn new(path: &Path, file: File) -> Self {
        Self { path: path.to_owned(), file, seq: 0, lines: String::new(), failed: None }
    }

    /// What the last supervisor wrote, which is not there any more; None for a new file.
    ///
    /// # Errors
    /// Why it cannot be used, in words.
    pub fn read(&self) -> std::result::Result<Option<Record>, String> {
        let mut bytes = [0; RECORD_LENGTH];
        let mut length = 0;
        loop {
            match self.file.read_at(&mut bytes[length..], length as u64) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) => return Err(error.to_string()),
            }
        }
        if length == 0 {
            return Ok(None);
        }
        Record::decode(&bytes[..length]).map(Some).map_err(|bad: BadRecord| bad.to_string())
    }

    /// Writes `lines` if the file holds others. The first of a row of failures is warned of; supervision goes on, and so do the
    /// attempts.
    pub fn write(&mut self, lines: &str, now: Duration, diag: &Diag) {
        if self.lines == lines && self.failed.is_none() {
            return;
        }
        self.seq += 1;
        match self.file.write_all_at(&Record::file(lines, self.seq), 0).on("write", &self.path) {
            Ok(()) => {
                lines.clone_into(&mut self.lines);
                self.failed = None;
            }
            Err(error) => {
                if self.failed.is_none() {
                    diag.warning(&(error, ": a runsv that is killed cannot be replaced without a restart"));
                }
                self.failed = Some(Failed { lines: lines.to_owned(), retry: now + RETRY });
            }
        }
    }

    /// When [`retry`](Self::retry) is due, on the monotonic clock.
    pub fn deadline(&self) -> Option<Duration> {
        self.failed.as_ref().map(|failed| failed.retry)
    }

    /// Tries again what failed, if that is due.
    pub fn retry(&mut self, now: Duration, diag: &Diag) {
        if let Some(failed) = &self.failed
            && failed.retry <= now
        {
            let lines = failed.lines.clone();
            self.write(&lines, now, diag);
        }
    }
}

impl AsFd for RecordFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_writes_the_next_reads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        let diag = Diag::new("runsv", None);
        let mut file = RecordFile::open(&path).unwrap();
        assert_eq!(file.read(), Ok(None));
        for restarts in [7, 100_000, 1] {
            let record = Record { restarts, ..Record::default() };
            file.write(&record.lines(), Duration::ZERO, &diag);
            assert_eq!(RecordFile::open(&path).unwrap().read(), Ok(Some(record)));
        }
        std::fs::write(&path, "seq=1\n").unwrap();
        assert!(RecordFile::open(&path).unwrap().read().is_err());
    }

    #[test]
    fn a_failure_is_tried_again() {
        let path = Path::new("/dev/full");
        let mut file = RecordFile::new(path, File::options().write(true).open(path).unwrap());
        let diag = Diag::new("runsv", None);
        file.write("a=b\n", Duration::ZERO, &diag);
        assert_eq!(file.deadline(), Some(RETRY));
        file.retry(RETRY, &diag);
        assert_eq!(file.deadline(), Some(RETRY * 2));
    }
}
