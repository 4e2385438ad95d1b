//! runsvdir as the first process of a container, and as one that stops its tree in the same way elsewhere.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use svkit_tests::{
    Case, ProcStat, Running, SLEEP, Sandbox, Service, Subject, all_processes, case, eventually, holds_for,
    send, voluntary_switches,
};

pub(crate) const CASES: &[Case] = &[
    case!(term_stops_all_and_the_log_gets_the_last_line).root().needs(&["unshare"]),
    case!(int_is_as_term).root().needs(&["unshare"]),
    case!(hup_is_as_term_with_another_code).root().needs(&["unshare"]),
    case!(late_service_is_killed_before_its_log).root().needs(&["unshare"]),
    case!(orphans_are_reaped_and_ended).root().needs(&["unshare"]),
    case!(term_during_the_start).root().needs(&["unshare"]),
    case!(killed_container_begins_afresh).root().needs(&["unshare"]),
    case!(without_a_directory_it_cannot_start).root().needs(&["unshare"]),
    case!(init_elsewhere_stops_all),
    case!(init_elsewhere_kills_what_is_late),
    case!(init_ends_what_it_adopted),
    case!(stop_goes_on_over_a_reexec),
    case!(idle_while_it_stops),
];

/// A stop timeout that no test waits for: what it sees end has not been killed for being late.
const NEVER: &str = "60";

/// After this long runsvdir leaves what KILL has not ended.
const GIVE_UP: Duration = Duration::from_secs(5);

/// Shows that nothing was left when a stop had come to its limit.
fn assert_not_given_up(limit: Duration, time: Duration) {
    // The exit itself takes its time, too.
    assert!(time < limit + GIVE_UP - Duration::from_millis(500), "{time:?}");
}

/// Stops slowly, and says so.
const SLOW: &str =
    "trap 'sleep 0.3; echo last words; exit' TERM; echo first words; while :; do sleep 0.02; done";

/// A runsvdir that is process 1 of its namespace.
struct Container {
    unshare: Running,
    /// What its first process is called outside.
    first: u32,
}

impl Container {
    /// Runs it for `services/`.
    fn start(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let mut command = sandbox.command("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "runsvdir"]).args(arguments).arg("services");
        let unshare = sandbox.start(&mut command);
        let first = eventually("the first process", || {
            let own = |pid: &u32| ProcStat::of(*pid).is_some_and(|stat| stat.parent == unshare.pid());
            let pid = all_processes().into_iter().find(own)?;
            // It is unshare until it has become the program.
            (fs::read_to_string(format!("/proc/{pid}/comm")).ok()? == "runsvdir\n").then_some(pid)
        });
        Self { unshare, first }
    }

    /// Signals the first process, and waits for its end: its exit code and how long it took.
    fn stop(&mut self, signal: Signal) -> (Option<i32>, Duration) {
        let start = Instant::now();
        send(self.first, signal);
        // Process 1 takes its namespace along: unshare's code is its.
        (self.unshare.wait().code, start.elapsed())
    }
}

/// Two services with a log each, one of svlogd and one of another program.
fn logged(sandbox: &Sandbox) -> [Service; 2] {
    [
        sandbox.service("svlogd").run(SLOW).log("mkdir -p main; exec svlogd ./main").build(),
        // It would lose what it has not written yet if it were not waited for.
        sandbox
            .service("cat")
            .run(SLOW)
            .log("trap '' TERM; while read -r line; do sleep 0.05; echo $line >>lines; done")
            .build(),
    ]
}

fn wait_first_words(services: &[Service; 2]) {
    services[0].log().wait_text("main/current", "first words\n");
    services[1].log().wait_text("lines", "first words\n");
}

fn assert_last_words(services: &[Service; 2]) {
    assert_eq!(services[0].log().read("main/current"), "first words\nlast words\n");
    assert_eq!(services[1].log().read("lines"), "first words\nlast words\n");
}

fn stops_all(subject: &Subject, signal: Signal, code: i32) {
    let sandbox = Sandbox::new(subject);
    let services = logged(&sandbox);
    let mut container = Container::start(&sandbox, &["-P", "--stop-timeout", NEVER]);
    wait_first_words(&services);
    let (found, _) = container.stop(signal);
    assert_eq!((found, container.unshare.stderr().as_str()), (Some(code), ""));
    assert_last_words(&services);
    assert!(services.iter().all(|service| service.stat() == "down" && service.log().stat() == "down"));
}

fn term_stops_all_and_the_log_gets_the_last_line(subject: &Subject) {
    stops_all(subject, Signal::SIGTERM, 0);
}

fn int_is_as_term(subject: &Subject) {
    stops_all(subject, Signal::SIGINT, 0);
}

fn hup_is_as_term_with_another_code(subject: &Subject) {
    stops_all(subject, Signal::SIGHUP, 111);
}

/// Tells of a TERM, and writes on until it is killed.
const DEAF: &str = "trap 'echo told' TERM; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.01; done";

fn late_service_is_killed_before_its_log(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let deaf = sandbox.service("deaf").run(DEAF).log("exec cat >>lines").build();
    let fine = sandbox.service("fine").run(SLOW).build();
    let mut container = Container::start(&sandbox, &["-P", "--stop-timeout", "5"]);
    deaf.log().wait_text("lines", "line 10\n");
    fine.wait_stat("run");
    let (code, time) = container.stop(Signal::SIGTERM);
    let stderr = container.unshare.stderr();
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stderr, "runsvdir services: warning: killed, not having stopped in time: deaf\n");
    assert!(time >= Duration::from_secs(4), "{time:?}");
    assert_not_given_up(Duration::from_secs(5), time);
    let text = deaf.log().read("lines");
    let (before, after) = text.split_once("told\n").unwrap();
    let lines = before.lines().chain(after.lines());
    let numbers: Vec<usize> =
        lines.map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len()), "{numbers:?}");
    assert!(!after.is_empty(), "it goes on after TERM, and its log service reads that");
    assert_eq!(deaf.log().stat(), "down", "its log service has read to the end");
}

