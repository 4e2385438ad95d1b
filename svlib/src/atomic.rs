//! Files that a reader sees either as they were or as they shall be, never half-written.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// Writes `bytes` to `PATH.new`, with permissions `mode` less the umask, and renames it over `path`.
///
/// The file is not synced: it holds the state of a running process, which a crash of the machine ends anyway.
///
/// # Errors
/// The open, write or rename that failed. `path` is then what it was; a `PATH.new` may be left.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut name = OsString::from(path);
    name.push(".new");
    let new = PathBuf::from(name);
    // Not to wait for a reader should it be a fifo.
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode).custom_flags(libc::O_NONBLOCK);
    let mut file = options.open(&new).on("open", &new)?;
    file.write_all(bytes).on("write", &new)?;
    drop(file);
    fs::rename(&new, path).on("rename", &new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn replaces_the_file_and_leaves_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stat");
        for text in ["run\n", "", "down\n"] {
            write(&path, text.as_bytes(), 0o644).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_names_the_file() {
        let error = write(Path::new("/no/such/stat"), b"", 0o644).unwrap_err();
        assert_eq!((error.operation, error.errno), ("open", Errno::ENOENT));
        assert_eq!(error.path.unwrap(), Path::new("/no/such/stat.new"));
    }
}
