//! svlogd: old files are compressed and processed beside the writing, and every line is there once, whatever happens.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Write, stderr};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use svkit_tests::{Case, Disk, Running, Sandbox, Subject, case, complete, eventually, holds_for};

use crate::numbered::eventually_counted;

pub(crate) const CASES: &[Case] = &[
    case!(compressed_files_read_back).needs(ZSTD).patient(),
    case!(times_and_mode_are_kept),
    case!(old_files_are_compressed_when_it_is_configured).needs(ZSTD),
    case!(packed_files_count_and_go).needs(ZSTD).patient(),
    case!(what_is_killed_is_taken_up_again).needs(ZSTD).patient(),
    case!(killed_helpers_lose_nothing).patient(),
    case!(full_disk_stops_compression_alone).needs(ZSTD).root(),
    case!(full_disk_costs_the_oldest_though_it_is_being_compressed).root().patient(),
    case!(fifty_rotations_a_second).patient(),
    case!(too_many_waiting_files_hold_the_log).patient(),
    case!(hangup_amid_compression).needs(ZSTD).patient(),
    case!(processor_comes_first).patient(),
    case!(failing_processor_loses_nothing).needs(ZSTD).patient(),
    case!(hanging_processor_is_killed).patient(),
    case!(each_try_that_hangs_is_killed).patient(),
    case!(hanging_processor_holds_the_log).patient(),
];

const ZSTD: &[&str] = &["zstd", "zstdcat"];

fn line(number: u32) -> String {
    format!("line number {number:07}\n")
}

/// A svlogd on `log/`, fed with numbered lines.
struct Logger<'a> {
    sandbox: &'a Sandbox,
    dir: PathBuf,
    svlogd: Running,
    input: ChildStdin,
    next: u32,
}

impl<'a> Logger<'a> {
    fn new(sandbox: &'a Sandbox, config: &str) -> Self {
        Self::at(sandbox, sandbox.mkdir("log"), config)
    }

    fn at(sandbox: &'a Sandbox, dir: PathBuf, config: &str) -> Self {
        fs::write(dir.join("config"), config).unwrap();
        let (svlogd, input) = start(sandbox, &dir);
        Self { sandbox, dir, svlogd, input, next: 0 }
    }

    fn write(&mut self, count: u32) {
        let text: String = (self.next..self.next + count).map(line).collect();
        self.input.write_all(text.as_bytes()).unwrap();
        self.next += count;
    }

    /// Ends this svlogd, in whatever way, and starts another.
    fn restart(&mut self, signal: Signal) {
        self.svlogd.signal(signal);
        self.svlogd.wait();
        (self.svlogd, self.input) = start(self.sandbox, &self.dir);
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&[String]) -> bool) {
        eventually(what, || is_so(&old_files(&self.dir)).then_some(()));
    }

    fn wait_until_written(&self) {
        let last = line(self.next - 1);
        eventually("the last line is written", || {
            all(&self.dir).is_some_and(|text| text.contains(&last)).then_some(())
        });
    }

    /// Every line is there once, in order.
    fn check(&self) {
        let expected: String = (0..self.next).map(line).collect();
        // A file may be compressed while it is looked at.
        let text = eventually("the files hold still", || all(&self.dir));
        assert!(text == expected, "{}", difference(&text, self.next));
    }
}

fn start(sandbox: &Sandbox, dir: &Path) -> (Running, ChildStdin) {
    let mut command = sandbox.command("svlogd");
    command.args(["-v", "-l", "100", "-b", "1000"]).arg(dir).stdin(Stdio::piped());
    let mut svlogd = sandbox.start(&mut command);
    let input = svlogd.stdin();
    // From then on it takes signals.
    eventually("the directory is open", || svlogd.stderr().contains("/current\n").then_some(()));
    (svlogd, input)
}

fn difference(text: &str, count: u32) -> String {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    text.lines().for_each(|line| *counts.entry(line).or_default() += 1);
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    let missing: Vec<_> = (0..count).map(line).filter(|line| !counts.contains_key(line.trim_end())).collect();
    format!("missing {missing:?}, more than once {twice:?}, {} lines", text.lines().count())
}

/// Names of the old files, in order.
fn old_files(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with('@')).collect();
    names.sort();
    names
}

