//! Named pipes, opened without waiting for the other side.

use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::error::{Context, Error, Result};

/// Creates the fifo `path` with permissions `mode` less the umask, unless it is there already (mkfifo(3)).
///
/// # Errors
/// What mkfifo(3) reports; EEXIST if something else has this name.
pub fn make(path: &Path, mode: u32) -> Result<()> {
    match mkfifo(path, Mode::from_bits_truncate(mode)) {
        Err(Errno::EEXIST) if fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) => Ok(()),
        result => result.on("create fifo", path),
    }
}

/// Opens a fifo for reading; it succeeds at once.
///
/// # Errors
/// What open(2) reports; EINVAL if `path` is no fifo.
pub fn open_read(path: &Path) -> Result<OwnedFd> {
    open(OpenOptions::new().read(true), path, "open for reading")
}

/// Opens a fifo for writing.
///
/// # Errors
/// What open(2) reports: ENXIO if nobody has it open for reading; EINVAL if `path` is no fifo.
pub fn open_write(path: &Path) -> Result<OwnedFd> {
    open(OpenOptions::new().write(true), path, "open for writing")
}

fn open(options: &mut OpenOptions, path: &Path, operation: &'static str) -> Result<OwnedFd> {
    let file = options.custom_flags(libc::O_NONBLOCK).open(path).on(operation, path)?;
    if file.metadata().on(operation, path)?.file_type().is_fifo() {
        Ok(file.into())
    } else {
        Err(Error { operation, path: Some(path.to_path_buf()), errno: Errno::EINVAL })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fd;

    #[test]
    fn a_writer_sees_whether_there_is_a_reader() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ok");
        make(&path, 0o600).unwrap();
        make(&path, 0o600).unwrap();
        assert_eq!(open_write(&path).unwrap_err().errno, Errno::ENXIO);
        let reader = open_read(&path).unwrap();
        fd::write_all(open_write(&path).unwrap(), b"u").unwrap();
        assert_eq!(fd::read(&reader, &mut [0; 2]).unwrap(), 1);
    }

    #[test]
    fn another_file_is_no_fifo() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        fs::write(&path, "").unwrap();
        assert_eq!(make(&path, 0o600).unwrap_err().errno, Errno::EEXIST);
        assert_eq!(open_write(&path).unwrap_err().errno, Errno::EINVAL);
    }
}
