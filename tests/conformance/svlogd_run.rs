//! Signals, locks, UDP, a full disk, exit codes.

use std::fs::{self, Permissions, set_permissions};
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::process::{ChildStdin, Stdio};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use nix::unistd::pipe2;
use svkit_tests::{Case, Running, Sandbox, Subject, case, eventually, mask_stamps};

use crate::svlogd_write::{current, log, quietly};

pub(crate) const CASES: &[Case] = &[
    case!(lines_are_written_at_once),
    case!(term_exits_0),
    case!(term_finishes_the_line),
    case!(hup_reads_the_config_again),
    case!(hup_without_any_directory_left_is_fatal),
    case!(hup_takes_up_a_directory_again),
    case!(locked_directory_is_skipped),
    case!(lock_is_held),
    case!(missing_directories_are_skipped),
    case!(no_directory_is_fatal),
    case!(verbose_tells_what_it_does),
    case!(config_that_cannot_be_read_is_passed_over),
    case!(config_odd_lines_are_passed_over),
    case!(config_with_settings_of_svkit_is_read_by_both),
    case!(u_sends_and_writes),
    case!(capital_u_sends_only),
    case!(udp_address_must_be_one),
    case!(full_disk_deletes_the_oldest).root(),
    case!(full_disk_waits).root(),
    case!(exits_111_on_wrong_usage),
    case!(zero_lengths_mean_the_default),
    case!(version_is_a_usage_error),
];

fn start(sandbox: &Sandbox, args: &[&str]) -> (Running, ChildStdin) {
    let mut svlogd = sandbox.start(sandbox.command("svlogd").args(args).stdin(Stdio::piped()));
    let input = svlogd.stdin();
    (svlogd, input)
}

fn wait_current(sandbox: &Sandbox, dir: &str, text: &str) {
    eventually(&format!("{text:?} in {dir}/current"), || (current(sandbox, dir) == text).then_some(()));
}

/// A log is for looking at: a line is in `current` when nothing more is there to read. Not in the man page: runit 2.3.0
/// does so.
fn lines_are_written_at_once(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    let (_svlogd, mut input) = start(&sandbox, &["-b", "65536", "log"]);
    input.write_all(b"one\n").unwrap();
    wait_current(&sandbox, "log", "one\n");
    let mode = fs::metadata(sandbox.join("log/current")).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o644, "open, so not executable");
    input.write_all(b"two\nthree\n").unwrap();
    wait_current(&sandbox, "log", "one\ntwo\nthree\n");
}

/// "If svlogd is sent a TERM signal, … it stops reading standard input, processes the data in the buffer, … and exits 0 as
/// soon as possible." svlogd(8)
fn term_exits_0(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    let (mut svlogd, mut input) = start(&sandbox, &["log"]);
    input.write_all(b"one\n").unwrap();
    wait_current(&sandbox, "log", "one\n");
    svlogd.signal(Signal::SIGTERM);
    let output = svlogd.wait();
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert_eq!(fs::metadata(sandbox.join("log/current")).unwrap().permissions().mode() & 0o7777, 0o744);
}

/// A line that has begun is read to its end. svkit waits for that no longer than a second: one of several attempts
/// finds it waiting. Not in the man page: runit 2.3.0 reads on to the newline.
fn term_finishes_the_line(subject: &Subject) {
    let waits_for_the_end = |_| {
        let sandbox = Sandbox::new(subject);
        sandbox.mkdir("log");
        // With a reading end of its own the test can write to a svlogd that is gone.
        let (output, input) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut input = fs::File::from(input);
        let mut command = sandbox.command("svlogd");
        let mut svlogd = sandbox.start(command.args(["-v", "log"]).stdin(output.try_clone().unwrap()));
        // Written at once, so seen at once.
        input.write_all(b"one\ntw").unwrap();
        wait_current(&sandbox, "log", "one\n");
        svlogd.signal(Signal::SIGTERM);
        eventually("the signal is seen", || svlogd.stderr().contains("sigterm received").then_some(()));
        let waits = svlogd.is_running();
        // What follows the newline stays for the next svlogd.
        input.write_all(b"o\nthree\n").unwrap();
        assert_eq!(svlogd.wait().code, Some(0));
        let text = current(&sandbox, "log");
        assert!(text.starts_with("one\n") && !text.contains("three"), "{text:?}");
        waits
    };
    assert!((0..8).any(waits_for_the_end));
}

