//! svlogd: nothing is lost, and trouble does not make it busy.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::pipe2;
use svkit_tests::{Case, Disk, Running, Sandbox, Subject, case, eventually, holds_for};

use crate::numbered::{Count, LONGEST, lines};

pub(crate) const CASES: &[Case] = &[
    case!(line_that_term_interrupts_is_written),
    case!(half_a_line_is_written_after_term),
    case!(killed_while_it_waits_it_loses_nothing),
    case!(more_than_the_pipe_holds_in_one_write_is_read),
    case!(full_disk_is_waited_out).root(),
    case!(held_bytes_outlive_a_hangup_that_fails).root(),
    case!(full_disk_tears_no_object).root(),
    case!(failing_processor_is_retried_at_a_pace),
    case!(logging_goes_on_while_a_processor_fails),
    case!(failing_processor_is_given_up_at_the_end),
    case!(slow_processor_is_told_of_once).patient(),
    case!(processor_killed_by_a_signal_has_failed),
    case!(unknown_config_lines_are_warned_about),
];

/// Amid such a write, the kernel does not tell of what has come, unless the pipe was empty: but it has half a line.
fn more_than_the_pipe_holds_in_one_write_is_read(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    fs::write(dir.join("config"), "s0\n").unwrap();
    let mut svlogd = sandbox.start(sandbox.command("svlogd").arg(&dir).stdin(Stdio::piped()));
    let mut input = svlogd.stdin();
    let mut written = 0;
    for _ in 0..20 {
        input.write_all(b"a line\nhalf ").unwrap();
        written += b"a line\n".len();
        let size = || fs::metadata(dir.join("current")).map_or(0, |file| file.len() as usize);
        eventually("the line is written", || (size() == written).then_some(()));
        let writer = thread::spawn(move || {
            input.write_all(&b"a line\n".repeat(400_000)).unwrap();
            input
        });
        eventually("all of it is read", || writer.is_finished().then_some(()));
        input = writer.join().unwrap();
        written += b"half ".len() + b"a line\n".len() * 400_000;
        eventually("all of it is written", || (size() == written).then_some(()));
    }
}

fn old_files(dir: &Path, suffix: &str) -> usize {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('@') && name.ends_with(suffix)).count()
}

fn current(dir: &Path) -> String {
    fs::read_to_string(dir.join("current")).unwrap_or_default()
}

/// A pipe to a svlogd whose reading end stays ours too, to see what svlogd left in it.
struct Logger {
    svlogd: Running,
    input: File,
    output: File,
}

impl Logger {
    fn new(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let (output, input) = pipe2(OFlag::O_CLOEXEC).unwrap();
        Self::on(sandbox, arguments, input.into(), output.into())
    }

    fn on(sandbox: &Sandbox, arguments: &[&str], input: File, output: File) -> Self {
        let mut command = sandbox.command("svlogd");
        let svlogd = sandbox.start(command.args(arguments).stdin(output.try_clone().unwrap()));
        Self { svlogd, input, output }
    }

