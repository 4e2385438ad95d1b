//! svlogd's regular expressions, and what it says of a config.

use std::fs::File;

use svkit_tests::{Case, Output, Sandbox, Subject, case};

pub(crate) const CASES: &[Case] = &[
    case!(expressions_and_patterns_in_one_order),
    case!(expressions_see_what_patterns_see),
    case!(expressions_are_bytes),
    case!(wrong_expression_is_passed_over),
    case!(check_names_file_line_and_column),
    case!(check_of_what_cannot_be_read),
    case!(config_that_is_no_file_is_no_config),
    case!(explain_names_the_rule),
    case!(checked_and_explained_while_it_runs),
];

fn svlogd(sandbox: &Sandbox, args: &[&str], input: &[u8]) -> Output {
    let input = sandbox.write("input", input);
    let mut command = sandbox.command("svlogd");
    sandbox.finish(command.args(args).stdin(File::open(input).unwrap()))
}

fn current(sandbox: &Sandbox) -> Vec<u8> {
    std::fs::read(sandbox.join("log/current")).unwrap()
}

/// "regular-expression forms of `+ - e E`, in the same ordered list, last match wins"
fn expressions_and_patterns_in_one_order(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write(
        "log/config",
        "drop ^(debug|trace)\\b\n+*keep me*\ndrop secret$\nkeep ^trace: id [0-9]{3}$\nalert (?i)panic\nE*quiet*\n",
    );
    let input = "debug: x\ndebugger\ndebug: keep me\nkeep me, secret\ntrace: id 123\ntrace: id 1234\nPanic\npanic quiet\n";
    let output = svlogd(&sandbox, &["log"], input.as_bytes());
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), "Panic\n"));
    let expected = "debugger\ndebug: keep me\ntrace: id 123\nPanic\npanic quiet\n";
    assert_eq!(String::from_utf8(current(&sandbox)).unwrap(), expected);
}

/// The first `-l` characters, after `-r`, without stamp and prefix.
fn expressions_see_what_patterns_see(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "p>\ndrop .\nkeep ^a_b\nkeep ^.{8}$\ndrop late\n");
    svlogd(&sandbox, &["-l8", "-b20", "-r_", "log"], b"a\tb\n12345678late\n1234567\nlate\n");
    assert_eq!(current(&sandbox), b">a_b\n>12345678late\n");
}

fn expressions_are_bytes(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "drop .\nkeep ^a.b$\nkeep \\xfe\nkeep \u{e9}\n");
    svlogd(&sandbox, &["log"], b"a\xffb\na\xc3\xa9b\nx\xfey\ncaf\xc3\xa9\nab\n");
    assert_eq!(current(&sandbox), b"a\xffb\na\xc3\xa9b\nx\xfey\ncaf\xc3\xa9\n");
}

/// "malformed means a warning naming file and line, and runit's behaviour"
fn wrong_expression_is_passed_over(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "drop b\ndrop a(\ndrop ((a{99}){99}){99}\n");
    let output = svlogd(&sandbox, &["log"], b"a\nb\n");
    assert_eq!((output.code, current(&sandbox)), (Some(0), b"a\n".to_vec()));
    let warnings: Vec<_> = output.stderr.lines().collect();
    assert_eq!(warnings.len(), 2, "{output:?}");
    assert!(
        warnings[0].starts_with("svlogd: warning: log/config:2:7: ")
            && warnings[0].contains("unclosed group")
    );
    assert!(
        warnings[1].starts_with("svlogd: warning: log/config:3:6: ")
            && warnings[1].contains("compiles to more")
    );
}

fn check_names_file_line_and_column(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for dir in ["good", "none", "bad", "worse"] {
        sandbox.mkdir(dir);
    }
    sandbox.write("good/config", "# all\ns10k\nkeep ^a\nformat json\nmode 0640\n");
    sandbox.write("bad/config", "s10\n\nkeep  a(b\nzebra\n");
    sandbox.write("worse/config", "rotate daily 25:00\nmode\n");
    let output = sandbox.run("svlogd", &["--check", "good", "none"]);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(0), "", ""));
    let output = sandbox.run("svlogd", &["--check", "good", "bad", "worse"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(1), ""));
    let lines: Vec<_> = output.stdout.lines().collect();
    let expected = [
        "bad/config:3:8: line ignored, regular expression: unclosed group: (b",
        "bad/config:4:1: unknown line: zebra",
        "worse/config:1:14: line ignored, expected HH:MM: 25:00",
        "worse/config:2:5: line ignored, expected an octal mode like 0640, with 0600 at least",
    ];
    assert_eq!(lines, expected);
}

