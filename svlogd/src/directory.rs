//! A log directory as a place for files. It is held open, so that it may be renamed under a running svlogd.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use svlib::log_name::{LogName, Packing, Stage};
use svlib::tai64n::Tai64n;

/// An open log directory.
pub struct Directory {
    fd: OwnedFd,
    name: OsString,
}

impl Directory {
    /// Opens the directory `name`.
    ///
    /// # Errors
    /// What open(2) reports.
    pub fn open(name: &OsStr) -> nix::Result<Self> {
        let fd = open(name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { fd, name: name.to_owned() })
    }

    /// Opens the working directory, which others know as `name`.
    ///
    /// # Errors
    /// What open(2) reports.
    pub fn working(name: &OsStr) -> nix::Result<Self> {
        let directory = Self::open(OsStr::new("."))?;
        Ok(Self { name: name.to_owned(), ..directory })
    }

    /// The name it was opened by, for messages.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// A path that leads to it for as long as it has its name.
    pub fn path(&self) -> &Path {
        Path::new(&self.name)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// What open(2) reports.
    pub fn open_read(&self, file: impl AsRef<OsStr>) -> nix::Result<OwnedFd> {
        self.open_at(file.as_ref(), OFlag::O_RDONLY, 0)
    }

    /// Opens a file for appending, creates it with mode 0600.
    ///
    /// # Errors
    /// What open(2) reports.
    pub fn open_append(&self, file: impl AsRef<OsStr>) -> nix::Result<OwnedFd> {
        self.open_at(file.as_ref(), OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT, 0o600)
    }

    /// Opens a file for writing, empties it or creates it with mode 0644 less the umask.
    ///
    /// # Errors
    /// What open(2) reports.
    pub fn open_truncate(&self, file: impl AsRef<OsStr>) -> nix::Result<OwnedFd> {
        self.open_at(file.as_ref(), OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_CREAT, 0o644)
    }

    /// What stat(2) says of a file.
    ///
    /// # Errors
    /// What stat(2) reports.
    pub fn stat(&self, file: impl AsRef<OsStr>) -> nix::Result<FileStat> {
        fstatat(&self.fd, file.as_ref(), AtFlags::empty())
    }

    /// Renames a file within the directory.
    ///
    /// # Errors
    /// What rename(2) reports.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> nix::Result<()> {
        renameat(&self.fd, from.as_ref(), &self.fd, to.as_ref())
    }

    /// Removes a file.
    ///
    /// # Errors
    /// What unlink(2) reports.
    pub fn unlink(&self, file: impl AsRef<OsStr>) -> nix::Result<()> {
        unlinkat(&self.fd, file.as_ref(), UnlinkatFlags::NoRemoveDir)
    }

    /// The names of the old files, in no order.
    ///
    /// # Errors
    /// What open(2) and readdir(3) report.
    pub fn old_files(&self) -> nix::Result<Vec<LogName>> {
        let mut directory = Dir::openat(&self.fd, ".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut names = Vec::new();
        for entry in directory.iter() {
            names.extend(LogName::parse(entry?.file_name().to_bytes()));
        }
        Ok(names)
    }

    /// A name for what is rotated at `time`, one no file has at any stage: where the clock stands still, a nanosecond later.
    ///
    /// # Errors
    /// What stat(2) reports.
    pub fn unused_name(&self, time: Tai64n, stage: Stage) -> nix::Result<LogName> {
        let mut name = LogName::new(time, stage);
        loop {
            let mut used = false;
            let packed = [Packing::Gzip, Packing::Zstd].map(|packing| name.at(Stage::Saved).packed(packing));
            let plain = [Stage::Saved, Stage::Temporary, Stage::Unprocessed].map(|stage| name.at(stage));
            for other in plain.into_iter().chain(packed) {
                match self.stat(other.to_string()) {
                    Ok(_) => used = true,
                    Err(Errno::ENOENT) => {}
                    Err(errno) => return Err(errno),
                }
            }
            if !used {
                return Ok(name);
            }
            name.time.nanos += 1;
            if name.time.nanos >= 1_000_000_000 {
                name.time = Tai64n { seconds: name.time.seconds.wrapping_add(1), nanos: 0 };
            }
        }
    }

    fn open_at(&self, file: &OsStr, flags: OFlag, mode: u32) -> nix::Result<OwnedFd> {
        // Never wait for a fifo's other end, as a file of that name could make one.
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        openat(&self.fd, file, flags, Mode::from_bits_retain(mode))
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn finds_old_files_only() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["current", "@4000000037c219bf2ef02e94.s", "@4000000037c219bf2ef02e95.u", "@x"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let mut names = Directory::open(dir.path().as_os_str()).unwrap().old_files().unwrap();
        names.sort_unstable();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["@4000000037c219bf2ef02e94.s", "@4000000037c219bf2ef02e95.u"]);
    }

    #[test]
    fn a_name_is_not_given_twice() {
        let dir = tempfile::tempdir().unwrap();
        let time = Tai64n { seconds: 1 << 62, nanos: 999_999_999 };
        fs::write(dir.path().join(LogName::new(time, Stage::Unprocessed).to_string()), "").unwrap();
        let name = Directory::open(dir.path().as_os_str()).unwrap().unused_name(time, Stage::Saved).unwrap();
        assert_eq!(name.time, Tai64n { seconds: (1 << 62) + 1, nanos: 0 });
    }

    #[test]
    fn stays_the_same_when_it_is_renamed() {
        let parent = tempfile::tempdir().unwrap();
        let before = parent.path().join("before");
        fs::create_dir(&before).unwrap();
        let directory = Directory::open(before.as_os_str()).unwrap();
        fs::rename(&before, parent.path().join("after")).unwrap();
        drop(directory.open_append(OsStr::from_bytes(b"n\xffame")).unwrap());
        assert_eq!(fs::read_dir(parent.path().join("after")).unwrap().count(), 1);
    }
}
