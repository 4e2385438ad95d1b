//! How a service says that it is ready, and alive: `notification-fd`, `notify-socket`, `timeout-watchdog`.

use std::fs;
use std::time::Duration;

use svkit_tests::{Case, Sandbox, Service, ServiceBuilder, Subject, case, eventually, holds_for, is_running};

use crate::opt_in::{key, replace_runsv, wait_key, wait_warning};
use crate::teller;

pub(crate) const CASES: &[Case] = &[
    case!(a_newline_is_readiness),
    case!(no_newline_is_none),
    case!(each_run_has_to_say_it),
    case!(only_run_has_what_it_says_it_on),
    case!(a_pipe_outlives_runsv),
    case!(datagrams_are_readiness),
    case!(descendants_are_heard),
    case!(strangers_are_not_heard),
    case!(a_socket_outlives_runsv),
    case!(without_the_files_nothing_is_asked),
    case!(a_silent_service_is_aborted),
    case!(a_silent_service_that_does_not_abort_is_killed),
    case!(a_service_that_speaks_lives),
    case!(a_paused_service_may_be_silent),
    case!(a_service_that_never_spoke_may_be_silent),
];

/// `run` waits for the file `go`, and then says that it is ready.
const LATE: &str = "echo run >>events; printf starting >&3
while [ ! -e go ]; do sleep 0.02; done
echo >&3 && echo said >>events; exec sleep 1000";

/// How the last run ended, from its `finish`.
const FINISH: &str = "echo finish $1 $2 >>events";

fn touch(service: &Service, name: &str) {
    fs::write(service.join(name), "").unwrap();
}

/// The process that a teller wrote down.
fn written_pid(service: &Service, file: &str) -> u32 {
    eventually(file, || service.read(file).parse().ok())
}

/// "a newline written there means ready"
fn a_newline_is_readiness(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for fd in ["3", "9"] {
        let run = LATE.replace("&3", &format!("&{fd}"));
        let service = sandbox.service(fd).run(&run).file("notification-fd", &format!("{fd}\n")).supervise();
        service.wait_events(1);
        wait_key(&service, "ready", Some("no"));
        // It runs all the same, as it always did.
        service.wait_stat("run");
        holds_for(Duration::from_millis(300), "it has not said so", || {
            key(&service, "ready").is_none_or(|ready| ready == "no")
        });
        touch(&service, "go");
        wait_key(&service, "ready", Some("yes"));
        service.command("d");
        service.wait_stat("down");
        wait_key(&service, "ready", None);
    }
}

/// One that closes the descriptor, or says something else, is not ready; and no worse off.
fn no_newline_is_none(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for (name, what) in [("silent", ":"), ("closed", "exec 3>&-"), ("half", "printf ready >&3; exec 3>&-")] {
        let run = format!("{what}; echo ready >>events; exec sleep 1000");
        let mut service = sandbox.service(name).run(&run).file("notification-fd", "3").supervise();
        service.wait_ready();
        wait_key(&service, "ready", Some("no"));
        let pid = service.wait_run();
        holds_for(Duration::from_millis(400), name, || {
            is_running(pid) && key(&service, "ready").is_none_or(|ready| ready == "no")
        });
        assert_eq!(service.runsv().stderr(), "");
    }
}

fn each_run_has_to_say_it(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(LATE).file("notification-fd", "3\n").supervise();
    let pid = service.wait_run();
    touch(&service, "go");
    wait_key(&service, "ready", Some("yes"));
    fs::remove_file(service.join("go")).unwrap();
    service.command("t");
    service.wait_restart(pid);
    wait_key(&service, "ready", Some("no"));
    touch(&service, "go");
    wait_key(&service, "ready", Some("yes"));
    assert_eq!(service.events(), ["run", "said", "run", "said"]);
}