fn count(names: &[String], suffix: &str) -> usize {
    names.iter().filter(|name| name.ends_with(suffix)).count()
}

/// What a file holds, as `zcat` and `zstdcat` read it. `None` if it is gone.
fn read(path: &Path) -> Option<String> {
    let program = match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => "zcat",
        Some("zst") => "zstdcat",
        _ => return fs::read_to_string(path).ok(),
    };
    let file = File::open(path).ok()?;
    let output = complete(Command::new(program).stdin(file));
    assert!(output.status.success(), "{}: {output:?}", path.display());
    Some(String::from_utf8(output.stdout).unwrap())
}

/// All lines; `None` if the files have changed meanwhile.
fn all(dir: &Path) -> Option<String> {
    let before = old_files(dir);
    let mut text = String::new();
    let mut last = "";
    for name in &before {
        let (time, suffix) = name.split_at(25);
        // Until all is done, the original is there too; what is not done yet has another name.
        if !suffix.starts_with(".t") && time != last {
            text += &read(&dir.join(name))?;
            last = time;
        }
    }
    text += &fs::read_to_string(dir.join("current")).unwrap_or_default();
    (old_files(dir) == before).then_some(text)
}

/// The helpers of this svlogd.
fn children(parent: u32) -> Vec<Pid> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
}

fn is_compressor(pid: Pid) -> bool {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    arguments.split(|byte| *byte == 0).nth(2) == Some(b"compress")
}

fn compressor(parent: u32) -> Option<Pid> {
    children(parent).into_iter().find(|pid| is_compressor(*pid))
}

/// "progress and ratio in `-v`. `zcat`, `zstdcat` read the result."
fn compressed_files_read_back(subject: &Subject) {
    for (word, suffix) in [("gzip", ".s.gz"), ("gzip 9", ".s.gz"), ("zstd", ".s.zst"), ("zstd 19", ".s.zst")]
    {
        let sandbox = Sandbox::new(subject);
        let mut logger = Logger::new(&sandbox, &format!("s2000\nn0\ncompress {word}\n"));
        logger.write(400);
        logger.wait_until_written();
        logger.wait_for(word, |names| names.len() >= 3 && count(names, suffix) == names.len());
        logger.check();
        let stderr = logger.svlogd.stderr();
        let told = stderr.lines().find(|line| line.starts_with("svlogd: info: compressed: ")).unwrap();
        let sizes: Vec<_> = told.rsplit(' ').take(3).collect();
        assert!(
            sizes[0].ends_with('%') && sizes[1].parse::<u32>().unwrap() < sizes[2].parse().unwrap(),
            "{told}"
        );
        assert!(!stderr.contains("warning"), "{stderr}");
    }
}

fn times_and_mode_are_kept(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut logger = Logger::new(&sandbox, "s2000\nn0\nmode 0640\n");
    logger.write(110);
    logger.wait_for("a sealed file", |names| count(names, ".s") == 1);
    let path = logger.dir.join(&old_files(&logger.dir)[0]);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
    fs::write(logger.dir.join("config"), "s2000\nn0\nmode 0640\ncompress gzip\n").unwrap();
    logger.svlogd.signal(Signal::SIGHUP);
    logger.wait_for("a compressed file", |names| names.len() == 1 && count(names, ".s.gz") == 1);
    let packed = fs::metadata(path.with_extension("s.gz")).unwrap();
    assert_eq!((packed.modified().unwrap(), packed.permissions().mode() & 0o7777), (time, 0o640));
    logger.check();
}

/// Those that are there already, too, and what an svlogd that was killed has left.
fn old_files_are_compressed_when_it_is_configured(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut logger = Logger::new(&sandbox, "s2000\nn0\n");
    logger.write(1000);
    logger.wait_until_written();
    fs::write(logger.dir.join("config"), "s2000\nn0\ncompress zstd\n").unwrap();
    logger.restart(Signal::SIGKILL);
    logger.wait_for("all are compressed", |names| names.len() >= 9 && count(names, ".s.zst") == names.len());
    logger.check();
}

