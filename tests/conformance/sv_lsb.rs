//! sv as an init script: called under the name of a service.

use std::os::unix::fs::symlink;

use svkit_tests::{Case, Output, SLEEP, Sandbox, Subject, case, mask_pids_and_seconds};

pub(crate) const CASES: &[Case] = &[
    case!(service_is_the_base_name),
    case!(status_exits_0_when_running),
    case!(status_exits_3_when_down),
    case!(status_exits_4_when_unknown),
    case!(status_of_the_log_does_not_count),
    case!(actions_wait_and_report),
    case!(exits_1_on_timeout),
    case!(exits_1_on_trouble),
    case!(exits_2_on_wrong_usage),
    case!(letters_work_but_s_must_be_status),
];

/// Calls sv as `/…/init.d/NAME`.
fn init(sandbox: &Sandbox, name: &str, args: &[&str]) -> Output {
    let dir = sandbox.mkdir("init.d");
    let script = dir.join(name);
    if !script.exists() {
        symlink(sandbox.join("bin/sv").canonicalize().unwrap(), &script).unwrap();
    }
    let mut command = sandbox.command(&script);
    sandbox.finish(command.args(args))
}

/// "The sv program can be sym-linked to /etc/init.d/ to provide an LSB init script interface. The service to be controlled
/// then is specified by the base name of the ``init script''." sv(8)
fn service_is_the_base_name(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    let output = init(&sandbox, "web", &["down"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), ""));
    service.wait_stat("down");
}

/// "if the command is status, it exits 3 if the service is down, and 4 if the status is unknown" sv(8): 0 if it runs.
fn status_exits_0_when_running(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).log("exec cat >/dev/null").supervise();
    service.wait_run();
    service.log().wait_run();
    service.log().wait_ok();
    let output = init(&sandbox, "web", &["status"]);
    let text = mask_pids_and_seconds(&output.stdout);
    assert_eq!((output.code, text.as_str()), (Some(0), "run: web: (pid PID) Ns; run: log: (pid PID) Ns\n"));
}

/// "if the command is status, it exits 3 if the service is down" sv(8)
fn status_exits_3_when_down(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).down().supervise();
    service.wait_stat("down");
    let output = init(&sandbox, "web", &["status"]);
    assert_eq!((output.code, mask_pids_and_seconds(&output.stdout).as_str()), (Some(3), "down: web: Ns\n"));
}

/// "and 4 if the status is unknown" sv(8)
fn status_exits_4_when_unknown(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.service("web").run(SLEEP).build();
    let output = init(&sandbox, "web", &["status"]);
    let expected = "warning: web: unable to open supervise/ok: file does not exist\n";
    assert_eq!((output.code, output.stdout.as_str()), (Some(4), expected));
}

/// "it exits 3 if the service is down, and 4 if the status is unknown" sv(8): the service, whatever its log does.
fn status_of_the_log_does_not_count(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    sandbox.mkdir("services/web/log");
    assert_eq!(init(&sandbox, "web", &["status"]).code, Some(0));
    service.command("d");
    service.wait_stat("down");
    assert_eq!(init(&sandbox, "web", &["status"]).code, Some(3));
}

/// "/etc/init.d/service [-w sec] command" sv(8)
fn actions_wait_and_report(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    let cases: [(&[&str], &str); 6] = [
        (&["stop"], "ok: down: web: Ns, normally up\n"),
        (&["try-restart"], "ok: down: web: Ns, normally up\n"),
        (&["start"], "ok: run: web: (pid PID) Ns\n"),
        (&["-w", "15", "restart"], "ok: run: web: (pid PID) Ns\n"),
        (&["force-stop"], "ok: down: web: Ns, normally up\n"),
        (&["shutdown"], "ok: web: runsv not running\n"),
    ];
    for (args, expected) in cases {
        let output = init(&sandbox, "web", args);
        assert_eq!(mask_pids_and_seconds(&output.stdout), expected, "{args:?}");
        assert_eq!(output.code, Some(0), "{args:?}");
        service.wait_next_second();
    }
}

/// "If sv is called with a base name other than sv: it exits 1 on timeout or trouble sending the command" sv(8)
fn exits_1_on_timeout(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).check("exit 1").supervise();
    service.wait_run();
    let output = init(&sandbox, "web", &["-w", "1", "start"]);
    assert_eq!(mask_pids_and_seconds(&output.stdout), "timeout: run: web: (pid PID) Ns\n");
    assert_eq!(output.code, Some(1));
}

/// "it exits 1 on timeout or trouble sending the command" sv(8)
fn exits_1_on_trouble(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = init(&sandbox, "web", &["start"]);
    let expected = "fail: web: unable to change to service directory: file does not exist\n";
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), expected));
    sandbox.service("web").run(SLEEP).build();
    let output = init(&sandbox, "web", &["start"]);
    let expected = "warning: web: unable to open supervise/ok: file does not exist\n";
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), expected));
}

/// "it exits 2 on wrong usage" sv(8)
fn exits_2_on_wrong_usage(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for args in [&[][..], &["frob"], &["-x", "start"], &["-w"], &["stat"], &["state"], &["-V"]] {
        let output = init(&sandbox, "web", args);
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(output.stderr.to_lowercase().contains("usage: "), "{output:?}");
    }
}

/// "sv actually looks only at the first character of these commands." sv(8): in an init script `status` is to be whole.
fn letters_work_but_s_must_be_status(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    assert_eq!(init(&sandbox, "web", &["s"]).code, Some(2));
    assert_eq!(init(&sandbox, "web", &["p"]).code, Some(0));
    service.wait_stat("run, paused");
}
