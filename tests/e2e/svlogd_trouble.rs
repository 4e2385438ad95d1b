//! What others do to svlogd's files and limits: it says so once, goes on as soon as it can, and loses no line.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::unistd::pipe2;
use svkit_tests::{Case, Running, Sandbox, Subject, case, eventually, holds_for};

use crate::numbered::{Count, LONGEST, files, lines};

pub(crate) const CASES: &[Case] = &[
    case!(current_that_is_renamed_or_removed_is_replaced),
    case!(current_that_is_truncated_is_appended_to),
    case!(directory_that_is_renamed_is_written_to),
    case!(directory_that_is_removed_is_waited_for),
    case!(directory_that_cannot_be_used_yet_is_waited_for),
    case!(read_error_is_the_end),
    case!(file_size_limit_is_waited_out).needs(&["prlimit"]),
    case!(too_few_descriptors_to_start_with).needs(&["prlimit"]),
    case!(no_descriptors_left).needs(&["prlimit"]),
    case!(no_descriptors_left_at_hup).needs(&["prlimit"]),
    case!(no_memory_left).needs(&["prlimit"]),
];

/// A pipe that outlives svlogd, as that of runsv.
struct Logger<'a> {
    sandbox: &'a Sandbox,
    input: File,
    output: OwnedFd,
}

impl<'a> Logger<'a> {
    fn new(sandbox: &'a Sandbox) -> Self {
        let (output, input) = pipe2(OFlag::O_CLOEXEC).unwrap();
        Self { sandbox, input: input.into(), output }
    }

    fn start(&self, command: &[&str]) -> Running {
        let mut start = self.sandbox.command(command[0]);
        start.args(&command[1..]).stdin(Stdio::from(self.output.try_clone().unwrap()));
        self.sandbox.start(&mut start)
    }

    fn write(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).unwrap();
    }

    /// Starts svlogd once more, and lets it finish.
    fn finish(self, command: &[&str]) {
        let mut svlogd = self.start(command);
        drop((self.input, self.output));
        let output = svlogd.wait();
        assert_eq!(output.code, Some(0), "{output:?}");
    }
}

