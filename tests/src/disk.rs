//! File systems of a test that can be full, or read-only. Only root mounts, and nobody but this run sees it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::statvfs;

use crate::sandbox::Sandbox;

/// A tmpfs, unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// A disk of so many KiB on the new directory `name` of the sandbox.
    pub fn new(sandbox: &Sandbox, name: &str, kib: u32) -> Self {
        let path = sandbox.mkdir(name);
        let size = format!("size={kib}k");
        mount(Some("svkit"), &path, Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))
            .unwrap_or_else(|errno| panic!("mount {}: {errno}", path.display()));
        Self { path }
    }

    /// Its root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From now on nothing can be written. Nothing may be open for writing.
    pub fn make_read_only(&self) {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, &self.path, None::<&str>, flags, None::<&str>)
            .unwrap_or_else(|errno| panic!("remount {}: {errno}", self.path.display()));
    }

    /// From now on no file can be made, or it can again.
    pub fn refuse_files(&self, refuse: bool) {
        let found = statvfs(&self.path).unwrap_or_else(|errno| panic!("{}: {errno}", self.path.display()));
        let most = if refuse { found.files() - found.files_free() } else { 1000 };
        let most = format!("nr_inodes={most}");
        mount(None::<&str>, &self.path, None::<&str>, MsFlags::MS_REMOUNT, Some(most.as_str()))
            .unwrap_or_else(|errno| panic!("remount {}: {errno}", self.path.display()));
    }

    /// Writes the file `ballast` until not a byte more goes in.
    pub fn fill(&self) {
        let path = self.ballast();
        let mut file: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let error = loop {
            if let Err(error) = file.write_all(&[0; 512]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{}", path.display());
    }

    /// Removes the ballast.
    pub fn free(&self) {
        let path = self.ballast();
        std::fs::remove_file(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever still uses it is killed with the sandbox.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

/// Mounts of this process and its children are seen by nobody else, and are gone with them. Not everybody may do that,
/// and who may not cannot mount either.
pub fn keep_mounts_private() {
    if unshare(CloneFlags::CLONE_NEWNS).is_ok() {
        let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
            .expect("our own mounts are ours to change");
    }
}
