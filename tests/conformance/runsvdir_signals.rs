//! Signals, the readproctitle log, exit codes of runsvdir.

use std::fs;

use nix::sys::signal::Signal;
use svkit_tests::{Case, Running, SLEEP, Sandbox, Service, Subject, case, eventually, is_running};

pub(crate) const CASES: &[Case] = &[
    case!(term_exits_0_and_leaves_the_services),
    case!(hup_terms_every_runsv_and_exits_111),
    case!(log_shows_in_the_process_list),
    case!(log_scrolls_and_keeps_its_first_characters),
    case!(log_too_short_is_disabled),
    case!(log_takes_the_standard_error_of_the_tree),
    case!(exits_1_on_wrong_usage),
];

/// "If runsvdir receives a TERM signal, it exits with 0 immediately." runsvdir(8): the services stay.
fn term_exits_0_and_leaves_the_services(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).build();
    let mut runsvdir = sandbox.start(sandbox.command("runsvdir").arg("services"));
    let pid = service.wait_run();
    runsvdir.signal(Signal::SIGTERM);
    let output = runsvdir.wait();
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(0), "", ""));
    assert!(is_running(pid) && service.is_ok());
    service.command("t");
    service.wait_restart(pid);
}

/// "If runsvdir receives a HUP signal, it sends a TERM signal to each runsv(8) process it is monitoring and then exits with
/// 111." runsvdir(8)
fn hup_terms_every_runsv_and_exits_111(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let services =
        ["one", "two"].map(|name| sandbox.service(name).run(SLEEP).log("exec cat >/dev/null").build());
    let mut runsvdir = sandbox.start(sandbox.command("runsvdir").args(["-P", "services"]));
    for service in &services {
        service.wait_run();
        service.log().wait_run();
    }
    runsvdir.signal(Signal::SIGHUP);
    assert_eq!(runsvdir.wait().code, Some(111));
    for service in &services {
        eventually("runsv exits", || (!service.is_ok()).then_some(()));
        assert_eq!((service.stat().as_str(), service.log().stat().as_str()), ("down", "down"));
    }
}

fn arguments(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    String::from_utf8_lossy(&bytes).split('\0').map(str::to_owned).collect()
}

fn with_log(sandbox: &Sandbox, log: &str) -> Running {
    sandbox.start(sandbox.command("runsvdir").args(["services", log]))
}

/// "If the log argument is given to runsvdir, all output to standard error is redirected to this log, which is similar to
/// the daemontools' readproctitle log. To see the most recent error messages, use a process-listing tool such as ps(1)."
/// runsvdir(8)
fn log_shows_in_the_process_list(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = format!("echo trouble ahead >&2; {SLEEP}");
    sandbox.service("web").run(&run).build();
    let log = format!("log: {}", ".".repeat(100));
    let runsvdir = with_log(&sandbox, &log);
    let shown = eventually("the message", || {
        arguments(runsvdir.pid()).get(2).filter(|shown| shown.contains("trouble ahead")).cloned()
    });
    assert_eq!(shown.len(), log.len(), "{shown:?}");
    assert!(shown.starts_with("log: .") && shown.ends_with("trouble ahead\n"), "{shown:?}");
    assert_eq!(arguments(runsvdir.pid())[1], "services");
    assert_eq!(runsvdir.stderr(), "");
}

/// "similar to the daemontools' readproctitle log" runsvdir(8): the last characters are seen, behind the first five.
/// The five are not in the man page: runit 2.3.0 keeps them.
fn log_scrolls_and_keeps_its_first_characters(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.service("web").run(&format!("echo 0123456789abcdefghijklmnopqrstuvwxyz >&2; {SLEEP}")).build();
    let runsvdir = with_log(&sandbox, "LOG..............");
    eventually("the end of the message", || {
        (arguments(runsvdir.pid()).get(2)? == "LOG..pqrstuvwxyz\n").then_some(())
    });
}

/// "and must be at least seven characters long or absent" runsvdir(8)
fn log_too_short_is_disabled(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).build();
    let runsvdir = with_log(&sandbox, "sixsix");
    service.wait_run();
    let expected = "runsvdir services: warning: log must have at least seven characters.\n\
                    runsvdir services: warning: log service disabled.\n";
    assert_eq!(runsvdir.stderr(), expected);
    assert_eq!(arguments(runsvdir.pid())[2], "sixsix");
}

/// "all output to standard error is redirected to this log" runsvdir(8): runsv's and the services', standard output not.
fn log_takes_the_standard_error_of_the_tree(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.service("broken").build();
    sandbox.service("web").run(&format!("echo output; {SLEEP}")).build();
    let runsvdir = with_log(&sandbox, &format!("log: {}", ".".repeat(400)));
    eventually("runsv's message", || {
        let arguments = arguments(runsvdir.pid());
        arguments.get(2)?.contains("runsv broken: fatal: unable to start ./run: ").then_some(())
    });
    let here = Service::at(sandbox.join("services/web"));
    here.wait_run();
    eventually("standard output", || (runsvdir.stdout() == "output\n").then_some(()));
    assert_eq!(runsvdir.stderr(), "");
}

/// "runsvdir [-P] dir [ log ]" runsvdir(8)
fn exits_1_on_wrong_usage(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for args in [&[][..], &["-P"]] {
        let output = sandbox.run("runsvdir", args);
        assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{args:?}");
        assert!(output.stderr.to_lowercase().contains("usage: runsvdir "), "{output:?}");
    }
}
