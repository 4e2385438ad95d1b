//! Variables by which one program of svkit tells the next what only that one shall know.

use std::env;
use std::ffi::OsString;

/// The value of the variable `name`, which what this process starts will not see.
pub fn take(name: &str) -> Option<OsString> {
    let value = env::var_os(name)?;
    // SAFETY: the programs of svkit have one thread.
    unsafe { env::remove_var(name) };
    Some(value)
}
