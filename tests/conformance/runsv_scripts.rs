//! `control/LETTER`: customised control.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;

use svkit_tests::{Case, SLEEP, Sandbox, Service, Subject, case, eventually, is_running};

/// Records its signals; leaves on USR1.
const RECORD_SIGNALS: &str =
    "for s in HUP ALRM INT QUIT USR2 TERM CONT; do trap \"echo $s >>events\" $s; done
trap 'echo USR1 >>events; exit' USR1
echo ready >>events
while :; do sleep 0.05; done";

pub(crate) const CASES: &[Case] = &[
    case!(script_that_exits_0_replaces_the_signal),
    case!(script_that_fails_lets_the_signal_through),
    case!(script_that_is_not_executable_is_passed_over),
    case!(script_runs_in_the_service_directory),
    case!(p_with_a_script_counts_as_paused),
    case!(d_runs_t_then_d),
    case!(d_terms_when_t_fails),
    case!(d_disregards_c),
    case!(d_ignores_the_exit_code_of_d),
    case!(x_runs_t_then_x),
    case!(u_runs_before_every_start),
    case!(u_that_fails_does_not_hold_the_start_back),
    case!(o_is_considered_u),
    case!(no_script_for_a_service_that_is_down),
];

fn ready(service: &Service) -> u32 {
    service.wait_ready();
    service.wait_run()
}

/// "If the program exits with return code 0, runsv refrains from sending the service the corresponding signal." runsv(8)
fn script_that_exits_0_replaces_the_signal(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let letters = "haiq12tck";
    let mut builder = sandbox.service("web").run(RECORD_SIGNALS);
    for letter in letters.chars() {
        builder = builder.control(letter, &format!("echo script {letter} >>events"));
    }
    let service = builder.supervise();
    let pid = ready(&service);
    service.command(letters);
    let mut expected = vec!["ready".to_owned()];
    expected.extend(letters.chars().map(|letter| format!("script {letter}")));
    assert_eq!(service.wait_events(10), expected);
    assert!(is_running(pid));
}

/// "runsv first checks if service/control/c exists and is executable. If so, it starts service/control/c and waits for it
/// to terminate, before interpreting the command." runsv(8)
fn script_that_fails_lets_the_signal_through(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let letters = [
        ('h', "HUP"),
        ('a', "ALRM"),
        ('i', "INT"),
        ('q', "QUIT"),
        ('2', "USR2"),
        ('t', "TERM"),
        ('c', "CONT"),
    ];
    let mut builder = sandbox.service("web").run(RECORD_SIGNALS);
    for (letter, _) in letters {
        builder = builder.control(letter, &format!("echo script {letter} >>events; exit 1"));
    }
    let service = builder.supervise();
    ready(&service);
    let mut expected = vec!["ready".to_owned()];
    for (letter, signal) in letters {
        service.command(&letter.to_string());
        expected.extend([format!("script {letter}"), signal.to_owned()]);
        assert_eq!(service.wait_events(expected.len()), expected);
    }
}

/// "checks if service/control/c exists and is executable" runsv(8)
fn script_that_is_not_executable_is_passed_over(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(RECORD_SIGNALS).control('h', "echo script >>events").build();
    set_permissions(service.join("control/h"), Permissions::from_mode(0o644)).unwrap();
    let _runsv = sandbox.start(sandbox.command("runsv").arg(service.dir()));
    ready(&service);
    service.command("h");
    assert_eq!(service.wait_events(2), ["ready", "HUP"]);
}

/// "it starts service/control/c and waits for it to terminate" runsv(8): a control script is started in the service
/// directory, as `control/LETTER`, without arguments.
fn script_runs_in_the_service_directory(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).control('h', "echo $0 $# $(pwd -P) >>events").supervise();
    service.wait_run();
    service.command("h");
    let place = service.dir().canonicalize().unwrap();
    assert_eq!(service.wait_events(1), [format!("control/h 0 {}", place.display())]);
}

/// "If the program exits with return code 0, runsv refrains from sending the service the corresponding signal."
/// runsv(8): a `control/p` that exits 0 skips the STOP; the service counts as paused nevertheless. What is published is
/// not in the man page: runit 2.3.0 does so.
fn p_with_a_script_counts_as_paused(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(RECORD_SIGNALS).control('p', "echo script >>events").supervise();
    ready(&service);
    service.command("p");
    service.wait_stat("run, paused");
    service.command("2");
    assert_eq!(service.wait_events(3), ["ready", "script", "USR2"], "it is not stopped");
}

