//! Commands that wait: `start`, `stop`, `restart` and their kin, `-v`, `-w`, `$SVWAIT`, `./check`.

use std::time::{Duration, Instant};

use svkit_tests::{
    Case, Implementation, Output, SLEEP, Sandbox, Subject, Supervised, case, eventually, is_running,
    mask_pids_and_seconds,
};

const IGNORE_TERM: &str = "trap '' TERM; echo ready >>events; while :; do sleep 0.05; done";

pub(crate) const CASES: &[Case] = &[
    case!(start_waits_until_up),
    case!(start_waits_for_check),
    case!(start_times_out_on_check),
    case!(check_script_has_its_standard_output_closed),
    case!(check_script_that_cannot_be_executed_counts_as_success),
    case!(stop_waits_until_down),
    case!(stop_waits_for_finish),
    case!(stop_times_out),
    case!(restart_waits_for_another_process),
    case!(restart_starts_what_is_down),
    case!(restart_waits_for_check),
    case!(reload_sends_hup_and_reports),
    case!(shutdown_waits_for_runsv),
    case!(try_restart_restarts_what_runs),
    case!(try_restart_leaves_what_is_down),
    case!(force_stop_kills),
    case!(force_restart_kills),
    case!(force_reload_kills),
    case!(force_shutdown_kills),
    case!(capitals_are_force_commands),
    case!(check_waits_for_the_requested_state)
        .differs(&[Implementation::Runit21], "check takes a service in finish for one that is down"),
    case!(check_of_a_service_wanted_up_runs_check),
    case!(v_waits),
    case!(v_waits_for_pause_and_cont),
    case!(v_waits_for_once),
    case!(v_waits_for_exit),
    case!(w_implies_v),
    case!(svwait_sets_the_timeout),
    case!(empty_svwait_is_no_wait),
    case!(w_overrides_svwait),
    case!(services_are_waited_for_together),
    case!(each_timeout_counts),
];

fn ok(output: &Output, expected: &str) {
    assert_eq!(mask_pids_and_seconds(&output.stdout), expected);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
}

fn failed(output: &Output, expected: &str) {
    assert_eq!(mask_pids_and_seconds(&output.stdout), expected);
    assert_eq!((output.code, output.stderr.as_str()), (Some(1), ""));
}

fn sleeper(sandbox: &Sandbox) -> Supervised {
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    service
}

fn down(sandbox: &Sandbox) -> Supervised {
    let service = sandbox.service("web").run(SLEEP).down().supervise();
    service.wait_stat("down");
    service
}

fn deaf(sandbox: &Sandbox) -> Supervised {
    let service = sandbox.service("web").run(IGNORE_TERM).supervise();
    service.wait_ready();
    service.wait_run();
    service
}

/// "start Same as up, but wait up to 7 seconds for the command to take effect. Then report the status or timeout." sv(8)
fn start_waits_until_up(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = down(&sandbox);
    let output = sandbox.sv(&["start", "web"]);
    ok(&output, "ok: run: web: (pid PID) Ns, normally down\n");
    let pid = service.wait_run();
    assert!(output.stdout.contains(&format!("(pid {pid})")));
}

/// "If the script ./check exists in the service directory, sv runs this script to check whether the service is up and
/// available; it's considered to be available if ./check exits with 0." sv(8)
fn start_waits_for_check(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let check = "echo check >>events; [ $(grep -c check events) -ge 3 ]";
    let service = sandbox.service("web").run(SLEEP).check(check).down().supervise();
    service.wait_stat("down");
    ok(&sandbox.sv(&["-w", "15", "start", "web"]), "ok: run: web: (pid PID) Ns, normally down\n");
    assert_eq!(service.events(), ["check", "check", "check"]);
}

/// "Then report the status or timeout." sv(8)
fn start_times_out_on_check(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).check("exit 1").supervise();
    service.wait_run();
    failed(&sandbox.sv(&["-w", "1", "start", "web"]), "timeout: run: web: (pid PID) Ns\n");
}

/// sv's standard output is for sv's text: `./check` has none. Not in the man page: runit 2.3.0 does so.
fn check_script_has_its_standard_output_closed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let check = "[ -e /proc/$$/fd/1 ] || echo closed >>events; pwd -P >>events; echo noise";
    let service =
        sandbox.service("web").run(SLEEP).check(&format!("{check} 2>/dev/null; exit 0")).supervise();
    service.wait_run();
    ok(&sandbox.sv(&["start", "web"]), "ok: run: web: (pid PID) Ns\n");
    let place = service.dir().canonicalize().unwrap();
    assert_eq!(service.events()[..2], ["closed".to_owned(), place.display().to_string()]);
}