    fn write(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).unwrap();
    }

    /// Writes a line and the beginning of another, and TERM when svlogd has seen both.
    fn term_in(&mut self, line: &str, beginning: &str, dir: &Path) {
        // Not more than is written to a pipe at once: who sees the line sees the beginning.
        self.write(&format!("{line}{beginning}"));
        eventually("the line is written", || current(dir).starts_with(line).then_some(()));
        self.svlogd.signal(Signal::SIGTERM);
        eventually("TERM is seen", || self.svlogd.stderr().contains("sigterm received").then_some(()));
    }

    /// Whether svlogd has taken out of the pipe all that was written.
    fn is_drained(&self) -> bool {
        poll(&mut [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(0)
    }

    /// What is left in the pipe for the next reader.
    fn rest(self) -> String {
        drop(self.input);
        // svlogd left it non-blocking; and a child of another test may hold the writing end until it has executed.
        fcntl(&self.output, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        let mut rest = String::new();
        (&self.output).read_to_string(&mut rest).unwrap();
        rest
    }
}

/// "If svlogd is sent a TERM signal, … it stops reading standard input" after the line it is in, which C loses. The line
/// is waited for a second: one of several attempts is within it, and none loses or doubles a byte.
fn line_that_term_interrupts_is_written(subject: &Subject) {
    let written_whole = |beginning: &str| {
        let sandbox = Sandbox::new(subject);
        let dir = sandbox.mkdir("log");
        let mut logger = Logger::new(&sandbox, &["-v", "log"]);
        logger.term_in("one\n", beginning, &dir);
        logger.write(" and ends\nthree\n");
        assert_eq!(logger.svlogd.wait().code, Some(0));
        let (text, rest) = (current(&dir), logger.rest());
        if rest == "three\n" {
            assert_eq!(text, format!("one\n{beginning} and ends\n"));
        } else {
            assert_eq!((text, rest.as_str()), (format!("one\n{beginning}\n"), " and ends\nthree\n"));
        }
        rest == "three\n"
    };
    // Shorter than a line may be, and longer.
    for beginning in ["two begins", &"x".repeat(3000)] {
        assert!((0..4).any(|_| written_whole(beginning)), "never within a second");
    }
}

/// Nobody ends the line: what there is of it is written, with a newline.
fn half_a_line_is_written_after_term(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    let mut logger = Logger::new(&sandbox, &["-v", "log"]);
    logger.term_in("one\n", "half a line", &dir);
    assert_eq!(logger.svlogd.wait().code, Some(0));
    assert_eq!(current(&dir), "one\nhalf a line\n");
    assert_eq!(logger.rest(), "");
}

/// A killed svlogd that waits for input has nothing in hand: each line is there once. What it wrote stays, what it did not
/// read waits in the pipe.
fn killed_while_it_waits_it_loses_nothing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    let mut logger = Logger::new(&sandbox, &["log"]);
    let mut expected = String::new();
    for round in 0..4 {
        let lines: String = (0..50).map(|line| format!("round {round} line {line}\n")).collect();
        logger.write(&lines);
        expected.push_str(&lines);
        eventually("all is written", || (all(&dir) == expected && logger.is_drained()).then_some(()));
        logger.svlogd.signal(Signal::SIGKILL);
        logger.svlogd.wait();
        // While there is none.
        let lines: String = (0..50).map(|line| format!("round {round} unread {line}\n")).collect();
        logger.write(&lines);
        expected.push_str(&lines);
        logger = Logger::on(&sandbox, &["log"], logger.input, logger.output);
    }
    eventually("all is written", || (all(&dir) == expected).then_some(()));
}

/// What the old files and `current` hold, in order.
fn all(dir: &Path) -> String {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| !path.ends_with("lock") && !path.ends_with("config"));
    // `@…` sorts before `current`.
    files.sort();
    files.iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect()
}

/// Said once for each pause, and no line is lost, torn or doubled, whatever is written meanwhile.
fn full_disk_is_waited_out(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let disk = Disk::new(&sandbox, "disk", 512);
    let dir = sandbox.mkdir("disk/log");
    sandbox.write("disk/log/config", "s16384\nn0\n");
    let mut logger = Logger::new(&sandbox, &["-b", "8192", "disk/log"]);
    let pauses = |logger: &Logger| logger.svlogd.stderr().matches("svlogd: pausing: ").count();
    let mut expected = String::new();
    for round in 1..=2 {
        disk.fill();
        for line in 0..600 {
            let line = format!("round {round} line {line:04} of a log that has no room\n");
            logger.write(&line);
            expected.push_str(&line);
        }
        eventually("it pauses", || (pauses(&logger) == round).then_some(()));
        // Longer than the pace at which it tries again.
        holds_for(Duration::from_millis(2500), "said once", || pauses(&logger) == round);
        assert!(logger.svlogd.is_running());
        disk.free();
        eventually("all is written", || (all(&dir) == expected).then_some(()));
    }
    drop(logger.input);
    let output = logger.svlogd.wait();
    assert_eq!(output.code, Some(0));
    let lines: Vec<_> = output.stderr.lines().collect();
    assert!(
        lines.iter().all(|line| line.contains("disk/log") && line.contains("No space left")),
        "{lines:?}"
    );
}

/// "No object is continued in another file", also where the disk was full amid one, and `current` had `size` bytes then.
fn full_disk_tears_no_object(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let disk = Disk::new(&sandbox, "disk", 64);
    let dir = sandbox.mkdir("disk/log");
    sandbox.write("disk/log/config", "s8100\nn0\nformat json\n");
    disk.fill();
    let ballast = File::options().write(true).open(sandbox.join("disk/ballast")).unwrap();
    ballast.set_len(ballast.metadata().unwrap().len() - 8192).unwrap();
    drop(ballast);
    // The fifth object begins too early to be the last, and goes beyond what there is room for.
    let mut logger = Logger::new(&sandbox, &["disk/log"]);
    logger.write(&format!("{}\n", "\"".repeat(800)).repeat(6));
    eventually("it pauses", || logger.svlogd.stderr().contains("svlogd: pausing: ").then_some(()));
    assert_eq!(current(&dir).len(), 8192, "amid an object");
    disk.free();
    eventually("all is written", || {
        (all(&dir).lines().count() == 6 && all(&dir).ends_with('\n')).then_some(())
    });
    assert_eq!(current(&dir).lines().count(), 1, "a new file for the sixth");
    assert!(current(&dir).starts_with("{\"time\""));
}

