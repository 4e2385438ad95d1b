//! Options, exit codes, starting the program.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;

use svkit_tests::{Case, Sandbox, Subject, case};

pub(crate) const CASES: &[Case] = &[
    case!(exits_100_on_wrong_usage),
    case!(version_is_a_usage_error),
    case!(exit_code_is_that_of_the_program),
    case!(program_replaces_chpst),
    case!(options_end_at_the_program),
    case!(options_may_be_clustered),
    case!(program_that_cannot_be_started),
    case!(script_without_interpreter_line_is_not_run),
    case!(program_is_searched_in_path),
    case!(arguments_pass_unchanged),
];

/// "chpst exits 100 when called with wrong options." chpst(8)
fn exits_100_on_wrong_usage(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for args in
        [&[][..], &["-v"], &["-u"], &["-u", "nobody"], &["-z", "true"], &["-vz", "true"], &["-n"], &["--"]]
    {
        let output = sandbox.run("chpst", args);
        assert_eq!((output.code, output.stdout.as_str()), (Some(100), ""), "{args:?}");
        assert!(output.stderr.to_lowercase().contains("usage: chpst "), "{args:?}: {output:?}");
    }
}

/// "-V version string. Print a version string to standard error." chpst(8): then the usage, and 100.
fn version_is_a_usage_error(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = sandbox.run("chpst", &["-V", "echo", "started"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(100), ""));
    assert!(output.stderr.lines().count() >= 2, "{output:?}");
    assert!(output.stderr.to_lowercase().contains("usage: chpst "), "{output:?}");
}

/// "Otherwise its exit code is the same as that of prog." chpst(8)
fn exit_code_is_that_of_the_program(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for code in [0, 1, 100, 111, 255] {
        assert_eq!(sandbox.run("chpst", &["sh", "-c", &format!("exit {code}")]).code, Some(code));
    }
    assert_eq!(sandbox.run("chpst", &["sh", "-c", "kill -9 $$"]).signal, Some(9));
}

/// "chpst changes the process state according to the given options, and runs prog." chpst(8): in its own process.
fn program_replaces_chpst(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut running = sandbox.start(sandbox.command("chpst").args(["sh", "-c", "echo $$"]));
    let pid = running.pid();
    assert_eq!(running.wait().stdout, format!("{pid}\n"));
}

/// "prog consists of one or more arguments." chpst(8): its options are its own.
fn options_end_at_the_program(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    assert_eq!(sandbox.run("chpst", &["echo", "-V", "-z", "--help"]).stdout, "-V -z --help\n");
    assert_eq!(sandbox.run("chpst", &["-v", "--", "echo", "-v"]).stdout, "-v\n");
    assert_eq!(sandbox.run("chpst", &["--", "echo", "--", "x"]).stdout, "-- x\n");
    assert_eq!(sandbox.run("chpst", &["-", "x"]).code, Some(111), "a lone dash is an operand");
}

/// "[-vVP012]" chpst(8): options cluster, and values stick to them, as with getopt(3).
fn options_may_be_clustered(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = sandbox.run("chpst", &["-vPbname", "-o77", "sh", "-c", "echo $0; ulimit -n"]);
    assert_eq!(output.stdout, "name\n77\n");
    assert_eq!(sandbox.run("chpst", &["-Po", "77", "sh", "-c", "ulimit -n"]).stdout, "77\n");
}

/// "exits 111 if it has trouble changing the process state" chpst(8): starting the program is part of it.
fn program_that_cannot_be_started(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.write("plain", "");
    svkit_tests::write_script(&sandbox.join("lost"), "");
    std::fs::write(sandbox.join("lost"), "#!/nonexistent/sh\n").unwrap();
    for program in ["nosuchprogram", "./nosuchprogram", "/", "./plain", "./lost", ""] {
        let output = sandbox.run("chpst", &[program]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""), "{program}");
        assert!(
            output.stderr.starts_with(&format!("chpst: fatal: unable to run: {program}: ")),
            "{output:?}"
        );
    }
}

/// Unlike a shell's, chpst's programs need their `#!`. Not in the man page: runit 2.3.0 does not run them.
fn script_without_interpreter_line_is_not_run(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let script = sandbox.write("script", "echo started\n");
    set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    let output = sandbox.run("chpst", &["./script"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""));
}

/// A program without a slash is looked for in `$PATH`. Not in the man page: runit 2.3.0 searches there.
fn program_is_searched_in_path(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let first = sandbox.mkdir("first");
    let second = sandbox.mkdir("second");
    std::fs::write(first.join("special"), "not executable").unwrap();
    svkit_tests::write_script(&second.join("special"), "echo \"$0\"");
    let mut command = sandbox.command("chpst");
    command.env("PATH", format!("{}:{}", first.display(), second.display())).arg("special");
    let output = sandbox.finish(&mut command);
    assert_eq!(output.stdout, format!("{}\n", second.join("special").display()), "{output:?}");
}

/// "prog consists of one or more arguments." chpst(8): arguments are bytes.
fn arguments_pass_unchanged(subject: &Subject) {
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::new(subject);
    let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe \n'\"");
    let mut command = sandbox.command("chpst");
    command.args(["sh", "-c", "printf '%s|' \"$@\" >args", "sh"]).args([odd, "".as_ref(), "a b".as_ref()]);
    assert_eq!(sandbox.finish(&mut command).code, Some(0));
    assert_eq!(std::fs::read(sandbox.join("args")).unwrap(), b"\xff\xfe \n'\"||a b|");
}
