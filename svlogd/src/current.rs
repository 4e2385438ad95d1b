//! The file `current`.
//!
//! Its owner-execute bit means that it was closed cleanly: two implementations take turns on one directory by it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::libc::{dev_t, ino_t};
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{fdatasync, fsync};
use svlib::error::errno;
use svlib::log_name::{LogName, Stage};
use svlib::sys::{clock, fd};

use crate::directory::Directory;
use crate::report::{InDirectory, Report};

const NAME: &str = "current";

/// A step on the way of a line to the disk that failed: in words, and the system's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Words such as `unable to write to current`.
    pub what: &'static str,
    /// The system's reason.
    pub errno: Errno,
}

/// Says of a failure what was being done.
pub fn failed(what: &'static str) -> impl Fn(Errno) -> Failure {
    move |errno| Failure { what, errno }
}

/// What [`Current::find`] came upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No such file.
    Nothing,
    /// One that was closed cleanly, or an empty one: lines are appended.
    Clean,
    /// One that was not closed cleanly: it has become this old file.
    SetAside(LogName),
}

impl Found {
    /// What `current` has become.
    pub fn set_aside(self) -> Option<LogName> {
        match self {
            Self::SetAside(name) => Some(name),
            Self::Nothing | Self::Clean => None,
        }
    }
}

type Identity = (dev_t, ino_t);

/// The file that lines are appended to.
pub struct Current {
    /// The open file, and its device and inode; `None` until it could be opened.
    file: Option<(OwnedFd, Identity)>,
    size: u64,
    /// When it was written before this svlogd opened it, in Unix seconds.
    written_before: Option<i64>,
    /// Its last byte is no newline: a write was cut short, or a line is longer than what was read.
    is_mid_line: bool,
    /// What the last one has become.
    last: Option<LogName>,
}

impl Current {
    /// Looks for `current`, and sets it aside if it was not closed cleanly.
    ///
    /// # Errors
    /// What stat(2) and rename(2) report.
    pub fn find(directory: &Directory) -> Result<(Self, Found), Failure> {
        let (mut size, mut written_before, mut is_mid_line) = (0, None, false);
        let found = match directory.stat(NAME) {
            Ok(stat)
                if stat.st_size > 0 && !Mode::from_bits_truncate(stat.st_mode).contains(Mode::S_IXUSR) =>
            {
                let name = unused_name(directory, None)?;
                directory.rename(NAME, name.to_string()).map_err(failed("unable to rename current"))?;
                Found::SetAside(name)
            }
            Ok(stat) => {
                size = u64::try_from(stat.st_size).unwrap_or_default();
                written_before = (size > 0).then_some(stat.st_mtime);
                is_mid_line = ends_amid_line(directory, size);
                Found::Clean
            }
            Err(Errno::ENOENT) => Found::Nothing,
            Err(errno) => return Err(failed("unable to stat current")(errno)),
        };
        Ok((Self { file: None, size, written_before, is_mid_line, last: None }, found))
    }

