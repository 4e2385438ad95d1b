//! svlogd's signals: what they ask for, and many of them at once.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use svkit_tests::{Case, Sandbox, Subject, case, eventually};

use crate::numbered::{Count, LONGEST, write_unevenly};

pub(crate) const CASES: &[Case] = &[
    case!(usr1_tells_the_counters),
    case!(verbose_tells_the_reasons),
    case!(hup_forgets_no_file_that_is_too_much),
    case!(storm_of_hup_loses_no_line).patient(),
    case!(storm_of_hup_amid_compression_loses_no_line).patient(),
    case!(storm_of_hup_amid_processing_loses_no_line).patient(),
    case!(storm_of_hup_on_two_directories_loses_no_line).patient(),
    case!(storm_of_alrm_loses_no_line).patient(),
    case!(storm_of_usr1_loses_no_line).patient(),
    case!(storm_of_all_loses_no_line).patient(),
];

/// What runit's `-v` does not tell: why a file is rotated before it is full, or deleted by a line of ours.
fn verbose_tells_the_reasons(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    // Of 2001, and of 2004.
    for old in ["@400000003a4fc880075bcd15.s", "@400000004008c880075bcd15.s"] {
        sandbox.write(format!("log/{old}"), "old\n");
    }
    sandbox.write("log/config", "max-age 52w\nmax-total 5\n");
    let mut command = sandbox.command("svlogd");
    let mut svlogd = sandbox.start(command.args(["-v", "log"]).stdin(Stdio::piped()));
    svlogd.stdin().write_all(b"one\n").unwrap();
    let said = svlogd.wait().stderr;
    for old in ["@400000003a4fc880075bcd15.s", "@400000004008c880075bcd15.s"] {
        assert!(said.contains(&format!("svlogd: info: delete: log/{old} max-age\n")), "{said}");
    }

    let mut svlogd = sandbox.start(&mut command);
    let mut input = svlogd.stdin();
    let said = |what: &str| eventually(what, || svlogd.stderr().contains(what).then_some(()));
    said("svlogd: info: append: log/current\n");
    svlogd.signal(Signal::SIGALRM);
    said(
        "svlogd: info: sigalarm received.\nsvlogd: info: rotate: log/current ALRM\nsvlogd: info: rename: log/current @",
    );
    input.write_all(b"two\n").unwrap();
    said(".s max-total\n");
    assert_eq!(fs::read_to_string(dir.join("current")).unwrap(), "two\n");
    drop(input);
    svlogd.wait();

    sandbox.write("log/config", "t1\nn1\n");
    let mut svlogd = sandbox.start(&mut command);
    let mut input = svlogd.stdin();
    for rotations in 1..=2 {
        input.write_all(b"three\n").unwrap();
        let reason = "svlogd: info: rotate: log/current its age\nsvlogd: info: rename: log/current @";
        let is_said = || svlogd.stderr().matches(reason).count() == rotations;
        eventually("its age", || is_said().then_some(()));
    }
    // One of runit's lines, as runit says it.
    let is_deleted = |line: &str| line.starts_with("svlogd: info: delete: log/@") && line.ends_with(".s");
    eventually("one too many", || svlogd.stderr().lines().any(is_deleted).then_some(()));
}

/// What cannot go while it waits for the processor goes when it has been processed.
fn hup_forgets_no_file_that_is_too_much(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "n1\n!until test -e go; do sleep 0.05; done; cat\n");
    let mut command = sandbox.command("svlogd");
    let mut svlogd = sandbox.start(command.args(["-v", "log"]).stdin(Stdio::piped()));
    let mut input = svlogd.stdin();
    let old_files = || {
        let names =
            fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".s") || name.ends_with(".u")).collect::<Vec<_>>()
    };
    for count in 1..=4 {
        input.write_all(b"line\n").unwrap();
        let current = || fs::read(dir.join("current")).unwrap_or_default();
        eventually("a line", || (!current().is_empty()).then_some(()));
        svlogd.signal(Signal::SIGALRM);
        eventually("an old file", || (old_files().len() == count).then_some(()));
    }
    svlogd.signal(Signal::SIGHUP);
    eventually("it is read again", || svlogd.stderr().contains("sighangup received.").then_some(()));
    sandbox.write("log/go", "");
    eventually("all are processed", || {
        (svlogd.stderr().matches("info: processed: ").count() == 4).then_some(())
    });
    eventually("one is left", || {
        let left = old_files();
        (left.len() == 1 && left[0].ends_with(".s")).then_some(())
    });
}