/// Daemons that left their parents: one that ends by itself, one that TERM ends, one that only KILL ends.
const DAEMONS: &str = "(setsid sh -c 'sleep 0.1; echo ended >>events' &)
(setsid sh -c 'trap \"echo told >>events; exit\" TERM; echo ready >>events; while :; do sleep 0.02; done' &)
(setsid sh -c 'trap \"\" TERM; echo ready >>events; while :; do sleep 0.02; done' &)
exec sleep 1000";

fn zombies(parent: u32) -> usize {
    let is_zombie =
        |pid: &u32| ProcStat::of(*pid).is_some_and(|stat| stat.parent == parent && stat.state == 'Z');
    all_processes().iter().filter(|pid| is_zombie(pid)).count()
}

fn orphans_are_reaped_and_ended(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(DAEMONS).build();
    let mut container = Container::start(&sandbox, &["--stop-timeout", "5"]);
    service.wait_events(3);
    service.wait_text("events", "ended\n");
    eventually("no zombie is left", || (zombies(container.first) == 0).then_some(()));
    let (code, time) = container.stop(Signal::SIGTERM);
    assert_eq!((code, container.unshare.stderr().as_str()), (Some(0), ""));
    assert!(service.events().contains(&"told".to_owned()), "{:?}", service.events());
    assert_not_given_up(Duration::from_secs(5), time);
}

/// Before all are started: what runs ends, and nothing else is started.
fn term_during_the_start(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let services: Vec<Service> =
        (0..300).map(|number| sandbox.service(number.to_string()).run(SLEEP).build()).collect();
    let mut container = Container::start(&sandbox, &["-P", "--stop-timeout", NEVER]);
    eventually("the first runsv", || {
        services.iter().any(|service| service.join("supervise").exists()).then_some(())
    });
    let (code, _) = container.stop(Signal::SIGTERM);
    assert_eq!((code, container.unshare.stderr().as_str()), (Some(0), ""));
    assert!(services.iter().all(|service| !service.is_ok()));
}

/// The boot is the same, the numbers of processes may be, and nothing is left to take over.
fn killed_container_begins_afresh(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let [up, down] = ["up", "down"].map(|name| {
        let service = sandbox.service(name).run("echo run >>events; exec sleep 1000");
        service.finish("echo finish $1 $2 >>events").build()
    });
    let mut container = Container::start(&sandbox, &["-P"]);
    for service in [&up, &down] {
        service.wait_events(1);
        service.wait_stat("run");
    }
    down.command("d");
    down.wait_stat("down");
    send(container.first, Signal::SIGKILL);
    container.unshare.wait();

    let mut container = Container::start(&sandbox, &["-P", "--stop-timeout", NEVER]);
    assert_eq!(up.wait_events(2), ["run", "run"]);
    assert_eq!(down.wait_events(3)[2], "run");
    let (code, _) = container.stop(Signal::SIGTERM);
    assert_eq!((code, container.unshare.stderr().as_str()), (Some(0), ""));
}

fn without_a_directory_it_cannot_start(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.write("file", "");
    let output = sandbox.run("unshare", &["--pid", "--fork", "--mount-proc", "runsvdir", "file"]);
    let expected = "runsvdir file: fatal: unable to open directory file: Not a directory\n";
    assert_eq!((output.code, output.stderr.as_str()), (Some(100), expected));
}

