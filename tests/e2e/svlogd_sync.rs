//! svlogd brings to the disk what it promises, and in the right order: seen in its system calls.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{ChildStdin, Stdio};
use std::time::Duration;

use svkit_tests::{Case, Running, Sandbox, Subject, case, eventually, holds_for};

pub(crate) const CASES: &[Case] = &[
    case!(sealed_file_is_synced_before_it_has_its_name).needs(STRACE).patient(),
    case!(compressed_file_is_synced_before_the_original_goes).needs(STRACE).patient(),
    case!(processed_file_is_synced_before_the_original_goes).needs(STRACE).patient(),
    case!(current_is_synced_after_a_write).needs(STRACE).patient(),
    case!(timer_of_rotation_notices_that_the_clock_is_set).needs(STRACE).patient(),
];

const STRACE: &[&str] = &["strace"];

/// A svlogd on `log/` that is watched.
struct Watched {
    // Dropped first: strace ends with it.
    input: ChildStdin,
    strace: Running,
    calls: PathBuf,
    log: PathBuf,
}

impl Watched {
    fn new(sandbox: &Sandbox, config: &str, calls: &str) -> Self {
        let log = sandbox.mkdir("log");
        sandbox.write("log/config", config);
        let file = sandbox.join("calls");
        let mut command = sandbox.command("strace");
        command.args(["-f", "-y", "-qq", "-e", "signal=none", "-e", &format!("trace={calls}"), "-o"]);
        command.arg(&file).arg(sandbox.join("bin/svlogd")).args(["-l", "100", "-b", "1000", "log"]);
        let mut strace = sandbox.start(command.stdin(Stdio::piped()));
        Self { input: strace.stdin(), strace, calls: file, log }
    }

    /// The calls so far, one that has not ended among them.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.calls).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn wait_for(&self, what: &str, count: usize) {
        eventually(what, || {
            (self.calls().iter().filter(|call| call.contains(what)).count() >= count).then_some(())
        });
    }

    /// Waits for an old file with this suffix, and no other old file, and returns its time.
    fn old_file(&self, suffix: &str) -> String {
        eventually(suffix, || {
            let names =
                fs::read_dir(&self.log).unwrap().map(|entry| entry.unwrap().file_name().into_string());
            let old: Vec<_> = names.map(Result::unwrap).filter(|name| name.starts_with('@')).collect();
            let [only] = old.as_slice() else { return None };
            only.strip_suffix(suffix).map(str::to_owned)
        })
    }

    /// Fills `current` once.
    fn fill(&mut self) {
        self.input.write_all("a line of a log\n".repeat(130).as_bytes()).unwrap();
    }

    fn end(self) -> Vec<String> {
        let Self { input, mut strace, calls, .. } = self;
        drop(input);
        assert_eq!(strace.wait().code, Some(0));
        whole(&fs::read_to_string(calls).unwrap())
    }
}

/// Puts together the calls that others came between, in the order in which they ended.
fn whole(text: &str) -> Vec<String> {
    let mut unfinished = BTreeMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let (pid, call) = line.split_once(' ').unwrap();
        if let Some(begin) = call.strip_suffix(" <unfinished ...>") {
            unfinished.insert(pid, begin);
        } else if let Some((_, end)) = call.split_once(" resumed>") {
            calls.push(unfinished.remove(pid).unwrap_or_default().to_owned() + end);
        } else {
            calls.push(call.to_owned());
        }
    }
    calls
}

const ORDER: &str = "fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat";

/// Each of these calls succeeded once, one after the other. A call is told by its name and what it holds.
fn assert_order(calls: &[String], wanted: &[(&str, &[&str])]) {
    let mut last = None;
    for (name, parts) in wanted {
        let is_it = |call: &String| {
            let name_at = call.find(name);
            name_at.is_some_and(|at| parts.iter().all(|part| call[at..].contains(part)))
                && call.ends_with("= 0")
        };
        let found: Vec<_> = (0..calls.len()).filter(|&index| is_it(&calls[index])).collect();
        assert!(found.len() == 1 && last < Some(found[0]), "{name} {parts:?} in {calls:#?}");
        last = Some(found[0]);
    }
}

