//! Rotation, old files, processors.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use svkit_tests::{Case, Sandbox, Subject, case, eventually, mask_stamps};

use crate::svlogd_write::{current, log, quietly};

pub(crate) const CASES: &[Case] = &[
    case!(rotates_by_size),
    case!(rotates_inside_a_long_line),
    case!(size_zero_never_rotates),
    case!(size_takes_k_and_m),
    case!(keeps_num_old_files),
    case!(num_zero_keeps_all),
    case!(one_file_goes_at_each_rotation),
    case!(packed_files_of_the_operator_stay),
    case!(rotates_by_age),
    case!(alarm_rotates),
    case!(alarm_leaves_an_empty_current),
    case!(unclean_current_is_put_aside),
    case!(clean_current_is_continued),
    case!(processor_turns_u_into_s),
    case!(processor_keeps_state),
    case!(processor_is_run_again_after_a_failure),
    case!(processor_leftovers_are_removed),
    case!(processor_is_waited_for_at_the_end),
];

/// Names, masked, contents, and modes of the files of rotation, in order of names.
fn old_files(dir: &Path) -> Vec<(String, String, u32)> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('@'))
        .collect();
    names.sort();
    let file = |name: &String| {
        let path = dir.join(name);
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        (mask_stamps(name), fs::read_to_string(&path).unwrap(), mode)
    };
    names.iter().map(file).collect()
}

fn contents(dir: &Path) -> Vec<String> {
    old_files(dir).into_iter().map(|(_, content, _)| content).collect()
}

/// "If current has size bytes or more (or there is a new-line within the last len of size bytes) … current is rotated:
/// svlogd closes current, changes permission of current …, renames current to @timestamp.s, and starts with a new empty
/// current." svlogd(8). Whatever the page says, the permission is 0744.
fn rotates_by_size(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "s40\n");
    let input: String = (1..=9).map(|n| format!("line number {n}\n")).collect();
    quietly(&sandbox, &["-l", "20", "-b", "30", "log"], input);
    // Two lines have 28 bytes, and the second ends in the last 20 of 40.
    let pair = |n: u32| format!("line number {n}\nline number {}\n", n + 1);
    let expected: Vec<_> = [1, 3, 5, 7].map(|n| ("@STAMP.s".to_owned(), pair(n), 0o744)).into();
    assert_eq!(old_files(&dir), expected);
    assert_eq!(current(&sandbox, "log"), "line number 9\n");
}

/// "If current has size bytes or more" svlogd(8): in the middle of a line if need be.
fn rotates_inside_a_long_line(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "s20\n");
    quietly(
        &sandbox,
        &["-l", "5", "-b", "10", "log"],
        "0123456789\n0123456789012345678901234567890123456789\n01\n",
    );
    let expected = ["0123456789\n012345678", "90123456789012345678", "90123456789\n01\n"];
    assert_eq!(contents(&dir), expected);
    assert_eq!(current(&sandbox, "log"), "");
}

/// "If size is zero, svlogd doesn't rotate log files." svlogd(8)
fn size_zero_never_rotates(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "s0\n");
    let input = "x".repeat(99) + "\n";
    quietly(&sandbox, &["log"], input.repeat(15_000));
    assert!(contents(&dir).is_empty());
    assert_eq!(current(&sandbox, "log").len(), 1_500_000);
}

/// "ssize sets the maximum file size of current when svlogd should rotate the current log file to size bytes. Default is
/// 1000000." svlogd(8): `k` and `m` multiply by 1024.
fn size_takes_k_and_m(subject: &Subject) {
    let line = "x".repeat(63) + "\n";
    for (config, size) in [("s4k\n", 4096), ("s1m\n", 1 << 20), ("", 1_000_000)] {
        let sandbox = Sandbox::new(subject);
        let dir = sandbox.mkdir("log");
        sandbox.write("log/config", config);
        quietly(&sandbox, &["-l", "64", "log"], line.repeat(size / 64 + 2));
        let files = contents(&dir);
        assert_eq!(files.len(), 1, "{config}");
        assert!(files[0].len() <= size && files[0].len() + 64 >= size, "{config} {}", files[0].len());
    }
}

/// "nnum sets the number of old log files svlogd should maintain to num. If svlogd sees more that num old log files in log
/// after log file rotation, it deletes the oldest one. Default is 10." svlogd(8)
fn keeps_num_old_files(subject: &Subject) {
    let input: String = (10..=40).map(|n| format!("line number {n}\n")).collect();
    for (config, kept) in [("s15\nn3\n", 3), ("s15\n", 10), ("s15\nn1\n", 1)] {
        let sandbox = Sandbox::new(subject);
        let dir = sandbox.mkdir("log");
        sandbox.write("log/config", config);
        quietly(&sandbox, &["-l", "5", "-b", "20", "log"], &input);
        let expected: Vec<_> = (41 - kept..=40).map(|n| format!("line number {n}\n")).collect();
        assert_eq!(contents(&dir), expected, "{config:?}");
        assert_eq!(current(&sandbox, "log"), "");
    }
}

