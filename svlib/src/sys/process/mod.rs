//! Starting programs, becoming another, and seeing children end.
//!
//! A program that is started here finds what this process found when it began: its environment, SIGPIPE as it was, and the
//! standard descriptors that were closed closed. Its signal mask is empty.

mod exec;
mod reap;
mod spawn;

use std::ffi::{CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use nix::errno::Errno;

pub use exec::Exec;
pub use reap::reap;
pub use spawn::Spawn;

fn c_string(text: &OsStr) -> nix::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| Errno::EINVAL)
}

/// The null-terminated vector that execve(2) wants; it borrows from `strings`.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}