fn limit(sandbox: &Sandbox, process: &Running, limit: &str) {
    let output = sandbox.run("prlimit", &["--pid", &process.pid().to_string(), limit]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

fn wait_current(dir: &Path, text: &str) {
    let current = || fs::read_to_string(dir.join("current")).unwrap_or_default();
    eventually(&format!("{text:?} in current"), || (current() == text).then_some(()));
}

/// As logrotate does without `copytruncate`.
fn current_that_is_renamed_or_removed_is_replaced(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    let mut logger = Logger::new(&sandbox);
    let svlogd = logger.start(&["svlogd", "log"]);
    logger.write("one\n");
    wait_current(&dir, "one\n");
    fs::rename(dir.join("current"), dir.join("taken")).unwrap();
    logger.write("two\n");
    wait_current(&dir, "two\n");
    fs::remove_file(dir.join("current")).unwrap();
    // A rotation finds nothing to rotate.
    svlogd.signal(Signal::SIGALRM);
    eventually("a new one", || dir.join("current").exists().then_some(()));
    logger.write("three\n");
    wait_current(&dir, "three\n");
    assert_eq!(fs::read_to_string(dir.join("taken")).unwrap(), "one\n");
    assert_eq!(files(&dir).len(), 1);
    let said = "svlogd: warning: current was renamed or removed: log\n";
    assert_eq!(svlogd.stderr(), said.repeat(2));
    // And is itself again.
    svlogd.signal(Signal::SIGALRM);
    eventually("an old file", || (files(&dir).len() == 2).then_some(()));
}

/// As logrotate does with `copytruncate`: no hole is left, and the size is counted anew.
fn current_that_is_truncated_is_appended_to(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "s30\n");
    let mut logger = Logger::new(&sandbox);
    let _svlogd = logger.start(&["svlogd", "-l", "5", "-b", "20", "log"]);
    for round in 0..4 {
        let line = format!("line number {round}\n");
        logger.write(&line);
        wait_current(&dir, &line);
        File::create(dir.join("current")).unwrap();
    }
    assert_eq!(files(&dir).len(), 1);
}

fn directory_that_is_renamed_is_written_to(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    let mut logger = Logger::new(&sandbox);
    let svlogd = logger.start(&["svlogd", "log"]);
    logger.write("one\n");
    wait_current(&dir, "one\n");
    let moved = sandbox.join("moved");
    fs::rename(&dir, &moved).unwrap();
    logger.write("two\n");
    wait_current(&moved, "one\ntwo\n");
    // Until it is told to look.
    let dir = sandbox.mkdir("log");
    svlogd.signal(Signal::SIGHUP);
    logger.write("three\n");
    wait_current(&dir, "three\n");
    assert_eq!(svlogd.stderr(), "");
}

/// The writer is held back until the directory is there again: nobody has to send HUP.
fn directory_that_is_removed_is_waited_for(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    let mut logger = Logger::new(&sandbox);
    let mut svlogd = logger.start(&["svlogd", "log"]);
    logger.write("one\n");
    wait_current(&dir, "one\n");
    fs::remove_dir_all(&dir).unwrap();
    logger.write("two\n");
    let said = "svlogd: warning: current was renamed or removed: log\n\
                svlogd: pausing: unable to open current: log: No such file or directory\n";
    eventually("it pauses", || (svlogd.stderr() == said).then_some(()));
    logger.write("three\n");
    holds_for(Duration::from_millis(2500), "said once", || svlogd.stderr() == said);
    sandbox.mkdir("log");
    wait_current(&dir, "two\nthree\n");
    drop((logger.input, logger.output));
    assert_eq!(svlogd.wait().code, Some(0));
    assert_eq!(svlogd.stderr(), said);
}

/// As `rm -r log; mkdir log` by root, and a chown later: nothing is lost meanwhile, with or without another directory.
fn directory_that_cannot_be_used_yet_is_waited_for(subject: &Subject) {
    for others in [&[] as &[&str], &["other"]] {
        let sandbox = Sandbox::new(subject);
        let dir = sandbox.mkdir("log");
        others.iter().for_each(|other| drop(sandbox.mkdir(other)));
        let mut logger = Logger::new(&sandbox);
        let mut svlogd = logger.start(&[&["svlogd", "log"], others].concat());
        logger.write("one\n");
        wait_current(&dir, "one\n");
        // It keeps root from the lock, too.
        sandbox.mkdir("new/lock");
        fs::remove_dir_all(&dir).unwrap();
        fs::rename(sandbox.join("new"), &dir).unwrap();
        logger.write("two\n");
        let said = "svlogd: warning: current was renamed or removed: log\n\
                    svlogd: pausing: unable to open current: log: No such file or directory\n\
                    svlogd: warning: unable to lock directory: log: Is a directory\n";
        eventually("it waits", || (svlogd.stderr() == said).then_some(()));
        logger.write("three\n");
        holds_for(Duration::from_millis(2500), "said once", || svlogd.stderr() == said);
        fs::remove_dir(dir.join("lock")).unwrap();
        wait_current(&dir, "two\nthree\n");
        drop((logger.input, logger.output));
        assert_eq!(svlogd.wait().code, Some(0));
        assert_eq!(svlogd.stderr(), said);
    }
}

/// What was read is written; as with runit, the exit code does not tell.
fn read_error_is_the_end(subject: &Subject) {
    // EISDIR; EIO at the address zero.
    for (input, reason) in [("/", "Is a directory"), ("/proc/self/mem", "I/O error")] {
        let sandbox = Sandbox::new(subject);
        sandbox.mkdir("log");
        let mut command = sandbox.command("svlogd");
        let output = sandbox.finish(command.arg("log").stdin(File::open(input).unwrap()));
        assert_eq!(output.code, Some(0));
        assert_eq!(output.stderr, format!("svlogd: warning: unable to read standard input: {reason}\n"));
    }
}

/// The signal that comes with it does not kill it, and is no processor's to miss.
fn file_size_limit_is_waited_out(subject: &Subject) {
    const TOTAL: usize = 600;
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "n0\ns4000\n!grep -E 'Sig(Blk|Ign)' /proc/self/status >../masks; cat\n");
    let mut logger = Logger::new(&sandbox);
    let mut svlogd = logger.start(&["svlogd", "-l", LONGEST, "log"]);
    logger.write(&lines(0..10));
    eventually("it is there", || Count::of(&dir).whole.contains_key(&9).then_some(()));
    // Amid a line, and in a file that is not full.
    limit(&sandbox, &svlogd, "--fsize=3001:");
    logger.write(&lines(10..TOTAL));
    let said = "svlogd: pausing: unable to write to current: log: File too large\n";
    eventually("it pauses", || (svlogd.stderr() == said).then_some(()));
    holds_for(Duration::from_millis(2500), "said once", || svlogd.stderr() == said);
    assert!(svlogd.is_running());
    limit(&sandbox, &svlogd, "--fsize=unlimited:");
    drop((logger.input, logger.output));
    let output = svlogd.wait();
    assert_eq!((output.code, output.stderr.lines().next()), (Some(0), said.lines().next()));
    Count::of(&dir).assert_exact(TOTAL);
    let masks = fs::read_to_string(sandbox.join("masks")).unwrap();
    let masks: Vec<_> = masks.lines().filter_map(|line| u64::from_str_radix(&line[8..], 16).ok()).collect();
    let bit = 1 << (Signal::SIGXFSZ as i32 - 1);
    assert!(masks.len() == 2 && masks.iter().all(|mask| mask & bit == 0), "{masks:?}");
}

