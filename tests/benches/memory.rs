//! The private memory of a supervisor and of a logger that have nothing to do: the price of every further service.

use std::fs;
use std::io::Write;
use std::process::{ChildStdin, Stdio};
use std::thread::sleep;
use std::time::Duration;

use svkit_tests::{Running, SLEEP, Sandbox, eventually};

use crate::contender::{Contender, Who};
use crate::figure::{Figure, Unit};
use crate::settings::Settings;

/// Longer than any supervisor's throttle: after it, what is idle stays as it is.
const SETTLING: Duration = Duration::from_millis(1500);

const LINES: &[u8] = b"one line\nanother one\na third, somewhat longer than the others\n";

/// A process, and its standard input, whose end would be its own.
type Idle = (Running, Option<ChildStdin>);

/// runsv and svlogd. One process a round, and all of them at the same time.
pub(crate) fn measure(settings: &Settings, contenders: &[Contender]) -> Vec<Figure> {
    vec![
        private_memory("runsv, idle: private memory", settings, contenders, supervisor),
        private_memory("svlogd, idle: private memory", settings, contenders, logger),
    ]
}

fn private_memory(
    name: &str,
    settings: &Settings,
    contenders: &[Contender],
    start: fn(&Sandbox, Who, usize) -> Idle,
) -> Figure {
    let sandboxes: Vec<_> = contenders
        .iter()
        .filter(|contender| contender.who != Who::Floor)
        .map(|contender| (contender.who, contender.sandbox()))
        .collect();
    let start_all = |(who, sandbox): &(Who, Sandbox)| {
        (*who, (0..settings.rounds()).map(|number| start(sandbox, *who, number)).collect::<Vec<_>>())
    };
    let processes: Vec<_> = sandboxes.iter().map(start_all).collect();
    sleep(SETTLING);
    let samples = processes.iter().map(|(who, processes)| {
        (*who, processes.iter().map(|(process, _)| private_kib(process.pid())).collect())
    });
    Figure { name: name.to_owned(), unit: Unit::KiB, samples: samples.collect(), target: Some(1.0) }
}

fn supervisor(sandbox: &Sandbox, who: Who, number: usize) -> Idle {
    let service = sandbox.service(number.to_string()).run(SLEEP).build();
    let program = if who == Who::S6 { "s6-supervise" } else { "runsv" };
    (sandbox.start(sandbox.command(program).arg(service.dir())), None)
}

fn logger(sandbox: &Sandbox, who: Who, number: usize) -> Idle {
    let dir = sandbox.mkdir(format!("log-{number}"));
    let mut command = match who {
        Who::S6 => sandbox.command("s6-log"),
        _ => sandbox.command("svlogd"),
    };
    if who == Who::S6 {
        command.args(["n10", "s1000000"]);
    }
    let mut logger = sandbox.start(command.arg(&dir).stdin(Stdio::piped()));
    let mut input = logger.stdin();
    input.write_all(LINES).expect("a pipe that is read takes bytes");
    eventually("the lines in the log", || {
        (fs::read(dir.join("current")).ok()?.len() >= LINES.len()).then_some(())
    });
    (logger, Some(input))
}

/// What the process has for itself, touched or not, in KiB.
fn private_kib(pid: u32) -> f64 {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let kib = |line: &str| line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok());
    text.lines().filter(|line| line.starts_with("Private_")).filter_map(kib).sum()
}