/// `finish` and the control programs speak for nobody.
fn only_run_has_what_it_says_it_on(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let look = "{ true >&5; } 2>/dev/null && echo fd >>events
echo ${NOTIFY_SOCKET:+socket} ${WATCHDOG_USEC:-none} >>events";
    let service = sandbox
        .service("web")
        .run(&format!("{look}; exec sleep 1000"))
        .finish(look)
        .control('h', look)
        .file("notification-fd", "5")
        .file("notify-socket", "")
        .file("timeout-watchdog", "1500")
        .supervise();
    assert_eq!(service.wait_events(2), ["fd", "socket 1500000"]);
    service.wait_run();
    service.command("h");
    assert_eq!(service.wait_events(3)[2], "none");
    service.command("k");
    assert_eq!(service.wait_events(4)[3], "none");
}

/// runsv is killed before the service is ready: the next one hears it.
fn a_pipe_outlives_runsv(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(LATE).file("notification-fd", "3").supervise();
    service.wait_events(1);
    let pid = service.wait_run();
    let inode = eventually("the pipe is written down", || key(&service, "notify-pipe"));
    let runsv = replace_runsv(&sandbox, &mut service);
    wait_key(&service, "ready", Some("no"));
    assert_eq!((service.wait_run(), key(&service, "notify-pipe")), (pid, Some(inode)));
    touch(&service, "go");
    wait_key(&service, "ready", Some("yes"));
    assert_eq!((service.events().join(" "), service.status().pid), ("run said".into(), pid));
    assert_eq!(runsv.stderr(), "");
}

/// "`READY=1`, `STATUS=`, `STOPPING=1` are understood"
fn datagrams_are_readiness(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let steps = [
        "send STATUS=warming up",
        "await 1",
        "send READY=1\nSTATUS=at work = well\nMAINPID=1",
        "await 2",
        "send STOPPING=1",
        "send STATUS=",
        "await 3",
        "send READY=1",
        "hold",
    ];
    let run = format!("exec {}", teller::command(&steps));
    let service = sandbox.service("web").run(&run).file("notify-socket", "").supervise();
    wait_key(&service, "text", Some("warming up"));
    wait_key(&service, "ready", Some("no"));
    touch(&service, "1");
    wait_key(&service, "ready", Some("yes"));
    wait_key(&service, "text", Some("at work = well"));
    let pid = service.wait_run();
    touch(&service, "2");
    wait_key(&service, "text", None);
    wait_key(&service, "ready", Some("no"));
    touch(&service, "3");
    wait_key(&service, "ready", Some("yes"));
    fs::remove_file(service.join("1")).unwrap();
    service.command("t");
    service.wait_restart(pid);
    wait_key(&service, "text", Some("warming up"));
    wait_key(&service, "ready", Some("no"));
}

fn descendants_are_heard(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let child = teller::command(&["send READY=1", "hold"]);
    let run = format!("({child} & wait) & wait");
    let service = sandbox.service("web").run(&run).file("notify-socket", "").supervise();
    wait_key(&service, "ready", Some("yes"));
}

/// Anybody may send to such a socket. What is in it is read in order.
fn strangers_are_not_heard(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = format!("exec {}", teller::command(&["await go", "send STATUS=truth", "hold"]));
    let service = sandbox.service("web").run(&run).file("notify-socket", "").supervise();
    wait_key(&service, "ready", Some("no"));
    let socket = eventually("the socket's name", || key(&service, "notify-socket"));
    teller::send(&socket, "READY=1\nSTATUS=lie");
    touch(&service, "go");
    wait_key(&service, "text", Some("truth"));
    wait_key(&service, "ready", Some("no"));
}

fn a_socket_outlives_runsv(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let steps = ["send STATUS=waiting", "await go", "send READY=1", "hold"];
    let run = format!("exec {}", teller::command(&steps));
    let mut service = sandbox.service("web").run(&run).file("notify-socket", "").supervise();
    wait_key(&service, "text", Some("waiting"));
    let pid = service.wait_run();
    let runsv = replace_runsv(&sandbox, &mut service);
    wait_key(&service, "text", Some("waiting"));
    touch(&service, "go");
    wait_key(&service, "ready", Some("yes"));
    assert_eq!((service.status().pid, runsv.stderr().as_str()), (pid, ""));
}

