//! Notices that a look at the services directory would now show something else.
//!
//! A name leads where it does as long as every part of its way does: `/etc/sv/web`, that a link leads to, until `/etc` or
//! `/etc/sv` is moved, or `web` is another directory, or none. So a directory that is passed is watched for its own move
//! (it cannot be removed while the way goes on), and where a way ends or a link stands, the directory is watched for
//! that name. This holds for each service that is a link, through all links on its way, and for the services directory's
//! own name: any part may be renamed, replaced or retargeted. The list of mounts is watched as well, since a mount
//! changes what is seen without touching a directory.
//!
//! Where all of this works nothing has to be checked in vain, and an idle runsvdir makes no system call. Where
//! it does not, [`Changes::are_complete`] is false, and the directory is to be looked at every five seconds:
//!
//! - inotify is not available, or its limits are reached (one warning is due: [`Changes::complaint`]);
//! - directories on the way may be searched but not read;
//! - a file system is not one known to be changed by this machine alone, as network file systems are not.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::{self, FsType};
use svlib::error::{self, Error};
use svlib::sys::inotify::{Event, MASK_ADD, Mask, Watch, Watcher};

/// As many links are followed on one way as the kernel follows (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

/// The watches that the last survey asked for.
#[derive(Debug)]
pub struct Changes {
    watcher: Option<Watcher>,
    /// `/proc/self/mountinfo`: poll(2) reports a priority event when a mount comes or goes (proc(5)).
    mounts: Option<File>,
    interests: HashMap<Watch, Interest>,
    is_complete: bool,
    complaint: Option<Error>,
    has_complained: bool,
}

/// What matters of one watched directory.
#[derive(Debug, Default)]
struct Interest {
    /// Every name but those with a dot: it is the services directory.
    services: bool,
    /// Names that are part of a way.
    names: HashSet<OsString>,
}

/// Sets the watches anew, for one look: what is asked for again stays, the rest goes.
#[derive(Debug)]
pub struct Survey<'a> {
    changes: &'a mut Changes,
    /// The services directory, free of links.
    directory: PathBuf,
    /// What came of watching each path.
    paths: HashMap<(PathBuf, Mask), Option<Watch>>,
    previous: HashMap<Watch, Interest>,
}

impl Changes {
    /// Watches nothing yet.
    #[must_use]
    pub fn new() -> Self {
        let mut changes = Self {
            watcher: None,
            mounts: File::open("/proc/self/mountinfo").ok(),
            interests: HashMap::new(),
            is_complete: false,
            complaint: None,
            has_complained: false,
        };
        match Watcher::new() {
            Ok(watcher) => changes.watcher = Some(watcher),
            Err(error) => changes.complain(error),
        }
        changes
    }

    /// Begins to watch for a look at `directory`; the look must come after, to miss nothing.
    pub fn survey(&mut self, directory: &Path) -> Survey<'_> {
        self.is_complete = self.watcher.is_some() && self.mounts.is_some();
        let previous = std::mem::take(&mut self.interests);
        let mut survey = Survey { changes: self, directory: PathBuf::new(), paths: HashMap::new(), previous };
        survey.directory = survey.walk(Path::new("."), directory);
        match survey.watch(&survey.directory.clone(), entries()) {
            Some(interest) => interest.services = true,
            None => survey.changes.is_complete = false,
        }
        survey
    }

    /// Reads what was notified. True if it calls for a new look.
    pub fn were_noticed(&mut self) -> bool {
        let Some(watcher) = &self.watcher else { return false };
        match watcher.drain() {
            Ok(events) => events.iter().any(|event| self.calls_for_a_look(event)),
            Err(error) => {
                // A descriptor that fails would be ready for ever.
                self.complain(error);
                self.watcher = None;
                true
            }
        }
    }

    /// Every change will be noticed.
    #[must_use]
    pub fn are_complete(&self) -> bool {
        self.is_complete
    }

    /// Why not every change will be noticed, if that is worth a warning and it was not given yet.
    pub fn complaint(&mut self) -> Option<Error> {
        self.complaint.take()
    }

    /// Becomes readable when [`Changes::were_noticed`] has something to read.
    #[must_use]
    pub fn notifications(&self) -> Option<BorrowedFd<'_>> {
        self.watcher.as_ref().map(|watcher| watcher.as_fd())
    }

    /// Has a priority event when a mount has changed, which calls for a new look.
    #[must_use]
    pub fn mounts(&self) -> Option<BorrowedFd<'_>> {
        self.mounts.as_ref().map(|file| file.as_fd())
    }

    fn calls_for_a_look(&self, event: &Event) -> bool {
        event.mask.contains(Mask::IN_Q_OVERFLOW)
            || self.interests.get(&event.wd).is_some_and(|interest| interest.includes(event.name.as_deref()))
    }

    fn add(&mut self, directory: &Path, mask: Mask) -> Option<Watch> {
        match self.watcher.as_ref()?.add(directory, mask) {
            Ok(watch) => {
                self.is_complete &= is_local(directory);
                Some(watch)
            }
            Err(error) => {
                if matches!(error.errno, Errno::ENOSPC | Errno::ENOMEM) {
                    self.complain(error);
                }
                None
            }
        }
    }

    fn complain(&mut self, error: Error) {
        if !self.has_complained {
            self.has_complained = true;
            self.complaint = Some(error);
        }
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self::new()
    }
}

