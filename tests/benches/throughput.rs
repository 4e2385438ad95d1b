//! Lines through a logger to the disk, from its start to its exit.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::sync;
use svkit_tests::Sandbox;
use tempfile::TempDir;

use crate::contender::{Contender, Who, in_turn};
use crate::figure::{Figure, Unit};
use crate::machine::DISK;
use crate::settings::Settings;

const MIB: usize = 1 << 20;

/// One way of logging.
struct Task {
    name: &'static str,
    target: f64,
    /// Options of svlogd, and its `config`.
    svlogd: (&'static [&'static str], &'static str),
    /// The directives of s6-log that mean the same.
    s6: &'static [&'static str],
}

const TASKS: [Task; 3] = [
    Task { name: "plain", target: 6.0, svlogd: (&[], ""), s6: &[] },
    Task { name: "-ttt", target: 5.0, svlogd: (&["-ttt"], ""), s6: &["T"] },
    Task {
        name: "four patterns",
        target: 4.0,
        svlogd: (&[], "-*\"GET /health*\n-*\" \"curl/*\n-*\"*\" 404 *\n+*\"POST *\n"),
        s6: &["-\"GET /health", "-\" \"curl/", "-\"[^\"]*\" 404 ", "+\"POST "],
    },
];

/// Plain lines, stamped lines, filtered lines.
pub(crate) fn measure(settings: &Settings, contenders: &[Contender]) -> Vec<Figure> {
    let size = settings.amount(64) * MIB;
    let input = lines(size);
    TASKS.iter().flat_map(|task| throughput(task, settings, contenders, &input)).collect()
}

/// The time it takes, which is also the disk's, and the processor's time in it, which is the program's alone.
fn throughput(task: &Task, settings: &Settings, contenders: &[Contender], input: &[u8]) -> [Figure; 2] {
    let mut kept = None;
    let mut processor: Vec<_> = contenders.iter().map(|contender| (contender.who, Vec::new())).collect();
    let mut contenders: Vec<_> =
        contenders.iter().map(|contender| (contender.who, (contender.who, contender.sandbox()))).collect();
    let samples = in_turn(settings.rounds(), &mut contenders, |(who, sandbox)| {
        let dir = TempDir::new_in(DISK).expect("the target directory takes entries");
        let before = processor_time();
        let seconds = log(&mut logger(sandbox, *who, task, dir.path()), input);
        let used = processor_time() - before;
        processor.iter_mut().filter(|(other, _)| other == who).for_each(|(_, samples)| samples.push(used));
        if matches!(who, Who::Svkit | Who::Runit) {
            let bytes = bytes_in(dir.path());
            assert_eq!(*kept.get_or_insert(bytes), bytes, "{}: {who:?} wrote something else", task.name);
        }
        seconds
    });
    let name = format!("svlogd, {} MiB, {}", input.len() / MIB, task.name);
    let unit = Unit::Milliseconds;
    [
        Figure { name: format!("{name} (floor: cat > file)"), unit, samples, target: Some(task.target) },
        Figure { name: format!("{name}: processor time"), unit, samples: processor, target: None },
    ]
}

/// The seconds that the processors have spent for children that have ended, loggers all.
fn processor_time() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts");
    [usage.user_time(), usage.system_time()].iter().map(|time| time.num_microseconds() as f64 / 1e6).sum()
}

/// Rotation is svlogd's default for all: 1,000,000 bytes, 10 old files.
fn logger(sandbox: &Sandbox, who: Who, task: &Task, dir: &Path) -> Command {
    let (options, config) = task.svlogd;
    let mut command = sandbox.command(match who {
        Who::Svkit | Who::Runit => "svlogd",
        Who::S6 => "s6-log",
        Who::Floor => "cat",
    });
    match who {
        Who::Svkit | Who::Runit => {
            fs::write(dir.join("config"), config).expect("a fresh directory takes entries");
            if who == Who::Runit {
                // Its default is a buffer of 1 KiB.
                command.args(["-b", "65536"]);
            }
            command.args(options).arg(dir);
        }
        Who::S6 => {
            command.arg("--").args(task.s6).args(["n10", "s1000000"]).arg(dir);
        }
        Who::Floor => {
            command.stdout(File::create(dir.join("file")).expect("a fresh directory takes entries"));
        }
    }
    command
}

/// Seconds from the start of `logger` to its exit, fed as fast as it reads.
fn log(logger: &mut Command, input: &[u8]) -> f64 {
    // What others have left to be written is not to be paid for here.
    sync();
    let start = Instant::now();
    let mut child = logger.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut pipe = child.stdin.take().expect("its standard input is a pipe");
    pipe.write_all(input).expect("it reads all of it");
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

/// `size` bytes of a web server's log: whole lines of 80 to 120 bytes, always the same.
fn lines(size: usize) -> Vec<u8> {
    const METHODS: [&str; 8] = ["GET", "GET", "GET", "POST", "GET", "HEAD", "GET", "PUT"];
    const PATHS: [&str; 6] = [
        "/",
        "/health",
        "/static/app.3f2a.css",
        "/api/v2/orders",
        "/images/logo.svg",
        "/api/v2/users/search",
    ];
    const STATUSES: [u16; 8] = [200, 200, 200, 304, 404, 200, 302, 500];
    const AGENTS: [&str; 3] = ["Mozilla/5.0 (X11; Linux x86_64)", "curl/8.5.0", "Mozilla/5.0 Firefox/128.0"];
    let mut text = Vec::with_capacity(size + 200);
    let mut random = 1_u64;
    while text.len() < size {
        // Knuth's linear congruential generator; its upper bits are the good ones.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pick = |shift: u32, count: usize| (random >> shift) as usize % count;
        writeln!(
            text,
            "10.4.{}.{} - - \"{} {} HTTP/1.1\" {} {} \"-\" \"{}\" {:.3}",
            pick(40, 256),
            pick(48, 256),
            METHODS[pick(33, METHODS.len())],
            PATHS[pick(36, PATHS.len())],
            STATUSES[pick(44, STATUSES.len())],
            pick(30, 100_000),
            AGENTS[pick(52, AGENTS.len())],
            pick(34, 1_000_000) as f64 / 1e6,
        )
        .expect("memory takes bytes");
    }
    text
}
