//! The commands of sv: what they send.

use svkit_tests::{Case, SLEEP, Sandbox, Service, Subject, Supervised, case};

/// Records the signals it gets, and lives on.
const RECORD_SIGNALS: &str =
    "for s in HUP ALRM INT QUIT USR1 USR2 TERM CONT; do trap \"echo $s >>events\" $s; done
echo ready >>events
while :; do sleep 0.05; done";

pub(crate) const CASES: &[Case] = &[
    case!(signal_commands),
    case!(first_letter_decides),
    case!(pause_and_cont),
    case!(up_and_down),
    case!(once),
    case!(kill),
    case!(exit),
    case!(e_is_exit),
    case!(commands_are_silent),
    case!(up_on_an_up_service_sends_nothing),
    case!(down_on_a_down_service_sends_nothing),
    case!(down_after_once_sends_term),
    case!(many_services),
    case!(options_end_at_the_command),
    case!(log_service_by_its_path),
];

fn recorder(sandbox: &Sandbox) -> Supervised {
    let service = sandbox.service("web").run(RECORD_SIGNALS).supervise();
    service.wait_ready();
    service.wait_run();
    service
}

fn silently(sandbox: &Sandbox, args: &[&str]) {
    let output = sandbox.sv(args);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(0), "", ""), "{args:?}");
}

fn commands(sandbox: &Sandbox, service: &Service, table: &[(&str, &str)]) {
    for (word, signal) in table {
        let count = service.events().len();
        silently(sandbox, &[word, "web"]);
        assert_eq!(service.wait_events(count + 1).last().unwrap(), signal, "sv {word}");
    }
}

/// "pause cont hup alarm interrupt quit 1 2 term kill: If the service is running, send it the STOP, CONT, HUP, ALRM, INT,
/// QUIT, USR1, USR2, TERM, or KILL signal respectively." sv(8)
fn signal_commands(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = recorder(&sandbox);
    let table = [
        ("hup", "HUP"),
        ("alarm", "ALRM"),
        ("interrupt", "INT"),
        ("quit", "QUIT"),
        ("1", "USR1"),
        ("2", "USR2"),
        ("term", "TERM"),
        ("cont", "CONT"),
    ];
    commands(&sandbox, &service, &table);
}

/// "sv actually looks only at the first character of these commands." sv(8)
fn first_letter_decides(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = recorder(&sandbox);
    let table = [
        ("h", "HUP"),
        ("halt", "HUP"),
        ("a", "ALRM"),
        ("in", "INT"),
        ("quirk", "QUIT"),
        ("10", "USR1"),
        ("2nd", "USR2"),
        ("t", "TERM"),
        ("try", "TERM"),
        ("try-restarting", "TERM"),
        ("c", "CONT"),
        ("checks", "CONT"),
    ];
    commands(&sandbox, &service, &table);
    silently(&sandbox, &["downwards", "web"]);
    service.wait_stat("run, got TERM, want down");
    silently(&sandbox, &["undo", "web"]);
    service.wait_stat("run, got TERM");
}

/// "pause … STOP, cont … CONT" sv(8)
fn pause_and_cont(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    silently(&sandbox, &["pause", "web"]);
    service.wait_stat("run, paused");
    silently(&sandbox, &["cont", "web"]);
    service.wait_stat("run");
}

/// "up If the service is not running, start it. If the service stops, restart it." "down If the service is running, send
/// it the TERM signal, and the CONT signal. … After it stops, do not restart service." sv(8)
fn up_and_down(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).down().supervise();
    service.wait_stat("down");
    silently(&sandbox, &["up", "web"]);
    service.wait_run();
    silently(&sandbox, &["down", "web"]);
    service.wait_stat("down");
}

/// "once If the service is not running, start it. Do not restart it if it stops." sv(8)
fn once(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).down().supervise();
    service.wait_stat("down");
    silently(&sandbox, &["once", "web"]);
    service.wait_stat("run, want down");
    silently(&sandbox, &["term", "web"]);
    service.wait_stat("down");
}