fn sealed_file_is_synced_before_it_has_its_name(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut watched = Watched::new(&sandbox, "s2000\n", ORDER);
    watched.fill();
    let time = watched.old_file(".s");
    let [rotated, sealed] = ["u", "s"].map(|stage| format!("{time}.{stage}"));
    let wanted: &[(&str, &[&str])] = &[
        ("rename", &["\"current\"", &rotated]),
        ("fsync(", &[&format!("{rotated}>")]),
        ("rename", &[&format!("\"{rotated}\""), &format!("\"{sealed}\"")]),
        // The end.
        ("fsync(", &["/log/current>"]),
    ];
    assert_order(&watched.end(), wanted);
}

fn compressed_file_is_synced_before_the_original_goes(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut watched = Watched::new(&sandbox, "s2000\ncompress gzip\n", ORDER);
    watched.fill();
    let time = watched.old_file(".s.gz");
    let [plain, temporary, packed] = [".s", ".t.gz", ".s.gz"].map(|suffix| format!("{time}{suffix}"));
    let wanted: &[(&str, &[&str])] = &[
        ("fsync(", &[&format!("{time}.u>")]),
        ("rename", &[&format!("\"{time}.u\""), &format!("\"{plain}\"")]),
        ("fsync(", &[&format!("{temporary}>")]),
        ("rename", &[&format!("\"{temporary}\""), &format!("\"{packed}\"")]),
        ("fsync(", &["/log>"]),
        ("unlink", &[&format!("\"{plain}\"")]),
    ];
    assert_order(&watched.end(), wanted);
}

fn processed_file_is_synced_before_the_original_goes(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut watched = Watched::new(&sandbox, "s2000\n!cat\n", ORDER);
    watched.fill();
    let time = watched.old_file(".s");
    let [input, output, saved] = ["u", "t", "s"].map(|stage| format!("{time}.{stage}"));
    let wanted: &[(&str, &[&str])] = &[
        ("fsync(", &[&format!("{output}>")]),
        ("rename", &[&format!("\"{output}\""), &format!("\"{saved}\"")]),
        ("unlink", &[&format!("\"{input}\"")]),
    ];
    assert_order(&watched.end(), wanted);
}

/// Once for each write, not while there is none, and not at all unless the config says so.
fn current_is_synced_after_a_write(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut watched = Watched::new(&sandbox, "fsync 1\n", "write,fdatasync");
    for round in 1..=2 {
        watched.input.write_all(b"line\n").unwrap();
        watched.wait_for("fdatasync(", round);
        let syncs = || watched.calls().iter().filter(|call| call.contains("fdatasync(")).count();
        holds_for(Duration::from_millis(1500), "none while idle", || syncs() == round);
    }
    let calls = watched.end();
    let of_current = calls.iter().filter(|call| call.contains("/log/current>"));
    let names: Vec<_> =
        of_current.map(|call| if call.contains("fdatasync(") { "sync" } else { "write" }).collect();
    assert_eq!(names, ["write", "sync", "write", "sync"], "{calls:#?}");

    let sandbox = Sandbox::new(subject);
    let mut watched = Watched::new(&sandbox, "", "write,fdatasync");
    watched.input.write_all(b"line\n").unwrap();
    watched.wait_for("/log/current>", 1);
    holds_for(Duration::from_millis(1500), "none unless told", || {
        !watched.calls().iter().any(|call| call.contains("fdatasync("))
    });
    assert!(!watched.end().iter().any(|call| call.contains("fdatasync(")));
}

fn timer_of_rotation_notices_that_the_clock_is_set(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let watched = Watched::new(&sandbox, "rotate daily\n", "timerfd_settime");
    watched.wait_for("timerfd_settime(", 1);
    let calls = watched.end();
    assert!(calls.iter().all(|call| call.contains("TFD_TIMER_CANCEL_ON_SET")), "{calls:#?}");
}
