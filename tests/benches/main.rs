//! Benchmarks beside the peers: runit, s6, and for bytes `cat > file`, as the distribution packages them.
//!
//! `cargo xtask bench [FIGURE…] [--rounds N] [--quick] [--in DIR] [--markdown FILE]`. Everybody does the same in turn, round after
//! round, so that what drifts on the machine drifts for all; a figure is the median. A ratio is the peer's figure
//! divided by ours: above 1, ours is better. These are figures to look at, not tests: a missed target fails nothing.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark that cannot measure has nothing to report"
)]
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "a command-line tool for people")]

mod arrivals;
mod boot;
mod contender;
mod exec;
mod figure;
mod interrupt;
mod logging;
mod machine;
mod memory;
mod pause;
mod restart;
mod round_trip;
mod scale;
mod settings;
mod throughput;
mod workload;

use std::fs;
use std::process::ExitCode;

use clap::Parser;
use nix::sys::prctl::set_child_subreaper;

use crate::contender::Contender;
use crate::figure::Figure;
use crate::settings::Settings;

/// A set of figures that are measured together.
type Module = (&'static str, fn(&Settings, &[Contender]) -> Vec<Figure>);

const MODULES: [Module; 9] = [
    ("memory", memory::measure),
    ("throughput", throughput::measure),
    ("pause", pause::measure),
    ("sv", round_trip::measure),
    ("restart", restart::measure),
    ("boot", boot::measure),
    ("boot-1000", boot::measure_thousand),
    ("scale", scale::measure),
    ("chpst", exec::measure),
];

/// What takes long: measured only when it is named.
const LONG: [&str; 2] = ["boot-1000", "scale"];

fn main() -> ExitCode {
    let settings = Settings::parse();
    let names = &settings.figures;
    if let Some(unknown) = names.iter().find(|name| MODULES.iter().all(|(known, _)| known != name)) {
        let known = MODULES.map(|(name, _)| name).join(", ");
        eprintln!("no figure `{unknown}`; there are: {known}");
        return ExitCode::from(2);
    }
    interrupt::catch();
    // What a killed supervisor leaves behind becomes ours to reap.
    set_child_subreaper(true).expect("a Linux with subreapers");

    let contenders = Contender::all();
    let mut figures = Vec::new();
    for (name, measure) in MODULES {
        let chosen =
            if names.is_empty() { !LONG.contains(&name) } else { names.iter().any(|chosen| chosen == name) };
        if chosen {
            eprintln!("measuring: {name}");
            figures.extend(measure(&settings, &contenders));
        }
    }

    let heading = machine::describe(&settings, &contenders);
    print!("\n{heading}\n\n{}", figure::table(&figures));
    if let Some(path) = &settings.markdown {
        let text = format!("{}\n\n{}", heading.replace('\n', "  \n"), figure::markdown(&figures));
        if let Err(error) = fs::write(path, text) {
            eprintln!("unable to write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