/// "kill … KILL" sv(8)
fn kill(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = recorder(&sandbox);
    let pid = service.wait_run();
    silently(&sandbox, &["kill", "web"]);
    service.wait_restart(pid);
    assert!(!svkit_tests::is_running(pid));
}

/// "exit If the service is running, send it the TERM signal, and the CONT signal. Do not restart the service. If the
/// service is down, and no log service exists, runsv(8) exits." sv(8)
fn exit(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    silently(&sandbox, &["exit", "web"]);
    assert_eq!(service.runsv().wait().code, Some(0));
}

/// "sv actually looks only at the first character of these commands." sv(8): `e` and `x` are the same letter. `x` is
/// not in the man page: runit 2.3.0 takes it for `exit`.
fn e_is_exit(subject: &Subject) {
    for word in ["e", "x", "extra"] {
        let sandbox = Sandbox::new(subject);
        let mut service = sandbox.service("web").run(SLEEP).supervise();
        service.wait_run();
        silently(&sandbox, &[word, "web"]);
        assert_eq!(service.runsv().wait().code, Some(0));
    }
}

/// "sv exits 0, if the command was successfully sent to all services" sv(8): and says nothing.
fn commands_are_silent(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = recorder(&sandbox);
    for word in ["up", "1", "hup", "pause", "cont", "once", "down", "down", "kill"] {
        silently(&sandbox, &[word, "web"]);
    }
    service.wait_stat("down");
}

/// "up If the service is not running, start it." sv(8): a wish that is already there is not sent again.
fn up_on_an_up_service_sends_nothing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service =
        sandbox.service("web").run("echo run >>events; exit").control('u', "echo u >>events").supervise();
    // Were a second `u` sent between two starts, it would cut the pause short.
    service.wait_events(2);
    silently(&sandbox, &["up", "web"]);
    silently(&sandbox, &["up", "web"]);
    let events = service.wait_events(4);
    assert_eq!(events[..4], ["u", "run", "u", "run"]);
}

/// "down If the service is running, send it the TERM signal" sv(8): `down` is sent to a service that is wanted down
/// only when its last process has not had TERM yet; where there is none it does nothing.
fn down_on_a_down_service_sends_nothing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).control('d', "echo d >>events").supervise();
    service.wait_run();
    silently(&sandbox, &["down", "web"]);
    service.wait_stat("down");
    silently(&sandbox, &["down", "web"]);
    silently(&sandbox, &["up", "web"]);
    service.wait_run();
    assert_eq!(service.events(), ["d"]);
}

/// "down If the service is running, send it the TERM signal" sv(8): a service that runs once is wanted down, and can be
/// told so.
fn down_after_once_sends_term(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    silently(&sandbox, &["once", "web"]);
    service.wait_stat("run, want down");
    silently(&sandbox, &["down", "web"]);
    service.wait_stat("down");
}

/// "services consists of one or more arguments, each argument naming a directory service used by runsv(8)." sv(8)
fn many_services(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let services = ["one", "two", "three"].map(|name| sandbox.service(name).run(SLEEP).supervise());
    for service in &services {
        service.wait_run();
    }
    silently(&sandbox, &["down", "one", "two", "./services/three"]);
    for service in &services {
        service.wait_stat("down");
    }
}

/// "sv [-v] [-w sec] command services" sv(8): what follows the command is no option.
fn options_end_at_the_command(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("-v").run(SLEEP).supervise();
    service.wait_run();
    silently(&sandbox, &["down", "-v"]);
    service.wait_stat("down");
    silently(&sandbox, &["--", "up", "-v"]);
    service.wait_run();
}

/// "each argument naming a directory service used by runsv(8)" sv(8): a log service is controlled by its path.
fn log_service_by_its_path(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).log("exec cat >/dev/null").supervise();
    service.wait_run();
    let pid = service.log().wait_run();
    silently(&sandbox, &["kill", "web/log"]);
    service.log().wait_restart(pid);
    let output = sandbox.sv(&["status", "web/log"]);
    assert!(output.stdout.starts_with("run: web/log: (pid "), "{output:?}");
}