/// It gives up, or goes on with less; what it does not write stays in the pipe.
fn too_few_descriptors_to_start_with(subject: &Subject) {
    const TOTAL: usize = 200;
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "n0\ns4000\n");
    let mut logger = Logger::new(&sandbox);
    for (round, nofile) in (3..15).enumerate() {
        let first = round * TOTAL / 12;
        logger.write(&lines(first..(round + 1) * TOTAL / 12));
        let nofile = format!("--nofile={nofile}");
        let mut svlogd = logger.start(&["prlimit", &nofile, "svlogd", "-l", LONGEST, "log"]);
        let is_written = || Count::of(&dir).whole.contains_key(&first);
        let is_paused = |svlogd: &Running| svlogd.stderr().contains("pausing: ");
        eventually("it writes, pauses, or has ended", || {
            (!svlogd.is_running() || is_paused(&svlogd) || is_written()).then_some(())
        });
        if svlogd.is_running() {
            svlogd.signal(Signal::SIGKILL);
        }
        // Which is also what ld.so makes of too few.
        let output = svlogd.wait();
        assert!(matches!((output.code, output.signal), (Some(111 | 127), _) | (_, Some(9))), "{output:?}");
    }
    logger.write(&lines(TOTAL / 12 * 12..TOTAL));
    logger.finish(&["svlogd", "-l", LONGEST, "log"]);
    Count::of(&dir).assert_complete(TOTAL);
}

/// For rotation, for a processor, and even to wait.
fn no_descriptors_left(subject: &Subject) {
    const TOTAL: usize = 600;
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "n0\ns4000\n!cat\n");
    let mut logger = Logger::new(&sandbox);
    let mut svlogd = logger.start(&["svlogd", "-l", LONGEST, "log"]);
    for (round, nofile) in ["--nofile=3:", "--nofile=0:"].iter().enumerate() {
        let begin = round * 300;
        logger.write(&lines(begin..begin + 10));
        let is_written = |number| Count::of(&dir).whole.contains_key(&number);
        eventually("it is there", || is_written(begin + 9).then_some(()));
        limit(&sandbox, &svlogd, nofile);
        let before = svlogd.stderr().len();
        logger.write(&lines(begin + 10..begin + 300));
        eventually("it says so", || (svlogd.stderr().len() > before).then_some(()));
        holds_for(Duration::from_millis(2500), "no flood", || svlogd.stderr().lines().count() < 20);
        assert!(svlogd.is_running());
        limit(&sandbox, &svlogd, "--nofile=1024:");
        eventually("it goes on", || is_written(begin + 299).then_some(()));
    }
    drop((logger.input, logger.output));
    assert_eq!(svlogd.wait().code, Some(0));
    Count::of(&dir).assert_exact(TOTAL);
}

/// It cannot open what it has closed. The next one goes on.
fn no_descriptors_left_at_hup(subject: &Subject) {
    const TOTAL: usize = 100;
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "n0\n");
    let mut logger = Logger::new(&sandbox);
    let mut svlogd = logger.start(&["svlogd", "-l", LONGEST, "log"]);
    logger.write(&lines(0..50));
    eventually("it is there", || Count::of(&dir).whole.contains_key(&49).then_some(()));
    limit(&sandbox, &svlogd, "--nofile=3:");
    svlogd.signal(Signal::SIGHUP);
    let output = svlogd.wait();
    assert_eq!(output.code, Some(111), "{output:?}");
    assert!(output.stderr.contains("Too many open files"), "{output:?}");
    logger.write(&lines(50..TOTAL));
    logger.finish(&["svlogd", "-l", LONGEST, "log"]);
    Count::of(&dir).assert_exact(TOTAL);
}

/// It ends as if it were killed, or needs none.
fn no_memory_left(subject: &Subject) {
    const TOTAL: usize = 3000;
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "n0\ns20000\n");
    let mut logger = Logger::new(&sandbox);
    for round in 0..3 {
        let mut svlogd = logger.start(&["svlogd", "-l", LONGEST, "log"]);
        let (begin, end) = (round * TOTAL / 3, (round + 1) * TOTAL / 3);
        logger.write(&lines(begin..begin + 1));
        eventually("it is there", || Count::of(&dir).whole.contains_key(&begin).then_some(()));
        limit(&sandbox, &svlogd, "--as=1000000:");
        // Not more than the pipe holds, should nobody read it.
        for number in begin + 1..end {
            logger.write(&lines(number..number + 1));
        }
        let is_written = || Count::of(&dir).whole.contains_key(&(end - 1));
        eventually("it writes, or has ended", || (!svlogd.is_running() || is_written()).then_some(()));
        if svlogd.is_running() {
            svlogd.signal(Signal::SIGKILL);
        }
        let output = svlogd.wait();
        let killed = [Signal::SIGKILL, Signal::SIGABRT].map(|signal| Some(signal as i32));
        assert!(killed.contains(&output.signal), "{output:?}");
    }
    logger.finish(&["svlogd", "-l", LONGEST, "log"]);
    Count::of(&dir).assert_complete(TOTAL);
}
