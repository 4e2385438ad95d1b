//! What sv says of services it cannot reach, and of wrong usage.

use std::fs;
use std::os::unix::fs::symlink;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use svkit_tests::{Case, SLEEP, Sandbox, Subject, case, mask_pids_and_seconds};

pub(crate) const CASES: &[Case] = &[
    case!(no_such_service),
    case!(service_that_is_no_directory),
    case!(service_without_supervise),
    case!(runsv_not_running),
    case!(exit_of_what_is_not_running_succeeds),
    case!(status_without_record),
    case!(status_of_the_wrong_size),
    case!(control_missing),
    case!(loop_of_symlinks),
    case!(no_permission).root(),
    case!(errors_are_counted),
    case!(errors_are_counted_to_99),
    case!(svdir_missing),
    case!(exits_100_on_wrong_usage),
    case!(usage_text),
    case!(version_is_a_usage_error),
];

fn one(sandbox: &Sandbox, args: &[&str], expected: &str, code: i32) {
    let output = sandbox.sv(args);
    assert_eq!(mask_pids_and_seconds(&output.stdout), expected, "{args:?}");
    assert_eq!((output.code, output.stderr.as_str()), (Some(code), ""), "{args:?}");
}

/// "For each service that caused an error (e.g. the directory is not controlled by a runsv(8) process …), sv increases the
/// exit code by one and exits non zero." sv(8)
fn no_such_service(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for command in ["status", "up", "start", "exit", "check"] {
        let expected = "fail: web: unable to change to service directory: file does not exist\n";
        one(&sandbox, &[command, "web"], expected, 1);
    }
    one(
        &sandbox,
        &["s", "./x\ny"],
        "fail: ./x\ny: unable to change to service directory: file does not exist\n",
        1,
    );
    one(&sandbox, &["s", ""], "fail: : unable to change to service directory: file does not exist\n", 1);
}

/// "each argument naming a directory" sv(8): the reason is in runit's own words, those of 2.3.0.
fn service_that_is_no_directory(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.write("services/web", "");
    one(
        &sandbox,
        &["status", "web"],
        "fail: web: unable to change to service directory: not a directory\n",
        1,
    );
}

/// "For each service that caused an error (e.g. the directory is not controlled by a runsv(8) process …), sv increases
/// the exit code by one and exits non zero." sv(8): a directory where runsv never was.
fn service_without_supervise(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.service("web").run(SLEEP).build();
    for command in ["status", "up", "start", "exit", "shutdown", "check"] {
        one(
            &sandbox,
            &[command, "web"],
            "warning: web: unable to open supervise/ok: file does not exist\n",
            1,
        );
    }
}

/// "For each service that caused an error (e.g. the directory is not controlled by a runsv(8) process …), sv increases
/// the exit code by one and exits non zero." sv(8): a directory runsv has left.
fn runsv_not_running(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(SLEEP).supervise();
    service.command("x");
    service.runsv().wait();
    for command in ["status", "up", "hup", "start", "stop", "check"] {
        one(&sandbox, &[command, "web"], "fail: web: runsv not running\n", 1);
    }
}

/// Who is to exit and is not there has done what was asked. Not in the man page: runit 2.3.0 does so.
fn exit_of_what_is_not_running_succeeds(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(SLEEP).supervise();
    service.command("x");
    service.runsv().wait();
    for command in ["exit", "shutdown", "force-shutdown", "X"] {
        one(&sandbox, &[command, "web"], "ok: web: runsv not running\n", 0);
    }
}

/// A supervise directory with a reader on `ok`, and not much else. The reader is returned.
fn supervised_by_hand(sandbox: &Sandbox) -> fs::File {
    sandbox.mkdir("services/web/supervise");
    let ok = sandbox.join("services/web/supervise/ok");
    mkfifo(&ok, Mode::from_bits_truncate(0o600)).unwrap();
    fs::File::options().read(true).write(true).open(ok).unwrap()
}

/// "For each service that caused an error (e.g. the directory is not controlled by a runsv(8) process …), sv increases
/// the exit code by one and exits non zero." sv(8): the record has to be there.
fn status_without_record(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let _ok = supervised_by_hand(&sandbox);
    one(
        &sandbox,
        &["status", "web"],
        "warning: web: unable to open supervise/status: file does not exist\n",
        1,
    );
    sandbox.mkdir("services/web/supervise/status");
    one(&sandbox, &["status", "web"], "warning: web: unable to read supervise/status: is a directory\n", 1);
}

