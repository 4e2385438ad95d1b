//! runsv: killed before each of its system calls that changes anything, one after the other, and followed by another.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::Signal;
use svkit_tests::{
    Case, Reaper, Running, Sandbox, Service, Subject, case, eventually, is_running, write_script,
};

pub(crate) const CASES: &[Case] =
    &[case!(killed_before_each_call_nothing_lives_twice).needs(&["strace"]).patient()];

/// What changes something that others see: strace(1) counts each of them by itself.
const CALLS: [&str; 6] =
    ["/^pwrite64$", "/^rename", "/^(clone|v?fork)", "/^sendmsg$", "/^(kill|pidfd_send_signal)$", "/^wait"];

/// A life has more of them than this.
const FEWEST: usize = 60;

/// Takes a lock that a second one would find held.
const RUN: &str = "exec 2>>errors; echo $$ >>events; exec chpst -L lock sleep 1000";
const FINISH: &str = "exec 2>>errors; exec chpst -L lock true";
const LOG: &str = "exec 2>>../errors; echo $$ >>events; exec chpst -L ../log-lock cat >/dev/null";

/// A service starts, is given a log service, is restarted by a control script, stopped and left: a life in which runsv dies at
/// its first call, the next time at its second, until it gets through. Each time the next runsv finds what runs, starts no
/// second one, and obeys.
fn killed_before_each_call_nothing_lives_twice(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let reaper = Reaper::new();
    let mut killed = 0;
    for (kind, calls) in CALLS.into_iter().enumerate() {
        for number in 1.. {
            let service = sandbox.service(format!("web{kind}-{number}")).run(RUN).finish(FINISH);
            let service = service.control('t', "echo t >>scripts; exit 1").build();
            let mut first = sandbox.start(killed_at(&sandbox, calls, number, &service).process_group(0));
            reaper.watch(&first);
            live(&service, &mut first);
            if first.wait().signal != Some(Signal::SIGKILL as i32) {
                break;
            }
            killed += 1;
            succeed(&sandbox, &reaper, &service, &format!("after call {number} of {calls}"));
        }
    }
    assert!(killed > FEWEST, "only {killed} calls");
}

/// The next runsv.
fn succeed(sandbox: &Sandbox, reaper: &Reaper, service: &Service, when: &str) {
    let mut next = sandbox.start(sandbox.command("runsv").arg(service.dir()).process_group(0));
    reaper.watch(&next);
    // The one before may have been told to exit; and what it started last a moment ago is started when it is told to be.
    eventually(&format!("one of each {when}"), || {
        let is_there = service.try_command(b"u");
        let is_whole = [service, &service.log()].into_iter().all(runs_once) && service.stat() == "run";
        (is_there && is_whole || !next.is_running()).then_some(())
    });
    service.try_command(b"x");
    let output = next.wait();
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{when}");
    assert_eq!(service.read("errors"), "", "{when}");
    let left: Vec<u32> = [service, &service.log()].into_iter().flat_map(alive).collect();
    assert!(left.is_empty(), "{when}: {left:?}");
}

/// A runsv that is killed when it is about to make one of these calls, the one of this number.
fn killed_at(sandbox: &Sandbox, calls: &str, number: usize, service: &Service) -> Command {
    let mut command = sandbox.command("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    command.args(["-e", &format!("inject={calls}:signal=KILL:when={number}")]);
    command.arg(sandbox.join("bin/runsv")).arg(service.dir());
    command
}

/// Leads the service through its life, as far as that goes.
fn live(service: &Service, runsv: &mut Running) {
    let prepared = service.join("prepared");
    fs::create_dir(&prepared).unwrap();
    write_script(&prepared.join("run"), LOG);
    let mut until = |what: &str, done: &dyn Fn() -> bool| {
        eventually(what, || (done() || !runsv.is_running()).then_some(()));
    };
    until("it runs", &|| service.is_ok() && runs_once(service));
    fs::rename(&prepared, service.join("log")).unwrap();
    service.try_command(b"t");
    until("both run", &|| {
        // It cuts the pause short.
        service.try_command(b"u");
        service.events().len() > 1 && runs_once(service) && runs_once(&service.log())
    });
    service.try_command(b"d");
    until("it is down", &|| service.stat() == "down");
    service.try_command(b"x");
    until("runsv has ended", &|| false);
}

/// The processes that were started, and live.
fn alive(service: &Service) -> Vec<u32> {
    let pids = service.events();
    pids.iter().map(|pid| pid.parse().unwrap()).filter(|pid| is_running(*pid)).collect()
}

/// Whether there is one process, and the status names it. A service that does not exist needs none.
fn runs_once(service: &Service) -> bool {
    !service.dir().exists()
        || service.try_status().is_some_and(|status| status.pid != 0 && alive(service) == [status.pid])
}
