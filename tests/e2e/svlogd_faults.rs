//! svlogd under fire: every numbered line is accounted for.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::unistd::pipe2;
use svkit_tests::{Case, Disk, Running, Sandbox, Subject, case, eventually};

use crate::numbered::{Count, LONGEST, files, lines, write_unevenly, write_until};

pub(crate) const CASES: &[Case] = &[
    case!(sync_that_fails_is_told_of_once),
    case!(killed_over_and_over_it_loses_no_line).patient(),
    case!(killed_amid_compression_it_loses_no_line).patient(),
    case!(killed_amid_processing_it_loses_no_line).patient(),
    case!(killed_with_two_directories_it_loses_no_line).patient(),
    case!(killed_amid_json_it_loses_no_line).patient(),
    case!(killed_amid_lines_of_any_form_it_loses_none).patient(),
    case!(two_on_one_pipe_lose_no_line).patient(),
    case!(disk_filled_and_freed_loses_no_line).root().patient(),
    case!(killed_on_a_full_disk_it_loses_no_line).root().patient(),
    case!(full_disk_costs_the_oldest_files).root().patient(),
    case!(full_disk_costs_the_oldest_files_though_they_wait_for_the_disk).root().needs(&["strace"]).patient(),
    case!(failing_processor_loses_no_line).patient(),
];

/// A pipe holds 64 KiB, and a look takes half of it.
const LOOK: usize = 32 << 10;

/// Starts svlogd on directories, of which the first takes every line, and kills it while lines are written to it, each
/// time sooner or later; then lets it finish. Returns how many lines were written.
fn kill_over_and_over(sandbox: &Sandbox, args: &[&str], dirs: &[&str], kills: u32) -> usize {
    let (output, input) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let start = || {
        let mut command = sandbox.command("svlogd");
        command.args(["-l", LONGEST]).args(args).args(dirs);
        sandbox.start(command.stdin(Stdio::from(output.try_clone().unwrap())))
    };
    let enough = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let enough = Arc::clone(&enough);
        move || write_until(&enough, File::from(input), Duration::from_millis(3))
    });
    let current = sandbox.join(dirs[0]).join("current");
    // The next one sets aside what a killed one has written: each has a file of its own.
    let written = || {
        let file = fs::metadata(&current).ok().filter(|file| file.len() > 0)?;
        Some((file.ino(), file.modified().unwrap()))
    };
    let (mut last, mut round, mut longest) = (None, 0, 9000);
    for _ in 0..kills {
        eventually("one is killed that has written", || {
            let mut svlogd = start();
            // At any moment, not after any: this is no wait for something.
            thread::sleep(Duration::from_micros(1000 + (round * 7919) % longest));
            round += 1;
            svlogd.signal(Signal::SIGKILL);
            assert_eq!(svlogd.wait().signal, Some(Signal::SIGKILL as i32));
            let now = written();
            let has_written = now.is_some() && now != last;
            if has_written {
                last = now;
            } else {
                // The machine may be too busy for it.
                longest += 100;
            }
            has_written.then_some(())
        });
    }
    assert!(!writer.is_finished());
    enough.store(true, Ordering::Relaxed);
    let mut svlogd = start();
    assert_eq!(svlogd.wait().code, Some(0));
    writer.join().unwrap()
}

/// A fifo cannot be synced.
fn sync_that_fails_is_told_of_once(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "fsync 0\n");
    assert_eq!(sandbox.run("mkfifo", &["log/current"]).code, Some(0));
    let mut read = File::options().read(true).write(true).open(dir.join("current")).unwrap();
    let mut command = sandbox.command("svlogd");
    let mut svlogd = sandbox.start(command.arg("log").stdin(Stdio::piped()));
    let mut input = svlogd.stdin();
    for _ in 0..5 {
        input.write_all(b"line\n").unwrap();
        read.read_exact(&mut [0; 5]).unwrap();
    }
    drop(input);
    let said = svlogd.wait().stderr;
    assert_eq!(said.matches("unable to sync current").count(), 1, "{said}");
}

/// The guarantee: each line that was selected is there; the lines of one look at most are there twice, at the beginning
/// of the file that follows the one that a killed svlogd left, of which the last may be cut.
fn assert_kept(count: &Count, selected: impl Iterator<Item = usize>) {
    assert!(count.whole.keys().copied().eq(selected), "{} lines are there", count.whole.len());
    assert!(count.most_twice <= LOOK, "{} bytes are there twice", count.most_twice);
    assert!(count.torn.iter().all(|line| !line.ends_with('\n')), "{:?}", count.torn);
}