/// A `./check` that cannot be executed, or that dies by a signal, says nothing against the service. Not in the man
/// page: runit 2.3.0 takes it for success.
fn check_script_that_cannot_be_executed_counts_as_success(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let plain = sandbox.service("plain").run(SLEEP).file("check", "exit 1\n").supervise();
    let killed = sandbox.service("killed").run(SLEEP).check("kill -9 $$").supervise();
    for (service, name) in [(&plain, "plain"), (&killed, "killed")] {
        service.wait_run();
        let output = sandbox.sv(&["-w", "15", "start", name]);
        assert_eq!(mask_pids_and_seconds(&output.stdout), format!("ok: run: {name}: (pid PID) Ns\n"));
        assert_eq!(output.code, Some(0));
    }
}

/// "stop Same as down, but wait up to 7 seconds for the service to become down. Then report the status or timeout." sv(8)
fn stop_waits_until_down(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sleeper(&sandbox);
    ok(&sandbox.sv(&["stop", "web"]), "ok: down: web: Ns, normally up\n");
    assert_eq!(service.stat(), "down");
}

/// "wait up to 7 seconds for the service to become down" sv(8): down is down: not while `finish` runs.
fn stop_waits_for_finish(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).finish("sleep 0.7; echo finished >>events").supervise();
    service.wait_run();
    ok(&sandbox.sv(&["stop", "web"]), "ok: down: web: Ns, normally up\n");
    assert_eq!(service.events(), ["finished"]);
}

/// "For each service that caused an error (e.g. … sv timed out while waiting), sv increases the exit code by one" sv(8)
fn stop_times_out(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = deaf(&sandbox);
    let start = Instant::now();
    failed(
        &sandbox.sv(&["-w", "1", "stop", "web"]),
        "timeout: run: web: (pid PID) Ns, want down, got TERM\n",
    );
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(service.stat(), "run, got TERM, want down");
}

/// "restart Send the commands term, cont, and up to the service, and wait up to 7 seconds for the service to restart. Then
/// report the status or timeout." sv(8)
fn restart_waits_for_another_process(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let script = "trap 'sleep 1.2; exit' TERM; echo ready >>events; while :; do sleep 0.05; done";
    let service = sandbox.service("web").run(script).supervise();
    service.wait_ready();
    let pid = service.wait_run();
    service.wait_next_second();
    let output = sandbox.sv(&["-w", "15", "restart", "web"]);
    ok(&output, "ok: run: web: (pid PID) Ns\n");
    assert!(!output.stdout.contains(&format!("(pid {pid})")), "{output:?}");
    assert!(!is_running(pid));
}

/// "Send the commands term, cont, and up" sv(8)
fn restart_starts_what_is_down(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = down(&sandbox);
    ok(&sandbox.sv(&["restart", "web"]), "ok: run: web: (pid PID) Ns, normally down\n");
    assert_eq!(service.status().want, b'u');
}

/// "If the script ./check exists in the service directory, sv runs this script to check whether the service is up and
/// available again" sv(8)
fn restart_waits_for_check(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).check("exit 1").supervise();
    service.wait_run();
    // The process may have lived for less than a second, so the next one waits for that long.
    failed(&sandbox.sv(&["-w", "7", "restart", "web"]), "timeout: run: web: (pid PID) Ns\n");
}

/// "reload Same as hup, and additionally report the status afterwards." sv(8)
fn reload_sends_hup_and_reports(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let script = "trap 'echo HUP >>events' HUP; echo ready >>events; while :; do sleep 0.05; done";
    let service = sandbox.service("web").run(script).supervise();
    service.wait_ready();
    ok(&sandbox.sv(&["reload", "web"]), "ok: run: web: (pid PID) Ns\n");
    service.wait_text("events", "HUP");
}

/// "shutdown Same as exit, but wait up to 7 seconds for the runsv(8) process to terminate. Then report the status or
/// timeout." sv(8)
fn shutdown_waits_for_runsv(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(SLEEP).log("cat >/dev/null; sleep 0.5").supervise();
    service.wait_run();
    service.log().wait_run();
    ok(&sandbox.sv(&["shutdown", "web"]), "ok: web: runsv not running\n");
    assert!(!service.is_ok());
    assert_eq!(service.runsv().wait().code, Some(0));
}

/// "try-restart if the service is running, send it the term and cont commands, and wait up to 7 seconds for the service to
/// restart." sv(8)
fn try_restart_restarts_what_runs(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let script = "trap 'sleep 1.2; exit' TERM; echo ready >>events; while :; do sleep 0.05; done";
    let service = sandbox.service("web").run(script).supervise();
    service.wait_ready();
    let pid = service.wait_run();
    service.wait_next_second();
    ok(&sandbox.sv(&["-w", "15", "try-restart", "web"]), "ok: run: web: (pid PID) Ns\n");
    assert_ne!(service.status().pid, pid);
}

