//! A failed operation: what was tried, on which path, and the system's reason.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::diag::Message;

/// What was tried, on what, and why it failed. As text: `unable to OPERATION PATH: REASON`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What was tried, in words that follow "unable to".
    pub operation: &'static str,
    /// What it was tried on.
    pub path: Option<PathBuf>,
    /// The system's reason.
    pub errno: Errno,
}

/// A result whose error names operation, path and reason.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failed operation that concerns no path.
    pub const fn new(operation: &'static str, errno: Errno) -> Self {
        Self { operation, path: None, errno }
    }
}

impl Message for Error {
    fn append_to(&self, line: &mut Vec<u8>) {
        ("unable to ", self.operation).append_to(line);
        if let Some(path) = &self.path {
            (" ", path.as_path()).append_to(line);
        }
        (": ", reason(self.errno)).append_to(line);
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Vec::new();
        self.append_to(&mut line);
        out.write_str(&String::from_utf8_lossy(&line))
    }
}

impl std::error::Error for Error {}

/// Says of a failure what was being done.
pub trait Context<T> {
    /// Names the operation and the path it was tried on.
    ///
    /// # Errors
    /// The failure, with its context.
    fn on(self, operation: &'static str, path: impl AsRef<OsStr>) -> Result<T>;

    /// Names an operation that concerns no path.
    ///
    /// # Errors
    /// The failure, with its context.
    fn during(self, operation: &'static str) -> Result<T>;
}

impl<T> Context<T> for std::result::Result<T, Errno> {
    fn on(self, operation: &'static str, path: impl AsRef<OsStr>) -> Result<T> {
        self.map_err(|errno| Error { operation, path: Some(Path::new(&path).to_path_buf()), errno })
    }

    fn during(self, operation: &'static str) -> Result<T> {
        self.map_err(|errno| Error::new(operation, errno))
    }
}

impl<T> Context<T> for io::Result<T> {
    fn on(self, operation: &'static str, path: impl AsRef<OsStr>) -> Result<T> {
        self.map_err(|error| errno(&error)).on(operation, path)
    }

    fn during(self, operation: &'static str) -> Result<T> {
        self.map_err(|error| errno(&error)).during(operation)
    }
}

/// The C library's words for an error number (strerror(3)).
pub fn reason(errno: Errno) -> String {
    let mut text = io::Error::from(errno).to_string();
    // The standard library appends the number.
    if let Some(end) = text.rfind(" (os error ") {
        text.truncate(end);
    }
    text
}

/// Whether there are too few descriptors, or too little memory: that passes, and says nothing of what was asked for.
pub const fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS)
}

/// The system's number for an I/O error. The few that the standard library makes up itself, such as a NUL byte in a path,
/// are invalid arguments.
pub fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_operation_path_and_reason() {
        let error = std::fs::read("/no/such file").on("open", "/no/such file").unwrap_err();
        assert_eq!(error.to_string(), "unable to open /no/such file: No such file or directory");
        let error = Err::<(), _>(Errno::EAGAIN).during("fork").unwrap_err();
        assert_eq!(error.to_string(), "unable to fork: Resource temporarily unavailable");
    }

    #[test]
    fn errors_without_a_number_are_invalid_arguments() {
        let error = std::fs::read("a\0b").on("open", "a\0b").unwrap_err();
        assert_eq!(error.errno, Errno::EINVAL);
    }
}
