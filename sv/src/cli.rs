//! The command line.

use clap::Command;

/// The options and operands; `--help`, the man page and the completions are made from it.
pub fn command() -> Command {
    Command::new("sv").about("Controls and reports services monitored by runsv")
}
