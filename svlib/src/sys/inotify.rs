//! Changes in directories, as they happen (inotify(7)).

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{InitFlags, Inotify};

use crate::error::{Context, Result};

pub use nix::sys::inotify::{AddWatchFlags as Mask, InotifyEvent as Event, WatchDescriptor as Watch};

/// Adds to the mask that a watch of the same file has, rather than replace it. nix has no name for it.
pub const MASK_ADD: Mask = Mask::from_bits_retain(libc::IN_MASK_ADD);

/// A set of watched directories.
#[derive(Debug)]
pub struct Watcher(Inotify);

impl Watcher {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// The user's limit of instances or the process's of descriptors is reached.
    pub fn new() -> Result<Self> {
        Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .during("create inotify instance")
            .map(Self)
    }

    /// Reports what `mask` says of `path` from now on. The same file twice is one watch with the last mask, or
    /// with both after [`MASK_ADD`].
    ///
    /// # Errors
    /// What inotify_add_watch(2) reports: ENOSPC when the user's limit of watches is reached.
    pub fn add(&self, path: &Path, mask: Mask) -> Result<Watch> {
        self.0.add_watch(path, mask).on("watch", path)
    }

    /// Reports no more of a watch. One whose file is gone has ended by itself.
    pub fn remove(&self, watch: Watch) {
        // EINVAL: the watch has ended already.
        let _ = self.0.rm_watch(watch);
    }

    /// What has happened since the last call. An event with [`Mask::IN_Q_OVERFLOW`] says that others were lost.
    ///
    /// # Errors
    /// What read(2) reports.
    pub fn drain(&self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        loop {
            match self.0.read_events() {
                Ok(more) => events.extend(more),
                Err(Errno::EAGAIN) => return Ok(events),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).during("read inotify events"),
            }
        }
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_which_name_changed() {
        let dir = tempfile::tempdir().unwrap();
        let watcher = Watcher::new().unwrap();
        let watch = watcher.add(dir.path(), Mask::IN_CREATE).unwrap();
        assert!(watcher.drain().unwrap().is_empty());
        std::fs::write(dir.path().join("status"), "").unwrap();
        let events = watcher.drain().unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].wd, events[0].name.as_deref()), (watch, Some("status".as_ref())));
        watcher.remove(watch);
        std::fs::write(dir.path().join("stat"), "").unwrap();
        assert!(watcher.drain().unwrap().iter().all(|event| event.mask == Mask::IN_IGNORED));
    }
}
