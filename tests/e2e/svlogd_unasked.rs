//! What svlogd does as time goes on, while no line comes; and what of a line goes where.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use svkit_tests::{Case, Sandbox, Subject, case, eventually};

pub(crate) const CASES: &[Case] = &[
    case!(wall_clock_rotates),
    case!(lines_are_in_the_file_of_their_time),
    case!(files_become_too_old),
    case!(files_of_a_wrong_clock_become_too_old),
    case!(total_is_kept_as_current_grows),
    case!(suppressed_lines_are_told),
    case!(each_directory_has_its_format),
    case!(hangup_reads_the_time_zone_again).root().needs(&["unshare"]),
    case!(alerts_are_cleaned),
    case!(object_is_a_line_after_hangup),
];

const DAY: i64 = 86_400;

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn current(dir: &Path) -> String {
    fs::read_to_string(dir.join("current")).unwrap_or_default()
}

fn old_files(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with('@')).collect();
    names.sort();
    names
}

/// A time zone (POSIX's TZ) in which it is midnight at `time`.
fn zone_of_midnight(time: i64) -> String {
    let behind = time.rem_euclid(DAY);
    let (sign, offset) = if behind > DAY / 2 { ('-', DAY - behind) } else { ('+', behind) };
    format!("XXX{sign}{}:{:02}:{:02}", offset / 3600, offset / 60 % 60, offset % 60)
}

/// "Rotate on the wall clock", in local time.
fn wall_clock_rotates(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "rotate daily 00:00 local\nn0\n");
    loop {
        let midnight = now().as_secs() as i64 + 3;
        let mut command = sandbox.command("svlogd");
        command.args(["-v", "log"]).env("TZ", zone_of_midnight(midnight)).stdin(Stdio::piped());
        let mut svlogd = sandbox.start(&mut command);
        let mut input = svlogd.stdin();
        input.write_all(b"yesterday\n").unwrap();
        eventually("the line is written", || current(&dir).ends_with("yesterday\n").then_some(()));
        if now().as_secs() as i64 >= midnight - 1 {
            // This machine is busy: midnight was too near.
            continue;
        }
        let before = old_files(&dir).len();
        eventually("midnight", || (old_files(&dir).len() > before).then_some(()));
        let reason = "svlogd: info: rotate: log/current the time\n";
        eventually("the reason", || svlogd.stderr().contains(reason).then_some(()));
        assert!(now().as_secs() as i64 >= midnight);
        input.write_all(b"today\n").unwrap();
        drop(input);
        assert_eq!((svlogd.wait().code, current(&dir).as_str()), (Some(0), "today\n"));
        break;
    }
}

/// What comes while the clock strikes is in the file of the time in its stamp, the directory's or the command line's.
fn lines_are_in_the_file_of_their_time(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dirs = ["own", "given"].map(|name| sandbox.mkdir(name));
    for (name, format) in [("own", "format tai64n\n"), ("given", "")] {
        sandbox.write(format!("{name}/config"), format!("s0\nn0\nrotate daily 00:00 local\n{format}"));
    }
    let midnight = loop {
        let midnight = now().as_secs() as i64 + 3;
        let mut command = sandbox.command("svlogd");
        command.args(["-t", "own", "given"]).env("TZ", zone_of_midnight(midnight)).stdin(Stdio::piped());
        let mut svlogd = sandbox.start(&mut command);
        let mut input = svlogd.stdin();
        input.write_all(b"yesterday\n").unwrap();
        eventually("a line", || dirs.iter().all(|dir| current(dir).contains("yesterday")).then_some(()));
        let near = Duration::from_millis(50);
        let midnight_came = Duration::from_secs(midnight as u64);
        let Some(time_left) = midnight_came.checked_sub(now() + near) else {
            // This machine is busy: midnight was too near.
            continue;
        };
        thread::sleep(time_left);
        while now() < midnight_came + near {
            input.write_all(&b"x\n".repeat(10)).unwrap();
        }
        drop(input);
        assert_eq!(svlogd.wait().code, Some(0));
        break midnight;
    };
    let label = format!("@{:016x}00000000", (1 << 62) + 10 + midnight);
    for dir in dirs {
        let read = |file: String| fs::read_to_string(dir.join(file)).unwrap();
        let old: String = old_files(&dir).into_iter().map(read).collect();
        assert_eq!(old.lines().find(|&line| line >= label.as_str()), None, "{label}, {}", dir.display());
        let current = current(&dir);
        assert_eq!(current.lines().find(|&line| line < label.as_str()), None, "{label}, {}", dir.display());
        assert!(!old.is_empty() && !current.is_empty());
    }
}