/// The same with a line in the config; returns the names of the files.
fn kill_with(subject: &Subject, line: &str, kills: u32) -> Vec<String> {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", format!("n0\ns50000\n{line}\n"));
    let total = kill_over_and_over(&sandbox, &[], &["log"], kills);
    assert_kept(&Count::of(&dir), 0..total);
    files(&dir).iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

fn killed_over_and_over_it_loses_no_line(subject: &Subject) {
    kill_with(subject, "", 200);
}

fn killed_amid_compression_it_loses_no_line(subject: &Subject) {
    let names = kill_with(subject, "compress gzip", 60);
    assert!(names.iter().any(|name| name.ends_with(".s.gz")), "{names:?}");
}

fn killed_amid_processing_it_loses_no_line(subject: &Subject) {
    let names = kill_with(subject, "!cat", 60);
    assert!(names.iter().any(|name| name.ends_with(".s")), "{names:?}");
}

/// One of them selects half of the lines.
fn killed_with_two_directories_it_loses_no_line(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let [all, half] = ["all", "half"].map(|name| sandbox.mkdir(name));
    sandbox.write("all/config", "n0\ns50000\n");
    sandbox.write("half/config", "n0\ns20000\ndrop ^[0-9]{6}[5-9] \n");
    let total = kill_over_and_over(&sandbox, &[], &["all", "half"], 60);
    assert_kept(&Count::of(&all), 0..total);
    assert_kept(&Count::of(&half), (0..total).filter(|number| number % 10 < 5));
}

fn killed_amid_json_it_loses_no_line(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "n0\ns50000\nformat json\n");
    let total = kill_over_and_over(&sandbox, &[], &["log"], 60);
    let message = |object: &str| {
        let (_, message) = object.strip_suffix("\"}\n")?.split_once("\"message\":\"")?;
        object.starts_with("{\"time\":\"").then(|| format!("{message}\n"))
    };
    assert_kept(&Count::of_form(&dir, message), 0..total);
}

/// Stamped, changed and filtered, in one directory, it is still there.
fn killed_amid_lines_of_any_form_it_loses_none(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "n0\ns50000\npprefix \ndrop ^[0-9]{6}3 \n");
    let total = kill_over_and_over(&sandbox, &["-tt", "-R", "x"], &["log"], 60);
    let written: String = files(&dir).iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let mut whole = vec![false; total];
    for line in written.lines() {
        let Some(text) = line.split_once(" prefix ").map(|(_, text)| text) else { continue };
        let Some(number) = text.get(..7).and_then(|number| number.parse::<usize>().ok()) else { continue };
        if format!("{text}\n") == lines(number..number + 1).replace('x', "_") {
            whole[number] = true;
        }
    }
    let wrong = (0..total).find(|&number| whole[number] == (number % 10 == 3));
    assert_eq!(wrong, None);
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
    // Whole lines at a time: what is read at once ends with one.
    for number in 0..5000 {
        input.write_all(lines(number..number + 1).as_bytes()).unwrap();
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

/// A svlogd on a disk that is full more often than not, under load.
struct FullDisk<'a> {
    disk: Disk,
    dir: PathBuf,
    sandbox: &'a Sandbox,
    output: OwnedFd,
    /// So that there is no end before the test wants it.
    input: OwnedFd,
}

impl<'a> FullDisk<'a> {
    fn new(sandbox: &'a Sandbox) -> Self {
        let disk = Disk::new(sandbox, "disk", 4096);
        let dir = sandbox.mkdir("disk/log");
        sandbox.write("disk/log/config", "n0\ns50000\n");
        let (output, input) = pipe2(OFlag::O_CLOEXEC).unwrap();
        Self { disk, dir, sandbox, output, input }
    }

    fn to(&self) -> File {
        File::from(self.input.try_clone().unwrap())
    }

    fn start(&self) -> Running {
        let mut command = self.sandbox.command("svlogd");
        let stdin = Stdio::from(self.output.try_clone().unwrap());
        self.sandbox.start(command.args(["-l", LONGEST, "disk/log"]).stdin(stdin))
    }

    /// Fills the disk until svlogd has said that it pauses once more, and frees it until it has gone on.
    fn fill_and_free(&self, svlogd: &Running) {
        let pauses = || svlogd.stderr().matches("pausing: ").count();
        let before = pauses();
        self.disk.fill();
        eventually("it pauses", || (pauses() > before).then_some(()));
        let read = lines_read(svlogd);
        self.disk.free();
        // Filled again before it has written all that it held back, the pause would be the same one.
        eventually("it reads on", || (lines_read(svlogd) > read).then_some(()));
    }
}

/// How many lines it has read.
fn lines_read(svlogd: &Running) -> u64 {
    let before = svlogd.stderr().matches("counters: ").count();
    svlogd.signal(Signal::SIGUSR1);
    eventually("the counters", || {
        let said = svlogd.stderr();
        let (_, told) = said.rsplit_once("counters: lines=").filter(|_| said.ends_with('\n'))?;
        let is_new = said.matches("counters: ").count() > before;
        told.split(' ').next().filter(|_| is_new)?.parse().ok()
    })
}