/// "If svlogd is sent a HUP signal, it closes and reopens all logs, and updates their configuration according to
/// log/config." svlogd(8)
fn hup_reads_the_config_again(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "pold: \n");
    let (mut svlogd, mut input) = start(&sandbox, &["log"]);
    input.write_all(b"one\n").unwrap();
    wait_current(&sandbox, "log", "old: one\n");
    sandbox.write("log/config", "pnew: \n-three\n");
    svlogd.signal(Signal::SIGHUP);
    eventually("the new config", || {
        input.write_all(b"two\nthree\n").unwrap();
        current(&sandbox, "log").contains("new: two\n").then_some(())
    });
    assert!(!current(&sandbox, "log").contains("new: three"));
    drop(input);
    assert_eq!(svlogd.wait().code, Some(0));
}

/// "If svlogd is unable to open all log directories given at the command line, it exits with an error." svlogd(8)
fn hup_without_any_directory_left_is_fatal(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    let (mut svlogd, mut input) = start(&sandbox, &["log"]);
    input.write_all(b"one\n").unwrap();
    wait_current(&sandbox, "log", "one\n");
    fs::rename(dir, sandbox.join("moved")).unwrap();
    svlogd.signal(Signal::SIGHUP);
    let output = svlogd.wait();
    assert_eq!(output.code, Some(111));
    assert!(output.stderr.starts_with("svlogd: warning: unable to open log directory: log: "), "{output:?}");
    assert!(output.stderr.ends_with("svlogd: fatal: no functional log directories.\n"), "{output:?}");
}

/// "If svlogd has trouble opening a log directory, it prints a warning, and discards this log directory." svlogd(8): until
/// the next HUP.
fn hup_takes_up_a_directory_again(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("a");
    let (svlogd, mut input) = start(&sandbox, &["a", "b"]);
    input.write_all(b"one\n").unwrap();
    wait_current(&sandbox, "a", "one\n");
    assert!(svlogd.stderr().starts_with("svlogd: warning: unable to open log directory: b: "));
    sandbox.mkdir("b");
    svlogd.signal(Signal::SIGHUP);
    eventually("b is taken up", || sandbox.join("b/current").exists().then_some(()));
    input.write_all(b"two\n").unwrap();
    wait_current(&sandbox, "a", "one\ntwo\n");
    wait_current(&sandbox, "b", "two\n");
}

/// "If svlogd has trouble opening a log directory, it prints a warning, and ignores this log directory." svlogd(8): one
/// directory has one svlogd.
fn locked_directory_is_skipped(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("a");
    sandbox.mkdir("b");
    let (_first, mut input) = start(&sandbox, &["a"]);
    input.write_all(b"one\n").unwrap();
    wait_current(&sandbox, "a", "one\n");
    let output = log(&sandbox, &["a", "b"], "two\n");
    assert_eq!(output.code, Some(0));
    assert!(output.stderr.starts_with("svlogd: warning: unable to lock directory: a: "), "{output:?}");
    assert_eq!((current(&sandbox, "a").as_str(), current(&sandbox, "b").as_str()), ("one\n", "two\n"));
    let output = log(&sandbox, &["a"], "three\n");
    assert_eq!(output.code, Some(111));
    assert!(output.stderr.ends_with("svlogd: fatal: no functional log directories.\n"), "{output:?}");
}

/// "A log directory additionally contains the lock file lock" svlogd(8)
fn lock_is_held(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    let (_svlogd, mut input) = start(&sandbox, &["log"]);
    input.write_all(b"one\n").unwrap();
    wait_current(&sandbox, "log", "one\n");
    assert_eq!(sandbox.run("chpst", &["-L", "log/lock", "true"]).code, Some(111));
}

/// "If svlogd has trouble opening a log directory, it prints a warning, and ignores this log directory." svlogd(8)
fn missing_directories_are_skipped(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("file", "");
    let output = log(&sandbox, &["nonexistent", "log", "file"], "one\n");
    assert_eq!(output.code, Some(0));
    let lines: Vec<_> = output.stderr.lines().collect();
    assert!(
        lines[0].starts_with("svlogd: warning: unable to open log directory: nonexistent: "),
        "{output:?}"
    );
    assert!(
        lines[1].starts_with("svlogd: warning: unable to ") && lines[1].contains(": file: "),
        "{output:?}"
    );
    assert_eq!(lines.len(), 2);
    assert_eq!(current(&sandbox, "log"), "one\n");
}

/// "If svlogd is unable to open all log directories given at the command line, it exits with an error." svlogd(8)
fn no_directory_is_fatal(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = log(&sandbox, &["one", "two", ""], "line\n");
    assert_eq!(output.code, Some(111));
    let lines: Vec<_> = output.stderr.lines().collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[3], "svlogd: fatal: no functional log directories.");
}

