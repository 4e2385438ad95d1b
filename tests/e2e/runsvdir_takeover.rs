//! runsvdir: the next one takes over what a killed one left, and one that becomes another program leaves all as it is.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use svkit_tests::{
    Case, Reaper, Running, SLEEP, Sandbox, Service, Subject, case, eventually, find_in_path, holds_for,
    install, is_running, parent, send, wait_end, write_script,
};

pub(crate) const CASES: &[Case] = &[
    case!(adopted_runsv_ends_with_its_link),
    case!(adopted_runsv_that_is_killed_is_followed_by_a_child),
    case!(adopted_runsvs_are_ended_by_hup),
    case!(who_cannot_be_told_is_waited_for),
    case!(orphans_of_a_killed_runsv_are_children),
    case!(reexec_leaves_all_as_it_is),
    case!(reexec_keeps_what_is_held_for_a_runsv),
    case!(reexec_goes_on_with_adopted_runsvs),
    case!(reexec_keeps_the_log_argument),
    case!(reexec_into_a_broken_program_is_refused),
    case!(reexec_into_a_program_that_hangs_is_refused),
    case!(runsvs_have_the_limits_that_runsvdir_was_started_with).needs(&["prlimit"]),
];

/// Starts a runsvdir whose orphans are reaped as by init.
fn runsvdir(sandbox: &Sandbox, reaper: &Reaper) -> Running {
    let mut command = sandbox.command("runsvdir");
    let runsvdir = sandbox.start(command.args(["-P", "services"]).process_group(0));
    reaper.watch(&runsvdir);
    runsvdir
}

/// A linked service under a runsvdir that was killed, and the next one: with the pids of its runsv and its `run`.
fn taken_over(sandbox: &Sandbox, reaper: &Reaper) -> (Service, u32, u32, Running) {
    let service = sandbox.service_at("web").run(SLEEP).log("exec cat >/dev/null").build();
    symlink("../web", sandbox.services().join("web")).unwrap();
    let mut first = runsvdir(sandbox, reaper);
    let run = service.wait_run();
    let runsv = parent(run);
    service.log().wait_run();
    first.signal(Signal::SIGKILL);
    first.wait();
    let second = runsvdir(sandbox, reaper);
    sandbox.wait_scan("other");
    assert_eq!((service.wait_run(), service.supervisor()), (run, Some(runsv)));
    assert_ne!(parent(runsv), second.pid());
    (service, runsv, run, second)
}

fn adopted_runsv_ends_with_its_link(subject: &Subject) {
    let (sandbox, reaper) = (Sandbox::new(subject), Reaper::new());
    let (service, runsv, run, second) = taken_over(&sandbox, &reaper);
    fs::remove_file(sandbox.services().join("web")).unwrap();
    wait_end(runsv);
    assert!(!is_running(run) && !service.is_ok());
    // And it may come again.
    symlink("../web", sandbox.services().join("web")).unwrap();
    assert_eq!(parent(parent(service.wait_restart(run))), second.pid());
    assert_eq!(second.stderr(), "");
}

fn adopted_runsv_that_is_killed_is_followed_by_a_child(subject: &Subject) {
    let (sandbox, reaper) = (Sandbox::new(subject), Reaper::new());
    let (service, runsv, run, second) = taken_over(&sandbox, &reaper);
    send(runsv, Signal::SIGKILL);
    wait_end(runsv);
    let next = service.wait_supervisor_after(runsv);
    assert_eq!(parent(next), second.pid());
    assert_eq!(service.wait_run(), run);
    assert_eq!(second.stderr(), "");
}

fn adopted_runsvs_are_ended_by_hup(subject: &Subject) {
    let (sandbox, reaper) = (Sandbox::new(subject), Reaper::new());
    let (_, runsv, run, mut second) = taken_over(&sandbox, &reaper);
    second.signal(Signal::SIGHUP);
    assert_eq!(second.wait().code, Some(111));
    wait_end(runsv);
    wait_end(run);
}

/// The test itself is there, and leaves no record: so would C's runsv be.
fn who_cannot_be_told_is_waited_for(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).build();
    fs::create_dir(service.join("supervise")).unwrap();
    mkfifo(&service.join("supervise/ok"), Mode::from_bits_truncate(0o600)).unwrap();
    let open = || fs::File::options().read(true).write(true).open(service.join("supervise/ok")).unwrap();
    let occupant = open();
    let start = Instant::now();
    let runsvdir = sandbox.start(sandbox.command("runsvdir").arg("services"));
    let warning = "runsvdir services: warning: unable to supervise web: another runsv is there, and it cannot be told \
                   which: waiting for its end\n";
    eventually("the warning", || (runsvdir.stderr() == warning).then_some(()));
    assert!(start.elapsed() >= Duration::from_millis(900), "it may be about to end");
    sandbox.wait_scan("other");
    holds_for(Duration::from_secs(6), "no runsv is started, and no more is said", || {
        service.supervisor().is_none() && runsvdir.stderr() == warning
    });
    drop(occupant);
    service.wait_run();
    assert_eq!(runsvdir.stderr(), warning);
}