/// A runsvdir for `services/` that stops as one in a container does.
fn init(sandbox: &Sandbox, arguments: &[&str]) -> Running {
    sandbox.start(sandbox.command("runsvdir").arg("--init").args(arguments).arg("services"))
}

fn init_elsewhere_stops_all(subject: &Subject) {
    for (signal, code) in [(Signal::SIGTERM, 0), (Signal::SIGINT, 0), (Signal::SIGHUP, 111)] {
        let sandbox = Sandbox::new(subject);
        let services = logged(&sandbox);
        let mut runsvdir = init(&sandbox, &["-P", "--stop-timeout", NEVER]);
        wait_first_words(&services);
        runsvdir.signal(signal);
        // Nothing new.
        runsvdir.signal(Signal::SIGTERM);
        let output = runsvdir.wait();
        assert_eq!((output.code, output.stderr.as_str()), (Some(code), ""));
        assert_last_words(&services);
        assert_eq!(sandbox.processes().len(), 0);
    }
}

fn init_elsewhere_kills_what_is_late(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let deaf = sandbox.service("deaf").run(DEAF).log("exec cat >>lines").build();
    let stuck = sandbox.service("stuck").run(SLEEP).finish("trap '' TERM; sleep 1000; sleep 1000").build();
    let daemons = sandbox.service("daemons").run(DAEMONS).build();
    let mut runsvdir = init(&sandbox, &["--stop-timeout", "1.5"]);
    deaf.log().wait_text("lines", "line 10\n");
    daemons.wait_events(3);
    stuck.wait_run();
    let start = Instant::now();
    runsvdir.signal(Signal::SIGTERM);
    let (output, time) = (runsvdir.wait(), start.elapsed());
    assert_eq!(output.code, Some(0), "{output:?}");
    let prefix = "runsvdir services: warning: killed, not having stopped in time: ";
    assert!(output.stderr.starts_with(prefix) && output.stderr.contains("deaf"), "{output:?}");
    assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    assert_eq!(sandbox.processes().len(), 0);
    assert_not_given_up(Duration::from_millis(1500), time);
}

/// A runsv that a killed runsvdir left is nobody's child here.
fn init_ends_what_it_adopted(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let services = logged(&sandbox);
    let mut first = init(&sandbox, &["--stop-timeout", NEVER]);
    wait_first_words(&services);
    first.signal(Signal::SIGKILL);
    first.wait();
    let mut second = init(&sandbox, &["--stop-timeout", NEVER]);
    sandbox.service("other").run(SLEEP).build().wait_run();
    second.signal(Signal::SIGTERM);
    let output = second.wait();
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert_last_words(&services);
}

fn stop_goes_on_over_a_reexec(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = "trap 'echo told >>events' TERM; echo ready >>events; while [ ! -e end ]; do sleep 0.02; done";
    let service = sandbox.service("web").run(run).build();
    let mut runsvdir = init(&sandbox, &["--stop-timeout", NEVER]);
    service.wait_ready();
    runsvdir.signal(Signal::SIGHUP);
    service.wait_text("events", "told\n");
    runsvdir.signal(Signal::SIGUSR2);
    let environment = || fs::read_to_string(format!("/proc/{}/environ", runsvdir.pid())).unwrap_or_default();
    eventually("it is another program", || environment().contains("SVKIT_STATE=").then_some(()));
    let new = sandbox.service("new").run(SLEEP).build();
    holds_for(Duration::from_millis(300), "nothing is started", || !new.join("supervise").exists());
    fs::write(service.join("end"), "").unwrap();
    let output = runsvdir.wait();
    assert_eq!((output.code, output.stderr.as_str()), (Some(111), ""));
    assert_eq!(service.events(), ["ready", "told"]);
}

/// It waits for events and deadlines, and does not look again and again.
fn idle_while_it_stops(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run("trap '' TERM; echo ready >>events; exec sleep 1000").build();
    let mut runsvdir = init(&sandbox, &["--stop-timeout", NEVER]);
    service.wait_ready();
    runsvdir.signal(Signal::SIGTERM);
    eventually("it is told", || service.stat().contains("got TERM").then_some(()));
    let switches = |pid: u32| voluntary_switches(pid).unwrap();
    let before = switches(runsvdir.pid());
    holds_for(Duration::from_secs(1), "it waits", || switches(runsvdir.pid()) <= before + 3);
    service.command("k");
    assert_eq!(runsvdir.wait().code, Some(0));
}
