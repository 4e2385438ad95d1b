//! svlogd: nothing is lost, and trouble does not make it busy.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use svkit_tests::{Case, Sandbox, Subject, case, eventually, holds_for};

pub(crate) const CASES: &[Case] = &[
    case!(line_that_term_interrupts_is_written),
    case!(failing_processor_is_retried_at_a_pace),
    case!(logging_goes_on_while_a_processor_fails),
    case!(processor_killed_by_a_signal_has_failed),
    case!(unknown_config_lines_are_warned_about),
];

fn old_files(dir: &Path, suffix: &str) -> usize {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('@') && name.ends_with(suffix)).count()
}

fn current(dir: &Path) -> String {
    fs::read_to_string(dir.join("current")).unwrap_or_default()
}

/// C loses the line it was in when TERM came.
fn line_that_term_interrupts_is_written(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    let mut command = sandbox.command("svlogd");
    let mut svlogd = sandbox.start(command.args(["-v", "log"]).stdin(Stdio::piped()));
    let mut input = svlogd.stdin();
    input.write_all(b"one\n").unwrap();
    eventually("the line", || (current(&dir) == "one\n").then_some(()));
    input.write_all(b"two begins").unwrap();
    svlogd.signal(Signal::SIGTERM);
    input.write_all(b" and ends\n").unwrap();
    assert_eq!(svlogd.wait().code, Some(0));
    let text = current(&dir);
    assert!(text == "one\n" || text == "one\ntwo begins and ends\n", "{text:?}");
    // What svlogd did not take is still in the pipe for whoever comes next; what it took it wrote.
}

fn failing(sandbox: &Sandbox) -> (svkit_tests::Running, std::process::ChildStdin) {
    sandbox.write("log/config", "s100\nn0\n!echo x >>../tries; exit 1\n");
    let mut command = sandbox.command("svlogd");
    let mut svlogd = sandbox.start(command.args(["-l", "20", "-b", "40", "log"]).stdin(Stdio::piped()));
    let input = svlogd.stdin();
    (svlogd, input)
}

/// C starts it again at once, 900 times a second.
fn failing_processor_is_retried_at_a_pace(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    let (_svlogd, mut input) = failing(&sandbox);
    for _ in 0..10 {
        input.write_all(b"line number one\n").unwrap();
    }
    let tries = || fs::read_to_string(sandbox.join("tries")).unwrap_or_default().lines().count();
    eventually("a second try", || (tries() >= 2).then_some(()));
    holds_for(Duration::from_secs(1), "few tries", || tries() < 50);
}

/// A processor that fails holds no line back.
fn logging_goes_on_while_a_processor_fails(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    let (_svlogd, mut input) = failing(&sandbox);
    for count in 0..12 {
        input.write_all(format!("line number {count:03}\n").as_bytes()).unwrap();
    }
    eventually("two files wait", || (old_files(&dir, ".u") >= 2).then_some(()));
    eventually("the last line", || current(&dir).contains("line number 011").then_some(()));
}

/// C takes a processor that was killed for a successful one, and deletes its input.
fn processor_killed_by_a_signal_has_failed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox
        .write("log/config", "s20\n!echo x >>../tries; [ $(grep -c x ../tries) -ge 2 ] || kill -9 $$; cat\n");
    let input = sandbox.write("input", "line number 1\n");
    let mut command = sandbox.command("svlogd");
    command.args(["-l", "10", "-b", "20", "log"]).stdin(fs::File::open(input).unwrap());
    let output = sandbox.finish(&mut command);
    assert_eq!(output.code, Some(0));
    assert!(output.stderr.contains("processor failed"), "{output:?}");
    let name = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| name.starts_with('@'))
        .unwrap();
    assert!(name.ends_with(".s"), "{name}");
    assert_eq!(fs::read_to_string(dir.join(name)).unwrap(), "line number 1\n");
}

/// Once a read, and the line is passed over.
fn unknown_config_lines_are_warned_about(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "pweb: \nzebra\n");
    let input = sandbox.write("input", "one\n");
    let mut command = sandbox.command("svlogd");
    let output = sandbox.finish(command.arg("log").stdin(fs::File::open(input).unwrap()));
    assert_eq!(output.code, Some(0));
    let warnings: Vec<_> = output.stderr.lines().collect();
    assert!(warnings.len() == 1 && warnings[0].starts_with("svlogd: warning: "), "{output:?}");
    assert!(warnings[0].contains("zebra") && warnings[0].contains("log/config"), "{output:?}");
    assert_eq!(current(&dir), "web: one\n");
}