/// "Old files packed by us count": for `n`, `max-total`, and `max-age`; without `compress` they are the operator's.
fn packed_files_count_and_go(subject: &Subject) {
    for limit in ["n3", "n0\nmax-total 3k"] {
        let sandbox = Sandbox::new(subject);
        let mut logger = Logger::new(&sandbox, &format!("s2000\n{limit}\ncompress gzip\n"));
        // One after the other, so that each is compressed before it is too much.
        for round in 0..8 {
            logger.write(101);
            logger.wait_until_written();
            let wanted = format!("file {round} of {limit:?} is compressed");
            logger.wait_for(&wanted, |names| !names.is_empty() && count(names, ".s.gz") == names.len());
        }
        if limit == "n3" {
            logger.wait_for("three are left", |names| names.len() == 3);
        } else {
            let total = || -> u64 {
                old_files(&logger.dir)
                    .iter()
                    .map(|name| fs::metadata(logger.dir.join(name)).map_or(0, |file| file.size()))
                    .sum()
            };
            eventually("the rest is within 3 KiB", || (total() <= 3 << 10).then_some(()));
        }
        let text = eventually("the files hold still", || all(&logger.dir));
        assert!(text.ends_with(&line(logger.next - 1)), "{text}");
        assert!((0..logger.next).map(line).collect::<String>().ends_with(&text), "{text}");
    }
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    let [ours, other] = ["@4000000037c219bf2ef02e94.s.gz", "@4000000037c219bf2ef02e95.s.zst"];
    for (name, program) in [(ours, "gzip"), (other, "zstd")] {
        let plain = sandbox.write("plain", "old\n");
        let mut command = sandbox.command(program);
        command.arg("-c").stdin(File::open(plain).unwrap());
        let packed = complete(&mut command);
        fs::write(dir.join(name), packed.stdout).unwrap();
    }
    let mut logger = Logger::new(&sandbox, "s2000\nn1\nmax-age 1h\n");
    logger.write(500);
    logger.wait_until_written();
    logger.wait_for("only its own go", |names| names.len() == 3 && names[0] == ours && names[1] == other);
    fs::write(logger.dir.join("config"), "max-age 1h\ncompress gzip\n").unwrap();
    logger.svlogd.signal(Signal::SIGHUP);
    logger.wait_for("they are its own now", |names| names.len() == 1 && count(names, ".s.gz") == 1);
}

/// kill -9 of svlogd, of the compression, and of both, amid it.
fn what_is_killed_is_taken_up_again(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    // Slow enough to be met at work.
    let mut logger = Logger::new(&sandbox, "s400000\nn0\ncompress zstd 19\n");
    for round in 0..6 {
        let parent = logger.svlogd.pid();
        let pid = eventually("a compression", || {
            let pid = compressor(parent);
            if pid.is_none() && count(&old_files(&logger.dir), ".s") == 0 {
                logger.write(20_100);
                logger.wait_for("there is something to compress", |names| !names.is_empty());
            }
            pid
        });
        if round % 3 != 1 {
            // It may have been quicker.
            let _ = kill(pid, Signal::SIGKILL);
        }
        if round % 3 != 0 {
            logger.wait_until_written();
            logger.restart(Signal::SIGKILL);
        }
    }
    fs::write(logger.dir.join("config"), "s400000\nn0\ncompress zstd 1\n").unwrap();
    logger.svlogd.signal(Signal::SIGHUP);
    let is_done = |names: &[String]| count(names, ".s.zst") == names.len();
    logger.wait_for("all are compressed", is_done);
    logger.check();
    // A killed svlogd's compression has ended by itself, and so does that of one that ends.
    logger.write(20_100);
    logger.wait_until_written();
    logger.restart(Signal::SIGTERM);
    logger.wait_for("all are compressed", is_done);
    logger.check();
}

/// Whatever seals and compresses is killed at any moment.
fn killed_helpers_lose_nothing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut logger = Logger::new(&sandbox, "s2000\nn0\ncompress gzip\n");
    let parent = logger.svlogd.pid();
    for _ in 0..30 {
        eventually("a helper is killed", || {
            logger.write(50);
            logger.svlogd.signal(Signal::SIGALRM);
            // One may have ended already, or not begun.
            let is_killed = |child: &Pid| kill(*child, Signal::SIGKILL).is_ok();
            (children(parent).iter().filter(|child| is_killed(child)).count() > 0).then_some(())
        });
    }
    logger.wait_until_written();
    // What is read again has no pause to wait for.
    logger.svlogd.signal(Signal::SIGHUP);
    logger.wait_for("all are compressed", |names| names.len() > 10 && count(names, ".s.gz") == names.len());
    logger.check();
}

