//! svlogd under fire: every numbered line is accounted for.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::unistd::pipe2;
use svkit_tests::{Case, Disk, Sandbox, Subject, case, eventually};

pub(crate) const CASES: &[Case] = &[
    case!(killed_over_and_over_it_loses_no_line).patient(),
    case!(two_on_one_pipe_lose_no_line).patient(),
    case!(hangups_over_and_over_lose_no_line).patient(),
    case!(disk_filled_and_freed_loses_no_line).root().patient(),
    case!(failing_processor_loses_no_line).patient(),
    case!(usr1_tells_the_counters),
];

/// What a pipe holds is 64 KiB, and half of it is a batch.
const BATCH: usize = 32 << 10;

/// Lines with their number first; long enough to fill pages unevenly.
fn numbered(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| format!("{number:07} a line that has {}\n", "x".repeat(number % 90))).collect()
}

/// Writes lines in uneven parts, so that the pipe often ends within a line.
fn write_unevenly(mut to: impl Write, text: &str, pause: Duration) {
    for (round, part) in text.as_bytes().chunks(3001).enumerate() {
        to.write_all(part).unwrap();
        if round % 3 == 0 {
            thread::sleep(pause);
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| !["lock", "config", "state", "newstate"].iter().any(|name| path.ends_with(name)));
    // `@…` sorts before `current`.
    files.sort();
    files
}

/// How often each number is there, in whole lines as they were written.
fn count(dirs: &[&Path]) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    for file in dirs.iter().flat_map(|dir| files(dir)) {
        for line in fs::read_to_string(file).unwrap().split_inclusive('\n') {
            let Some(number) = line.get(..7).and_then(|number| number.parse().ok()) else { continue };
            if line == numbered(number..number + 1) {
                *counts.entry(number).or_default() += 1;
            }
        }
    }
    counts
}

fn assert_complete(counts: &BTreeMap<usize, usize>, total: usize) {
    let missing: Vec<_> = (0..total).filter(|number| !counts.contains_key(number)).collect();
    assert!(missing.is_empty(), "{} of {total} lines are lost: {:?}", missing.len(), missing.first());
}

/// "Tee before consume": all lines are there, and for each time it was killed at most a batch is there twice.
fn killed_over_and_over_it_loses_no_line(subject: &Subject) {
    const TOTAL: usize = 60_000;
    const KILLS: usize = 200;
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "n0\ns50000\n");
    let (output, input) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let start = || {
        let mut command = sandbox.command("svlogd");
        sandbox.start(command.args(["-l", "200", "log"]).stdin(Stdio::from(output.try_clone().unwrap())))
    };
    let writer = thread::spawn(move || {
        write_unevenly(File::from(input), &numbered(0..TOTAL), Duration::from_millis(3));
    });
    for round in 0..KILLS {
        let mut svlogd = start();
        // At any moment, not after any: this is no wait for something.
        thread::sleep(Duration::from_micros(1000 + (round as u64 * 7919) % 9000));
        svlogd.signal(Signal::SIGKILL);
        svlogd.wait();
    }
    let mut svlogd = start();
    assert_eq!(svlogd.wait().code, Some(0));
    writer.join().unwrap();
    let counts = count(&[&dir]);
    assert_complete(&counts, TOTAL);
    let twice = counts.values().map(|count| count - 1).sum::<usize>();
    assert!(twice <= KILLS * BATCH / 25, "{twice} lines are there twice");
}

/// Each of them may write what the other does, and lines may be torn between them as ever, but what was got is written.
fn two_on_one_pipe_lose_no_line(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dirs = ["one", "two"].map(|name| sandbox.mkdir(name));
    let (output, input) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let mut loggers = ["one", "two"].map(|name| {
        let mut command = sandbox.command("svlogd");
        sandbox.write(format!("{name}/config"), "n0\n");
        sandbox.start(command.arg(name).stdin(Stdio::from(output.try_clone().unwrap())))
    });
    drop(output);
    let mut input = File::from(input);
    // Whole lines of one length at a time: what is read at once ends with one.
    for number in 0..5000 {
        input.write_all(numbered(number..number + 1).as_bytes()).unwrap();
    }
    drop(input);
    for logger in &mut loggers {
        assert_eq!(logger.wait().code, Some(0));
    }
    let written: String =
        dirs.iter().flat_map(|dir| files(dir)).map(|file| fs::read_to_string(file).unwrap()).collect();
    let missing = (0..5000).find(|number| !written.contains(&format!("{number:07} a line")));
    assert_eq!(missing, None);
}