/// "If num is zero, svlogd doesn't remove old log files." svlogd(8)
fn num_zero_keeps_all(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "s15\nn0\n");
    let input: String = (10..=40).map(|n| format!("line number {n}\n")).collect();
    quietly(&sandbox, &["-l", "5", "-b", "20", "log"], &input);
    assert_eq!(contents(&dir).len(), 31);
}

/// "Note that this doesn't decrease the number of log files if there are already more than num log files" svlogd(8)
fn one_file_goes_at_each_rotation(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "s15\nn2\n");
    for n in 0..5 {
        sandbox.write(format!("log/@40000000000000000000000{n}.s"), format!("old {n}\n"));
    }
    sandbox.write("log/@4000000", "not an old file\n");
    sandbox.write("log/@400000000000000000000000.x.gz", "nor this\n");
    quietly(&sandbox, &["-l", "5", "-b", "20", "log"], "line number 1\nline number 2\n");
    let files = contents(&dir);
    assert!(files.contains(&"not an old file\n".to_owned()) && files.contains(&"nor this\n".to_owned()));
    let rest: Vec<_> =
        files.iter().filter(|text| text.starts_with("old") || text.starts_with("line")).collect();
    assert_eq!(rest, ["old 2\n", "old 3\n", "old 4\n", "line number 1\n", "line number 2\n"]);
}

/// "If svlogd sees more that num old log files in log after log file rotation, it deletes the oldest one." svlogd(8): what
/// the operator has packed is none of them. It is neither counted nor deleted.
fn packed_files_of_the_operator_stay(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "s15\nn2\n");
    for (n, suffix) in ["gz", "xz", "bz2", "zst", "gz"].into_iter().enumerate() {
        sandbox.write(format!("log/@40000000000000000000000{n}.s.{suffix}"), format!("packed {n}\n"));
    }
    sandbox.write("log/@400000000000000000000009.s", "old\n");
    let input: String = (1..=4).map(|n| format!("line number {n}\n")).collect();
    quietly(&sandbox, &["-l", "5", "-b", "20", "log"], input);
    let mut expected: Vec<_> = (0..5).map(|n| format!("packed {n}\n")).collect();
    expected.extend(["line number 3\n".to_owned(), "line number 4\n".to_owned()]);
    assert_eq!(contents(&dir), expected);
}

/// "ttimeout sets the maximum age of the current log file … If current is timeout seconds old, and is not empty, svlogd
/// forces log file rotation." svlogd(8)
fn rotates_by_age(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "t1\n");
    let mut command = sandbox.command("svlogd");
    let mut svlogd = sandbox.start(command.arg("log").stdin(std::process::Stdio::piped()));
    let mut input = svlogd.stdin();
    input.write_all(b"one\n").unwrap();
    eventually("rotation", || (contents(&dir) == ["one\n"]).then_some(()));
    input.write_all(b"two\n").unwrap();
    eventually("rotation", || (contents(&dir) == ["one\n", "two\n"]).then_some(()));
    drop(input);
    assert_eq!(svlogd.wait().code, Some(0));
}

/// "If svlogd is sent an ALRM signal, it forces log file rotation for all logs with a non empty current log file."
/// svlogd(8)
fn alarm_rotates(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dirs = ["a", "b"].map(|name| sandbox.mkdir(name));
    let mut command = sandbox.command("svlogd");
    let mut svlogd = sandbox.start(command.args(["a", "b"]).stdin(std::process::Stdio::piped()));
    let mut input = svlogd.stdin();
    input.write_all(b"one\n").unwrap();
    eventually("the line", || (current(&sandbox, "b") == "one\n").then_some(()));
    svlogd.signal(Signal::SIGALRM);
    for dir in &dirs {
        eventually("rotation", || (contents(dir) == ["one\n"]).then_some(()));
    }
    input.write_all(b"two\n").unwrap();
    drop(input);
    assert_eq!(svlogd.wait().code, Some(0));
    assert_eq!((current(&sandbox, "a").as_str(), current(&sandbox, "b").as_str()), ("two\n", "two\n"));
}

/// "… for all logs with a non empty current log file" svlogd(8)
fn alarm_leaves_an_empty_current(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dirs = ["full", "empty"].map(|name| sandbox.mkdir(name));
    sandbox.write("empty/config", "-*\n");
    let mut command = sandbox.command("svlogd");
    let mut svlogd = sandbox.start(command.args(["empty", "full"]).stdin(std::process::Stdio::piped()));
    let mut input = svlogd.stdin();
    input.write_all(b"one\n").unwrap();
    eventually("the line", || (current(&sandbox, "full") == "one\n").then_some(()));
    svlogd.signal(Signal::SIGALRM);
    eventually("rotation", || (contents(&dirs[0]) == ["one\n"]).then_some(()));
    assert!(contents(&dirs[1]).is_empty());
    drop(input);
    assert_eq!(svlogd.wait().code, Some(0));
}