    /// Opens or creates the file, unless it is open.
    ///
    /// # Errors
    /// What open(2) and fchmod(2) report.
    pub fn open(&mut self, directory: &Directory) -> Result<&OwnedFd, Failure> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = directory.open_append(NAME).map_err(failed("unable to open current"))?;
                fchmod(&file, directory.permissions().open)
                    .map_err(failed("unable to set mode of current"))?;
                let stat = fstat(&file).map_err(failed("unable to stat current"))?;
                self.size = u64::try_from(stat.st_size).unwrap_or_default();
                (file, (stat.st_dev, stat.st_ino))
            }
        };
        Ok(&self.file.insert(file).0)
    }

    /// Looks whether the open file is still `current`, and how large it is. If it was renamed or removed, what comes now is
    /// for a new one.
    pub fn verify(&mut self, directory: &Directory, report: &Report) {
        let Some((_, identity)) = &self.file else { return };
        match directory.stat(NAME) {
            Ok(stat) if (stat.st_dev, stat.st_ino) == *identity => {
                self.size = u64::try_from(stat.st_size).unwrap_or_default();
            }
            Ok(_) | Err(Errno::ENOENT) => {
                report.warning(&("current was renamed or removed: ", directory.name()));
                *self =
                    Self { file: None, size: 0, written_before: None, is_mid_line: false, last: self.last };
            }
            // That it cannot be found out is no reason to stop.
            Err(_) => {}
        }
    }

    /// The bytes in the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it ends amid a line.
    pub fn is_mid_line(&self) -> bool {
        self.is_mid_line
    }

    /// When the last of its bytes was written before this svlogd opened it, in Unix seconds; `None` if it had none.
    pub fn written_before(&self) -> Option<i64> {
        self.written_before
    }

    /// Syncs what was written to the disk.
    ///
    /// # Errors
    /// What fdatasync(2) reports.
    pub fn sync(&self) -> Result<(), Failure> {
        let Some((file, _)) = &self.file else { return Ok(()) };
        fdatasync(file).map_err(failed("unable to sync current"))
    }

    /// Appends some of `bytes`, and returns how many.
    ///
    /// # Errors
    /// What write(2) reports.
    pub fn write(&mut self, directory: &Directory, bytes: &[u8]) -> Result<usize, Failure> {
        let written = fd::write(self.open(directory)?, bytes)
            .map_err(|error| failed("unable to write to current")(errno(&error)))?;
        self.size += written as u64;
        if let Some(&last) = bytes[..written].last() {
            self.is_mid_line = last != b'\n';
        }
        Ok(written)
    }

    /// Makes the file an old one, `@….u`, that is to be [sealed](crate::seal). The next one is not open yet.
    ///
    /// # Errors
    /// The step that failed; the next call begins again.
    pub fn rotate(
        &mut self,
        directory: &Directory,
        stage: Stage,
        report: &Report,
    ) -> Result<LogName, Failure> {
        // The last one may be overlooked in the directory while it is renamed.
        let name = unused_name(directory, self.last)?;
        let (text, size) = (name.at(stage).to_string(), self.size.to_string());
        report.info(&("rename: ", InDirectory(directory.name(), NAME), " ", &text, " ", size));
        directory.rename(NAME, name.to_string()).map_err(failed("unable to rename current"))?;
        report.counters.rotated.add(1);
        *self = Self { file: None, size: 0, written_before: None, is_mid_line: false, last: Some(name) };
        Ok(name)
    }

    /// Closes the file. It counts as cleanly closed only once it is on disk.
    ///
    /// # Errors
    /// What fsync(2) and fchmod(2) report.
    pub fn close(self, directory: &Directory) -> Result<(), Failure> {
        let Some((file, _)) = self.file else { return Ok(()) };
        fsync(&file).map_err(failed("unable to fsync current logfile"))?;
        fchmod(&file, directory.permissions().closed).map_err(failed("unable to set mode of current"))
    }
}

/// Whether the last of the `size` bytes of `current` is no newline. Where that cannot be read, it may be none.
fn ends_amid_line(directory: &Directory, size: u64) -> bool {
    let Some(offset) = size.checked_sub(1) else { return false };
    let mut last = [0];
    let read = directory.open_read(NAME).map(|file| File::from(file).read_exact_at(&mut last, offset));
    !matches!(read, Ok(Ok(()))) || last != *b"\n"
}

fn unused_name(directory: &Directory, last: Option<LogName>) -> Result<LogName, Failure> {
    directory.unused_name(clock::wall(), last).map_err(failed("unable to read directory"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn mode(directory: &tempfile::TempDir, file: &str) -> u32 {
        fs::metadata(directory.path().join(file)).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_owner_execute_bit_tells_a_clean_end() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path().as_os_str()).unwrap();
        let (mut current, found) = Current::find(&directory).unwrap();
        assert_eq!((current.write(&directory, b"line\n"), found), (Ok(5), Found::Nothing));
        assert_eq!(mode(&dir, NAME), 0o644);
        current.close(&directory).unwrap();
        assert_eq!(mode(&dir, NAME), 0o744);

        let (mut current, found) = Current::find(&directory).unwrap();
        assert_eq!((current.size(), found), (5, Found::Clean));
        current.open(&directory).unwrap();
        drop(current);

        let (current, found) = Current::find(&directory).unwrap();
        let Found::SetAside(name) = found else { panic!("{found:?}") };
        assert_eq!(current.size(), 0);
        assert_eq!(fs::read(dir.path().join(name.to_string())).unwrap(), b"line\n");
    }

    #[test]
    fn rotation_leaves_a_file_to_be_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path().as_os_str()).unwrap();
        let (mut current, _) = Current::find(&directory).unwrap();
        current.write(&directory, b"old\n").unwrap();
        let name = current.rotate(&directory, Stage::Saved, &Report::new(false)).unwrap();
        current.write(&directory, b"new\n").unwrap();
        assert_eq!((name.stage, current.size()), (Stage::Unprocessed, 4));
        assert_eq!(fs::read(dir.path().join(name.to_string())).unwrap(), b"old\n");
        assert_eq!(fs::read(dir.path().join(NAME)).unwrap(), b"new\n");
        fs::remove_file(dir.path().join(name.to_string())).unwrap();
        assert!(current.rotate(&directory, Stage::Saved, &Report::new(false)).unwrap() > name);
    }
}