/// runsvdir is told how they end, so it is the one that they come to.
fn orphans_of_a_killed_runsv_are_children(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).finish("echo $1 $2 >>events").build();
    let runsvdir = sandbox.start(sandbox.command("runsvdir").arg("services"));
    let run = service.wait_run();
    let runsv = parent(run);
    send(runsv, Signal::SIGKILL);
    eventually("an orphan of runsvdir's", || (parent(run) == runsvdir.pid()).then_some(()));
    service.wait_supervisor_after(runsv);
    send(run, Signal::SIGTERM);
    assert_eq!(service.wait_events(1), ["-1 15"]);
    service.wait_restart(run);
    assert_eq!(runsvdir.stderr(), "");
}

/// A runsvdir that runs from copies of the programs, which can be replaced.
fn replaceable(sandbox: &Sandbox, arguments: &[&str]) -> Running {
    let bin = sandbox.copy_programs("copies");
    let mut command = sandbox.command(bin.join("runsvdir"));
    let path = format!("{}:/usr/bin:/bin", bin.display());
    sandbox.start(command.arg0("runsvdir").env("PATH", path).args(arguments))
}

/// Replaces the program by another copy of itself, and waits until that runs.
fn reexec(sandbox: &Sandbox, runsvdir: &Running) {
    let program = sandbox.join("copies/runsvdir").canonicalize().unwrap();
    install(&program, &program);
    runsvdir.signal(Signal::SIGUSR2);
    let running = format!("/proc/{}/exe", runsvdir.pid());
    eventually("the new program", || (fs::read_link(&running).ok()? == program).then_some(()));
}

fn reexec_leaves_all_as_it_is(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let services = ["one", "two"].map(|name| sandbox.service(name).run(SLEEP).build());
    let gone = sandbox.service_at("gone").run(SLEEP).build();
    symlink("../gone", sandbox.services().join("gone")).unwrap();
    let mut runsvdir = replaceable(&sandbox, &["-P", "services"]);
    let pids = || services.each_ref().map(|service| (service.wait_run(), service.supervisor()));
    let before = pids();
    let leaves = parent(gone.wait_run());
    for round in 0..3 {
        reexec(&sandbox, &runsvdir);
        sandbox.wait_scan(&format!("new-{round}"));
        assert_eq!(pids(), before);
        assert!(before.iter().all(|(_, runsv)| parent(runsv.unwrap()) == runsvdir.pid()));
    }
    fs::remove_file(sandbox.services().join("gone")).unwrap();
    wait_end(leaves);
    // One that exits is started again.
    services[0].command("x");
    services[0].wait_restart(before[0].0);
    assert_eq!(runsvdir.stderr(), "");
    runsvdir.signal(Signal::SIGTERM);
    assert_eq!(runsvdir.wait().code, Some(0));
    assert_eq!(services[1].wait_run(), before[1].0);
}

/// The pipe to the log service among it.
fn reexec_keeps_what_is_held_for_a_runsv(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = "n=0; while [ ! -e stop ]; do n=$((n+1)); echo $n; sleep 0.01; done; exec sleep 1000";
    let service = sandbox.service("web").run(run).log("exec cat >>../lines").build();
    let runsvdir = replaceable(&sandbox, &["-P", "services"]);
    let before = (service.wait_run(), service.log().wait_run());
    let lines = || service.read("lines").lines().count();
    for _ in 0..3 {
        reexec(&sandbox, &runsvdir);
        let runsv = service.supervisor().unwrap();
        send(runsv, Signal::SIGKILL);
        service.wait_supervisor_after(runsv);
        let so_far = lines();
        eventually("more lines", || (lines() > so_far + 20).then_some(()));
        assert_eq!((service.wait_run(), service.log().wait_run()), before);
    }
    fs::write(service.join("stop"), "").unwrap();
    // The log service is the second to read the pipe.
    service.command("x");
    service.wait_stat("down");
    let text = service.read("lines");
    let numbers: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len()), "{numbers:?}");
    assert_eq!(runsvdir.stderr(), "");
}

fn reexec_goes_on_with_adopted_runsvs(subject: &Subject) {
    let (sandbox, reaper) = (Sandbox::new(subject), Reaper::new());
    let service = sandbox.service("web").run(SLEEP).build();
    let mut first = runsvdir(&sandbox, &reaper);
    let run = service.wait_run();
    let runsv = parent(run);
    first.signal(Signal::SIGKILL);
    first.wait();
    let second = replaceable(&sandbox, &["-P", "services"]);
    sandbox.wait_scan("other");
    reexec(&sandbox, &second);
    sandbox.wait_scan("another");
    assert_eq!((service.wait_run(), service.supervisor()), (run, Some(runsv)));
    // Its end is noticed.
    service.command("x");
    assert_eq!(parent(parent(service.wait_restart(run))), second.pid());
    assert_eq!(second.stderr(), "");
}

