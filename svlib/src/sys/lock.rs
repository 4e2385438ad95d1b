//! Lock files (flock(2)): held by one open file at a time, until it is closed or its process ends.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};

use crate::error::{Context, Error, Result};
use crate::sys::clock;

/// Between two looks whether a lock is free.
const PACE: Duration = Duration::from_millis(5);

/// An exclusive lock, released when it is dropped.
#[derive(Debug)]
pub struct Lock(Flock<File>);

impl Lock {
    /// Locks the file `path`, which is created with mode 0600 if need be; `None` if another holds the lock.
    ///
    /// # Errors
    /// What open(2) or flock(2) report.
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        match lock(path, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err(Error { errno: Errno::EWOULDBLOCK, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Locks the file `path`, for which it waits `limit` at most; `None` if another holds the lock for longer.
    ///
    /// # Errors
    /// What open(2) or flock(2) report.
    pub fn exclusive_within(path: &Path, limit: Duration) -> Result<Option<Self>> {
        let end = clock::now().monotonic.saturating_add(limit);
        loop {
            match Self::try_exclusive(path)? {
                None if clock::now().monotonic < end => sleep(PACE),
                result => return Ok(result),
            }
        }
    }

    /// Locks the file `path`, and waits while another holds the lock.
    ///
    /// # Errors
    /// What open(2) or flock(2) report.
    pub fn exclusive(path: &Path) -> Result<Self> {
        lock(path, FlockArg::LockExclusive)
    }

    /// The lock that the program before this one in the same process held through `file`.
    ///
    /// # Errors
    /// What flock(2) reports: EWOULDBLOCK if it is not held.
    pub fn inherited(file: OwnedFd) -> Result<Self> {
        let lock = Flock::lock(File::from(file), FlockArg::LockExclusiveNonblock);
        lock.map(Self).map_err(|(_, errno)| errno).during("keep the lock")
    }

    /// Leaves the lock to the programs that this process starts or becomes: it is released when the last of them has
    /// ended, too.
    ///
    /// # Errors
    /// What fcntl(2) reports.
    pub fn inherit(&self) -> Result<()> {
        fcntl(&*self.0, FcntlArg::F_SETFD(FdFlag::empty())).during("keep the lock").map(drop)
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn lock(path: &Path, kind: FlockArg) -> Result<Lock> {
    // Not to wait for a reader should it be a fifo.
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(libc::O_NONBLOCK);
    let mut file = options.open(path).on("open", path)?;
    loop {
        match Flock::lock(file, kind) {
            Ok(lock) => return Ok(Lock(lock)),
            Err((unlocked, Errno::EINTR)) => file = unlocked,
            Err((_, errno)) => return Err(errno).on("lock", path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::try_exclusive(&path).unwrap();
        assert!(held.is_some());
        assert!(Lock::try_exclusive(&path).unwrap().is_none());
        assert!(Lock::exclusive_within(&path, Duration::from_millis(20)).unwrap().is_none());
        let releases = std::thread::spawn(move || {
            sleep(Duration::from_millis(20));
            drop(held);
        });
        assert!(Lock::exclusive_within(&path, Duration::from_secs(60)).unwrap().is_some());
        releases.join().unwrap();
        Lock::exclusive(&path).unwrap();
    }
}