/// The log goes on while the compression has no room, and nothing is lost.
fn full_disk_stops_compression_alone(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let disk = Disk::new(&sandbox, "log", 1024);
    let mut logger = Logger::at(&sandbox, disk.path().to_owned(), "s100000\nn0\n");
    logger.write(5100);
    logger.wait_until_written();
    logger.wait_for("a sealed file", |names| count(names, ".s") == 1);
    fs::write(logger.dir.join("config"), "s100000\nn0\ncompress zstd\n").unwrap();
    disk.fill();
    logger.svlogd.signal(Signal::SIGHUP);
    let failures = |logger: &Logger| logger.svlogd.stderr().matches("compression failed, retry: ").count();
    eventually("a failure", || (failures(&logger) >= 1).then_some(()));
    // There is room left in the last page of `current`.
    logger.write(10);
    logger.wait_until_written();
    eventually("another failure", || (failures(&logger) >= 2).then_some(()));
    logger.check();
    disk.free();
    logger.wait_for("it is compressed", |names| names.len() == 1 && count(names, ".s.zst") == 1);
    logger.check();
}

/// "On a full disk, delete old files, the oldest first": also the one that a compression is at.
fn full_disk_costs_the_oldest_though_it_is_being_compressed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let disk = Disk::new(&sandbox, "log", 256);
    let config = "s20000\nn100\nN1\n";
    let mut logger = Logger::at(&sandbox, disk.path().to_owned(), config);
    logger.write(1050);
    logger.wait_for("a sealed file", |names| count(names, ".s") == 1);
    let oldest = old_files(&logger.dir).remove(0);
    // It is locked by the compression that works on it.
    let lock = Flock::lock(File::open(logger.dir.join(&oldest)).unwrap(), FlockArg::LockExclusive).unwrap();
    fs::write(logger.dir.join("config"), format!("{config}compress gzip\n")).unwrap();
    logger.svlogd.signal(Signal::SIGHUP);
    let parent = logger.svlogd.pid();
    let first = eventually("a compression", || compressor(parent));
    let deleted = eventually("a file is deleted", || {
        logger.write(100);
        let said = logger.svlogd.stderr();
        let (_, told) = said.split_once("out of disk space, delete: ")?;
        told.split_once('\n').map(|(path, _)| path.rsplit('/').next().unwrap().to_owned())
    });
    assert_eq!(deleted, oldest);
    drop(lock);
    eventually("that compression has ended", || (!children(parent).contains(&first)).then_some(()));
    logger.wait_until_written();
    let time = oldest.strip_suffix("s").unwrap();
    logger.wait_for("nothing of the file is left", |names| !names.iter().any(|name| name.starts_with(time)));
    let text = eventually("the files hold still", || all(&logger.dir));
    assert!(text.ends_with(&line(logger.next - 1)), "{text}");
    assert!((0..logger.next).map(line).collect::<String>().ends_with(&text), "{text}");
}

/// "50 rotations a second with compression": each of them counts.
fn fifty_rotations_a_second(subject: &Subject) {
    const ROTATIONS: u32 = 150;
    let sandbox = Sandbox::new(subject);
    let mut logger = Logger::new(&sandbox, "n0\ncompress gzip\n");
    let current = logger.dir.join("current");
    let text = || fs::read_to_string(&current).unwrap_or_default();
    let parent = logger.svlogd.pid();
    let one_at_a_time = || {
        let compressors: Vec<_> = children(parent).into_iter().filter(|pid| is_compressor(*pid)).collect();
        assert!(compressors.len() <= 1, "{compressors:?}");
    };
    let begin = Instant::now();
    for round in 1..=ROTATIONS {
        logger.write(20);
        let last = line(logger.next - 1);
        eventually("lines in current", || text().ends_with(&last).then_some(()));
        logger.svlogd.signal(Signal::SIGALRM);
        eventually("an empty current", || text().is_empty().then_some(()));
        one_at_a_time();
        sleep((Duration::from_millis(20) * round).saturating_sub(begin.elapsed()));
    }
    let rate = f64::from(ROTATIONS) / begin.elapsed().as_secs_f64();
    let told = format!("{rate:.1} rotations a second\n");
    stderr().write_all(told.as_bytes()).unwrap();
    logger.write(1);
    logger.wait_until_written();
    logger.wait_for("all are compressed", |names| {
        one_at_a_time();
        names.len() == ROTATIONS as usize && count(names, ".s.gz") == names.len()
    });
    logger.check();
    eventually_counted(&logger.svlogd, &format!(" rotated={ROTATIONS} compressed={ROTATIONS} "));
    logger.svlogd.signal(Signal::SIGTERM);
    let output = logger.svlogd.wait();
    assert_eq!(output.code, Some(0));
    assert!(!output.stderr.contains("warning"), "{}", output.stderr);
}

