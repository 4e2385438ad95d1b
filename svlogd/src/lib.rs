//! Writes standard input to automatically rotated, filtered log directories.
#![forbid(unsafe_code)]

use std::process::ExitCode;

pub mod cli;

/// Runs the program with the arguments and environment of this process.
pub fn main() -> ExitCode {
    ExitCode::from(111)
}
