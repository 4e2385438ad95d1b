//! The characters of `supervise/control`.

use std::fs;
use std::time::Duration;

use svkit_tests::{
    Case, ProcStat, SLEEP, Sandbox, Service, Subject, case, eventually, holds_for, is_running,
};

/// Records the signals it gets, and lives on.
const RECORD_SIGNALS: &str =
    "for s in HUP ALRM INT QUIT USR1 USR2 TERM CONT; do trap \"echo $s >>events\" $s; done
echo ready >>events
while :; do sleep 0.05; done";
/// Lives on after TERM.
const IGNORE_TERM: &str = "trap '' TERM; echo ready >>events; while :; do sleep 0.05; done";

pub(crate) const CASES: &[Case] = &[
    case!(letters_send_their_signals),
    case!(p_stops_and_c_continues),
    case!(k_kills),
    case!(d_terms_and_stays_down),
    case!(d_continues_a_paused_service),
    case!(d_runs_finish),
    case!(d_on_a_deaf_service_shows_got_term),
    case!(d_during_finish_stays_down),
    case!(u_starts_and_restarts),
    case!(u_takes_back_a_d),
    case!(u_on_a_running_service_changes_nothing),
    case!(o_starts_once),
    case!(o_on_a_running_service_wants_down_without_term),
    case!(t_restarts),
    case!(signals_for_a_service_that_is_down_are_lost),
    case!(many_bytes_are_many_commands),
    case!(unknown_bytes_are_ignored),
    case!(x_on_the_log_is_ignored),
    case!(a_shell_writes_commands),
];

fn ready(service: &Service) -> u32 {
    service.wait_ready();
    service.wait_run()
}

/// "h Hangup. If the service is running, send it a HUP signal. a … ALRM … i … INT … q … QUIT … 1 … USR1 … 2 … USR2 …
/// t … TERM …" runsv(8)
fn letters_send_their_signals(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(RECORD_SIGNALS).supervise();
    let pid = ready(&service);
    let signals = [
        ("h", "HUP"),
        ("a", "ALRM"),
        ("i", "INT"),
        ("q", "QUIT"),
        ("1", "USR1"),
        ("2", "USR2"),
        ("t", "TERM"),
        ("c", "CONT"),
    ];
    for (count, (letter, signal)) in signals.iter().enumerate() {
        service.command(letter);
        let events = service.wait_events(count + 2);
        assert_eq!(events.last().unwrap(), signal, "after {letter}");
    }
    assert_eq!(service.status().pid, pid);
}

/// "p Pause. If the service is running, send it a STOP signal. c Continue. If the service is running, send it a CONT
/// signal." runsv(8)
fn p_stops_and_c_continues(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    let pid = service.wait_run();
    service.command("p");
    service.wait_stat("run, paused");
    eventually("stopped", || (state(pid) == Some('T')).then_some(()));
    eventually("byte 16", || (service.status().paused == 1).then_some(()));
    service.command("c");
    service.wait_stat("run");
    eventually("continued", || (state(pid) != Some('T')).then_some(()));
    eventually("byte 16", || (service.status().paused == 0).then_some(()));
}

/// "k Kill. If the service is running, send it a KILL signal." runsv(8)
fn k_kills(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(IGNORE_TERM).finish("echo finish $1 $2 >>events").supervise();
    let pid = ready(&service);
    service.command("k");
    service.wait_text("events", "finish -1 9\n");
    service.wait_restart(pid);
    assert!(!is_running(pid));
}

/// "d Down. If the service is running, send it a TERM signal, and then a CONT signal. … After it stops, do not restart
/// service." runsv(8)
fn d_terms_and_stays_down(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let script = "trap 'echo TERM >>events; exit' TERM; echo ready >>events; while :; do sleep 0.05; done";
    let service = sandbox.service("web").run(script).supervise();
    let pid = ready(&service);
    service.command("d");
    service.wait_stat("down");
    assert_eq!(service.events(), ["ready", "TERM"]);
    assert!(!is_running(pid));
    let status = service.status();
    assert_eq!((status.pid, status.paused, status.want, status.got_term, status.state), (0, 0, b'd', 0, 0));
    assert_eq!(service.read("supervise/pid"), "");
    holds_for(Duration::from_millis(1300), "down", || service.stat() == "down");
}

/// "send it a TERM signal, and then a CONT signal" runsv(8): a paused service goes down, too.
fn d_continues_a_paused_service(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    let pid = service.wait_run();
    service.command("p");
    eventually("stopped", || (state(pid) == Some('T')).then_some(()));
    service.command("d");
    eventually("down", || (!is_running(pid)).then_some(()));
    eventually("no pid", || (service.status().pid == 0).then_some(()));
}

/// "If ./run exits, start ./finish if it exists." runsv(8)
fn d_runs_finish(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).finish("echo finish $1 $2 >>events").supervise();
    service.wait_run();
    service.command("d");
    assert_eq!(service.wait_events(1), ["finish -1 15"]);
    service.wait_stat("down");
}

/// A service that outlives TERM shows that it got it. Not in the man page: runit 2.3.0 publishes it.
fn d_on_a_deaf_service_shows_got_term(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(IGNORE_TERM).supervise();
    let pid = ready(&service);
    service.command("d");
    service.wait_stat("run, got TERM, want down");
    let status = service.status();
    assert_eq!((status.pid, status.want, status.got_term, status.state), (pid, b'd', 1, 1));
    service.command("k");
    eventually("killed", || (!is_running(pid)).then_some(()));
}