/// "the log is never held back by it, up to a stated number of waiting files"
fn too_many_waiting_files_hold_the_log(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut logger = Logger::new(&sandbox, "s400\nn0\n");
    logger.write(21);
    logger.wait_for("a sealed file", |names| count(names, ".s") == 1);
    let first = File::open(logger.dir.join(&old_files(&logger.dir)[0])).unwrap();
    // It is locked by the compression that works on it.
    let lock = Flock::lock(first, FlockArg::LockExclusive).unwrap();
    fs::write(logger.dir.join("config"), "s400\nn0\ncompress gzip\n").unwrap();
    logger.svlogd.signal(Signal::SIGHUP);
    eventually("a compression", || compressor(logger.svlogd.pid()));
    logger.write(2100);
    let pausing = "pausing: 100 files wait for compression: ";
    eventually("the log is held", || logger.svlogd.stderr().contains(pausing).then_some(()));
    logger.wait_for("the files are sealed", |names| count(names, ".s") == 101);
    drop(lock);
    logger.wait_for("all are compressed", |names| names.len() > 101 && count(names, ".s.gz") == names.len());
    logger.wait_until_written();
    logger.check();
}

/// The job that runs is taken over, and no second one is started.
fn hangup_amid_compression(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut logger = Logger::new(&sandbox, "s400000\nn0\ncompress zstd 19\n");
    logger.write(25_000);
    let parent = logger.svlogd.pid();
    for _ in 0..20 {
        eventually("a compression", || {
            compressor(parent).or_else(|| (count(&old_files(&logger.dir), ".s.zst") > 0).then(Pid::this))
        });
        logger.svlogd.signal(Signal::SIGHUP);
        assert!(children(parent).into_iter().filter(|pid| is_compressor(*pid)).count() <= 1);
        logger.write(100);
    }
    logger.wait_until_written();
    logger.wait_for("all are compressed", |names| !names.is_empty() && count(names, ".s.zst") == names.len());
    logger.check();
}

/// What a processor made of a file is compressed.
fn processor_comes_first(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut logger = Logger::new(&sandbox, "s2000\nn0\n!sed 's/^/processed /'\ncompress gzip\n");
    logger.write(1000);
    logger.wait_until_written();
    logger.wait_for("all are compressed", |names| names.len() >= 9 && count(names, ".s.gz") == names.len());
    let text = eventually("the files hold still", || all(&logger.dir));
    let lines: Vec<_> = text.lines().map(|line| line.strip_prefix("processed ").unwrap_or(line)).collect();
    assert!(text.starts_with("processed line"), "{text}");
    assert_eq!(lines.join("\n") + "\n", (0..logger.next).map(line).collect::<String>());
}

fn failing_processor_loses_nothing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    // It fails two times of three, after half of its output.
    let processor = "n=$(cat ../tries 2>/dev/null); n=$((n+1)); echo $n >../tries; head -c 500; [ $((n%3)) = 0 ] || exit 1; cat";
    let mut logger = Logger::new(&sandbox, &format!("s2000\nn0\n!{processor}\ncompress zstd\n"));
    logger.write(400);
    logger.wait_until_written();
    logger.wait_for("all are compressed", |names| names.len() >= 3 && count(names, ".s.zst") == names.len());
    logger.check();
}

