//! Two svlogds on one log directory.

use std::fs::{self, File};
use std::process::Stdio;

use svkit_tests::{Case, Sandbox, Subject, case, eventually};

pub(crate) const CASES: &[Case] = &[
    case!(taking_turns_on_one_directory).needs(&["svlogd"]),
    case!(excluding_each_other).needs(&["svlogd"]),
    case!(runit_skips_settings_of_ours).needs(&["svlogd"]),
];

fn runit() -> Subject {
    Subject::installed_runit().expect("svlogd is in PATH, with the others")
}

/// Whoever comes next goes on where the other stopped: the same `current`, names, state and order.
fn taking_turns_on_one_directory(ours: &Subject) {
    let runit = runit();
    let sandbox = Sandbox::new(ours);
    let dir = sandbox.mkdir("log");
    let processor = "cat; read n <&4; echo \"end $((n+1))\"; echo $((n+1)) >&5";
    sandbox.write("log/config", format!("s60\nn0\n!{processor}\n"));
    let mut expected = String::new();
    for turn in 0..6 {
        let subject = if turn % 2 == 0 { &runit } else { ours };
        let text: String = (0..4).map(|line| format!("turn {turn} line number {line}\n")).collect();
        expected.push_str(&text);
        let input = sandbox.write("input", &text);
        let mut command = sandbox.command(subject.program("svlogd"));
        command.args(["-l", "30", "-b", "40", "log"]).stdin(File::open(input).unwrap());
        let output = sandbox.finish(&mut command);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "turn {turn}");
    }
    let mut names: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('@'))
        .collect();
    names.sort();
    assert!(names.iter().all(|name| name.len() == 27 && name.ends_with(".s")), "{names:?}");
    let mut found = String::new();
    for (count, name) in names.iter().enumerate() {
        let text = fs::read_to_string(dir.join(name)).unwrap();
        let (lines, end) = text.split_once("end ").expect("the processor's line");
        assert_eq!(end, format!("{}\n", count + 1), "the state is handed on");
        found.push_str(lines);
    }
    found.push_str(&fs::read_to_string(dir.join("current")).unwrap());
    assert_eq!(found, expected);
}

/// The lock is the same.
fn excluding_each_other(ours: &Subject) {
    let runit = runit();
    let sandbox = Sandbox::new(ours);
    let dir = sandbox.mkdir("log");
    for (first, second) in [(&runit, ours), (ours, &runit)] {
        let mut command = sandbox.command(first.program("svlogd"));
        let mut svlogd = sandbox.start(command.arg("log").stdin(Stdio::piped()));
        let mut input = svlogd.stdin();
        std::io::Write::write_all(&mut input, b"line\n").unwrap();
        eventually("the line", || fs::read(dir.join("current")).ok()?.ends_with(b"line\n").then_some(()));
        let output = sandbox.finish(sandbox.command(second.program("svlogd")).arg("log"));
        assert_eq!(output.code, Some(111));
        assert!(output.stderr.starts_with("svlogd: warning: unable to lock directory"), "{output:?}");
        drop(input);
        assert_eq!(svlogd.wait().code, Some(0));
        fs::remove_file(dir.join("current")).unwrap();
    }
}

/// "runit skips lines that begin with any other letter, so ours do, and a downgrade still reads the file."
fn runit_skips_settings_of_ours(ours: &Subject) {
    let settings = "keep no\ndrop yes\nalert .\nquiet x\ncompress zstd 3\nrotate daily 00:00 local\nmax-age 30d\n\
        max-total 2g\nformat json ms\nmode 0640\nlimit 1/s burst 1\nforward syslog+udp://127.0.0.1:1 local0.err tag\n\
        fsync 5\nkill-after 60s\nclean escape\n";
    let sandbox = Sandbox::new(ours);
    sandbox.mkdir("log");
    sandbox.write("log/config", settings);
    let check = sandbox.run("svlogd", &["--check", "log"]);
    assert_eq!((check.code, check.stdout.as_str()), (Some(0), ""), "each is a setting of ours");
    let words = settings.lines();
    let between: String = ["s100", "n3", "p> ", "-no*"].iter().map(|line| format!("{line}\n")).collect();
    let mixed: String =
        words.clone().chain(between.lines()).chain(words).map(|line| format!("{line}\n")).collect();
    sandbox.write("log/config", mixed);
    let input = sandbox.write("input", "no 1\nyes 1\nno 2\nyes 2\n");
    let mut command = sandbox.command(runit().program("svlogd"));
    let output = sandbox.finish(command.arg("log").stdin(File::open(input).unwrap()));
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(0), "", ""));
    assert_eq!(fs::read_to_string(sandbox.join("log/current")).unwrap(), "> yes 1\n> yes 2\n");
}