fn reexec_keeps_the_log_argument(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox
        .service("web")
        .run("exec 2>&1; exec sleep 1000")
        .control('h', "echo told >&2; sleep 0.01; echo twice >&2")
        .build();
    let log = format!("log: {}", ".".repeat(200));
    let runsvdir = replaceable(&sandbox, &["services", &log]);
    service.wait_run();
    let shown = || {
        let arguments = fs::read(format!("/proc/{}/cmdline", runsvdir.pid())).unwrap();
        String::from_utf8_lossy(&arguments).split('\0').nth(2).unwrap_or_default().to_owned()
    };
    for round in 1..4 {
        reexec(&sandbox, &runsvdir);
        service.command("h");
        let text = "told\ntwice\n";
        eventually("the message", || (shown().matches(text).count() == round).then_some(()));
        assert_eq!(shown().len(), log.len());
        assert!(shown().starts_with("log: "), "{}", shown());
    }
    assert_eq!(runsvdir.stderr(), "");
}

fn reexec_into_a_broken_program_is_refused(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).build();
    let runsvdir = replaceable(&sandbox, &["-P", "services"]);
    let before = (service.wait_run(), service.supervisor());
    let (program, good) = (sandbox.join("copies/runsvdir"), sandbox.join("good"));
    install(&program, &good);
    let failing = sandbox.join("failing");
    write_script(&failing, "exit 3");
    let data = sandbox.write("data", "no program\n");
    fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
    let warning = "runsvdir services: warning: unable to reexec: ";
    let mut warnings = 0;
    let mut refused = |with: &Path, reason: &str| {
        install(with, &program);
        runsvdir.signal(Signal::SIGUSR2);
        warnings += 1;
        eventually("a warning", || (runsvdir.stderr().matches(warning).count() == warnings).then_some(()));
        let stderr = runsvdir.stderr();
        let last = stderr.lines().last().unwrap();
        assert!(last.contains(reason) && last.ends_with(": going on"), "{reason}: {stderr}");
        sandbox.wait_scan(&format!("new-{warnings}"));
        assert_eq!((service.wait_run(), service.supervisor()), before);
    };
    refused(&failing, "failed to test itself (exit code 3)");
    refused(&data, "Exec format error");
    if let Some(runit) = find_in_path("runsvdir") {
        refused(&runit, "failed to test itself (exit code 1)");
    }
    // One that may not be executed is none, and what else PATH leads to is runit's or nothing.
    fs::set_permissions(&data, Permissions::from_mode(0o644)).unwrap();
    refused(&data, "");
    install(&good, &program);
    reexec(&sandbox, &runsvdir);
    sandbox.wait_scan("last");
    assert_eq!((service.wait_run(), service.supervisor()), before);
    assert_eq!(runsvdir.stderr().matches(warning).count(), warnings);
}

fn reexec_into_a_program_that_hangs_is_refused(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).build();
    let runsvdir = replaceable(&sandbox, &["-P", "services"]);
    let pid = service.wait_run();
    let here = Service::at(sandbox.path());
    let hanging = sandbox.join("hanging");
    write_script(&hanging, &format!("echo test >>'{}'; exec sleep 1000", here.join("events").display()));
    install(&hanging, &sandbox.join("copies/runsvdir"));
    let warnings = || runsvdir.stderr().matches("took too long to test itself: going on\n").count();
    let goes_on_meanwhile = |round: usize| {
        runsvdir.signal(Signal::SIGUSR2);
        here.wait_events(round);
        // One test at a time.
        runsvdir.signal(Signal::SIGUSR2);
        sandbox.wait_scan(&format!("meanwhile-{round}"));
        let is_before = warnings() < round;
        eventually("the warning", || (warnings() == round).then_some(()));
        assert_eq!(runsvdir.stderr().lines().count(), round, "{}", runsvdir.stderr());
        assert_eq!((here.events().len(), service.wait_run()), (round, pid));
        is_before
    };
    // A busy machine may take longer to start a service than runsvdir gives the test; but not each time.
    assert!((1..=3).any(goes_on_meanwhile), "it waits for the test");
}

/// runsvdir raises its own, for what it keeps.
fn runsvs_have_the_limits_that_runsvdir_was_started_with(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service =
        sandbox.service("web").run("ulimit -n >>events; ulimit -Hn >>events; exec sleep 1000").build();
    let mut command = sandbox.command("prlimit");
    let runsvdir = sandbox.start(command.args(["--nofile=100:200", "runsvdir", "services"]));
    assert_eq!(service.wait_events(2), ["100", "200"]);
    let limits = fs::read_to_string(format!("/proc/{}/limits", runsvdir.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft: u64 = line.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!(soft >= 200, "{line}");
}