/// "killed after the limit, retried at a growing pace; said once" for each try.
fn hanging_processor_is_killed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    // The first two that get so far hang. Where the machine is slow, the limit may meet others, before that or after.
    let processor =
        "echo $$ >>../tries; head -c 500; [ $(wc -l <../tries) -ge 3 ] || { sleep 1000 & sleep 1000; }; cat";
    let mut logger = Logger::new(&sandbox, &format!("s2000\nn0\n!{processor}\nkill-after 1s\n"));
    logger.write(101);
    logger.wait_for("it is processed", |names| names.len() == 1 && count(names, ".s") == 1);
    logger.check();
    // That is said after the file has its name.
    let is_said = |said: &String| said.contains(": processed: ");
    let said = eventually("all is said", || Some(logger.svlogd.stderr()).filter(is_said));
    let tries: Vec<_> = said.split(": processing: ").skip(1).collect();
    let (last, killed) = tries.split_last().unwrap();
    assert!(killed.len() >= 2 && !last.contains("warning: "), "{said}");
    for try_ in killed {
        assert_eq!(try_.matches("warning: ").count(), 1, "{said}");
        assert_eq!(try_.matches("warning: processor takes too long, restart: ").count(), 1, "{said}");
    }
    // What they had started is gone with them: of their groups, orphans are ours to reap.
    for leader in fs::read_to_string(sandbox.join("tries")).unwrap().lines() {
        let group = Pid::from_raw(-leader.parse::<i32>().unwrap());
        let wait = || waitpid(group, Some(WaitPidFlag::WNOHANG));
        eventually("no process is left", || (wait() == Err(Errno::ECHILD)).then_some(()));
    }
    eventually("no child is left", || children(logger.svlogd.pid()).is_empty().then_some(()));
}

/// One after the other, for several files.
fn each_try_that_hangs_is_killed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let processor = "echo x >>../tries; [ $(($(grep -c x ../tries) % 2)) = 0 ] || sleep 1000; cat";
    let mut logger = Logger::new(&sandbox, &format!("s2000\nn0\n!{processor}\nkill-after 1s\n"));
    logger.write(301);
    logger.wait_for("all are processed", |names| names.len() == 3 && count(names, ".s") == 3);
    logger.check();
    // That is said after the file has its name.
    let said = || Some(logger.svlogd.stderr()).filter(|said| said.matches(": processed: ").count() >= 3);
    let said = eventually("all is said", said);
    assert!(said.matches("processor takes too long").count() >= 3, "{said}");
    for saved in old_files(&logger.dir) {
        let in_dir = |name: &str| logger.dir.join(name).display().to_string();
        let waiting = in_dir(&saved.replace(".s", ".u"));
        assert!(said.matches(&format!("svlogd: info: processing: {waiting}\n")).count() >= 2, "{said}");
        let processed = format!("svlogd: info: processed: {}\n", in_dir(&saved));
        assert_eq!(said.matches(&processed).count(), 1, "{said}");
    }
}

/// "Logging goes on until ten files wait for it and current is full; then it waits", without `kill-after` until somebody
/// helps.
fn hanging_processor_holds_the_log(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut logger = Logger::new(&sandbox, "s2000\nn0\n!exec sleep 1000\n");
    // Not more than the pipe holds, as nobody reads it.
    logger.write(1500);
    logger.wait_for("ten files wait", |names| count(names, ".u") == 10);
    let pauses = |logger: &Logger| logger.svlogd.stderr().matches("svlogd: pausing: ").count();
    eventually("it pauses", || (pauses(&logger) == 1).then_some(()));
    holds_for(Duration::from_secs(1), "said once", || {
        pauses(&logger) == 1 && count(&old_files(&logger.dir), ".u") == 10
    });

    fs::write(logger.dir.join("config"), "s2000\nn0\n!cat\n").unwrap();
    logger.svlogd.signal(Signal::SIGHUP);
    eventually("it goes on with current", || logger.svlogd.stderr().contains("append: ").then_some(()));
    let is_sleep =
        |pid: &Pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"sleep\x001000\0");
    let hanging = || children(logger.svlogd.pid()).into_iter().find(is_sleep);
    kill(eventually("it hangs", hanging), Signal::SIGKILL).unwrap();
    logger.wait_until_written();
    logger.wait_for("all are processed", |names| count(names, ".s") == names.len());
    logger.check();
}