/// "if the service is running" sv(8): a service that is down stays so.
fn try_restart_leaves_what_is_down(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = down(&sandbox);
    ok(&sandbox.sv(&["try-restart", "web"]), "ok: down: web: Ns\n");
    assert_eq!(service.stat(), "down");
}

/// Each word on a deaf service of its own, all at the same time: runsv is to have done its part when the wait is over.
fn kill(subject: &Subject, table: &[(&str, &str)]) {
    let sandbox = Sandbox::new(subject);
    let waiting: Vec<_> = table
        .iter()
        .map(|(word, line)| {
            let service = sandbox.service(word).run(IGNORE_TERM).supervise();
            service.wait_ready();
            service.wait_next_second();
            let pid = service.wait_run();
            let sv = sandbox.start(sandbox.command("sv").args(["-w", "5", word, word]));
            (sv, pid, format!("kill: run: {word}: (pid PID) Ns{line}\n"), service)
        })
        .collect();
    for (mut sv, pid, expected, _service) in waiting {
        failed(&sv.wait(), &expected);
        eventually("killed", || (!is_running(pid)).then_some(()));
    }
}

/// "force-stop … Then report the status, and on timeout send the service the kill command." sv(8)
fn force_stop_kills(subject: &Subject) {
    kill(subject, &[("force-stop", ", want down, got TERM")]);
}

/// "force-restart … Then report the status, and on timeout send the service the kill command." sv(8)
fn force_restart_kills(subject: &Subject) {
    kill(subject, &[("force-restart", ", got TERM")]);
}

/// "force-reload Send the service the term and cont commands, and wait up to 7 seconds for the service to restart. Then
/// report the status, and on timeout send the service the kill command." sv(8)
fn force_reload_kills(subject: &Subject) {
    kill(subject, &[("force-reload", ", got TERM")]);
}

/// "force-shutdown Same as exit, but wait up to 7 seconds for the runsv(8) process to terminate. Then report the status,
/// and on timeout send the service the kill command." sv(8)
fn force_shutdown_kills(subject: &Subject) {
    kill(subject, &[("force-shutdown", ", want down, got TERM")]);
}

/// `D`, `T`, `X` and `E` are force-stop, force-reload and, twice, force-shutdown. Not in the man page: runit 2.3.0 does
/// so.
fn capitals_are_force_commands(subject: &Subject) {
    let down = ", want down, got TERM";
    kill(subject, &[("D", down), ("Terminate", ", got TERM"), ("X", down), ("E", down)]);
}

/// "check Check for the service to be in the state that's been requested (up or down). Wait up to 7 seconds for the
/// service to reach the requested state, then report the status or timeout." sv(8)
fn check_waits_for_the_requested_state(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let finish = "while [ ! -e go ]; do sleep 0.02; done";
    let service = sandbox.service("web").run(SLEEP).finish(finish).supervise();
    service.wait_run();
    ok(&sandbox.sv(&["check", "web"]), "ok: run: web: (pid PID) Ns\n");
    service.command("d");
    service.wait_stat("finish, want down");
    failed(&sandbox.sv(&["-w", "1", "check", "web"]), "timeout: finish: web: (pid PID) Ns, want down\n");
    std::fs::write(service.join("go"), "").unwrap();
    ok(&sandbox.sv(&["check", "web"]), "ok: down: web: Ns, normally up\n");
}

/// "If the requested state of the service is up, and the script ./check exists in the service directory, sv runs this
/// script to check whether the service is up and running" sv(8)
fn check_of_a_service_wanted_up_runs_check(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).check("exit 1").supervise();
    service.wait_run();
    failed(&sandbox.sv(&["-w", "1", "check", "web"]), "timeout: run: web: (pid PID) Ns\n");
    service.command("d");
    service.wait_stat("down");
    ok(&sandbox.sv(&["check", "web"]), "ok: down: web: Ns, normally up\n");
}

/// "-v If the command is up, down, term, once, cont, or exit, then wait up to 7 seconds for the command to take effect.
/// Then report the status or timeout." sv(8)
fn v_waits(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = down(&sandbox);
    ok(&sandbox.sv(&["-v", "up", "web"]), "ok: run: web: (pid PID) Ns, normally down\n");
    ok(&sandbox.sv(&["-v", "down", "web"]), "ok: down: web: Ns\n");
    ok(&sandbox.sv(&["-v", "term", "web"]), "ok: down: web: Ns\n");
    assert_eq!(service.stat(), "down");
}

