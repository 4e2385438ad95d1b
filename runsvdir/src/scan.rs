//! One look at the services directory.
//!
//! A subdirectory, or a symbolic link to a directory, is a service unless its name starts with a dot. A name
//! that cannot be told (an input error, no memory, no permission) is *uncertain*, so that no runsv is ended for it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, fstatat, stat};
use svlib::{Context as _, Error, Result};

use crate::plan::{Identity, Sighting};

/// What a scan found, and what it could not find out.
#[derive(Debug, Default)]
pub struct Scan {
    /// For the plan.
    pub sighting: Sighting,
    /// Names that could not be examined, a listing that broke off.
    pub problems: Vec<Error>,
}

/// Lists the services of `directory`. Before a name that may be a symbolic link is followed, `before_following`
/// gets it: what watches its way must be there before the way is gone.
///
/// # Errors
///
/// There is no such directory, or it cannot be opened. What fails later is in [`Scan::problems`].
pub fn scan(directory: &Path, mut before_following: impl FnMut(&OsStr)) -> Result<Scan> {
    stat(directory).on("stat", directory)?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut open = Dir::open(directory, flags, Mode::empty()).on("open directory", directory)?;
    let mut scan = Scan { sighting: Sighting { whole: true, ..Sighting::default() }, ..Scan::default() };

    let mut candidates = Vec::new();
    for entry in open.iter() {
        match entry.on("read directory", directory) {
            Ok(entry) => {
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if is_candidate(name, entry.file_type()) {
                    candidates.push((name.to_owned(), entry.file_type()));
                }
            }
            Err(error) => {
                scan.sighting.whole = false;
                scan.problems.push(error);
                break;
            }
        }
    }
    for (name, file_type) in candidates {
        if file_type != Some(Type::Directory) {
            before_following(&name);
        }
        scan.examine(&open, name);
    }
    Ok(scan)
}

impl Scan {
    fn examine(&mut self, directory: &Dir, name: OsString) {
        match fstatat(directory, name.as_os_str(), AtFlags::empty()) {
            Ok(found) if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR => {
                let identity = Identity { device: found.st_dev, inode: found.st_ino };
                self.sighting.services.push((identity, name));
            }
            Ok(_) => {}
            // Removed since it was listed.
            Err(Errno::ENOENT)
                if fstatat(directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_err() => {}
            Err(errno) => {
                self.problems.push(Error { operation: "stat", path: Some(name.clone().into()), errno });
                if !matches!(errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) {
                    self.sighting.uncertain.insert(name);
                }
            }
        }
    }
}

/// Whether an entry may be a service; a file system that does not tell types leaves all to be examined.
fn is_candidate(name: &OsStr, file_type: Option<Type>) -> bool {
    !name.as_bytes().starts_with(b".") && matches!(file_type, None | Some(Type::Directory | Type::Symlink))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    /// The services found by name.
    fn services(scan: &Scan) -> BTreeMap<OsString, Identity> {
        scan.sighting.services.iter().map(|(identity, name)| (name.clone(), *identity)).collect()
    }

    fn identity_of(path: &Path) -> Identity {
        let found = fs::metadata(path).unwrap();
        Identity { device: found.dev(), inode: found.ino() }
    }

    #[test]
    fn directories_and_links_to_them_are_services_whatever_their_names() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("services");
        let elsewhere = root.path().join("elsewhere");
        fs::create_dir(&directory).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        let names: Vec<&OsStr> =
            [&b"plain"[..], b"with space", b"new\nline", b"\xff\xfe", b"-P"].map(OsStr::from_bytes).into();
        for name in &names {
            fs::create_dir(directory.join(name)).unwrap();
        }
        fs::create_dir(directory.join(".hidden")).unwrap();
        fs::write(directory.join("file"), "").unwrap();
        symlink(&elsewhere, directory.join("link")).unwrap();
        symlink("../elsewhere", directory.join("relative")).unwrap();
        symlink(directory.join("file"), directory.join("to-file")).unwrap();

        let mut followed = Vec::new();
        let scan = scan(&directory, |name| followed.push(name.to_owned())).unwrap();
        let mut expected: BTreeMap<OsString, Identity> =
            names.iter().map(|name| ((*name).to_owned(), identity_of(&directory.join(name)))).collect();
        expected.insert("link".into(), identity_of(&elsewhere));
        expected.insert("relative".into(), identity_of(&elsewhere));
        assert_eq!(services(&scan), expected);
        assert!(scan.sighting.whole);
        assert!(scan.problems.is_empty(), "{:?}", scan.problems);
        followed.sort();
        assert_eq!(followed, ["link", "relative", "to-file"]);
    }

    #[test]
    fn links_that_lead_nowhere_are_reported_and_are_no_services() {
        let root = tempfile::tempdir().unwrap();
        symlink("nowhere", root.path().join("dangling")).unwrap();
        symlink("loop", root.path().join("loop")).unwrap();
        fs::create_dir(root.path().join("fine")).unwrap();
        let scan = scan(root.path(), |_| {}).unwrap();
        assert_eq!(services(&scan).into_keys().collect::<Vec<_>>(), ["fine"]);
        assert!(scan.sighting.uncertain.is_empty());
        let problems: BTreeMap<_, _> =
            scan.problems.into_iter().map(|error| (error.path.unwrap(), error.errno)).collect();
        assert_eq!(problems, [("dangling".into(), Errno::ENOENT), ("loop".into(), Errno::ELOOP)].into());
    }

    #[test]
    fn a_directory_that_cannot_be_opened_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(scan(&file, |_| {}).unwrap_err().errno, Errno::ENOTDIR);
        assert_eq!(scan(&root.path().join("none"), |_| {}).unwrap_err().errno, Errno::ENOENT);
    }
}
