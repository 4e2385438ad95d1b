//! How runsv ends: told to, or refusing to start.

use std::os::unix::fs::symlink;
use std::time::Duration;

use nix::sys::signal::Signal;
use svkit_tests::{Case, Implementation, Output, SLEEP, Sandbox, Subject, case, holds_for, is_running};

pub(crate) const CASES: &[Case] = &[
    case!(x_stops_the_service_and_exits_0),
    case!(x_exits_when_the_service_is_down),
    case!(x_closes_the_input_of_the_log_and_waits_for_it),
    case!(x_sends_the_log_no_term),
    case!(x_runs_finish),
    case!(x_with_a_log_that_is_down),
    case!(u_takes_back_an_x),
    case!(term_is_x),
    case!(killed_runsv_leaves_the_service_running),
    case!(exits_111_when_another_runs),
    case!(exits_111_without_a_directory),
    case!(exits_111_when_supervise_is_unusable),
    case!(exits_111_when_control_is_no_fifo),
    case!(exits_111_when_control_of_the_log_is_no_fifo).differs(
        &[Implementation::Runit21],
        "looks at supervise/control twice, never at log/supervise/control",
    ),
    case!(exits_1_on_wrong_usage),
];

fn runsv(sandbox: &Sandbox, dir: &str) -> Output {
    sandbox.run("runsv", &[dir])
}

/// "x Exit. If the service is running, send it a TERM signal, and then a CONT signal. Do not restart the service. If the
/// service is down, and no log service exists, runsv exits." "runsv exits 0 if it was told to exit." runsv(8)
fn x_stops_the_service_and_exits_0(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(SLEEP).supervise();
    let pid = service.wait_run();
    service.command("x");
    let output = service.runsv().wait();
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(0), "", ""));
    assert!(!is_running(pid));
    assert_eq!(service.stat(), "down");
    assert_eq!(service.read("supervise/pid"), "");
}

/// "If the service is down, and no log service exists, runsv exits." runsv(8)
fn x_exits_when_the_service_is_down(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(SLEEP).down().supervise();
    service.wait_stat("down");
    service.command("x");
    assert_eq!(service.runsv().wait().code, Some(0));
}

/// "If the service is down and a log service exists, runsv closes the standard input of the log service, and waits for it
/// to terminate. If the log service is down, runsv exits." runsv(8)
fn x_closes_the_input_of_the_log_and_waits_for_it(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let log = "cat >>got; echo end of file >>../events; while [ ! -e go ]; do sleep 0.02; done; echo gone >>../events";
    let run =
        "echo started; trap 'echo last words; exit' TERM; echo ready >>events; while :; do sleep 0.05; done";
    let mut service = sandbox.service("web").run(run).log(log).supervise();
    service.wait_ready();
    service.log().wait_run();
    service.command("x");
    assert_eq!(service.wait_events(2), ["ready", "end of file"]);
    holds_for(Duration::from_millis(200), "runsv waits for the log", || service.runsv().is_running());
    service.log().wait_stat("run, want exit");
    std::fs::write(service.log().join("go"), "").unwrap();
    assert_eq!(service.runsv().wait().code, Some(0));
    assert_eq!(service.events(), ["ready", "end of file", "gone"]);
    assert_eq!(service.log().read("got"), "started\nlast words\n");
    assert_eq!(service.log().stat(), "down");
}

/// "runsv closes the standard input of the log service, and waits for it to terminate" runsv(8): end of file is all
/// that tells the log service to go.
fn x_sends_the_log_no_term(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let log = "trap 'echo TERM >>../events' TERM; echo ready >>../events; cat; echo end of file >>../events";
    let mut service = sandbox.service("web").run(SLEEP).log(log).supervise();
    service.wait_events(1);
    service.wait_run();
    service.command("x");
    assert_eq!(service.runsv().wait().code, Some(0));
    assert_eq!(service.events(), ["ready", "end of file"]);
}

/// "If ./run exits and ./finish exists, runsv starts ./finish." runsv(8): a service that exits on x has its `finish`,
/// and runsv waits for that, too.
fn x_runs_finish(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service =
        sandbox.service("web").run(SLEEP).finish("sleep 0.2; echo finish $1 $2 >>events").supervise();
    service.wait_run();
    service.command("x");
    assert_eq!(service.runsv().wait().code, Some(0));
    assert_eq!(service.events(), ["finish -1 15"]);
}

/// "If the log service is down, runsv exits." runsv(8)
fn x_with_a_log_that_is_down(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(SLEEP).log("exec cat").file("log/down", "").supervise();
    service.wait_run();
    service.command("x");
    assert_eq!(service.runsv().wait().code, Some(0));
}

