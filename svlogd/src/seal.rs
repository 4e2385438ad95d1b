//! Rotation that holds nobody up. A full `current` becomes `@….u` at once, and a [`helper`] syncs it, marks it as closed, and
//! gives it its name, `@….s`, beside the writing. Old files that are too many are deleted by the same helper.
//!
//! `@….s` keeps its meaning, safely stored. Until then the file is what runit, too, takes it for: one that was not closed in
//! good order. What is rotated while a helper runs is left to the next one, so that a helper has the more to do at once the
//! faster the log is.

use std::ffi::OsString;

use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{Pid, fsync};
use svlib::exit_status::ExitStatus;
use svlib::log_name::{LogName, Stage};

use crate::current::{Failure, failed};
use crate::directory::Directory;
use crate::helper::{self, unless_gone};
use crate::report::{InDirectory, Report};

/// With so many files not yet synced, `current` is not rotated any more: once it is full, the writer waits for the disk.
pub const WAITING_LIMIT: usize = 64;

/// Stands between the files that are sealed and those that are deleted.
const SEPARATOR: &str = "--";

/// What one helper does.
pub struct Batch {
    pid: Pid,
    work: Work,
}

impl Batch {
    /// Whether it is this process that does it.
    pub fn is(&self, pid: Pid) -> bool {
        self.pid == pid
    }
}

#[derive(Default)]
struct Work {
    sealed: Vec<LogName>,
    deleted: Vec<LogName>,
}

impl Work {
    fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.deleted.is_empty()
    }

    /// Does it. Whether all went well; of what did not, a warning tells.
    fn perform(&self, directory: &Directory, report: &Report) -> bool {
        let mut all = true;
        let mut note = |file: LogName, result: Result<(), Failure>| {
            if let Err(failure) = result {
                all = false;
                let file = file.to_string();
                report.failure(failure.what, &InDirectory(directory.name(), &file), failure.errno);
            }
        };
        for &file in &self.sealed {
            note(file, seal(file, directory));
        }
        for &file in &self.deleted {
            let gone = unless_gone(directory.unlink(file.to_string())).map(drop);
            note(file, gone.map_err(failed("unable to unlink oldest logfile")));
        }
        all
    }
}

/// The files of one directory that are to be sealed or deleted.
#[derive(Default)]
pub struct Sealer {
    waiting: Work,
    running: Vec<Batch>,
}

impl Sealer {
    /// One that had these helpers `running` before the config was read again.
    pub fn new(running: Vec<Batch>) -> Self {
        Self { waiting: Work::default(), running }
    }

    /// One more file is to be sealed.
    pub fn add(&mut self, file: LogName) {
        self.waiting.sealed.push(file);
    }

    /// A file is to be deleted. It need not be sealed before; one that a helper is about to rename is deleted after that.
    pub fn delete(&mut self, file: LogName) {
        self.waiting.sealed.retain(|waiting| waiting.time != file.time);
        let file = if self.needs(file) { file.at(Stage::Saved) } else { file };
        self.waiting.deleted.push(file);
    }

    /// Whether a helper is about to rename this file.
    pub fn needs(&self, file: LogName) -> bool {
        self.running.iter().any(|batch| batch.work.sealed.iter().any(|sealed| sealed.time == file.time))
    }

    /// The name that a file has, or will have soon.
    pub fn name(&self, file: LogName) -> LogName {
        let waits = self.waiting.sealed.contains(&file);
        if waits || self.needs(file) { file.at(Stage::Saved) } else { file }
    }

    /// Whether this file is as good as deleted.
    pub fn deletes(&self, file: LogName) -> bool {
        let running = self.running.iter().map(|batch| &batch.work);
        running
            .chain([&self.waiting])
            .any(|work| work.deleted.iter().any(|deleted| deleted.time == file.time))
    }

    /// Whether there are as many files to be sealed as there may be.
    pub fn is_full(&self) -> bool {
        let running = self.running.iter().map(|batch| batch.work.sealed.len());
        running.sum::<usize>() + self.waiting.sealed.len() >= WAITING_LIMIT
    }