/// A `current` without the execute bit was not closed cleanly: it is kept as `.u`. Not in the man page: runit 2.3.0
/// does so.
fn unclean_current_is_put_aside(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/current", "lost power her");
    quietly(&sandbox, &["log"], "one\n");
    assert_eq!(old_files(&dir), [("@STAMP.u".to_owned(), "lost power her".to_owned(), 0o644)]);
    assert_eq!(current(&sandbox, "log"), "one\n");
}

/// "svlogd appends selected log messages to the current log file." svlogd(8): a `current` with the execute bit, or an
/// empty one, goes on.
fn clean_current_is_continued(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/current", "");
    quietly(&sandbox, &["log"], "one\n");
    quietly(&sandbox, &["log"], "two\n");
    assert_eq!(current(&sandbox, "log"), "one\ntwo\n");
    assert!(old_files(&dir).is_empty());
}

/// "If svlogd is told to process recent log files, it saves current to @timestamp.u, feeds @timestamp.u through ``sh -c
/// "processor"'' and writes the output to @timestamp.t. If the processor finishes successfully, @timestamp.t is renamed to
/// @timestamp.s, and @timestamp.u is deleted" svlogd(8)
fn processor_turns_u_into_s(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "s15\n!ls >files; pwd -P >where; tr a-z A-Z\n");
    quietly(&sandbox, &["-l", "5", "-b", "20", "log"], "line number 1\nrest\n");
    assert_eq!(old_files(&dir), [("@STAMP.s".to_owned(), "LINE NUMBER 1\n".to_owned(), 0o744)]);
    assert_eq!(current(&sandbox, "log"), "rest\n");
    let files = mask_stamps(&fs::read_to_string(dir.join("files")).unwrap());
    assert_eq!(files, "@STAMP.t\n@STAMP.u\nconfig\ncurrent\nfiles\nlock\nnewstate\nstate\n");
    let place = format!("{}\n", dir.canonicalize().unwrap().display());
    assert_eq!(fs::read_to_string(dir.join("where")).unwrap(), place);
    assert!(!dir.join("newstate").exists());
}

/// "svlogd also saves any output that the processor writes to file descriptor 5, and makes that output available on file
/// descriptor 4 when running processor on the next log file rotation." svlogd(8)
fn processor_keeps_state(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "s15\n!cat; read n <&4; echo run $((n+1)); echo $((n+1)) >&5\n");
    for n in 1..=3 {
        quietly(&sandbox, &["-l", "5", "-b", "20", "log"], format!("line number {n}\n"));
    }
    let expected: Vec<_> = (1..=3).map(|n| format!("line number {n}\nrun {n}\n")).collect();
    assert_eq!(contents(&dir), expected);
    assert_eq!(fs::read_to_string(dir.join("state")).unwrap(), "3\n");
}

/// "otherwise @timestamp.t is deleted and the processor is started again." svlogd(8)
fn processor_is_run_again_after_a_failure(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "s15\n!echo x >>../tries; cat; [ $(grep -c x ../tries) -ge 3 ]\n");
    let output = log(&sandbox, &["-l", "5", "-b", "20", "log"], "line number 1\n");
    assert_eq!(output.code, Some(0));
    assert!(output.stderr.contains("svlogd: warning: processor failed, restart: log\n"), "{output:?}");
    assert_eq!(old_files(&dir), [("@STAMP.s".to_owned(), "line number 1\n".to_owned(), 0o744)]);
    assert_eq!(fs::read_to_string(sandbox.join("tries")).unwrap(), "x\nx\nx\n");
}

/// "otherwise @timestamp.t is deleted" svlogd(8): at a rotation a `.t` of a processor that was killed goes, and an old
/// `.u` counts as a file.
fn processor_leftovers_are_removed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "s15\n");
    sandbox.write("log/@400000000000000000000001.t", "half\n");
    sandbox.write("log/@400000000000000000000001.u", "whole\n");
    quietly(&sandbox, &["-l", "5", "-b", "20", "log"], "line number 1\n");
    assert_eq!(contents(&dir), ["whole\n", "line number 1\n"]);
}

/// "waits for all processor subprocesses to finish if any, and exits 0" svlogd(8)
fn processor_is_waited_for_at_the_end(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "s15\n!sleep 0.7; cat; echo processed\n");
    quietly(&sandbox, &["-l", "5", "-b", "20", "log"], "line number 1\n");
    assert_eq!(contents(&dir), ["line number 1\nprocessed\n"]);
}
