//! Lines through a logger to the disk, from its start to its exit.
//!
//! The loggers sync each file before it gets its name as an old one, all of them; `cat`, the floor, syncs nothing.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::sync;
use tempfile::TempDir;

use crate::contender::{Contender, Who, in_turn};
use crate::figure::{Figure, Goal, Unit};
use crate::logging::{FOUR_PATTERNS, Logging, PLAIN, Rotation, STAMPED, TEN_EXPRESSIONS};
use crate::settings::Settings;
use crate::workload;

const MIB: usize = 1 << 20;

/// How the lines are written to the pipe.
#[derive(Clone, Copy)]
enum Producer {
    /// As fast as they are read.
    Buffered,
    /// One write(2) a line.
    Unbuffered,
}

struct Task {
    name: &'static str,
    logging: &'static Logging,
    producer: Producer,
    mib: usize,
    goals: &'static [Goal],
}

const TASKS: [Task; 5] = [
    Task {
        name: "plain",
        logging: &PLAIN,
        producer: Producer::Buffered,
        mib: 64,
        goals: &[Goal::Times(8.0, Who::Runit), Goal::Times(4.0, Who::S6), Goal::Times(0.7, Who::Floor)],
    },
    Task {
        name: "-ttt",
        logging: &STAMPED,
        producer: Producer::Buffered,
        mib: 64,
        goals: &[Goal::Times(8.0, Who::Runit), Goal::Times(4.0, Who::S6)],
    },
    Task {
        name: "four patterns",
        logging: &FOUR_PATTERNS,
        producer: Producer::Buffered,
        mib: 64,
        goals: &[Goal::Times(6.0, Who::Runit)],
    },
    Task {
        name: "ten regular expressions",
        logging: &TEN_EXPRESSIONS,
        producer: Producer::Buffered,
        mib: 64,
        goals: &[Goal::Times(2.0, Who::S6)],
    },
    Task {
        name: "one write a line",
        logging: &PLAIN,
        producer: Producer::Unbuffered,
        mib: 16,
        goals: &[Goal::Times(2.0, Who::Runit)],
    },
];

/// Plain lines, stamped lines, filtered lines, single lines.
pub(crate) fn measure(settings: &Settings, contenders: &[Contender]) -> Vec<Figure> {
    TASKS.iter().flat_map(|task| throughput(task, settings, contenders)).collect()
}

/// The time it takes, which is also the disk's, and the processor's time in it, which is the program's alone.
fn throughput(task: &Task, settings: &Settings, contenders: &[Contender]) -> [Figure; 2] {
    assert_same_lines(task, settings, contenders);
    let input = workload::lines(settings.amount(task.mib) * MIB);
    let mut kept = None;
    let mut able = task.logging.contenders(contenders);
    let [seconds, processor] = in_turn(settings.rounds(), &mut able, |(who, sandbox)| {
        let dir = settings.directory();
        let mut logger = task.logging.command(sandbox, *who, Rotation::Usual, dir.path());
        let before = processor_time();
        let seconds = log(&mut logger, &input, task.producer);
        let used = processor_time() - before;
        if matches!(who, Who::Svkit | Who::Runit) {
            let bytes = bytes_in(dir.path());
            assert_eq!(*kept.get_or_insert(bytes), bytes, "{}: {who:?} wrote something else", task.name);
        }
        [seconds, used]
    });
    let name = format!("svlogd, {} MiB, {}", input.len() / MIB, task.name);
    let ran = task.logging.descriptions(Rotation::Usual, contenders);
    [
        Figure::new(&name, Unit::Milliseconds, seconds).goals(task.goals).ran(ran),
        Figure::new(format!("{name}: processor time"), Unit::Milliseconds, processor),
    ]
}

/// All write the same lines, apart from the stamps: that the ratios are between equals.
fn assert_same_lines(task: &Task, settings: &Settings, contenders: &[Contender]) {
    let input = workload::lines(MIB);
    let mut first: Option<Vec<u8>> = None;
    for (_, (who, sandbox)) in task.logging.contenders(contenders) {
        if who == Who::Floor {
            continue;
        }
        let dir: TempDir = settings.directory();
        let mut logger = task.logging.command(&sandbox, who, Rotation::OnAlarm, dir.path());
        log(&mut logger, &input, Producer::Buffered);
        let log = fs::read(dir.path().join("current")).expect("it has written a log");
        let lines: Vec<u8> =
            log.split_inclusive(|byte| *byte == b'\n').flat_map(without_stamp).copied().collect();
        assert!(!lines.is_empty(), "{}: {who:?} wrote nothing", task.name);
        assert!(*first.get_or_insert(lines.clone()) == lines, "{}: {who:?} wrote other lines", task.name);
    }
}

fn without_stamp(line: &[u8]) -> &[u8] {
    let start = line.windows(workload::BEGINNING.len()).position(|bytes| bytes == workload::BEGINNING);
    &line[start.expect("a line of ours")..]
}

/// The seconds that the processors have spent for children that have ended, loggers all.
fn processor_time() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts");
    [usage.user_time(), usage.system_time()].iter().map(|time| time.num_microseconds() as f64 / 1e6).sum()
}

/// Seconds from the start of `logger` to its exit.
fn log(logger: &mut Command, input: &[u8], producer: Producer) -> f64 {
    // What others have left to be written is not to be paid for here.
    sync();
    let start = Instant::now();
    let mut child = logger.spawn().expect("it starts");
    let mut pipe = child.stdin.take().expect("its standard input is a pipe");
    match producer {
        Producer::Buffered => pipe.write_all(input).expect("it reads all of it"),
        Producer::Unbuffered => {
            for line in input.split_inclusive(|byte| *byte == b'\n') {
                pipe.write_all(line).expect("it reads all of it");
            }
        }
    }
    drop(pipe);
    let status = child.wait().expect("our own child can be waited for");
    let elapsed = start.elapsed().as_secs_f64();
    assert!(status.success(), "{logger:?}: {status}");
    elapsed
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).expect("our own directory can be read");
    entries.map(|entry| entry.and_then(|entry| entry.metadata()).map_or(0, |file| file.len())).sum()
}