    /// Whether there is nothing to wait for when svlogd ends.
    pub fn is_finished(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Starts a helper on what waits, unless one is running.
    pub fn tend(&mut self, directory: &Directory, report: &Report) {
        if self.running.is_empty() {
            self.start(directory, report);
        }
    }

    /// Starts a helper on what waits, and hands over those that are running.
    pub fn close(mut self, directory: &Directory, report: &Report) -> Vec<Batch> {
        self.start(directory, report);
        self.running
    }

    /// Deletes at once what is to be deleted; whether that made room on the disk.
    pub fn delete_now(&mut self, directory: &Directory) -> bool {
        let running = self.running.iter_mut().map(|batch| &mut batch.work);
        let mut deleted = false;
        for work in running.chain([&mut self.waiting]) {
            for file in work.deleted.drain(..) {
                deleted |= directory.unlink(file.to_string()).is_ok();
            }
        }
        deleted
    }

    /// Takes note that a child has ended. `false` if it was none of these helpers.
    pub fn ended(&mut self, pid: Pid, status: ExitStatus, directory: &Directory, report: &Report) -> bool {
        let Some(index) = self.running.iter().position(|batch| batch.is(pid)) else { return false };
        let batch = self.running.swap_remove(index);
        // One that exited has said what it could not do, and those files keep their names: a second fsync would not tell of
        // the failure again. One that was killed has said nothing.
        if status.signal().is_some() {
            batch.work.perform(directory, report);
        }
        true
    }

    fn start(&mut self, directory: &Directory, report: &Report) {
        if self.waiting.is_empty() {
            return;
        }
        let work = std::mem::take(&mut self.waiting);
        let [sealed, deleted] =
            [&work.sealed, &work.deleted].map(|files| files.iter().map(LogName::to_string));
        let arguments = sealed.chain([SEPARATOR.to_owned()]).chain(deleted);
        match helper::start(helper::SEAL, directory, arguments, report) {
            Ok(pid) => self.running.push(Batch { pid, work }),
            // Where there are no processes to be had, this one does it.
            Err(_) => drop(work.perform(directory, report)),
        }
    }
}

/// What the helper does; whether all went well.
pub fn run(arguments: impl Iterator<Item = OsString>, directory: &Directory, report: &Report) -> bool {
    let mut work = Work::default();
    let mut list = &mut work.sealed;
    for argument in arguments {
        if argument == SEPARATOR {
            list = &mut work.deleted;
        } else {
            list.extend(helper::file_name(&argument));
        }
    }
    work.perform(directory, report)
}

/// Makes a `@….u` file `@….s`, safely on disk. One that is gone was deleted.
fn seal(file: LogName, directory: &Directory) -> Result<(), Failure> {
    let opened = unless_gone(directory.open_read(file.to_string()));
    let Some(fd) = opened.map_err(failed("unable to open logfile to be synced"))? else { return Ok(()) };
    fsync(&fd).map_err(failed("unable to fsync logfile"))?;
    let mode = fstat(&fd).map_err(failed("unable to stat logfile"))?.st_mode;
    let closed = Mode::from_bits_truncate(mode) | Mode::S_IXUSR;
    fchmod(&fd, closed).map_err(failed("unable to set mode of logfile"))?;
    let renamed = unless_gone(directory.rename(file.to_string(), file.at(Stage::Saved).to_string()));
    renamed.map(drop).map_err(failed("unable to rename synced logfile"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use svlib::tai64n::Tai64n;

    fn name(seconds: u64, stage: Stage) -> LogName {
        LogName::new(Tai64n { seconds: (1 << 62) + seconds, nanos: 0 }, stage)
    }

    #[test]
    fn what_is_sealed_is_renamed_and_marked_and_what_is_gone_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: LogName| dir.path().join(name.to_string());
        let directory = Directory::open(dir.path().as_os_str()).unwrap();
        let [first, gone, old] =
            [name(2, Stage::Unprocessed), name(3, Stage::Unprocessed), name(1, Stage::Saved)];
        fs::write(path(first), "line\n").unwrap();
        fs::write(path(old), "line\n").unwrap();
        let arguments = [first.to_string(), gone.to_string(), "--".to_owned(), old.to_string()];
        assert!(run(arguments.iter().map(OsString::from), &directory, &Report::new(false)));
        let mode = fs::metadata(path(first.at(Stage::Saved))).unwrap().permissions().mode();
        assert!(mode & 0o100 != 0 && !path(first).exists() && !path(old).exists());
    }

    #[test]
    fn what_is_deleted_is_not_sealed_before() {
        let mut sealer = Sealer::default();
        sealer.add(name(1, Stage::Unprocessed));
        sealer.add(name(2, Stage::Unprocessed));
        sealer.delete(name(1, Stage::Unprocessed));
        assert_eq!(sealer.waiting.sealed, [name(2, Stage::Unprocessed)]);
        assert!(sealer.deletes(name(1, Stage::Unprocessed)) && !sealer.deletes(name(2, Stage::Unprocessed)));
    }

    #[test]
    fn a_stated_number_of_files_may_wait() {
        let mut sealer = Sealer::default();
        for seconds in 0..WAITING_LIMIT as u64 {
            assert!(!sealer.is_full());
            sealer.add(name(seconds, Stage::Unprocessed));
        }
        assert!(sealer.is_full());
    }
}