/// What a full disk held back is not forgotten when HUP cannot open the directory again, and written when it can.
fn held_bytes_outlive_a_hangup_that_fails(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let disk = Disk::new(&sandbox, "disk", 512);
    let dir = sandbox.mkdir("disk/log");
    // With one directory open, svlogd lives on.
    sandbox.mkdir("spare");
    let mut logger = Logger::new(&sandbox, &["disk/log", "spare"]);
    let expected: String =
        (0..200).map(|line| format!("line {line:03} of a log that has no room\n")).collect();
    logger.write("first\n");
    eventually("the first line", || (current(&dir) == "first\n").then_some(()));
    disk.fill();
    logger.write(&expected);
    eventually("it pauses", || logger.svlogd.stderr().contains("svlogd: pausing: ").then_some(()));

    fs::rename(dir.join("current"), sandbox.join("disk/aside")).unwrap();
    fs::create_dir(dir.join("current")).unwrap();
    logger.svlogd.signal(Signal::SIGHUP);
    eventually("it fails", || logger.svlogd.stderr().contains(": disk/log: Is a directory").then_some(()));
    fs::remove_dir(dir.join("current")).unwrap();
    fs::rename(sandbox.join("disk/aside"), dir.join("current")).unwrap();
    disk.free();
    logger.svlogd.signal(Signal::SIGHUP);
    eventually("all is written", || (all(&dir) == format!("first\n{expected}")).then_some(()));
    drop(logger.input);
    assert_eq!(logger.svlogd.wait().code, Some(0));
    assert_eq!(all(&sandbox.join("spare")), format!("first\n{expected}"));
}

fn failing(sandbox: &Sandbox) -> (Running, std::process::ChildStdin) {
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

/// "For processors, each until it has succeeded or failed five times in a row". What it failed for is left for the next.
fn failing_processor_is_given_up_at_the_end(subject: &Subject) {
    const TOTAL: usize = 30;
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "n0\ns400\n!echo x >>../tries; head -n 1; exit 1\n");
    let input = sandbox.write("input", lines(0..TOTAL));
    let mut command = sandbox.command("svlogd");
    command.args(["-l", LONGEST, "log"]).stdin(File::open(input).unwrap());
    let output = sandbox.finish(&mut command);
    assert_eq!(output.code, Some(0));
    assert_eq!(output.stderr, "svlogd: warning: processor failed, restart: log\n".repeat(5));
    assert_eq!(fs::read_to_string(sandbox.join("tries")).unwrap(), "x\n".repeat(5));
    assert!(old_files(&dir, ".u") >= 2);
    assert_eq!(old_files(&dir, ".u"), old_files(&dir, ""), "nothing else is left");
    Count::of(&dir).assert_exact(TOTAL);
}

/// The log waits for it at every rotation from then on; runit does so silently.
fn slow_processor_is_told_of_once(subject: &Subject) {
    const TOTAL: usize = 20_000;
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    // So large that it reads on each time that one is done.
    sandbox.write("log/config", "n0\ns20000\n!until [ -e ../go ]; do sleep 0.01; done; cat\n");
    let input = sandbox.write("input", lines(0..TOTAL));
    let mut command = sandbox.command("svlogd");
    command.args(["-l", LONGEST, "log"]).stdin(File::open(input).unwrap());
    let mut svlogd = sandbox.start(&mut command);
    eventually("it pauses", || svlogd.stderr().contains("svlogd: pausing: ").then_some(()));
    sandbox.write("go", "");
    let output = svlogd.wait();
    assert_eq!(output.code, Some(0));
    let said: Vec<_> = output.stderr.lines().collect();
    assert!(said.len() <= 2, "{said:?}");
    assert!(
        said.iter().all(|&line| line == "svlogd: pausing: 10 files wait for the processor: log"),
        "{said:?}"
    );
    Count::of(&dir).assert_exact(TOTAL);
}

/// C takes a processor that was killed for a successful one, and deletes its input.
fn processor_killed_by_a_signal_has_failed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox
        .write("log/config", "s20\n!echo x >>../tries; [ $(grep -c x ../tries) -ge 2 ] || kill -9 $$; cat\n");
    let input = sandbox.write("input", "line number 1\n");
    let mut command = sandbox.command("svlogd");
    command.args(["-l", "10", "-b", "20", "log"]).stdin(File::open(input).unwrap());
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
    let output = sandbox.finish(command.arg("log").stdin(File::open(input).unwrap()));
    assert_eq!(output.code, Some(0));
    let warnings: Vec<_> = output.stderr.lines().collect();
    assert!(warnings.len() == 1 && warnings[0].starts_with("svlogd: warning: "), "{output:?}");
    assert!(warnings[0].contains("zebra") && warnings[0].contains("log/config"), "{output:?}");
    assert_eq!(current(&dir), "web: one\n");
}