/// "-v verbose. Print verbose messages to standard error." svlogd(8)
fn verbose_tells_what_it_does(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "s15\nn1\n");
    let output = log(&sandbox, &["-v", "-l", "5", "-b", "20", "log"], "line number 1\nline number 2\n");
    assert_eq!(
        mask_stamps(&output.stderr),
        "svlogd: info: read: log/config\nsvlogd: info: new: log/current\n\
         svlogd: info: rename: log/current @STAMP.s 14\nsvlogd: info: rename: log/current @STAMP.s 14\n\
         svlogd: info: delete: log/@STAMP.s\nsvlogd: info: close: log\n"
    );
    let output = log(&sandbox, &["-v", "-l", "5", "-b", "20", "log"], "");
    assert_eq!(output.stderr.lines().nth(1), Some("svlogd: info: append: log/current"));
}

/// "optionally the file config" svlogd(8)
fn config_that_cannot_be_read_is_passed_over(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log/config");
    let output = log(&sandbox, &["log"], "one\n");
    assert_eq!(output.code, Some(0));
    assert!(output.stderr.starts_with("svlogd: warning: unable to read config: log: "), "{output:?}");
    assert_eq!(current(&sandbox, "log"), "one\n");
}

/// "If the line is empty, or starts with a ``#'', it is ignored." svlogd(8). A last line needs no newline, and absurd
/// numbers no crash.
fn config_odd_lines_are_passed_over(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for (count, config) in
        ["#x\n\n\n# y\n-no", "n99999999999999999999\nN\ns\nt\n-no\n", "!\np\n-no\n"].iter().enumerate()
    {
        let dir = format!("log{count}");
        sandbox.mkdir(&dir);
        sandbox.write(format!("{dir}/config"), config);
        let output = log(&sandbox, &[&dir], "yes\nno\n");
        assert_eq!((output.code, output.stdout.as_str()), (Some(0), ""), "{config:?}: {output:?}");
        assert_eq!(current(&sandbox, &dir), "yes\n", "{config:?}");
    }
}

/// Lines that runit has no letter for are not its business: what svkit adds may stand among runit's lines. Not in the
/// man page: runit 2.3.0 passes over them.
fn config_with_settings_of_svkit_is_read_by_both(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    let config = "max-age 30d\np> \nmax-total 2g\n-*debug*\nalert ^never$\nlimit 1000/s\n+*keep*\nquiet .\n";
    sandbox.write("log/config", config);
    quietly(&sandbox, &["log"], "one\ndebug\ndebug, keep\n");
    assert_eq!(current(&sandbox, "log"), "> one\n> debug, keep\n");
}

fn receiver() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

fn receive(socket: &UdpSocket) -> String {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// "ua.b.c.d[:port] tells svlogd to transmit the first len characters of selected log messages to the IP address a.b.c.d,
/// port number port." svlogd(8)
fn u_sends_and_writes(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let (socket, address) = receiver();
    sandbox.mkdir("log");
    sandbox.write("log/config", format!("u{address}\n-no*\npweb: \n"));
    let output = log(&sandbox, &["-tt", "-l", "5", "-b", "10", "log"], "one\nno\n12345678\n");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert_eq!(mask_stamps(&receive(&socket)), "DATE_TIME web: one\n");
    assert_eq!(mask_stamps(&receive(&socket)), "DATE_TIME web: 12345...\n");
    assert_eq!(mask_stamps(&current(&sandbox, "log")), "DATE_TIME web: one\nDATE_TIME web: 12345678\n");
}

/// "Ua.b.c.d[:port] is the same as the u line above, but the log messages are no longer written to the log directory, but
/// transmitted through udp only." svlogd(8)
fn capital_u_sends_only(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let (socket, address) = receiver();
    sandbox.mkdir("log");
    sandbox.write("log/config", format!("U{address}\n"));
    log(&sandbox, &["log"], "one\n");
    assert_eq!(receive(&socket), "one\n");
    assert_eq!(current(&sandbox, "log"), "");
}

/// "ua.b.c.d[:port]" svlogd(8): an address that is none is said, and not used. What another line does is not in the man
/// page: runit 2.3.0 warns.
fn udp_address_must_be_one(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "ulocalhost\nu127.0.0.1:x\n");
    let output = log(&sandbox, &["log"], "one\n");
    assert_eq!(output.code, Some(0));
    let lines: Vec<_> = output.stderr.lines().collect();
    assert!(lines[0].starts_with("svlogd: warning: ") && lines[0].contains("unable to scan ip address"));
    assert!(lines[0].contains("localhost"), "{output:?}");
    assert_eq!(current(&sandbox, "log"), "one\n");
}