/// Said once each time, whatever is tried meanwhile; every line is there once, and whole.
fn disk_filled_and_freed_loses_no_line(subject: &Subject) {
    const ROUNDS: usize = 8;
    const PART: usize = 500;
    let sandbox = Sandbox::new(subject);
    let full = FullDisk::new(&sandbox);
    let to = full.to();
    let (going_on, stop) = mpsc::channel::<()>();
    let writer = thread::spawn(move || {
        let mut total = 0;
        while stop.try_recv() == Err(TryRecvError::Empty) {
            write_unevenly(&to, total..total + PART, Duration::from_millis(20));
            total += PART;
        }
        total
    });
    let mut svlogd = full.start();
    for _ in 0..ROUNDS {
        full.fill_and_free(&svlogd);
    }
    drop(going_on);
    let total = writer.join().unwrap();
    let FullDisk { disk: _disk, dir, input, .. } = full;
    drop(input);
    let end = svlogd.wait();
    assert_eq!(end.code, Some(0));
    let said: Vec<_> = end.stderr.lines().filter(|line| !line.contains("counters: ")).collect();
    assert_eq!(said.len(), ROUNDS, "{said:?}");
    assert!(said.iter().all(|line| line.starts_with("svlogd: pausing: ")), "{said:?}");
    Count::of(&dir).assert_exact(total);
}

/// What it held back is still in the pipe.
fn killed_on_a_full_disk_it_loses_no_line(subject: &Subject) {
    const TOTAL: usize = 20_000;
    let sandbox = Sandbox::new(subject);
    let full = FullDisk::new(&sandbox);
    let to = full.to();
    let writer = thread::spawn(move || write_unevenly(to, 0..TOTAL, Duration::from_millis(3)));
    for _ in 0..4 {
        let mut svlogd = full.start();
        full.disk.fill();
        let pauses = || svlogd.stderr().contains("pausing: ");
        eventually("it pauses", || (pauses() || writer.is_finished()).then_some(()));
        svlogd.signal(Signal::SIGKILL);
        svlogd.wait();
        full.disk.free();
    }
    let mut svlogd = full.start();
    let FullDisk { disk: _disk, dir, input, .. } = full;
    drop(input);
    assert_eq!(svlogd.wait().code, Some(0));
    writer.join().unwrap();
    let count = Count::of(&dir);
    count.assert_complete(TOTAL);
    assert!(count.most_twice <= LOOK && count.torn.iter().all(|line| !line.ends_with('\n')), "{count:?}");
}

/// "On a full disk, delete old files, the oldest first, down to min".
fn full_disk_costs_the_oldest_files(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    assert_full_disk_costs_the_oldest(&sandbox, sandbox.command("svlogd"));
}

/// The disk takes so long that one of the oldest is nearly always being synced.
fn full_disk_costs_the_oldest_files_though_they_wait_for_the_disk(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut command = sandbox.command("strace");
    command.args(["-f", "-qq", "-e", "signal=none", "-e", "trace=fsync", "-o", "/dev/null"]);
    command.args(["-e", "inject=fsync:delay_enter=200000"]).arg(sandbox.join("bin/svlogd"));
    assert_full_disk_costs_the_oldest(&sandbox, command);
}

fn assert_full_disk_costs_the_oldest(sandbox: &Sandbox, mut command: Command) {
    const TOTAL: usize = 20_000;
    const MIN: usize = 3;
    let _disk = Disk::new(sandbox, "disk", 256);
    let dir = sandbox.mkdir("disk/log");
    sandbox.write("disk/log/config", format!("s20000\nn100\nN{MIN}\n"));
    let mut svlogd = sandbox.start(command.args(["-v", "-l", LONGEST, "disk/log"]).stdin(Stdio::piped()));
    write_unevenly(svlogd.stdin(), 0..TOTAL, Duration::from_millis(3));
    let output = svlogd.wait();
    assert_eq!(output.code, Some(0));
    let mut old = 0;
    for line in output.stderr.lines() {
        if line.starts_with("svlogd: info: rename: disk/log/current ") {
            old += 1;
        } else if line.contains("delete: ") {
            assert!(line.starts_with("svlogd: warning: out of disk space, delete: "), "{line}");
            old -= 1;
            assert!(old >= MIN, "{}", output.stderr);
        }
    }
    let count = Count::of(&dir);
    assert_eq!(files(&dir).len(), old + 1);
    assert_eq!(count.torn, [""; 0]);
    let first = *count.whole.keys().next().unwrap();
    assert!(first > 0 && count.whole.keys().copied().eq(first..TOTAL), "one run up to the last line");
    assert!(count.whole.values().all(|&times| times == 1));
}

/// Every second try fails.
fn failing_processor_loses_no_line(subject: &Subject) {
    const TOTAL: usize = 2_000;
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    let processor = "!echo x >>../tries; [ $(($(wc -l <../tries) % 2)) = 0 ] || exit 1; cat";
    sandbox.write("log/config", format!("n0\ns20000\n{processor}\n"));
    let input = sandbox.write("input", lines(0..TOTAL));
    let mut command = sandbox.command("svlogd");
    command.args(["-l", LONGEST, "log"]).stdin(File::open(input).unwrap());
    assert_eq!(sandbox.finish(&mut command).code, Some(0));
    Count::of(&dir).assert_exact(TOTAL);
}
