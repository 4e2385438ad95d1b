//! `supervise/record` as a file: one descriptor, held open, and one write(2) a change.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
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
    /// None as long as there is no room for it.
    file: Option<File>,
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
    /// Opens the file `path`. If there is none, it is made when something is written.
    ///
    /// # Errors
    /// What open(2) reports besides ENOENT.
    pub fn open(path: &Path) -> Result<Self> {
        match options().open(path) {
            Ok(file) => Ok(Self::new(path, Some(file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::new(path, None)),
            Err(error) => Err(error).on("open", path),
        }
    }

    /// The file `path` that may be open already.
    pub fn inherited(path: &Path, file: Option<OwnedFd>) -> Self {
        Self::new(path, file.map(File::from))
    }

    fn new(path: &Path, file: Option<File>) -> Self {
        Self { path: path.to_owned(), file, seq: 0, lines: String::new(), failed: None }
    }

    /// The descriptor, if there is one yet.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// What the last supervisor wrote, which is not there any more; None for a new file.
    ///
    /// # Errors
    /// Why it cannot be used, in words.
    pub fn read(&self) -> std::result::Result<Option<Record>, String> {
        let Some(file) = &self.file else { return Ok(None) };
        let mut bytes = [0; RECORD_LENGTH];
        let mut length = 0;
        loop {
            match file.read_at(&mut bytes[length..], length as u64) {
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

    /// How long ago the file was written; None if that cannot be told.
    pub fn age(&self) -> Option<Duration> {
        self.file.as_ref()?.metadata().ok()?.modified().ok()?.elapsed().ok()
    }

    /// Writes `lines` if the file holds others. The first of a row of failures is warned of; supervision goes on, and so do the
    /// attempts.
    pub fn write(&mut self, lines: &str, now: Duration, diag: &Diag) {
        if self.lines == lines && self.failed.is_none() {
            return;
        }
        self.seq += 1;
        match self.overwrite(&Record::file(lines, self.seq)) {
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

    fn overwrite(&mut self, bytes: &[u8]) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(options().create(true).mode(MODE).open(&self.path).on("make", &self.path)?),
        };
        file.write_all_at(bytes, 0).on("write", &self.path)
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

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    // Not to wait for a reader should it be a fifo.
    options.read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits());
    options
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
    fn a_file_that_cannot_be_made_is_made_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("supervise/record");
        let diag = Diag::new("runsv", None);
        let mut file = RecordFile::open(&path).unwrap();
        file.write("a=b\n", Duration::ZERO, &diag);
        assert_eq!((file.fd().is_none(), file.deadline()), (true, Some(RETRY)));
        std::fs::create_dir(directory.path().join("supervise")).unwrap();
        file.retry(RETRY, &diag);
        assert_eq!((file.fd().is_some(), file.deadline()), (true, None));
        assert!(std::fs::read_to_string(&path).unwrap().contains("a=b\n"));
    }

    #[test]
    fn a_failure_is_tried_again() {
        let path = Path::new("/dev/full");
        let mut file = RecordFile::new(path, File::options().write(true).open(path).ok());
        let diag = Diag::new("runsv", None);
        file.write("a=b\n", Duration::ZERO, &diag);
        assert_eq!(file.deadline(), Some(RETRY));
        file.retry(RETRY, &diag);
        assert_eq!(file.deadline(), Some(RETRY * 2));
    }
}
