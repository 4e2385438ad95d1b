//! Private memory: of a supervisor and of a logger that have nothing to do, which is the price of every further service,
//! and of a logger that has much to do. And how often the idle ones are woken.

use std::fs;
use std::io::Write;
use std::process::{ChildStdin, Stdio};
use std::thread::{scope, sleep};
use std::time::Duration;

use svkit_tests::{Running, SLEEP, Sandbox, eventually, voluntary_switches};
use tempfile::TempDir;

use crate::contender::{Contender, Samples, Who, in_turn};
use crate::figure::{Figure, Goal, Unit};
use crate::logging::{FORWARD, FOUR_PATTERNS, JSON, Logging, PLAIN, Rotation, STAMPED, TEN_EXPRESSIONS};
use crate::settings::Settings;
use crate::workload;

/// Longer than any supervisor's throttle: after it, what is idle stays as it is.
const SETTLING: Duration = Duration::from_millis(1500);

/// Longer than anybody waits before memory is given back.
const REST: Duration = Duration::from_secs(4);

/// Longer than any pace at which an idle program could look at something.
pub(crate) const QUIET: Duration = Duration::from_secs(6);

/// How often a busy logger is looked at: the kernel has to walk its memory each time.
const PACE: Duration = Duration::from_millis(2);

const LINES: &[u8] = b"one line\nanother one\na third, somewhat longer than the others\n";

/// A process, and its standard input, whose end would be its own.
type Idle = (Running, Option<ChildStdin>);

/// runsv and svlogd. One process a round, and all of them at the same time; a busy one at a time.
pub(crate) fn measure(settings: &Settings, contenders: &[Contender]) -> Vec<Figure> {
    let mut figures = Vec::new();
    figures.extend(idle("runsv", Goal::PartOf(0.7, Who::Runit), settings, contenders, supervisor));
    figures.extend(idle("svlogd", Goal::Times(1.0, Who::Runit), settings, contenders, logger));
    for (name, logging, directories) in [
        ("plain", PLAIN, 1),
        ("-ttt", STAMPED, 1),
        ("four patterns", FOUR_PATTERNS, 1),
        ("ten regular expressions", TEN_EXPRESSIONS, 1),
        ("two directories", PLAIN, 2),
        ("`format json`", JSON, 1),
        ("`forward` to an absent server", FORWARD, 1),
    ] {
        let logging = Logging { floor: false, ..logging };
        figures.extend(busy(name, &logging, directories, settings, contenders));
    }
    figures
}

fn idle(
    name: &str,
    goal: Goal,
    settings: &Settings,
    contenders: &[Contender],
    start: fn(&Sandbox, Who, usize) -> Idle,
) -> [Figure; 2] {
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
    let of_each = |measure: fn(u32) -> f64| -> Samples {
        let measure_all = |processes: &Vec<Idle>| {
            processes.iter().map(|(process, _)| measure(process.pid())).collect::<Vec<_>>()
        };
        processes.iter().map(|(who, processes)| (*who, measure_all(processes))).collect()
    };
    let mut wakeups = of_each(wakeups);
    sleep(QUIET);
    for ((_, samples), (_, after)) in wakeups.iter_mut().zip(of_each(self::wakeups)) {
        for (sample, after) in samples.iter_mut().zip(after) {
            *sample = after - *sample;
        }
    }
    let memory = of_each(private_kib);
    [
        Figure::new(format!("{name}, idle: private memory"), Unit::KiB, memory).goals(&[goal]),
        Figure::new(format!("{name}, idle: wakeups in {QUIET:?}"), Unit::Count, wakeups)
            .goals(&[Goal::AtMost(0.0)]),
    ]
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

/// The most that a logger has while it is fed as fast as it reads, and what it has some seconds later. Its children, which
/// compress or look up names, are processes of their own and not counted.
fn busy(
    name: &str,
    logging: &Logging,
    directories: usize,
    settings: &Settings,
    contenders: &[Contender],
) -> [Figure; 2] {
    let input = workload::lines(settings.amount(64) << 20);
    let count = settings.rounds() * contenders.len() * directories;
    let dirs: Vec<_> = (0..count).map(|_| settings.directory()).collect();
    let mut unused = dirs.chunks(directories);
    let mut able = logging.contenders(contenders);
    let mut resting = Vec::new();
    let [peaks] = in_turn(settings.rounds(), &mut able, |(who, sandbox)| {
        let [dir, others @ ..] = unused.next().expect("some for each") else { panic!("no directory") };
        let mut command = logging.command(sandbox, *who, Rotation::Usual, dir.path());
        let mut logger = sandbox.start(command.args(others.iter().map(TempDir::path)));
        let mut pipe = logger.stdin();
        let pid = logger.pid();
        let mut peak = 0.0_f64;
        scope(|scope| {
            let feeder = scope.spawn(|| pipe.write_all(&input).expect("it reads all of it"));
            while !feeder.is_finished() {
                peak = peak.max(private_kib(pid));
                sleep(PACE);
            }
        });
        resting.push((*who, logger, pipe));
        [peak]
    });
    sleep(REST);
    let mut after: Samples = able.iter().map(|(who, _)| (*who, Vec::new())).collect();
    for (who, logger, _pipe) in &resting {
        let (_, samples) = after.iter_mut().find(|(other, _)| other == who).expect("it took part");
        samples.push(private_kib(logger.pid()));
    }
    let name = format!("svlogd, {} MiB, {name}", input.len() >> 20);
    let figure = |when, samples| {
        Figure::new(format!("{name}: private memory without its children, {when}"), Unit::KiB, samples)
    };
    [
        figure("most of it", peaks)
            .goals(&[Goal::AtMost(4096.0)])
            .ran(logging.descriptions(Rotation::Usual, contenders)),
        figure("some seconds later", after),
    ]
}

/// What the process has for itself, touched or not, in KiB.
pub(crate) fn private_kib(pid: u32) -> f64 {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let kib = |line: &str| line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok());
    text.lines().filter(|line| line.starts_with("Private_")).filter_map(kib).sum()
}

/// How often the process has been woken so far.
pub(crate) fn wakeups(pid: u32) -> f64 {
    voluntary_switches(pid).unwrap_or_else(|| panic!("process {pid} has ended")) as f64
}