fn without_the_files_nothing_is_asked(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run =
        "echo ready >>events; echo ${NOTIFY_SOCKET-none} ${WATCHDOG_USEC-none} >>events; exec sleep 1000";
    let mut service = sandbox.service("web").run(run).file("notification-fd", "x").supervise();
    service.wait_ready();
    assert_eq!(service.wait_events(2)[1], "none none");
    wait_key(&service, "ready", None);
    wait_warning(&mut service, "./notification-fd: line 1: `x` is no descriptor from 3 to 1023\n");
}

fn a_silent_service_is_aborted(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for word in ["READY=1", "WATCHDOG=1"] {
        let tell = teller::command(&[&format!("send {word}"), "hold"]);
        let builder = sandbox.service(word).run(&format!("ulimit -c 0; echo run >>events; exec {tell}"));
        let builder = builder.finish(FINISH).file("notify-socket", "").file("timeout-watchdog", "200\n");
        let service = builder.supervise();
        assert_eq!(service.wait_events(3)[..3], ["run", "finish -1 6", "run"], "{word}");
    }
}

fn a_silent_service_that_does_not_abort_is_killed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let tell = teller::command(&["send READY=1", "hold"]);
    let builder = sandbox.service("web").run(&format!("trap '' ABRT; exec {tell}")).finish(FINISH);
    let builder = builder.file("notify-socket", "").file("timeout-watchdog", "200");
    let service = builder.file("timeout-kill", "200").supervise();
    assert_eq!(service.wait_events(1)[0], "finish -1 9");
}

/// How many milliseconds a service may be silent: many times as long as a busy machine holds up one that speaks.
const WATCHDOG: &str = "3000";

fn watched<'a>(sandbox: &'a Sandbox, name: &str, steps: &[&str]) -> ServiceBuilder<'a> {
    let run = format!("ulimit -c 0; exec {}", teller::command(steps));
    let builder = sandbox.service(name).run(&run).finish(FINISH);
    builder.file("notify-socket", "").file("timeout-watchdog", WATCHDOG)
}

/// Waits until a service is killed that is silent from now on. One that was silent before was due earlier.
fn wait_silence(sandbox: &Sandbox, name: &str) {
    let silent = watched(sandbox, name, &["send READY=1", "hold"]).supervise();
    assert_eq!(silent.wait_events(1)[0], "finish -1 6");
}

fn a_service_that_speaks_lives(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = watched(&sandbox, "web", &["send READY=1", "ping silent", "hold"]).supervise();
    wait_key(&service, "ready", Some("yes"));
    let pid = service.wait_run();
    wait_silence(&sandbox, "silent");
    holds_for(Duration::from_millis(300), "it speaks", || service.status().pid == pid);
    assert!(service.events().is_empty());
    touch(&service, "silent");
    assert_eq!(service.wait_events(1)[0], "finish -1 6");
}

fn a_paused_service_may_be_silent(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = watched(&sandbox, "web", &["send READY=1", "ping silent", "hold"]).supervise();
    wait_key(&service, "ready", Some("yes"));
    let pid = service.wait_run();
    service.command("p");
    service.wait_stat("run, paused");
    wait_silence(&sandbox, "during");
    holds_for(Duration::from_millis(300), "it is left alone", || is_running(pid));
    service.command("c");
    service.wait_stat("run");
    wait_silence(&sandbox, "after");
    holds_for(Duration::from_millis(300), "it speaks again", || is_running(pid));
    assert!(service.events().is_empty());
}

fn a_service_that_never_spoke_may_be_silent(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let tell = teller::command(&["write pid", "hold"]);
    let builder = sandbox.service("web").run(&format!("exec {tell}")).file("notify-socket", "");
    let service = builder.file("timeout-watchdog", "100").supervise();
    let pid = written_pid(&service, "pid");
    holds_for(Duration::from_millis(800), "it is left alone", || is_running(pid));
}