/// "u Up. … If the service stops, restart it." runsv(8): a wanted exit is a wish like up and down: `u` replaces it as
/// long as the service has not stopped.
fn u_takes_back_an_x(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = "trap '' TERM; echo ready >>events; while :; do sleep 0.05; done";
    let mut service = sandbox.service("web").run(run).supervise();
    service.wait_ready();
    let pid = service.wait_run();
    service.command("x");
    service.wait_stat("run, got TERM, want exit");
    service.command("u");
    service.wait_stat("run, got TERM");
    service.command("k");
    service.wait_restart(pid);
    assert!(service.runsv().is_running());
}

/// "If runsv receives a TERM signal, it acts as if the character x was written to the control pipe." runsv(8)
fn term_is_x(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox
        .service("web")
        .run(SLEEP)
        .control('x', "echo script x >>events")
        .log("exec cat >/dev/null")
        .supervise();
    let pids = [service.wait_run(), service.log().wait_run()];
    service.runsv().signal(Signal::SIGTERM);
    assert_eq!(service.runsv().wait().code, Some(0));
    assert_eq!(service.events(), ["script x"]);
    assert!(!pids.iter().any(|pid| is_running(*pid)));
}

/// runsv that is killed takes nothing with it. Not in the man page: runit 2.3.0 does so.
fn killed_runsv_leaves_the_service_running(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    // Until it executes, a child has the descriptors of runsv.
    let mut service = sandbox.service("web").run(&format!("echo ready >>events; {SLEEP}")).supervise();
    service.wait_ready();
    let pid = service.wait_run();
    service.runsv().signal(Signal::SIGKILL);
    service.runsv().wait();
    assert!(is_running(pid));
    assert!(!service.is_ok());
}

/// "runsv exits 111 on an error on startup or if another runsv is running in service." runsv(8)
fn exits_111_when_another_runs(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    let pid = service.wait_run();
    let output = runsv(&sandbox, "services/web");
    assert_eq!(output.code, Some(111));
    assert!(
        output.stderr.starts_with("runsv services/web: fatal: unable to lock supervise/lock: "),
        "{output:?}"
    );
    assert_eq!(output.stdout, "");
    assert_eq!(service.status().pid, pid);
    assert!(service.is_ok());
}

/// "service must be a directory." "runsv exits 111 on an error on startup" runsv(8)
fn exits_111_without_a_directory(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.write("file", "");
    for dir in ["nonexistent", "file", "file/web", ""] {
        let output = runsv(&sandbox, dir);
        assert_eq!(output.code, Some(111), "{dir}");
        let expected = format!("runsv {dir}: fatal: unable to change to directory: ");
        assert!(output.stderr.starts_with(&expected), "{output:?}");
    }
}

/// "runsv exits 111 on an error on startup" runsv(8)
fn exits_111_when_supervise_is_unusable(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.service("file").run(SLEEP).file("supervise", "").build();
    let deep = sandbox.service("deep").run(SLEEP).build();
    symlink("/nonexistent/deeper/supervise", deep.join("supervise")).unwrap();
    for name in ["file", "deep"] {
        let output = runsv(&sandbox, &format!("services/{name}"));
        assert_eq!(output.code, Some(111), "{name}");
        assert!(output.stderr.starts_with(&format!("runsv services/{name}: fatal: ")), "{output:?}");
    }
}

/// "The named pipes service/supervise/control …" runsv(8)
fn exits_111_when_control_is_no_fifo(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.service("web").run(SLEEP).file("supervise/control", "").build();
    let output = runsv(&sandbox, "services/web");
    assert_eq!(output.code, Some(111));
    let expected = "runsv services/web: fatal: supervise/control exists but is not a fifo";
    assert!(output.stderr.starts_with(expected), "{output:?}");
    assert!(!sandbox.join("services/web/supervise/pid").exists());
}

/// "… and (optionally) service/log/supervise/control are provided to give commands to runsv." runsv(8)
fn exits_111_when_control_of_the_log_is_no_fifo(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.service("web").run(SLEEP).log("exec cat").file("log/supervise/control", "").build();
    let output = runsv(&sandbox, "services/web");
    assert_eq!(output.code, Some(111));
    let expected = "runsv services/web: fatal: log/supervise/control exists but is not a fifo";
    assert!(output.stderr.starts_with(expected), "{output:?}");
}

/// "runsv service" runsv(8): exactly one argument.
fn exits_1_on_wrong_usage(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.service("web").run(SLEEP).build();
    for args in [&[][..], &["services/web", "services/web"]] {
        let output = sandbox.run("runsv", args);
        assert_eq!(output.code, Some(1), "{args:?}");
        assert!(output.stderr.to_lowercase().contains("usage: runsv"), "{output:?}");
        assert_eq!(output.stdout, "");
    }
}