/// "If the command is up, down, term, once, cont, or exit, then wait" sv(8): a pause is there when it shows, and so is
/// its end. That it waits for `pause`, too, is not in the man page: runit 2.3.0 does so.
fn v_waits_for_pause_and_cont(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sleeper(&sandbox);
    ok(&sandbox.sv(&["-v", "pause", "web"]), "ok: run: web: (pid PID) Ns, paused\n");
    ok(&sandbox.sv(&["-v", "cont", "web"]), "ok: run: web: (pid PID) Ns\n");
    assert_eq!(service.stat(), "run");
}

/// "once If the service is not running, start it." sv(8)
fn v_waits_for_once(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sleeper(&sandbox);
    ok(&sandbox.sv(&["-v", "once", "web"]), "ok: run: web: (pid PID) Ns, want down\n");
    assert_eq!(service.stat(), "run, want down");
}

/// "If the command is up, down, term, once, cont, or exit, then wait" sv(8): `-v exit` waits for runsv to go.
fn v_waits_for_exit(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sleeper(&sandbox);
    ok(&sandbox.sv(&["-v", "exit", "web"]), "ok: web: runsv not running\n");
    assert!(!service.is_ok());
}

/// "-w sec Override the default timeout of 7 seconds with sec seconds. This option implies -v." sv(8)
fn w_implies_v(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let _service = down(&sandbox);
    ok(&sandbox.sv(&["-w", "15", "up", "web"]), "ok: run: web: (pid PID) Ns, normally down\n");
    ok(&sandbox.sv(&["-w15", "down", "web"]), "ok: down: web: Ns\n");
    ok(&sandbox.sv(&["-vw15", "up", "web"]), "ok: run: web: (pid PID) Ns, normally down\n");
}

fn elapsed_of_a_timeout(sandbox: &Sandbox, svwait: &str, args: &[&str]) -> Duration {
    let start = Instant::now();
    let output = sandbox.finish(sandbox.command("sv").env("SVWAIT", svwait).args(args));
    failed(&output, "timeout: run: web: (pid PID) Ns, want down, got TERM\n");
    start.elapsed()
}

/// "The environment variable $SVWAIT overrides the default 7 seconds to wait for a command to take effect." sv(8)
fn svwait_sets_the_timeout(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let _service = deaf(&sandbox);
    let elapsed = elapsed_of_a_timeout(&sandbox, "1", &["stop", "web"]);
    assert!((Duration::from_secs(1)..Duration::from_secs(7)).contains(&elapsed), "{elapsed:?}");
}

/// An empty `$SVWAIT` is 0. Not in the man page: runit 2.3.0 does so.
fn empty_svwait_is_no_wait(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let _service = deaf(&sandbox);
    let elapsed = elapsed_of_a_timeout(&sandbox, "", &["stop", "web"]);
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
}

/// "It is overridden by the -w option." sv(8)
fn w_overrides_svwait(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let _service = deaf(&sandbox);
    let elapsed = elapsed_of_a_timeout(&sandbox, "19", &["-w", "1", "stop", "web"]);
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
}

/// "if it was told to wait, the command has taken effect to all services" sv(8): the timeout is for all services
/// together: the first is not waited for alone.
fn services_are_waited_for_together(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let services =
        ["one", "two", "three"].map(|name| sandbox.service(name).run(SLEEP).finish("sleep 1").supervise());
    for service in &services {
        service.wait_run();
    }
    let output = sandbox.sv(&["-w", "15", "stop", "one", "two", "three"]);
    assert_eq!(output.code, Some(0));
    let text = mask_pids_and_seconds(&output.stdout);
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    let expected = ["one", "three", "two"].map(|name| format!("ok: down: {name}: Ns, normally up"));
    assert_eq!(lines, expected);
}

/// "For each service that caused an error …, sv increases the exit code by one and exits non zero." sv(8)
fn each_timeout_counts(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let services = ["one", "two"].map(|name| sandbox.service(name).run(SLEEP).check("exit 1").supervise());
    let good = sandbox.service("good").run(SLEEP).supervise();
    for service in services.iter().chain([&good]) {
        service.wait_run();
    }
    let output = sandbox.sv(&["-w", "5", "start", "one", "good", "two", "none"]);
    assert_eq!(output.code, Some(3));
    assert_eq!(
        mask_pids_and_seconds(&output.stdout),
        "fail: none: unable to change to service directory: file does not exist\n\
         ok: run: good: (pid PID) Ns\n\
         timeout: run: one: (pid PID) Ns\ntimeout: run: two: (pid PID) Ns\n"
    );
}
