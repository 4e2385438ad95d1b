//! The control group of a service (`kill-mode` `cgroup`; cgroups(7)): below our own, if that was delegated to us.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use svlib::sys::clock;
use svlib::sys::pidfd::Pidfd;
use svlib::sys::poll::{self, PollFd, PollFlags};
use svlib::{Context, Result};

/// How often all that is there is killed where the kernel cannot do it at once (before Linux 5.14).
const ROUNDS: usize = 16;
/// How long the removal waits for the last one that dies.
const DYING: Duration = Duration::from_millis(500);

/// A control group that is ours.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    procs: File,
}

impl Cgroup {
    /// The group of the service whose directory is the working directory; it is made if need be.
    ///
    /// # Errors
    /// ENOENT where there is no second version of control groups; what mkdir(2) and open(2) report: EACCES, EROFS where ours
    /// was not delegated.
    pub fn of_service() -> Result<Self> {
        let directory = own()?.join(name()?);
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).on("create control group", &directory);
            }
            _ => {}
        }
        let path = directory.join("cgroup.procs");
        let procs = OpenOptions::new().write(true).open(&path).on("open", path)?;
        Ok(Self { directory, procs })
    }

    /// Who writes `0` there gets into the group.
    pub fn procs(&self) -> BorrowedFd<'_> {
        self.procs.as_fd()
    }

    /// The processes in it.
    pub fn members(&self) -> Vec<Pid> {
        let text = fs::read_to_string(self.directory.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).map(Pid::from_raw).collect()
    }

    /// Sends all of them a signal. Their numbers are held while it is made sure that they still are in it.
    pub fn signal(&self, signal: Signal) {
        if signal == Signal::SIGKILL && self.kill() {
            return;
        }
        for _ in 0..if signal == Signal::SIGKILL { ROUNDS } else { 1 } {
            let held: Vec<_> =
                self.members().into_iter().filter_map(|pid| Some((pid, Pidfd::open(pid).ok()?))).collect();
            let members = self.members();
            let mut present = held.iter().filter(|(pid, _)| members.contains(pid)).peekable();
            if present.peek().is_none() {
                return;
            }
            for (_, pidfd) in present {
                // It has ended meanwhile.
                let _ = pidfd.send(Some(signal));
            }
        }
    }

    /// Whether the kernel has killed them all.
    fn kill(&self) -> bool {
        let file = OpenOptions::new().write(true).open(self.directory.join("cgroup.kill"));
        file.and_then(|mut file| file.write_all(b"1")).is_ok()
    }
}

impl Drop for Cgroup {
    /// Waits a little for those that have been killed. While somebody is in it, it stays.
    fn drop(&mut self) {
        let events = File::open(self.directory.join("cgroup.events"));
        let until = clock::now().monotonic + DYING;
        loop {
            // Reading arms the event.
            if let Ok(mut events) = events.as_ref() {
                let _ = events.seek(SeekFrom::Start(0)).and_then(|_| events.read(&mut [0; 256]));
            }
            let is_busy = fs::remove_dir(&self.directory)
                .is_err_and(|error| error.raw_os_error() == Some(Errno::EBUSY as i32));
            let left = until.saturating_sub(clock::now().monotonic);
            let Ok(events) = events.as_ref().map(AsFd::as_fd) else { return };
            if !is_busy
                || left.is_zero()
                || poll::wait(&mut [PollFd::new(events, PollFlags::POLLPRI)], Some(left)).is_err()
            {
                return;
            }
        }
    }
}

/// A name that no other service has, and that people recognize.
fn name() -> Result<String> {
    let directory = std::env::current_dir().during("find the working directory")?;
    let inode = fs::metadata(&directory).on("stat", &directory)?.ino();
    let readable = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@+".contains(&byte);
    let base = directory.file_name().unwrap_or_default().as_bytes();
    let base: String =
        base.iter().take(64).map(|&byte| if readable(byte) { char::from(byte) } else { '_' }).collect();
    Ok(format!("{base}.{inode}.runsv"))
}

/// The directory of the control group that this process is in.
fn own() -> Result<PathBuf> {
    let read = |path: &str| fs::read(path).on("read", path);
    let (groups, mounts) = (read("/proc/self/cgroup")?, read("/proc/self/mountinfo")?);
    directory(&groups, &mounts).ok_or(Errno::ENOENT).during("find a control group")
}

/// Where a group of the unified hierarchy (`0::PATH`) is mounted (proc(5), `/proc/PID/mountinfo`).
fn directory(groups: &[u8], mounts: &[u8]) -> Option<PathBuf> {
    let group = groups.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))?;
    let group = Path::new(OsStr::from_bytes(group));
    mounts.split(|&byte| byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let dash = fields.iter().position(|field| *field == b"-")?;
        if *fields.get(dash + 1)? != b"cgroup2" {
            return None;
        }
        let (root, place) = (unescaped(fields.get(3)?), unescaped(fields.get(4)?));
        Some(place.join(group.strip_prefix(root).ok()?))
    })
}

/// `\040` is a space.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut path = Vec::new();
    let mut rest = field;
    while let [byte, after @ ..] = rest {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                path.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                path.push(*byte);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_where_it_is_mounted() {
        let mounts = b"22 1 0:20 / /proc rw - proc proc rw\n30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let find = |groups: &[u8], mounts: &[u8]| directory(groups, mounts);
        assert_eq!(find(b"9:cpu:/x\n0::/\n", mounts), Some("/sys/fs/cgroup/".into()));
        assert_eq!(find(b"0::/a/b\n", mounts), Some("/sys/fs/cgroup/a/b".into()));
        assert_eq!(find(b"9:cpu:/x\n", mounts), None);
        assert_eq!(find(b"0::/a\n", b"22 1 0:20 / /proc rw - proc proc rw\n"), None);
        let part = b"30 22 0:26 /a /mnt\\040x rw - cgroup2 none rw\n";
        assert_eq!(find(b"0::/a/b\n", part), Some("/mnt x/b".into()));
        assert_eq!(find(b"0::/c\n", part), None);
    }
}