/// A record has 20 bytes; daemontools' 18 are too few, and of more the first 20 count. Not in the man page: runit 2.3.0
/// does so.
fn status_of_the_wrong_size(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let _ok = supervised_by_hand(&sandbox);
    for size in [0, 1, 18, 19] {
        sandbox.write("services/web/supervise/status", vec![0; size]);
        let expected = "warning: web: unable to read supervise/status: bad format\n";
        one(&sandbox, &["status", "web"], expected, 1);
        one(&sandbox, &["up", "web"], expected, 1);
    }
    for size in [20, 21, 100] {
        sandbox.write("services/web/supervise/status", vec![0; size]);
        one(&sandbox, &["status", "web"], "down: web: Ns, normally up\n", 0);
    }
}

/// "For each service that caused an error (e.g. the directory is not controlled by a runsv(8) process …), sv increases
/// the exit code by one and exits non zero." sv(8): a command needs `control`.
fn control_missing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let _ok = supervised_by_hand(&sandbox);
    sandbox.write("services/web/supervise/status", [0; 20]);
    one(&sandbox, &["up", "web"], "warning: web: unable to open supervise/control: file does not exist\n", 1);
    mkfifo(&sandbox.join("services/web/supervise/control"), Mode::from_bits_truncate(0o600)).unwrap();
    one(&sandbox, &["up", "web"], "fail: web: runsv not running\n", 1);
    one(&sandbox, &["exit", "web"], "ok: web: runsv not running\n", 0);
}

/// "For each service that caused an error (e.g. the directory is not controlled by a runsv(8) process …), sv increases
/// the exit code by one and exits non zero." sv(8): a reason outside runit's list. The words are those of runit 2.3.0.
fn loop_of_symlinks(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    symlink("web", sandbox.join("services/web")).unwrap();
    let expected = "fail: web: unable to change to service directory: symbolic link loop\n";
    one(&sandbox, &["status", "web"], expected, 1);
}

/// "For each service that caused an error (e.g. the directory is not controlled by a runsv(8) process …), sv increases
/// the exit code by one and exits non zero." sv(8): `access denied`: a user who may not look into supervise. The words
/// are those of runit 2.3.0.
fn no_permission(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    // The subject's programs may be where nobody can reach: sv is copied to where it can be.
    let sv = sandbox.copy_programs("copies").join("sv");
    let mut command = sandbox.command("chpst");
    command.args(["-u", ":65534:65534"]).arg(&sv).args(["status", "web"]);
    let output = sandbox.finish(&mut command);
    assert_eq!(output.stdout, "warning: web: unable to open supervise/ok: access denied\n");
    assert_eq!(output.code, Some(1));
}

/// "For each service that caused an error … sv increases the exit code by one" sv(8)
fn errors_are_counted(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    let output = sandbox.sv(&["status", "one", "web", "two"]);
    assert_eq!(output.code, Some(2));
    assert_eq!(
        mask_pids_and_seconds(&output.stdout),
        "fail: one: unable to change to service directory: file does not exist\nrun: web: (pid PID) Ns\n\
         fail: two: unable to change to service directory: file does not exist\n"
    );
}

/// "The maximum is 99." sv(8)
fn errors_are_counted_to_99(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for (services, code) in [(98, 98), (99, 99), (100, 99), (256, 99)] {
        let mut args = vec!["status"];
        args.resize(services + 1, "none");
        assert_eq!(sandbox.sv(&args).code, Some(code));
    }
}

/// "$SVDIR overrides the default services directory" sv(8), also where it is not there.
fn svdir_missing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = sandbox.finish(sandbox.command("sv").env("SVDIR", "/nonexistent").args(["up", "web"]));
    assert_eq!(output.stdout, "fail: web: unable to change to service directory: file does not exist\n");
    assert_eq!(output.code, Some(1));
}

/// "sv exits 100 on error." sv(8)
fn exits_100_on_wrong_usage(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let wrong: [&[&str]; 13] = [
        &[],
        &["status"],
        &["-v"],
        &["-v", "up"],
        &["-w"],
        &["-w", "1"],
        &["-x", "up", "web"],
        &["frob", "web"],
        &["reloaded", "web"],
        &["restarts", "web"],
        &["force", "web"],
        &["", "web"],
        &["Q", "web"],
    ];
    for args in wrong {
        let output = sandbox.sv(args);
        assert_eq!((output.code, output.stdout.as_str()), (Some(100), ""), "{args:?}");
        assert!(output.stderr.to_lowercase().contains("usage: sv "), "{args:?}: {output:?}");
    }
}

/// "sv [-v] [-w sec] command services" sv(8): the words are those of runit 2.3.0.
fn usage_text(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    assert_eq!(sandbox.sv(&[]).stderr, "usage: sv [-v] [-w sec] command service ...\n\n");
}

/// `-V` prints a version, then the usage, and exits as a wrong usage does. Not in the man page: runit 2.3.0 does so.
fn version_is_a_usage_error(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = sandbox.sv(&["-V"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(100), ""));
    assert!(output.stderr.lines().count() >= 2, "{output:?}");
    assert!(output.stderr.to_lowercase().contains("usage: sv "), "{output:?}");
}