/// "On command d first service/control/t is checked, and then service/control/d." runsv(8)
fn d_runs_t_then_d(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox
        .service("web")
        .run(RECORD_SIGNALS)
        .control('t', "echo script t >>events")
        .control('d', "echo script d >>events")
        .supervise();
    let pid = ready(&service);
    service.command("d");
    // CONT comes in between, or, the shell being slow, a little later.
    let mut events = service.wait_events(4);
    events.retain(|event| event != "CONT");
    assert_eq!(events, ["ready", "script t", "script d"]);
    service.wait_stat("run, want down");
    assert_eq!((service.status().pid, service.status().got_term), (pid, 0));
}

/// "If service/control/t exits nonzero, or is not executable or doesn't exist, runsv sends the service a TERM signal.
/// runsv sends the service a CONT signal" runsv(8)
fn d_terms_when_t_fails(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service =
        sandbox.service("web").run(RECORD_SIGNALS).control('t', "echo script t >>events; exit 1").supervise();
    ready(&service);
    service.command("d");
    let mut events = service.wait_events(4);
    assert_eq!(events[..2], ["ready", "script t"]);
    events.sort();
    assert_eq!(events, ["CONT", "TERM", "ready", "script t"]);
    service.wait_stat("run, got TERM, want down");
}

/// "runsv sends the service a CONT signal, disregarding service/control/c even if it exists and is executable." runsv(8)
fn d_disregards_c(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox
        .service("web")
        .run(RECORD_SIGNALS)
        .control('t', "exit 0")
        .control('c', "echo script c >>events")
        .supervise();
    ready(&service);
    service.command("d2");
    let mut events = service.wait_events(3);
    events.sort();
    assert_eq!(events, ["CONT", "USR2", "ready"]);
}

/// "runsv checks whether service/control/d (or control/x) exists and is executable and runs it if yes. Its exit status is
/// ignored." runsv(8)
fn d_ignores_the_exit_code_of_d(subject: &Subject) {
    for code in [0, 1] {
        let sandbox = Sandbox::new(subject);
        let service = sandbox.service("web").run(SLEEP).control('d', &format!("exit {code}")).supervise();
        service.wait_run();
        service.command("d");
        service.wait_stat("down");
    }
}

/// "On command x first service/control/t is checked, and then service/control/x." runsv(8)
fn x_runs_t_then_x(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox
        .service("web")
        .run(RECORD_SIGNALS)
        .control('t', "echo script t >>events")
        .control('x', "echo script x >>events")
        .control('d', "echo script d >>events")
        .supervise();
    ready(&service);
    service.command("x");
    let mut events = service.wait_events(4);
    events.retain(|event| event != "CONT");
    assert_eq!(events, ["ready", "script t", "script x"]);
    service.wait_stat("run, want exit");
    assert_eq!(service.status().want, b'd');
    service.command("1");
    assert_eq!(service.runsv().wait().code, Some(0));
}

/// `control/u` runs before each start of `run`, automatic restarts included. Not in the man page: runit 2.3.0 runs it
/// there, too.
fn u_runs_before_every_start(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox
        .service("web")
        .run("echo run >>events")
        .finish("echo finish >>events")
        .control('u', "echo script u >>events")
        .supervise();
    let expected = ["script u", "run", "finish", "script u", "run", "finish"];
    assert_eq!(service.wait_events(6)[..6], expected);
}

/// "runsv refrains from sending the service the corresponding signal" runsv(8): there is no signal to refrain from: the
/// exit code of `control/u` does not matter.
fn u_that_fails_does_not_hold_the_start_back(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service =
        sandbox.service("web").run(SLEEP).control('u', "echo script u >>events; exit 1").supervise();
    service.wait_run();
    assert_eq!(service.events(), ["script u"]);
}

/// "The command o is always considered as command u." runsv(8)
fn o_is_considered_u(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox
        .service("web")
        .run(SLEEP)
        .down()
        .control('o', "echo script o >>events")
        .control('u', "echo script u >>events")
        .supervise();
    service.wait_stat("down");
    service.command("o");
    service.wait_run();
    assert_eq!(service.events(), ["script u"]);
}

/// "If the service is running or paused, control characters "d" and "x" are handled as follows" runsv(8)
fn no_script_for_a_service_that_is_down(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut builder = sandbox.service("web").run(SLEEP).down();
    for letter in "tdhaiq12pck".chars() {
        builder = builder.control(letter, &format!("echo script {letter} >>events"));
    }
    let service = builder.control('u', "echo script u >>events").supervise();
    service.wait_stat("down");
    service.command("tdhaiq12c");
    service.command("u");
    service.wait_run();
    assert_eq!(service.events(), ["script u"]);
    eventually("up", || (service.stat() == "run").then_some(()));
}
