//! The command line.

use std::path::PathBuf;

use clap::Parser;
use tempfile::TempDir;

/// Benchmarks of svkit beside its peers
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
pub(crate) struct Settings {
    /// The figures to measure [default: all but boot-1000 and scale]: memory, throughput, pause, sv, restart, boot, boot-1000, scale, chpst
    pub(crate) figures: Vec<String>,
    /// How often each figure is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Less work and two rounds: to see that the benchmarks run, not for their figures
    #[arg(long)]
    quick: bool,
    /// Where the log directories are; by default below cargo's target directory, so on a real disk, where `/tmp` may be
    /// memory
    #[arg(long = "in", value_name = "DIR", default_value = env!("CARGO_TARGET_TMPDIR"), hide_default_value = true)]
    pub(crate) place: PathBuf,
    /// Also write the table to a file, as markdown
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// What cargo says to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

impl Settings {
    /// How often each figure is measured.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 2 } else { usize::from(self.rounds) }
    }

    /// A new directory to log to.
    pub(crate) fn directory(&self) -> TempDir {
        TempDir::new_in(&self.place).expect("the place for log directories takes entries")
    }

    /// How much of `full` is to be done: an eighth when it has to be quick.
    pub(crate) fn amount(&self, full: usize) -> usize {
        if self.quick { full / 8 } else { full }
    }
}
