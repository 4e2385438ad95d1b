//! Lines, stamps, replacement, long lines.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use svkit_tests::{Case, Implementation, Output, Sandbox, Subject, case, mask_stamps};

pub(crate) const CASES: &[Case] = &[
    case!(appends_lines_to_current),
    case!(modes_of_the_files),
    case!(stamp_tai64n),
    case!(stamp_calendar),
    case!(stamp_iso),
    case!(more_t_is_three),
    case!(every_line_is_stamped),
    case!(prefix_follows_the_stamp),
    case!(replaces_unprintable_characters),
    case!(replaces_a_charset),
    case!(long_lines_are_written_whole),
    case!(long_lines_are_cut_on_standard_error),
    case!(line_of_just_len_bytes),
    case!(bytes_pass_unchanged),
    case!(ten_megabytes_without_newline),
    case!(no_input),
    case!(several_directories),
    case!(last_line_without_newline).differs(Implementation::RUNIT, "drops it"),
];

/// Runs svlogd on `input` to its end.
pub(crate) fn log(sandbox: &Sandbox, args: &[&str], input: impl AsRef<[u8]>) -> Output {
    let path = sandbox.write("input", input);
    let mut command = sandbox.command("svlogd");
    sandbox.finish(command.args(args).stdin(fs::File::open(path).unwrap()))
}

/// The same, successfully and silently.
pub(crate) fn quietly(sandbox: &Sandbox, args: &[&str], input: impl AsRef<[u8]>) {
    let output = log(sandbox, args, input);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(0), "", ""), "{args:?}");
}

/// The text of `current`; empty also when it is not there yet.
pub(crate) fn current(sandbox: &Sandbox, dir: &str) -> String {
    String::from_utf8_lossy(&fs::read(sandbox.join(dir).join("current")).unwrap_or_default()).into_owned()
}

/// "svlogd continuously reads log data from its standard input, optionally filters log messages, and writes the data to
/// one or more automatically rotated logs." svlogd(8)
fn appends_lines_to_current(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log dir");
    quietly(&sandbox, &["log dir"], "one\ntwo\n\nthree\n");
    quietly(&sandbox, &["./log dir/"], "four\n");
    assert_eq!(current(&sandbox, "log dir"), "one\ntwo\n\nthree\nfour\n");
}

/// "A log directory additionally contains the lock file lock, maybe state and newstate" svlogd(8): the execute bit of
/// `current` says that it was closed cleanly.
fn modes_of_the_files(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    quietly(&sandbox, &["log"], "one\n");
    let mode =
        |name: &str| fs::metadata(sandbox.join("log").join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("current"), mode("lock")), (0o744, 0o600));
    let names: Vec<_> =
        fs::read_dir(sandbox.join("log")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

/// "-t timestamp. Prefix each selected line with a precise timestamp (see the daemontools' tai64n program)" svlogd(8)
fn stamp_tai64n(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    quietly(&sandbox, &["-t", "log"], "one\n");
    let text = current(&sandbox, "log");
    assert_eq!(mask_stamps(&text), "@STAMP one\n");
    let seconds = u64::from_str_radix(&text[1..17], 16).unwrap() - (1 << 62) - 10;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(seconds <= now && now - seconds < 60, "{seconds} {now}");
}

/// "-tt timestamp. Prefix each selected line with a human readable, sortable UTC timestamp of the form
/// YYYY-MM-DD_HH:MM:SS.xxxxx" svlogd(8)
fn stamp_calendar(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    let path = sandbox.write("input", "one\n");
    let date = || sandbox.run("date", &["-u", "+%Y-%m-%d_%H:%M:%S"]).stdout.trim().to_owned();
    let before = date();
    let mut command = sandbox.command("svlogd");
    // UTC, whatever the time zone.
    command.env("TZ", "Asia/Tokyo").args(["-tt", "log"]).stdin(fs::File::open(path).unwrap());
    assert_eq!(sandbox.finish(&mut command).code, Some(0));
    let text = current(&sandbox, "log");
    assert_eq!(mask_stamps(&text), "DATE_TIME one\n");
    assert!(before.as_str() <= &text[..19] && &text[..19] <= date().as_str(), "{before} {text}");
}

/// "-ttt timestamp. … of the form YYYY-MM-DDTHH:MM:SS.xxxxx" svlogd(8)
fn stamp_iso(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    for (count, args) in
        [&["-ttt", "log"][..], &["-t", "-tt", "log"], &["-t", "-t", "-t", "log"]].iter().enumerate()
    {
        quietly(&sandbox, args, "one\n");
        assert_eq!(mask_stamps(&current(&sandbox, "log")), "DATETTIME one\n".repeat(count + 1));
    }
}

/// Four are three. Not in the man page: runit 2.3.0 does so.
fn more_t_is_three(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    quietly(&sandbox, &["-tttttt", "log"], "one\n");
    assert_eq!(mask_stamps(&current(&sandbox, "log")), "DATETTIME one\n");
}

/// "Prefix each selected line" svlogd(8), empty ones too.
fn every_line_is_stamped(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    quietly(&sandbox, &["-tt", "log"], "one\n\ntwo\n");
    assert_eq!(mask_stamps(&current(&sandbox, "log")), "DATE_TIME one\nDATE_TIME \nDATE_TIME two\n");
}

/// "pprefix tells svlogd to prefix each line to be written to the log directory, to standard error, or through UDP, with
/// prefix." svlogd(8): behind the stamp, and with its trailing blanks.
fn prefix_follows_the_stamp(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "pweb:  \ne*\n");
    let output = log(&sandbox, &["-tt", "log"], "one\ntwo\n");
    assert_eq!(mask_stamps(&current(&sandbox, "log")), "DATE_TIME web:  one\nDATE_TIME web:  two\n");
    assert_eq!(mask_stamps(&output.stderr), "DATE_TIME web:  one\nDATE_TIME web:  two\n");
}