impl Interest {
    /// Whether an event is of interest; one without a name is about the watched directory itself.
    fn includes(&self, name: Option<&OsStr>) -> bool {
        name.is_none_or(|name| {
            (self.services && !name.as_bytes().starts_with(b".")) || self.names.contains(name)
        })
    }
}

impl Survey<'_> {
    /// Watches the way of an entry of the services directory that may be a symbolic link.
    pub fn follow(&mut self, name: &OsStr) {
        self.walk(&self.directory.clone(), Path::new(name));
    }

    /// Stops to watch what was not asked for again.
    pub fn finish(self) {
        let Some(watcher) = &self.changes.watcher else { return };
        for watch in self.previous.into_keys().filter(|watch| !self.changes.interests.contains_key(watch)) {
            watcher.remove(watch);
        }
    }

    /// Watches the way from `base` along `path`. Returns where it leads, as far as it goes.
    fn walk(&mut self, base: &Path, path: &Path) -> PathBuf {
        let mut here = base.to_path_buf();
        let mut rest: VecDeque<OsString> = parts(path).collect();
        let mut passed = Vec::new();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            // "/" replaces what there is; "..", after no link any more, is the directory above.
            if part == "/" || part == ".." || part == "." {
                here.push(part);
                continue;
            }
            let next = here.join(&part);
            if !rest.is_empty() && self.watch(&next, itself()).is_some() {
                passed.push((here, part));
                here = next;
                continue;
            }
            self.watch_name(&here, &part);
            match fs::read_link(&next).map_err(|error| error::errno(&error)) {
                Ok(target) => {
                    links += 1;
                    if links > MOST_LINKS {
                        break;
                    }
                    parts(&target)
                        .collect::<Vec<_>>()
                        .into_iter()
                        .rev()
                        .for_each(|part| rest.push_front(part));
                }
                // No link: the end of the way, or a directory that may be passed but not watched.
                Err(Errno::EINVAL) => here = next,
                Err(errno) => {
                    // Now that the way breaks off, what was passed may be removed, and all be made anew.
                    for (directory, name) in passed {
                        self.watch_name(&directory, &name);
                    }
                    self.changes.is_complete &= matches!(errno, Errno::ENOENT | Errno::ENOTDIR);
                    break;
                }
            }
        }
        here
    }

    fn watch_name(&mut self, directory: &Path, name: &OsStr) {
        match self.watch(directory, entries()) {
            Some(interest) => {
                interest.names.insert(name.to_owned());
            }
            None => self.changes.is_complete = false,
        }
    }

    fn watch(&mut self, path: &Path, mask: Mask) -> Option<&mut Interest> {
        let key = (path.to_path_buf(), mask);
        let watch = match self.paths.get(&key) {
            Some(watch) => *watch,
            None => *self.paths.entry(key).or_insert(self.changes.add(path, mask)),
        };
        watch.map(|watch| self.changes.interests.entry(watch).or_default())
    }
}

/// The directory moves. Its removal shows here late if a process is in it, and is not relied on.
fn itself() -> Mask {
    Mask::IN_MOVE_SELF | Mask::IN_DELETE_SELF | Mask::IN_ONLYDIR | Mask::IN_DONT_FOLLOW | MASK_ADD
}

/// A name in the directory comes or goes, or the directory moves.
fn entries() -> Mask {
    Mask::IN_CREATE | Mask::IN_DELETE | Mask::IN_MOVE | itself()
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().map(|part| part.as_os_str().to_owned())
}

/// Whether the directory is on a file system that only this machine changes, so that inotify sees every change.
fn is_local(directory: &Path) -> bool {
    const LOCAL: [FsType; 13] = [
        statfs::EXT4_SUPER_MAGIC,
        statfs::XFS_SUPER_MAGIC,
        statfs::BTRFS_SUPER_MAGIC,
        statfs::TMPFS_MAGIC,
        statfs::OVERLAYFS_SUPER_MAGIC,
        statfs::F2FS_SUPER_MAGIC,
        statfs::ISOFS_SUPER_MAGIC,
        statfs::MSDOS_SUPER_MAGIC,
        // From statfs(2), and from OpenZFS and bcachefs: ramfs, squashfs, erofs, ZFS, bcachefs.
        FsType(0x8584_58F6),
        FsType(0x7371_7368),
        FsType(0xE0F5_E1E2),
        FsType(0x2FC1_2FC1),
        FsType(0xCA45_1A4E),
    ];
    statfs::statfs(directory).is_ok_and(|found| LOCAL.contains(&found.filesystem_type()))
}

#[cfg(test)]
mod tests;
