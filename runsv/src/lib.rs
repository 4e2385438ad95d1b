//! Starts and monitors a service and optionally its log service.
#![forbid(unsafe_code)]

use std::process::ExitCode;

pub mod cli;
pub mod machine;

/// Runs the program with the arguments and environment of this process.
pub fn main() -> ExitCode {
    ExitCode::from(111)
}
