//! A log directory as a place for files. It is held open, so that it may be renamed under a running svlogd.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use svlib::log_name::{LogName, Stage};
use svlib::tai64n::Tai64n;

use crate::permissions::Permissions;

/// An open log directory.
pub struct Directory {
    fd: OwnedFd,
    name: OsString,
    permissions: Permissions,
}

impl Directory {
    /// Opens the directory `name`.
    ///
    /// # Errors
    /// What open(2) reports.
    pub fn open(name: &OsStr) -> nix::Result<Self> {
        let fd = open(name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { fd, name: name.to_owned(), permissions: Permissions::default() })
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

    /// The permissions its files get.
    pub fn permissions(&self) -> Permissions {
        self.permissions
    }

    /// Gives other permissions to files from now on.
    pub fn set_permissions(&mut self, permissions: Permissions) {
        self.permissions = permissions;
    }

    /// A path that leads to it for as long as it has its name.
    pub fn path(&self) -> &Path {
        Path::new(&self.name)
    }

    /// Whether it was removed: no file can be made in it any more.
    pub fn is_removed(&self) -> bool {
        fstat(&self.fd).is_ok_and(|stat| stat.st_nlink == 0)
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

    /// Opens a file for writing, empties it or creates it with the mode of `current`, less the umask.
    ///
    /// # Errors
    /// What open(2) reports.
    pub fn open_truncate(&self, file: impl AsRef<OsStr>) -> nix::Result<OwnedFd> {
        let mode = self.permissions.open;
        self.open_at(file.as_ref(), OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_CREAT, mode.bits())
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

    /// A name for what is rotated at `time`, one that is later than those of all old files, and than the `last`: where the clock stands still
    /// or was set back, a nanosecond later than the last. So the order of names is that of the files.
    ///
    /// # Errors
    /// What open(2) and readdir(3) report.
    pub fn unused_name(&self, time: Tai64n, last: Option<LogName>) -> nix::Result<LogName> {
        let names = self.old_files()?;
        let times = names.iter().chain(&last).map(|name| name.time).filter(|&time| is_possible(time));
        // Of the last time there is, none is later.
        let next = times.map(next).filter(|&time| is_possible(time)).max();
        Ok(LogName::new(next.map_or(time, |next| time.max(next)), Stage::Unprocessed))
    }

    fn open_at(&self, file: &OsStr, flags: OFlag, mode: u32) -> nix::Result<OwnedFd> {
        // Never wait for a fifo's other end, as a file of that name could make one.
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        openat(&self.fd, file, flags, Mode::from_bits_retain(mode))
    }
}

/// Whether it is a time at all: TAI64 has none of 2^63 seconds and more.
fn is_possible(time: Tai64n) -> bool {
    time.seconds < 1 << 63 && time.nanos < 1_000_000_000
}

fn next(time: Tai64n) -> Tai64n {
    match time.nanos + 1 {
        1_000_000_000 => Tai64n { seconds: time.seconds + 1, nanos: 0 },
        nanos => Tai64n { nanos, ..time },
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
        let name = Directory::open(dir.path().as_os_str()).unwrap().unused_name(time, None).unwrap();
        assert_eq!(name.time, Tai64n { seconds: (1 << 62) + 1, nanos: 0 });
    }

    #[test]
    fn names_are_in_order_after_the_clock_was_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path().as_os_str()).unwrap();
        let at = |seconds| Tai64n { seconds: (1_u64 << 62) + seconds, nanos: 7 };
        let mut names = Vec::new();
        for seconds in [100, 200, 150, 50, 199, 201] {
            let name = directory.unused_name(at(seconds), None).unwrap();
            fs::write(dir.path().join(name.to_string()), "").unwrap();
            names.push(name);
        }
        assert!(names.is_sorted());
        assert_eq!([names[0].time, names[1].time, names[5].time], [at(100), at(200), at(201)]);
    }

    #[test]
    fn a_name_that_is_no_time_or_the_last_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let names =
            ["@ffffffffffffffff3b9ac9ff.s", "@4000000037c219bfffffffff.s", "@7fffffffffffffff3b9ac9ff.s"];
        for name in names {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let time = Tai64n { seconds: 1 << 62, nanos: 0 };
        let name = Directory::open(dir.path().as_os_str()).unwrap().unused_name(time, None).unwrap();
        assert_eq!(name.time, time);
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
