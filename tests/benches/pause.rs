//! How long a steady producer has to wait while the logger rotates and compresses a large file.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ChildStdin;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use svkit_tests::{Sandbox, eventually, find_in_path};

use crate::contender::{Contender, Who, in_turn};
use crate::figure::{Figure, Unit};
use crate::interrupt;
use crate::logging::{Logging, Rotation};
use crate::settings::Settings;
use crate::workload;

/// What is compressed, in bytes.
const FILE_SIZE: usize = 100_000_000;

/// The producer writes so much, whole lines, …
const PORTION: usize = 8 << 10;

/// … this often: 8 MB a second, a quarter of what the slowest of the loggers takes.
const PACE: Duration = Duration::from_millis(1);

/// It goes on for so long after the compressed file is there.
const AFTERWARDS: Duration = Duration::from_millis(500);

const DEADLINE: Duration = Duration::from_secs(120);

const GZIP: Logging = Logging {
    options: &[],
    svkit: &["compress gzip"],
    runit: Some(&["!gzip"]),
    s6: Some(&["!gzip"]),
    floor: false,
};

const ZSTD: Logging = Logging {
    options: &[],
    svkit: &["compress zstd"],
    runit: Some(&["!zstd -q"]),
    s6: Some(&["!zstd -q"]),
    floor: false,
};

/// Compression by ourselves beside that of the programs that the peers run.
pub(crate) fn measure(settings: &Settings, contenders: &[Contender]) -> Vec<Figure> {
    let have_zstd = find_in_path("zstd").is_some();
    if !have_zstd {
        eprintln!("zstd is not installed: nothing for the peers to compress with");
    }
    let zstd = if have_zstd { ZSTD } else { Logging { runit: None, s6: None, ..ZSTD } };
    [("gzip", GZIP), ("zstd", zstd)]
        .iter()
        .flat_map(|(name, logging)| compression(name, logging, settings, contenders))
        .collect()
}

fn compression(name: &str, logging: &Logging, settings: &Settings, contenders: &[Contender]) -> [Figure; 2] {
    let input = workload::lines(settings.amount(FILE_SIZE));
    let mut able = logging.contenders(contenders);
    let [pauses, durations] = in_turn(settings.rounds(), &mut able, |(who, sandbox)| {
        let dir = settings.directory();
        pause(logging, *who, sandbox, dir.path(), &input)
    });
    let name = format!("svlogd, {} MB compressed with {name}", settings.amount(FILE_SIZE) / 1_000_000);
    let ran = logging.descriptions(Rotation::OnAlarm, contenders);
    [
        Figure::new(format!("{name}: longest pause of the writer"), Unit::Milliseconds, pauses).ran(ran),
        Figure::new(format!("{name}: until the file is there"), Unit::Seconds, durations),
    ]
}

/// Seconds that the longest write took from rotation on, and seconds until the compressed file was there.
fn pause(logging: &Logging, who: Who, sandbox: &Sandbox, dir: &Path, input: &[u8]) -> [f64; 2] {
    let mut logger = sandbox.start(&mut logging.command(sandbox, who, Rotation::OnAlarm, dir));
    let mut pipe = logger.stdin();
    pipe.write_all(input).expect("it reads all of it");
    eventually("all of it in the log", || {
        (fs::metadata(dir.join("current")).ok()?.len() == input.len() as u64).then_some(())
    });
    logger.signal(Signal::SIGALRM);

    let start = Instant::now();
    let (mut longest, mut compressed) = (Duration::ZERO, None);
    let mut portions = portions(input).cycle();
    while compressed.is_none_or(|at: Duration| start.elapsed() < at + AFTERWARDS) {
        interrupt::check();
        longest = longest.max(time_to_write(&mut pipe, portions.next().unwrap_or_default()));
        if compressed.is_none() && is_compressed(dir, who) {
            compressed = Some(start.elapsed());
        }
        assert!(start.elapsed() < DEADLINE, "{who:?}: no compressed file within {DEADLINE:?}");
        sleep(PACE);
    }
    drop(pipe);
    let output = logger.wait();
    assert_eq!(output.code, Some(0), "{who:?}: {}", output.stderr);
    [longest.as_secs_f64(), compressed.unwrap_or_default().as_secs_f64()]
}

/// Whole lines, about as many bytes as are written at once.
fn portions(mut input: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    std::iter::from_fn(move || {
        let size = input.get(..PORTION)?.iter().rposition(|byte| *byte == b'\n')? + 1;
        let (portion, rest) = input.split_at(size);
        input = rest;
        Some(portion)
    })
}

fn time_to_write(pipe: &mut ChildStdin, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    pipe.write_all(bytes).expect("it reads all of it");
    start.elapsed()
}

/// Whether an old file is there, and nothing of what precedes it. Ours tells by the name that it is compressed; of the
/// peers an old file has passed the processor.
fn is_compressed(dir: &Path, who: Who) -> bool {
    let entries = fs::read_dir(dir).expect("our own directory can be read");
    let names: Vec<OsString> = entries.flatten().map(|entry| entry.file_name()).collect();
    let has = |suffixes: &[&str]| {
        names.iter().any(|name| {
            let name = name.to_string_lossy();
            name.starts_with('@') && suffixes.iter().any(|suffix| name.ends_with(suffix))
        })
    };
    match who {
        Who::Svkit => has(&[".s.gz", ".s.zst"]),
        _ => has(&[".s"]) && !has(&[".u", ".t"]),
    }
}
