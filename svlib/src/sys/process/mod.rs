//! Starting programs, becoming another, and seeing children end.
//!
//! A program that is started here finds what this process found when it began: its environment, SIGPIPE as it was, and the
//! standard descriptors that were closed closed. Its signal mask is empty.

mod child;
mod exec;
mod gated;
mod identity;
mod reap;
mod spawn;
mod stat;

use std::ffi::{CStr, CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use nix::errno::Errno;

pub use exec::Exec;
pub(super) use exec::{candidates, search_path};
pub use gated::Gated;
pub use identity::{age, boot_id, identify, own_identity, start_time};
pub use reap::{adopt_orphans, children, ended, has_children, is_child, reap, reap_one};
pub use spawn::Spawn;
pub use stat::{Stat, state};

fn c_string(text: &OsStr) -> nix::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| Errno::EINVAL)
}

/// The null-terminated vector that execve(2) wants; it borrows from `strings`.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

/// The environment of this process, with `variables` (`NAME=value`) besides or instead, as execve(2) wants it; it borrows
/// from both.
fn environment_pointers(variables: &[CString]) -> Vec<*const c_char> {
    let name = |variable: &[u8]| variable.iter().position(|&byte| byte == b'=').unwrap_or(variable.len());
    let mut environment = Vec::new();
    // SAFETY: no other thread changes the environment.
    let mut own = unsafe { libc::environ }.cast_const();
    while !own.is_null() {
        // SAFETY: the vector ends with null, and it has not been reached.
        let variable = unsafe { *own };
        if variable.is_null() {
            break;
        }
        // SAFETY: each string of the environment ends with NUL.
        let text = unsafe { CStr::from_ptr(variable) }.to_bytes();
        let replaced = variables.iter().any(|other| {
            let other = other.as_bytes();
            other[..name(other)] == text[..name(text)]
        });
        if !replaced {
            environment.push(variable.cast_const());
        }
        // SAFETY: as above.
        own = unsafe { own.add(1) };
    }
    environment.extend(pointers(variables));
    environment
}