/// Sends signals without a pause for as long as lines are written: each line is there once.
fn storm(subject: &Subject, signals: &[Signal]) {
    storm_with(subject, &[""], signals);
}

/// The same with a directory for each of these lines in a config.
fn storm_with(subject: &Subject, configs: &[&str], signals: &[Signal]) {
    const TOTAL: usize = 10_000;
    let sandbox = Sandbox::new(subject);
    let dirs: Vec<_> = (0..configs.len()).map(|number| sandbox.mkdir(format!("log{number}"))).collect();
    for (dir, line) in dirs.iter().zip(configs) {
        fs::write(dir.join("config"), format!("n0\ns5000\n{line}\n")).unwrap();
    }
    let mut command = sandbox.command("svlogd");
    let mut svlogd = sandbox.start(command.args(["-l", LONGEST]).args(&dirs).stdin(Stdio::piped()));
    let input = svlogd.stdin();
    // Before that, it has not taken the signals over: they would kill it.
    eventually("it is there", || dirs[0].join("current").exists().then_some(()));
    let pause = Duration::from_millis(1);
    let writer = thread::spawn(move || write_unevenly(input, 0..TOTAL, pause));
    while !writer.is_finished() {
        for &signal in signals {
            svlogd.signal(signal);
        }
    }
    writer.join().unwrap();
    assert_eq!(svlogd.wait().code, Some(0));
    for dir in &dirs {
        Count::of(dir).assert_exact(TOTAL);
    }
}

fn storm_of_hup_loses_no_line(subject: &Subject) {
    storm(subject, &[Signal::SIGHUP]);
}

fn storm_of_hup_amid_compression_loses_no_line(subject: &Subject) {
    storm_with(subject, &["compress gzip"], &[Signal::SIGHUP]);
}

/// Lines that wait for the processor go on as lines.
fn storm_of_hup_amid_processing_loses_no_line(subject: &Subject) {
    storm_with(subject, &["!cat"], &[Signal::SIGHUP]);
}

fn storm_of_hup_on_two_directories_loses_no_line(subject: &Subject) {
    storm_with(subject, &["", "s3000"], &[Signal::SIGHUP]);
}

fn storm_of_alrm_loses_no_line(subject: &Subject) {
    storm(subject, &[Signal::SIGALRM]);
}

fn storm_of_usr1_loses_no_line(subject: &Subject) {
    storm(subject, &[Signal::SIGUSR1]);
}

fn storm_of_all_loses_no_line(subject: &Subject) {
    storm(subject, &[Signal::SIGHUP, Signal::SIGALRM, Signal::SIGUSR1, Signal::SIGCHLD]);
}

/// A line counts in each directory that it is put to; a reopened directory goes on counting.
fn usr1_tells_the_counters(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let [all, some] = ["all", "some"].map(|name| sandbox.mkdir(name));
    sandbox.write("some/config", "-drop*\nlimit 1/s burst 3\n");
    let mut command = sandbox.command("svlogd");
    let mut svlogd = sandbox.start(command.args(["all", "some"]).stdin(Stdio::piped()));
    let mut input = svlogd.stdin();
    input.write_all(b"one\ndrop me\n").unwrap();
    let current = |dir: &std::path::Path| fs::read_to_string(dir.join("current")).unwrap_or_default();
    eventually("all is written", || (current(&some) == "one\n").then_some(()));
    svlogd.signal(Signal::SIGHUP);
    // Too many at once for the limit: one of them at least.
    input.write_all(b"two\n3\n4\n5\n6\n").unwrap();
    eventually("all is written", || current(&all).ends_with("6\n").then_some(()));
    svlogd.signal(Signal::SIGALRM);
    eventually("an empty current", || current(&all).is_empty().then_some(()));
    svlogd.signal(Signal::SIGUSR1);
    let told = eventually("the counters", || svlogd.stderr().strip_suffix('\n').map(str::to_owned));
    let told = told.strip_prefix("svlogd: counters: ").unwrap();
    let (names, values): (Vec<_>, Vec<_>) = told
        .split(' ')
        .map(|field| field.split_once('=').unwrap())
        .map(|(name, value)| (name, value.parse::<u64>().unwrap()))
        .unzip();
    assert_eq!(
        names.join(" "),
        "lines bytes selected dropped suppressed rotated compressed forwarded lost queue"
    );
    assert_eq!(values[..2], [7, 24]);
    let (selected, dropped, suppressed) = (values[2], values[3], values[4]);
    assert_eq!((selected + dropped + suppressed, dropped), (14, 1), "{told}");
    assert!(suppressed > 0, "{told}");
    assert_eq!(values[5..], [2, 0, 0, 0, 0], "{told}");
}