/// "-r c replace. c must be a single character. Replace non-printable characters in log messages with c." svlogd(8)
fn replaces_unprintable_characters(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    quietly(&sandbox, &["-r", "?", "log"], b"a\tb\x01c\x7fd\x80e\xfff\0g ~\r\n");
    assert_eq!(current(&sandbox, "log"), "a?b?c?d?e?f?g ~?\n");
}

/// "-R xyz replace charset. Additionally to non-printable characters, replace all characters found in xyz with c (default
/// ``_'')." svlogd(8)
fn replaces_a_charset(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for (dir, args, expected) in [
        ("a", &["-R", "xy"][..], "__z_\n"),
        ("b", &["-R", "xy", "-r", "!"], "!!z!\n"),
        ("c", &["-r!", "-Rxy"], "!!z!\n"),
        ("d", &["-R", ""], "xyz_\n"),
    ] {
        sandbox.mkdir(dir);
        let mut all = args.to_vec();
        all.push(dir);
        quietly(&sandbox, &all, "xyz\t\n");
        assert_eq!(current(&sandbox, dir), expected, "{args:?}");
    }
}

/// "-l len line length. Pattern matching applies to the first len characters of a log message only." svlogd(8): the rest
/// is written all the same.
fn long_lines_are_written_whole(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    let line = "0123456789".repeat(500);
    let input = format!("{line}\nshort\n{line}x\n");
    quietly(&sandbox, &["-t", "log"], &input);
    let expected = input.lines().map(|line| format!("@STAMP {line}\n")).collect::<String>();
    assert_eq!(mask_stamps(&current(&sandbox, "log")), expected);
    sandbox.mkdir("small");
    quietly(&sandbox, &["-l", "5", "-b", "10", "small"], &input);
    assert_eq!(current(&sandbox, "small"), input);
}

/// "the first len characters of selected log messages" svlogd(8): marked with three dots.
fn long_lines_are_cut_on_standard_error(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "e*\n");
    let output = log(&sandbox, &["-l", "5", "-b", "10", "log"], "1234567890\n1234\n");
    assert_eq!(output.stderr, "12345...\n1234\n");
    assert_eq!(current(&sandbox, "log"), "1234567890\n1234\n");
}

/// A line of exactly `len` bytes is taken for a longer one. Not in the man page: runit 2.3.0 does so.
fn line_of_just_len_bytes(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "e*\n");
    let output = log(&sandbox, &["-l", "5", "-b", "10", "log"], "12345\n1234\n");
    assert_eq!(output.stderr, "12345...\n1234\n");
    assert_eq!(current(&sandbox, "log"), "12345\n1234\n");
}

/// "Replace non-printable characters in log messages with c." svlogd(8): without `-r` and `-R` any byte is as good as
/// another.
fn bytes_pass_unchanged(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    let mut input: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    input.push(b'\n');
    quietly(&sandbox, &["log"], &input);
    assert!(fs::read(sandbox.join("log/current")).unwrap() == input);
}

/// "Pattern matching applies to the first len characters of a log message only." svlogd(8): not the writing. A line of
/// any length is one line.
fn ten_megabytes_without_newline(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "s0\n");
    let mut input = vec![b'x'; 10_000_000];
    input.push(b'\n');
    quietly(&sandbox, &["-b", "65536", "log"], &input);
    assert!(fs::read(sandbox.join("log/current")).unwrap() == input);
}

/// "if it sees end-of-file on standard input, it stops reading standard input, … and exits 0" svlogd(8)
fn no_input(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    quietly(&sandbox, &["log"], "");
    assert_eq!(fs::read(sandbox.join("log/current")).unwrap(), b"");
}

/// "logs consists of one or more arguments, each specifying a directory." svlogd(8): each with its own config.
fn several_directories(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for dir in ["a", "b", "c"] {
        sandbox.mkdir(dir);
    }
    sandbox.write("a/config", "pA: \n");
    sandbox.write("b/config", "-*\n+err*\n");
    quietly(&sandbox, &["a", "b", "c"], "error\ninfo\n");
    assert_eq!(current(&sandbox, "a"), "A: error\nA: info\n");
    assert_eq!(current(&sandbox, "b"), "error\n");
    assert_eq!(current(&sandbox, "c"), "error\ninfo\n");
}

/// "processes the data in the buffer" svlogd(8): also what no newline ends.
fn last_line_without_newline(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    quietly(&sandbox, &["log"], "one\ntwo");
    assert_eq!(current(&sandbox, "log"), "one\ntwo\n");
}
