//! Rotation that holds nobody up. A full `current` becomes `@….u` at once; a [`helper`] syncs it, sets its mode and gives it its
//! name, `@….s`, beside the writing. Old files that are too many are deleted by the same helper.
//!
//! `@….s` keeps its meaning, safely stored. Until then the file is what runit, too, takes it for: one that was not closed
//! in good order. What is rotated while a helper runs is left to the next one, so that a helper has the more to do at
//! once the faster the log is.

use std::ffi::OsString;

use nix::sys::stat::fchmod;
use nix::unistd::{Pid, fsync};
use svlib::exit_status::ExitStatus;
use svlib::log_name::{LogName, Stage};

use crate::current::{Failure, failed};
use crate::directory::Directory;
use crate::helper::{self, unless_gone};
use crate::report::{InDirectory, Report};

/// With so many files not yet synced, `current` is not rotated any more: once it is full, the writer waits for the disk.
pub const WAITING_LIMIT: usize = 64;

/// What is to be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// It is brought to the disk, and named `@….s`.
    Seal,
    /// It is brought to the disk.
    Sync,
    /// It is deleted.
    Delete,
}

impl Action {
    const ALL: [Self; 3] = [Self::Seal, Self::Sync, Self::Delete];

    const fn word(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Sync => "sync",
            Self::Delete => "delete",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Order {
    action: Action,
    file: LogName,
}

impl Order {
    fn perform(self, directory: &Directory) -> Result<(), Failure> {
        let Self { action, file } = self;
        match action {
            Action::Seal => {
                sync(file, directory)?;
                let renamed = directory.rename(file.to_string(), file.at(Stage::Saved).to_string());
                unless_gone(renamed).map(drop).map_err(failed("unable to rename synced logfile"))
            }
            Action::Sync => sync(file, directory),
            Action::Delete => {
                let gone = unless_gone(directory.unlink(file.to_string()));
                gone.map(drop).map_err(failed("unable to unlink oldest logfile"))
            }
        }
    }
}

/// Starts a helper that brings a file to the disk, with the mode of an old one.
///
/// # Errors
/// Why there is no child.
pub fn start_sync(file: LogName, directory: &Directory, report: &Report) -> nix::Result<Pid> {
    helper::start(helper::SEAL, directory, [Action::Sync.word().to_owned(), file.to_string()], report)
}

/// Brings a file to the disk, with the mode of an old one. One that is gone was deleted.
///
/// # Errors
/// What open(2), fsync(2) and fchmod(2) report.
pub fn sync(file: LogName, directory: &Directory) -> Result<(), Failure> {
    let opened = unless_gone(directory.open_read(file.to_string()));
    let Some(fd) = opened.map_err(failed("unable to open logfile to be synced"))? else { return Ok(()) };
    fsync(&fd).map_err(failed("unable to fsync logfile"))?;
    fchmod(&fd, directory.permissions().old).map_err(failed("unable to set mode of logfile"))
}

/// Whether all went well; of what did not, a warning tells.
fn perform(orders: &[Order], directory: &Directory, report: &Report) -> bool {
    let mut all = true;
    for order in orders {
        if let Err(failure) = order.perform(directory) {
            all = false;
            let file = order.file.to_string();
            report.failure(failure.what, &InDirectory(directory.name(), &file), failure.errno);
        }
    }
    all
}

/// What one helper does.
pub struct Batch {
    pid: Pid,
    orders: Vec<Order>,
}

impl Batch {
    /// Whether it is this process that does it.
    pub fn is(&self, pid: Pid) -> bool {
        self.pid == pid
    }
}

/// The files of one directory that are to be sealed or deleted.
#[derive(Default)]
pub struct Sealer {
    waiting: Vec<Order>,
    running: Vec<Batch>,
}

impl Sealer {
    /// A file, `@….u`, is to be brought to the disk, and named `@….s`.
    pub fn seal(&mut self, file: LogName) {
        self.waiting.push(Order { action: Action::Seal, file });
    }

    /// A file is to be brought to the disk under the name it has.
    pub fn sync(&mut self, file: LogName) {
        self.waiting.push(Order { action: Action::Sync, file });
    }

    /// A file, by the name that [`foresee`](Self::foresee) gives it, is to be deleted. It need not be synced before.
    pub fn delete(&mut self, mut file: LogName) {
        self.waiting.retain(|order| {
            let is_it = order.action != Action::Delete && order.file.time == file.time;
            if is_it {
                file = order.file;
            }
            !is_it
        });
        self.waiting.push(Order { action: Action::Delete, file });
    }

    /// Makes of the files that are there those that will be there when all is done: under other names, or deleted.
    pub fn foresee(&self, names: &mut Vec<LogName>) {
        let is_kept = |name: &LogName| {
            !self.orders().any(|order| order.action != Action::Sync && order.file.time == name.time)
        };
        names.retain(is_kept);
        let sealed = self.orders().filter(|order| order.action == Action::Seal).map(|order| order.file);
        names.extend(sealed.filter(|file| !self.deletes(*file)).map(|file| file.at(Stage::Saved)));
    }

    /// Whether this file will have its name only when a helper is done.
    pub fn seals(&self, file: LogName) -> bool {
        self.orders().any(|order| order.action == Action::Seal && order.file.time == file.time)
    }

    /// Whether a helper is about to rename this file.
    pub fn needs(&self, file: LogName) -> bool {
        let orders = self.running.iter().flat_map(|batch| &batch.orders);
        orders.into_iter().any(|order| order.action == Action::Seal && order.file.time == file.time)
    }

    /// Whether there are files that will be renamed.
    pub fn is_sealing(&self) -> bool {
        self.orders().any(|order| order.action == Action::Seal)
    }

    /// Whether there are as many files not yet synced as there may be.
    pub fn is_full(&self) -> bool {
        self.orders().filter(|order| order.action != Action::Delete).count() >= WAITING_LIMIT
    }

    /// Whether there is nothing to wait for when svlogd ends.
    pub fn is_finished(&self) -> bool {
        self.orders().next().is_none()
    }

    /// Starts a helper on what waits, unless one is running.
    pub fn tend(&mut self, directory: &Directory, report: &Report) {
        if self.running.is_empty() {
            self.start(directory, report);
        }
    }

    /// Starts one more helper, before the directory is closed, on what waits: except for files that a helper is about to
    /// rename, and that it could otherwise rename after they were to be deleted.
    pub fn start_what_can(&mut self, directory: &Directory, report: &Report) {
        let (waiting, ready) =
            std::mem::take(&mut self.waiting).into_iter().partition(|order: &Order| self.needs(order.file));
        self.waiting = ready;
        self.start(directory, report);
        self.waiting = waiting;
    }

    /// Deletes at once what is to be deleted; whether anything was.
    pub fn delete_now(&mut self, directory: &Directory) -> bool {
        let deletes = self.orders().filter(|order| order.action == Action::Delete);
        let mut deleted = false;
        for file in deletes.map(|order| order.file).collect::<Vec<_>>() {
            // A helper that is about to rename it finds nothing to rename once the name of before is gone; if that is not
            // there any more, the other one is.
            let before = self.needs(file).then(|| file.at(Stage::Unprocessed));
            if before.into_iter().chain([file]).any(|name| directory.unlink(name.to_string()).is_ok()) {
                deleted = true;
                self.forget_file(file);
            }
        }
        deleted
    }

    /// Expects nothing more of a file that is gone.
    fn forget_file(&mut self, file: LogName) {
        let running = self.running.iter_mut().map(|batch| &mut batch.orders);
        for orders in running.chain([&mut self.waiting]) {
            orders.retain(|order| match order.action {
                Action::Seal => order.file.time != file.time,
                Action::Delete => order.file != file,
                Action::Sync => true,
            });
        }
    }

    /// Takes note that a child has ended. `false` if it was none of these helpers.
    pub fn ended(&mut self, pid: Pid, status: ExitStatus, directory: &Directory, report: &Report) -> bool {
        let Some(batch) = self.forget(pid) else { return false };
        // One that exited has said what it could not do, and those files keep their names: a second fsync would not tell of
        // the failure again. One that was killed, or never began, has said nothing.
        if !matches!(status.code(), Some(0 | 1)) {
            perform(&batch.orders, directory, report);
        }
        true
    }

    /// Takes note that a child has ended, and returns what it did if it was one of these helpers.
    pub fn forget(&mut self, pid: Pid) -> Option<Batch> {
        let index = self.running.iter().position(|batch| batch.is(pid))?;
        Some(self.running.swap_remove(index))
    }

    /// One with a helper, of no process, that has all these files still to rename.
    #[cfg(test)]
    pub fn amid(files: &[LogName]) -> Self {
        let orders = files.iter().map(|&file| Order { action: Action::Seal, file }).collect();
        Self { waiting: Vec::new(), running: vec![Batch { pid: Pid::from_raw(i32::MAX), orders }] }
    }

    fn orders(&self) -> impl Iterator<Item = &Order> {
        self.running.iter().flat_map(|batch| &batch.orders).chain(&self.waiting)
    }

    fn deletes(&self, file: LogName) -> bool {
        self.orders().any(|order| order.action == Action::Delete && order.file.time == file.time)
    }

    fn start(&mut self, directory: &Directory, report: &Report) {
        if self.waiting.is_empty() {
            return;
        }
        let orders = std::mem::take(&mut self.waiting);
        let words = orders.iter().flat_map(|order| [order.action.word().to_owned(), order.file.to_string()]);
        match helper::start(helper::SEAL, directory, words, report) {
            Ok(pid) => self.running.push(Batch { pid, orders }),
            // Where there are no processes to be had, this one does it.
            Err(_) => drop(perform(&orders, directory, report)),
        }
    }
}

/// What the helper does; whether all went well. `None` for arguments that make no sense.
pub fn run(
    mut arguments: impl Iterator<Item = OsString>,
    directory: &Directory,
    report: &Report,
) -> Option<bool> {
    let mut orders = Vec::new();
    while let Some(word) = arguments.next() {
        let action = Action::ALL.into_iter().find(|action| word == action.word())?;
        orders.push(Order { action, file: helper::file_name(&arguments.next()?)? });
    }
    Some(perform(&orders, directory, report))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permissions::Permissions;
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
        let mode = |name| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
        let mut directory = Directory::open(dir.path().as_os_str()).unwrap();
        directory.set_permissions(Permissions::new(Some(0o751)));
        let [first, gone, synced] = [2, 3, 4].map(|seconds| name(seconds, Stage::Unprocessed));
        let old = name(1, Stage::Saved);
        for file in [first, synced, old] {
            fs::write(path(file), "line\n").unwrap();
        }
        let orders = [("seal", first), ("seal", gone), ("sync", synced), ("delete", old), ("delete", gone)];
        let words = orders.iter().flat_map(|(word, file)| [(*word).to_owned(), file.to_string()]);
        assert_eq!(run(words.map(OsString::from), &directory, &Report::new(false)), Some(true));
        assert_eq!((mode(first.at(Stage::Saved)), mode(synced)), (0o751, 0o751));
        assert!(!path(first).exists() && !path(old).exists());
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        let directory = Directory::open("/dev".as_ref()).unwrap();
        for arguments in [&["seal"] as &[&str], &["seal", "current"], &["eat"]] {
            let arguments = arguments.iter().map(OsString::from);
            assert_eq!(run(arguments, &directory, &Report::new(false)), None);
        }
    }

    #[test]
    fn what_is_deleted_is_not_sealed_before() {
        let mut sealer = Sealer::default();
        let [first, second] = [1, 2].map(|seconds| name(seconds, Stage::Unprocessed));
        sealer.seal(first);
        sealer.seal(second);
        sealer.delete(first.at(Stage::Saved));
        let [seal, delete] =
            [(Action::Seal, second), (Action::Delete, first)].map(|(action, file)| Order { action, file });
        assert_eq!(sealer.waiting, [seal, delete]);
    }

    #[test]
    fn files_are_foreseen() {
        let [first, second, third, fourth] = [1, 2, 3, 4].map(|seconds| name(seconds, Stage::Unprocessed));
        let mut sealer = Sealer::amid(&[first, second]);
        sealer.delete(first.at(Stage::Saved));
        sealer.sync(third);
        // A file that is being renamed may be listed under both names, or under none.
        let both = vec![first, second, second.at(Stage::Saved), third, fourth];
        for mut names in [both, vec![third, fourth]] {
            sealer.foresee(&mut names);
            names.sort_unstable();
            assert_eq!(names, [second.at(Stage::Saved), third, fourth]);
        }
        assert!(sealer.needs(second.at(Stage::Saved)) && !sealer.needs(third));
    }

    /// As when the disk is full: a helper has renamed the first file, and not yet the second.
    #[test]
    fn what_is_being_sealed_is_deleted_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: LogName| dir.path().join(name.to_string());
        let directory = Directory::open(dir.path().as_os_str()).unwrap();
        let [first, second, third] = [1, 2, 3].map(|seconds| name(seconds, Stage::Unprocessed));
        let renamed = [first, second, third].map(|file| file.at(Stage::Saved));
        for file in [renamed[0], second, third] {
            fs::write(path(file), "line\n").unwrap();
        }
        let seals = [first, second, third].map(|file| Order { action: Action::Seal, file });
        let mut sealer = Sealer::amid(&[first, second, third]);
        for gone in &renamed[..2] {
            sealer.delete(*gone);
            assert!(sealer.delete_now(&directory));
        }
        assert!(!sealer.delete_now(&directory), "nothing is left to be deleted");
        assert_eq!(directory.old_files().unwrap(), [third]);
        let mut names = vec![third];
        sealer.foresee(&mut names);
        assert_eq!(names, [renamed[2]]);
        // The helper goes on with what it was told.
        assert!(perform(&seals, &directory, &Report::new(false)));
        assert_eq!(directory.old_files().unwrap(), [renamed[2]]);
    }