/// A small file system, unmounted when dropped.
struct SmallDisk<'a>(&'a Sandbox);

impl<'a> SmallDisk<'a> {
    fn new(sandbox: &'a Sandbox) -> Self {
        let dir = sandbox.mkdir("disk");
        mount(Some("svkit"), &dir, Some("tmpfs"), MsFlags::empty(), Some("size=64k")).unwrap();
        fs::create_dir(dir.join("log")).unwrap();
        Self(sandbox)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Whatever still uses it is killed with the sandbox.
        let _ = umount2(&self.0.join("disk"), MntFlags::MNT_DETACH);
    }
}

/// "Nmin sets the minimum number of old log files svlogd should maintain to min. … If min is set, and svlogd cannot write
/// to current because the filesystem is full, and it sees more than min old log files, it deletes the oldest one." svlogd(8)
fn full_disk_deletes_the_oldest(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let _disk = SmallDisk::new(&sandbox);
    sandbox.write("disk/log/config", "s8192\nn100\nN2\n");
    let line = "x".repeat(63) + "\n";
    let output = log(&sandbox, &["disk/log"], line.repeat(4000));
    assert_eq!(output.code, Some(0));
    assert!(output.stderr.contains("svlogd: warning: out of disk space, delete: disk/log/@"), "{output:?}");
    let files = fs::read_dir(sandbox.join("disk/log")).unwrap();
    let old =
        files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with('@')).count();
    assert!((2..=8).contains(&old), "{old} old files");
    let current = current(&sandbox, "disk/log");
    assert!(current.lines().all(|line| line.len() == 63), "no line is broken");
}

/// Without anything to delete svlogd waits for room, and goes on. Not in the man page: runit 2.3.0 waits.
fn full_disk_waits(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let _disk = SmallDisk::new(&sandbox);
    sandbox.write("disk/ballast", vec![0; 40_000]);
    let line = "x".repeat(63) + "\n";
    let (mut svlogd, mut input) = start(&sandbox, &["disk/log"]);
    let text = line.repeat(700);
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    eventually("pausing", || {
        svlogd.stderr().contains("svlogd: pausing: unable to write to current: disk/log: ").then_some(())
    });
    assert!(svlogd.is_running());
    fs::remove_file(sandbox.join("disk/ballast")).unwrap();
    assert_eq!(svlogd.wait().code, Some(0));
    assert!(current(&sandbox, "disk/log") == text, "nothing is lost");
}

/// "[-tttv] [-r c] [-R xyz] [-l len] [-b buflen] logs" "buflen must be greater than len." svlogd(8)
fn exits_111_on_wrong_usage(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let log_dir = sandbox.mkdir("log");
    set_permissions(log_dir, Permissions::from_mode(0o755)).unwrap();
    let wrong: [&[&str]; 10] = [
        &[],
        &["-t"],
        &["-z", "log"],
        &["-l"],
        &["-l", "1024", "log"],
        &["-b", "1000", "log"],
        &["-l", "50", "-b", "50", "log"],
        &["-r", "", "log"],
        &["-r", "ab", "log"],
        &["-b10", "log"],
    ];
    for args in wrong {
        let output = sandbox.run("svlogd", args);
        assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""), "{args:?}");
        assert!(output.stderr.to_lowercase().contains("usage: svlogd "), "{args:?}: {output:?}");
    }
    assert!(!sandbox.join("log/lock").exists());
}

/// `-l 0` and `-b 0` are 1000 and 1024. Not in the man page: runit 2.3.0 does so.
fn zero_lengths_mean_the_default(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "e*\n");
    let output = log(&sandbox, &["-l", "0", "-b", "0", "log"], "x".repeat(1001) + "\n");
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.stderr, "x".repeat(1000) + "...\n");
    assert_eq!(sandbox.run("svlogd", &["-l", "1024", "-b", "0", "log"]).code, Some(111));
}

/// `-V` prints a version, then the usage. Not in the man page: runit 2.3.0 does so.
fn version_is_a_usage_error(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = sandbox.run("svlogd", &["-V"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""));
    assert!(output.stderr.lines().count() >= 2, "{output:?}");
    assert!(output.stderr.to_lowercase().contains("usage: svlogd "), "{output:?}");
}