/// "After it stops, do not restart service." runsv(8): a service told down while `finish` runs is not restarted after
/// it, and `finish` is left alone.
fn d_during_finish_stays_down(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let finish = "echo finish >>events; while [ ! -e go ]; do sleep 0.02; done; echo end >>events";
    let service = sandbox.service("web").run("echo run >>events; sleep 1.1").finish(finish).supervise();
    service.wait_stat("finish");
    service.command("d");
    service.wait_stat("finish, want down");
    assert_eq!(service.status().got_term, 0);
    fs::write(service.join("go"), "").unwrap();
    service.wait_stat("down");
    assert_eq!(service.events(), ["run", "finish", "end"]);
}

/// "u Up. If the service is not running, start it. If the service stops, restart it." runsv(8)
fn u_starts_and_restarts(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).down().supervise();
    service.wait_stat("down");
    service.command("u");
    let pid = service.wait_run();
    assert_eq!(service.status().want, b'u');
    service.command("t");
    service.wait_restart(pid);
}

/// "If the service stops, restart it." runsv(8): a `u` after a `d` that has not taken effect yet: the service will be
/// restarted.
fn u_takes_back_a_d(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(IGNORE_TERM).supervise();
    let pid = ready(&service);
    service.command("d");
    service.wait_stat("run, got TERM, want down");
    service.command("u");
    service.wait_stat("run, got TERM");
    assert_eq!(service.status().pid, pid);
}

/// "u Up. If the service is not running, start it." runsv(8)
fn u_on_a_running_service_changes_nothing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(RECORD_SIGNALS).supervise();
    ready(&service);
    let before = service.status();
    service.command("u1");
    assert_eq!(service.wait_events(2), ["ready", "USR1"]);
    assert_eq!(service.status(), before);
}

/// "o Once. If the service is not running, start it. Do not restart it if it stops." runsv(8)
fn o_starts_once(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = "echo run >>events; while [ ! -e go ]; do sleep 0.02; done";
    let service = sandbox.service("web").run(run).down().supervise();
    service.wait_stat("down");
    service.command("o");
    service.wait_stat("run, want down");
    assert_eq!(service.status().want, b'd');
    assert_eq!(service.status().got_term, 0);
    fs::write(service.join("go"), "").unwrap();
    service.wait_stat("down");
    holds_for(Duration::from_millis(1300), "down", || service.stat() == "down");
    assert_eq!(service.events(), ["run"]);
}

/// "o Once. … Do not restart it if it stops." runsv(8)
fn o_on_a_running_service_wants_down_without_term(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    let pid = service.wait_run();
    service.command("o");
    service.wait_stat("run, want down");
    assert_eq!((service.status().pid, service.status().got_term), (pid, 0));
    service.command("t");
    service.wait_stat("down");
}

/// "t Terminate. If the service is running, send it a TERM signal." runsv(8): it is wanted up, so it comes back.
fn t_restarts(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    let pid = service.wait_run();
    service.command("t");
    service.wait_restart(pid);
    assert_eq!(service.stat(), "run");
}

/// "If the service is running, send it …" runsv(8)
fn signals_for_a_service_that_is_down_are_lost(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(RECORD_SIGNALS).down().supervise();
    service.wait_stat("down");
    service.command("haiq12t");
    service.command("u");
    ready(&service);
    service.command("1");
    assert_eq!(service.wait_events(2), ["ready", "USR1"]);
}

/// "just write one of the following characters to the named pipe" runsv(8): several characters in one write are several
/// commands, in order.
fn many_bytes_are_many_commands(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut builder = sandbox.service("web").run(SLEEP);
    for letter in ['1', '2', 'h', 'a', 'i', 'q'] {
        builder = builder.control(letter, &format!("echo {letter} >>events"));
    }
    let service = builder.supervise();
    service.wait_run();
    service.command("qi21ahq");
    assert_eq!(service.wait_events(7), ["q", "i", "2", "1", "a", "h", "q"]);
}

/// "one of the following characters" runsv(8): a byte that is no command does nothing. What any other does is not in
/// the man page: runit 2.3.0 ignores it.
fn unknown_bytes_are_ignored(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(RECORD_SIGNALS).supervise();
    let pid = ready(&service);
    service.command("zZ\n 93DUX\0/e1");
    assert_eq!(service.wait_events(2), ["ready", "USR1"]);
    assert_eq!(service.status().pid, pid);
    assert_eq!(service.stat(), "run");
}

/// "This command is ignored if it is given to service/log/supervise/control." runsv(8)
fn x_on_the_log_is_ignored(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(SLEEP).log(RECORD_SIGNALS).supervise();
    let pid = ready(&service.log());
    service.log().command("x1");
    assert_eq!(service.log().wait_events(2), ["ready", "USR1"]);
    assert_eq!(service.log().status().pid, pid);
    assert_eq!(service.log().stat(), "run");
    assert!(service.runsv().is_running());
}

/// "# printf t >/service/socklog-unix/supervise/control" runsv(8)
fn a_shell_writes_commands(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(RECORD_SIGNALS).supervise();
    ready(&service);
    let output = sandbox.run("sh", &["-c", "printf t >services/web/supervise/control"]);
    assert_eq!(output.code, Some(0));
    assert_eq!(service.wait_events(2), ["ready", "TERM"]);
}

fn state(pid: u32) -> Option<char> {
    ProcStat::of(pid).map(|stat| stat.state)
}