/// "Delete old files once the time in their names is so long ago, also while nothing is logged."
fn files_become_too_old(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "max-age 1h\nn0\n");
    let seconds = now().as_secs() - 3600;
    let name = |seconds: u64| format!("@{:016x}00000000.s", (1 << 62) + 10 + seconds);
    for seconds in [seconds - 60, seconds + 5, seconds + 1800] {
        sandbox.write(dir.join(name(seconds)), "old\n");
    }
    let mut command = sandbox.command("svlogd");
    let mut svlogd = sandbox.start(command.arg("log").stdin(Stdio::piped()));
    let input = svlogd.stdin();
    eventually("the second file to be too old", || (old_files(&dir) == [name(seconds + 1800)]).then_some(()));
    assert!(now().as_secs() >= seconds + 5 + 3600, "not before its time");
    drop(input);
    assert_eq!(svlogd.wait().code, Some(0));
}

/// "A file with a name in the future […] counts from when it was last written".
fn files_of_a_wrong_clock_become_too_old(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "max-age 1h\nn0\n");
    let name =
        |minutes: u64| format!("@{:016x}00000000.s", (1 << 62) + 10 + now().as_secs() + 86400 + minutes);
    let ages = [70, 50];
    let names = ages.map(|minutes| name(100 - minutes));
    for (name, minutes) in names.iter().zip(ages) {
        sandbox.write(dir.join(name), "old\n");
        let file = fs::File::options().write(true).open(dir.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60 * minutes)).unwrap();
    }
    assert_eq!(sandbox.run("svlogd", &["log"]).code, Some(0));
    assert_eq!(old_files(&dir), names[1..]);
}

/// "Delete the oldest files while they and current have more bytes together", not only at a rotation.
fn total_is_kept_as_current_grows(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "s3000\nn0\nmax-total 4000\n");
    let mut command = sandbox.command("svlogd");
    let mut svlogd = sandbox.start(command.args(["-l100", "log"]).stdin(Stdio::piped()));
    let mut input = svlogd.stdin();
    let line = format!("{}\n", "x".repeat(99));
    let mut write = |count| input.write_all(line.repeat(count).as_bytes()).unwrap();
    write(35);
    eventually("an old file and a current", || (current(&dir).len() == 600).then_some(()));
    assert_eq!(old_files(&dir).len(), 1);
    write(5);
    eventually("all that there is room for", || (current(&dir).len() == 1100).then_some(()));
    assert_eq!(old_files(&dir).len(), 1);
    write(1);
    eventually("the old file to go", || old_files(&dir).is_empty().then_some(()));
    assert_eq!(current(&dir).len(), 1200);
}

/// "within a second the line "N lines suppressed" follows", though no other line does.
fn suppressed_lines_are_told(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "limit 1/s burst 2\nformat none\n");
    let mut command = sandbox.command("svlogd");
    let mut svlogd = sandbox.start(command.args(["-ttt", "log"]).stdin(Stdio::piped()));
    let mut input = svlogd.stdin();
    input.write_all(&b"flood\n".repeat(5000)).unwrap();
    let counted = |text: &str| {
        let told =
            text.lines().filter_map(|line| line.strip_suffix(" lines suppressed")?.parse::<usize>().ok());
        told.sum::<usize>() + text.lines().filter(|&line| line == "flood").count()
    };
    eventually("each line to be counted", || (counted(&current(&dir)) == 5000).then_some(()));
    drop(input);
}

