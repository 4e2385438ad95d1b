//! The command line.

use clap::Command;

/// The options and operands; `--help`, the man page and the completions are made from it.
pub fn command() -> Command {
    Command::new("runsv").about("Starts and monitors a service and optionally its log service")
}
