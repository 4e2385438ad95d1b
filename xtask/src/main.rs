//! Developer and packager tasks: `cargo xtask help`.
//!
//! A module a command; `project` and `programs` hold what they share.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool for people, not a supervisor"
)]

mod archive;
mod bench;
mod completions;
mod dist;
mod fuzz;
mod http;
mod install;
mod man;
mod programs;
mod project;
mod run;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "svkit's developer and packager tasks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds the release programs and supervises a services directory with them until Ctrl-C
    Run {
        /// The services directory; a fresh copy of xtask/services when absent
        dir: Option<PathBuf>,
        /// Use the programs in this directory instead of building ours
        #[arg(long, value_name = "DIR")]
        programs: Option<PathBuf>,
    },
    /// Checks formatting, lints, documentation and man pages, and runs every test
    Test,
    /// The same as test with CI=true: references are required, fuzzing and reproducibility are checked too
    Ci,
    /// Builds the fuzz targets in tests/fuzz and runs each for a while
    Fuzz {
        /// Only this target
        target: Option<String>,
        /// How long each target runs
        #[arg(long, default_value_t = 10)]
        seconds: u32,
    },
    /// Runs the benchmarks in tests/benches on release programs
    Bench {
        /// Arguments for the benchmarks, such as a name to filter by
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Writes the man pages
    Man {
        /// Where to [default: target/man]
        dir: Option<PathBuf>,
    },
    /// Writes the completions for bash, zsh and fish
    Completions {
        /// Where to [default: target/completions]
        dir: Option<PathBuf>,
    },
    /// Installs programs, man pages, completions and licences
    Install {
        /// Names of programs (all when none is given), and DESTDIR=…, PREFIX=… (default /usr/local), which also
        /// count as environment variables
        #[arg(value_name = "PROGRAM|NAME=VALUE")]
        arguments: Vec<String>,
    },
    /// Makes the release of HEAD: source tarball, a binary tarball for each program, one of all, SHA256SUMS
    Dist {
        /// Where to [default: target/dist]
        dir: Option<PathBuf>,
        /// Write nothing: make it twice, built in different places, and compare
        #[arg(long)]
        check: bool,
    },
    /// Serves HTTP for the sample service tree
    #[command(hide = true)]
    Http {
        /// The address to listen on, such as 127.0.0.1:8080
        address: String,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Run { dir, programs } => run::run(dir, programs),
        Task::Test => test::test(test::in_ci()),
        Task::Ci => test::test(true),
        Task::Fuzz { target, seconds } => fuzz::fuzz(target.as_deref(), seconds),
        Task::Bench { arguments } => bench::bench(&arguments),
        Task::Man { dir } => man::write(&dir.unwrap_or_else(|| project::target_dir().join("man"))),
        Task::Completions { dir } => {
            completions::write(&dir.unwrap_or_else(|| project::target_dir().join("completions")))
        }
        Task::Install { arguments } => install::install(&arguments),
        Task::Dist { check: true, .. } => dist::check_reproducible(),
        Task::Dist { dir, .. } => dist::dist(&dir.unwrap_or_else(|| project::target_dir().join("dist"))),
        Task::Http { address } => http::serve(&address),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