    /// A helper is still to rename the first file when the config is read again.
    #[test]
    fn no_delete_overtakes_a_seal() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path().as_os_str()).unwrap();
        let first = name(1, Stage::Unprocessed);
        let mut sealer = Sealer::amid(&[first]);
        sealer.delete(first.at(Stage::Saved));
        let delete = Order { action: Action::Delete, file: first.at(Stage::Saved) };
        sealer.start_what_can(&directory, &Report::new(false));
        assert_eq!(sealer.waiting, [delete]);
        sealer.tend(&directory, &Report::new(false));
        assert_eq!(sealer.waiting, [delete]);
    }

    /// The loader of programs exits with 127 when it finds no library.
    #[test]
    fn what_a_helper_did_not_begin_is_done() {
        let file = name(1, Stage::Unprocessed);
        let statuses = [ExitStatus::killed(9), ExitStatus::exited(127), ExitStatus::NOT_EXECUTED];
        for (status, is_done) in
            statuses.map(|status| (status, true)).into_iter().chain([(ExitStatus::exited(1), false)])
        {
            let dir = tempfile::tempdir().unwrap();
            let directory = Directory::open(dir.path().as_os_str()).unwrap();
            fs::write(dir.path().join(file.to_string()), "line\n").unwrap();
            let mut sealer = Sealer::amid(&[file]);
            let pid = sealer.running[0].pid;
            assert!(sealer.ended(pid, status, &directory, &Report::new(false)));
            assert!(sealer.is_finished());
            let sealed = dir.path().join(file.at(Stage::Saved).to_string());
            assert_eq!(sealed.exists(), is_done, "{status:?}");
        }
    }

    #[test]
    fn a_stated_number_of_files_may_wait() {
        let mut sealer = Sealer::default();
        for seconds in 0..WAITING_LIMIT as u64 {
            assert!(!sealer.is_full());
            sealer.seal(name(seconds, Stage::Unprocessed));
        }
        assert!(sealer.is_full());
    }
}