fn hangups_over_and_over_lose_no_line(subject: &Subject) {
    const TOTAL: usize = 30_000;
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "n0\ns5000\n");
    let mut command = sandbox.command("svlogd");
    let mut svlogd = sandbox.start(command.args(["-l", "200", "log"]).stdin(Stdio::piped()));
    let input = svlogd.stdin();
    let writer = thread::spawn(move || write_unevenly(input, &numbered(0..TOTAL), Duration::from_millis(1)));
    while !writer.is_finished() {
        svlogd.signal(Signal::SIGHUP);
        svlogd.signal(Signal::SIGALRM);
    }
    writer.join().unwrap();
    assert_eq!(svlogd.wait().code, Some(0));
    let counts = count(&[&dir]);
    assert_complete(&counts, TOTAL);
    assert!(counts.values().all(|count| *count == 1), "a line is there twice");
}

/// A small disk, full more often than not, and svlogd killed once on it: what it held back is still in the pipe.
fn disk_filled_and_freed_loses_no_line(subject: &Subject) {
    const TOTAL: usize = 6_000;
    let sandbox = Sandbox::new(subject);
    let disk = Disk::new(&sandbox, "disk", 2048);
    let dir = sandbox.mkdir("disk/log");
    sandbox.write("disk/log/config", "n0\ns50000\n");
    let mut command = sandbox.command("svlogd");
    let mut svlogd = sandbox.start(command.args(["-l", "200", "disk/log"]).stdin(Stdio::piped()));
    let input = svlogd.stdin();
    let writer = thread::spawn(move || write_unevenly(input, &numbered(0..TOTAL), Duration::from_millis(10)));
    for round in 1..=4 {
        disk.fill();
        eventually("it pauses, or all is written", || {
            let pauses = svlogd.stderr().matches("pausing: ").count();
            (pauses >= round || writer.is_finished()).then_some(())
        });
        disk.free();
    }
    writer.join().unwrap();
    assert_eq!(svlogd.wait().code, Some(0));
    let counts = count(&[&dir]);
    assert_complete(&counts, TOTAL);
    assert!(counts.values().all(|count| *count == 1), "a line is there twice");
}

/// Every second try fails, some by a signal.
fn failing_processor_loses_no_line(subject: &Subject) {
    const TOTAL: usize = 2_000;
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    let processor = "!echo x >>../tries; [ $(($(wc -l <../tries) % 2)) = 0 ] || exit 1; cat";
    sandbox.write("log/config", format!("n0\ns20000\n{processor}\n"));
    let input = sandbox.write("input", numbered(0..TOTAL));
    let mut command = sandbox.command("svlogd");
    let output = sandbox.finish(command.args(["-l", "200", "log"]).stdin(File::open(input).unwrap()));
    assert_eq!(output.code, Some(0));
    let counts = count(&[&dir]);
    assert_complete(&counts, TOTAL);
    assert!(counts.values().all(|count| *count == 1), "a line is there twice");
}

fn usr1_tells_the_counters(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "-drop*\n");
    let mut command = sandbox.command("svlogd");
    let mut svlogd = sandbox.start(command.arg("log").stdin(Stdio::piped()));
    let mut input = svlogd.stdin();
    input.write_all(b"one\ndrop me\ntwo\n").unwrap();
    let current = || fs::read_to_string(dir.join("current")).unwrap_or_default();
    eventually("all is written", || (current() == "one\ntwo\n").then_some(()));
    svlogd.signal(Signal::SIGUSR1);
    let expected = "svlogd: counters: lines=3 bytes=16 selected=2 dropped=1 suppressed=0 rotated=0 compressed=0 \
                    forwarded=0 queue=0\n";
    eventually("the counters", || (svlogd.stderr() == expected).then_some(()));
}