fn check_of_what_cannot_be_read(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("bad");
    sandbox.mkdir("odd/config");
    sandbox.write("bad/config", "zebra\n");
    let output = sandbox.run("svlogd", &["--check", "absent", "odd", "bad"]);
    assert_eq!(output.code, Some(111));
    assert_eq!(output.stdout, "bad/config:1:1: unknown line: zebra\n", "the others are checked");
    let reasons: Vec<_> = output.stderr.lines().collect();
    assert_eq!(
        reasons,
        [
            "svlogd: warning: unable to read config: absent: No such file or directory",
            "svlogd: warning: unable to read config: odd: Is a directory"
        ]
    );
    let output = sandbox.run("svlogd", &["--explain", "absent"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""));
    let full = "svlogd: fatal: unable to write to standard output: No space left on device\n";
    for (output_to, told) in [(">/dev/full", full), ("| :", "")] {
        let script = format!("yes | head -n 100000 | svlogd --explain empty {output_to}");
        sandbox.mkdir("empty");
        assert_eq!(sandbox.run("sh", &["-c", &script]).stderr, told, "{output_to}");
        // More than a pipe holds.
        sandbox.write("empty/config", "x\n".repeat(10_000));
        let script = format!("svlogd --check empty {output_to}");
        assert_eq!(sandbox.run("sh", &["-c", &script]).stderr, told, "{output_to}");
        sandbox.write("empty/config", "");
    }
}

/// What comes out of a fifo is not waited for, and what does not come is not taken for an empty config.
fn config_that_is_no_file_is_no_config(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.run("mkfifo", &["log/config"]);
    let output = sandbox.run("svlogd", &["--check", "log"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), "log: config is no regular file\n"));
    let output = svlogd(&sandbox, &["log"], b"line\n");
    assert_eq!(output.code, Some(0));
    assert_eq!(output.stderr, "svlogd: warning: unable to read config: log: config is no regular file\n");
    assert_eq!(current(&sandbox), b"line\n");
}

fn explain_names_the_rule(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "# rules\n-*debug*\nkeep ^debug: [0-9]+$\nalert panic\n");
    let output = svlogd(&sandbox, &["--explain", "log"], b"hello\na debug\ndebug: 12\npanic\x1b[2J\nlast");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        output.stdout,
        "selected\t-\thello\n\
         deselected\t2: -*debug*\ta debug\n\
         selected\t3: keep ^debug: [0-9]+$\tdebug: 12\n\
         selected, alert\t4: alert panic\tpanic\\x1b[2J\n\
         selected\t-\tlast\n"
    );
    let output = svlogd(&sandbox, &["--explain", "-l5", "-rX", "log"], b"abcdefgh\n\x01\n");
    assert_eq!(output.stdout, "selected\t-\tabcde\nselected\t-\tX\n", "what is matched is shown");
}

/// Neither takes the lock or touches a file.
fn checked_and_explained_while_it_runs(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "drop x\n");
    let mut command = sandbox.command("svlogd");
    let mut running = sandbox.start(command.arg("log").stdin(std::process::Stdio::piped()));
    let input = running.stdin();
    svkit_tests::eventually("the log to be open", || dir.join("current").exists().then_some(()));
    assert_eq!(sandbox.run("svlogd", &["--check", "log"]).code, Some(0));
    assert_eq!(svlogd(&sandbox, &["--explain", "log"], b"x\n").stdout, "deselected\t1: drop x\tx\n");
    assert!(running.is_running());
    drop(input);
    assert_eq!((running.wait().code, current(&sandbox)), (Some(0), Vec::new()));
}