fn each_directory_has_its_format(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for (dir, config) in [
        ("web/log/plain", "format none\n"),
        ("web/log/json", "format json ms\np> \n"),
        ("web/log/local", "format rfc3339-local ms\nclean escape\n"),
        ("web/log/given", "s50\n"),
    ] {
        sandbox.mkdir(dir);
        sandbox.write(format!("{dir}/config"), config);
    }
    let input = sandbox.write("input", "a\u{1b}\n");
    let mut command = sandbox.command("svlogd");
    command.args(["-tt", "plain", "json", "local", "given"]).env("TZ", "XXX-5:30");
    command.current_dir(sandbox.join("web/log")).stdin(fs::File::open(input).unwrap());
    assert_eq!(sandbox.finish(&mut command).code, Some(0));
    let log = |dir: &str| current(&sandbox.join("web/log").join(dir));
    assert_eq!(log("plain"), "a\u{1b}\n");
    assert_eq!(log("json")[33..], *"\",\"service\":\"web\",\"message\":\"> a\\u001b\"}\n", "{}", log("json"));
    assert_eq!(log("local")[23..], *"+05:30 a\\x1b\n");
    assert_eq!(log("given")[25..], *" a\u{1b}\n");
}

/// A time zone (tzfile(5)) that is always so many hours ahead of UTC.
fn zone_file(hours: u8) -> Vec<u8> {
    let counts = [0_u32, 0, 0, 0, 1, 4].map(u32::to_be_bytes).concat();
    let offset = (u32::from(hours) * 3600).to_be_bytes();
    [b"TZif", &[0; 16][..], &counts, &offset, &[0, 0], b"XXX\0"].concat()
}

/// "After a change of the machine's time zone, send HUP."
fn hangup_reads_the_time_zone_again(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "format rfc3339-local\n");
    sandbox.write("zone", zone_file(3));
    let script = "mount --bind zone /etc/localtime && exec svlogd log";
    let mut command = sandbox.command("unshare");
    command.args(["--mount", "sh", "-c", script]).env_remove("TZ").stdin(Stdio::piped());
    let mut svlogd = sandbox.start(&mut command);
    let mut input = svlogd.stdin();
    input.write_all(b"before\n").unwrap();
    eventually("a line", || current(&dir).ends_with("+03:00 before\n").then_some(()));
    sandbox.write("zone", zone_file(5));
    let zone = fs::File::options().write(true).open(sandbox.join("zone")).unwrap();
    zone.set_modified(SystemTime::now() + Duration::from_secs(2)).unwrap();
    svlogd.signal(Signal::SIGHUP);
    eventually("the hangup", || {
        input.write_all(b"after\n").unwrap();
        current(&dir).ends_with("+05:00 after\n").then_some(())
    });
}

/// Terminal escapes do not reach an operator's terminal through standard error either.
fn alerts_are_cleaned(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "clean escape\nalert .\n");
    let input = sandbox.write("input", "\u{1b}[2J\u{9b}1m\n");
    let mut command = sandbox.command("svlogd");
    let output = sandbox.finish(command.arg("log").stdin(fs::File::open(input).unwrap()));
    assert_eq!(output.stderr, "\\x1b[2J\\u009b1m\n");
}

/// A HUP signal amid a line so long that svlogd does not wait for its end, whose beginning is not JSON.
fn object_is_a_line_after_hangup(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    let mut command = sandbox.command("svlogd");
    let mut svlogd = sandbox.start(command.args(["-v", "-l10", "-b20", "log"]).stdin(Stdio::piped()));
    let mut input = svlogd.stdin();
    // As much as svlogd looks at at once.
    let beginning = "0123456789abcdef".repeat(8 << 10);
    input.write_all(beginning.as_bytes()).unwrap();
    eventually("the beginning", || (current(&dir) == beginning).then_some(()));
    sandbox.write("log/config", "format json\n");
    svlogd.signal(Signal::SIGHUP);
    eventually("the config", || svlogd.stderr().contains("read: log/config").then_some(()));
    input.write_all(b" end\nnext\n").unwrap();
    drop(input);
    assert_eq!(svlogd.wait().code, Some(0));
    let text = current(&dir);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, beginning.as_str()));
    assert!(lines[1..].iter().all(|line| line.starts_with("{\"time\":")), "{text}");
}
