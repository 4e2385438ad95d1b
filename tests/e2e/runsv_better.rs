//! runsv: nothing blocks the loop, and a process is gone when it is reaped, not before.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use svkit_tests::{Case, SLEEP, Sandbox, Service, Subject, case, eventually, holds_for, is_running, send};

pub(crate) const CASES: &[Case] = &[
    case!(up_cuts_the_pause_short),
    case!(down_is_obeyed_during_the_pause),
    case!(exit_is_obeyed_during_the_pause),
    case!(control_script_does_not_stall_the_log),
    case!(commands_wait_for_the_control_script_in_order),
    case!(control_script_does_not_hold_up_finish),
    case!(kill_and_up_leave_one_process),
    case!(kill_during_finish_runs_it_once),
    case!(log_that_appears_late_is_taken_up),
    case!(exit_is_obeyed_while_the_lock_of_the_log_is_waited_for),
    case!(at_most_one_process_whatever_is_commanded),
    case!(a_reader_sees_whole_records),
];

/// One of some starts comes before the second it would wait: the machine may be busy, but not always.
fn up_cuts_the_pause_short(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run("date +%s%N >>events").supervise();
    let comes_early = |count: usize| {
        service.wait_events(count + 1);
        eventually("the pause", || (service.status().pid == 0).then_some(()));
        service.command("u");
        let times: Vec<i64> =
            service.wait_events(count + 2).iter().map(|event| event.parse().unwrap()).collect();
        times[count + 1] - times[count] < 700_000_000
    };
    assert!((0..20).any(comes_early));
}

/// The service stays down, at once.
fn down_is_obeyed_during_the_pause(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run("echo run >>events").supervise();
    service.wait_events(1);
    eventually("the pause", || (service.status().pid == 0).then_some(()));
    service.command("d");
    // What was started before is at its end, too.
    eventually("down", || {
        let status = service.status();
        (status.want == b'd' && status.pid == 0).then_some(())
    });
    let count = service.events().len();
    holds_for(Duration::from_millis(1300), "no start", || service.events().len() == count);
}

/// An exit does not wait for the pause to end; a busy machine may delay one, but not all.
fn exit_is_obeyed_during_the_pause(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let exits_early = |count: u32| {
        let mut service = sandbox.service(count.to_string()).run("echo run >>events").supervise();
        service.wait_events(1);
        eventually("the pause", || (service.status().pid == 0).then_some(()));
        let start = Instant::now();
        service.command("x");
        assert_eq!(service.runsv().wait().code, Some(0));
        start.elapsed() < Duration::from_millis(500)
    };
    assert!((0..20).any(exits_early));
}

/// While a control script of the service runs, the log service is under control.
fn control_script_does_not_stall_the_log(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let script = "echo begin >>events; while [ ! -e go ]; do sleep 0.02; done; echo end >>events";
    let service =
        sandbox.service("web").run(SLEEP).control('h', script).log("exec cat >/dev/null").supervise();
    service.wait_run();
    let pid = service.log().wait_run();
    service.command("h");
    service.wait_events(1);
    service.log().command("k");
    service.log().wait_restart(pid);
    assert_eq!(service.events(), ["begin"]);
    fs::write(service.join("go"), "").unwrap();
    assert_eq!(service.wait_events(2), ["begin", "end"]);
}

/// Commands that come while a control script runs are obeyed after it, in order.
fn commands_wait_for_the_control_script_in_order(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let script = "echo begin >>events; while [ ! -e go ]; do sleep 0.02; done; echo end >>events";
    let service = sandbox
        .service("web")
        .run(SLEEP)
        .control('h', script)
        .control('1', "echo one >>events")
        .control('2', "echo two >>events")
        .supervise();
    service.wait_run();
    service.command("h");
    service.wait_events(1);
    service.command("2");
    service.command("1");
    holds_for(Duration::from_millis(200), "they wait", || service.events() == ["begin"]);
    fs::write(service.join("go"), "").unwrap();
    assert_eq!(service.wait_events(4), ["begin", "end", "two", "one"]);
}

/// A process that ends while a control script runs has its `finish` at once. What was commanded meanwhile counts: were the
/// `d` lost, the service would be started again.
fn control_script_does_not_hold_up_finish(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = format!("echo run >>events; {SLEEP}");
    let script = "echo begin >>events; while [ ! -e go ]; do sleep 0.02; done; exit 1";
    let service =
        sandbox.service("web").run(&run).control('h', script).finish("echo finish >>events").supervise();
    service.wait_events(1);
    let pid = service.wait_run();
    service.command("hd");
    service.wait_events(2);
    send(pid, Signal::SIGKILL);
    assert_eq!(service.wait_events(3), ["run", "begin", "finish"]);
    service.wait_stat("down");
    // Until after the time at which the service would be started again.
    holds_for(Duration::from_millis(1200), "`d` waits for the script, and so does a start", || {
        service.status().want == b'u' && service.events().len() == 3
    });
    fs::write(service.join("go"), "").unwrap();
    eventually("`d` is obeyed", || (service.status().want == b'd').then_some(()));
    holds_for(Duration::from_millis(200), "no start", || service.events().len() == 3);
}

/// C forgets the killed process before it is gone, and a quick `u` makes a second one.
fn kill_and_up_leave_one_process(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run("echo $$ >>events; trap '' TERM; exec sleep 1000").supervise();
    for round in 1..6 {
        let pid = service.wait_events(round)[round - 1].parse::<u32>().unwrap();
        service.wait_run();
        service.command("kuku");
        service.wait_events(round + 1);
        assert!(!is_running(pid));
    }
    // The last `k` may have met a process that had not said its pid.
    eventually("one process", || {
        let running = running(&service);
        assert!(running.len() <= 1, "{running:?}");
        (running == [service.status().pid]).then_some(())
    });
}

/// `finish` is one of the things a `k` may not double.
fn kill_during_finish_runs_it_once(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let finish = "echo finish >>events; while [ ! -e go ]; do sleep 0.02; done";
    let service = sandbox.service("web").run("echo run >>events; sleep 1.1").finish(finish).supervise();
    service.wait_events(2);
    service.wait_stat("finish");
    service.command("k");
    service.command("o");
    service.wait_stat("finish, want down");
    fs::write(service.join("go"), "").unwrap();
    service.wait_stat("down");
    assert_eq!(service.events(), ["run", "finish"]);
}

/// "log/ that appears after runsv started … Ours takes log/ up at the next start of run."
fn log_that_appears_late_is_taken_up(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(&format!("echo hello; {SLEEP}")).supervise();
    let pid = service.wait_run();
    sandbox.service("web").log("exec cat >>got").build();
    service.command("t");
    service.wait_restart(pid);
    service.log().wait_run();
    service.log().wait_text("got", "hello\n");
    let text = svkit_tests::mask_pids_and_seconds(&sandbox.sv(&["status", "web"]).stdout);
    assert_eq!(text, "run: web: (pid PID) Ns; run: log: (pid PID) Ns\n");
}

/// Another has the lock of the log service: runsv waits for it, but not when it is to exit.
fn exit_is_obeyed_while_the_lock_of_the_log_is_waited_for(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).log("exec cat").build();
    sandbox.mkdir(service.join("log/supervise"));
    let lock = service.join("log/supervise/lock");
    let held = Flock::lock(File::create(lock).unwrap(), FlockArg::LockExclusiveNonblock).unwrap();
    let mut runsv = sandbox.start(sandbox.command("runsv").arg(service.dir()));
    let expected = "unable to lock log/supervise/lock";
    eventually("it waits", || runsv.stderr().contains(expected).then_some(()));
    runsv.signal(Signal::SIGTERM);
    assert_eq!(runsv.wait().code, Some(0));
    drop(held);
}

/// Every pair of commands, one after the other: one `run` at most is alive, and runsv obeys to the end.
fn at_most_one_process_whatever_is_commanded(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = "echo $$ >>events; exec sleep 1000";
    let mut service = sandbox.service("web").run(run).finish("exit 0").supervise();
    service.wait_run();
    for first in "udotkpc".chars() {
        for second in "udotkpc".chars() {
            service.command(&format!("{first}{second}"));
            assert!(running(&service).len() <= 1, "after {first}{second}");
        }
    }
    service.command("cu");
    service.wait_run();
    assert!(running(&service).len() <= 1);
    service.command("x");
    assert_eq!(service.runsv().wait().code, Some(0));
    assert!(running(&service).is_empty());
}

/// Whoever reads while commands come finds the record and the text of one state or of the next, never a part.
fn a_reader_sees_whole_records(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    for _ in 0..200 {
        service.command("pcpc");
        for _ in 0..20 {
            assert_eq!(fs::read(service.join("supervise/status")).unwrap().len(), 20);
            let stat = service.read("supervise/stat");
            assert!(["run\n", "run, paused\n"].contains(&stat.as_str()), "{stat:?}");
            assert!(service.read("supervise/pid").ends_with('\n'));
        }
    }
}

/// The processes in `events` that are alive.
fn running(service: &Service) -> Vec<u32> {
    let pids = service.events();
    pids.iter().filter_map(|pid| pid.parse().ok()).filter(|pid| is_running(*pid)).collect()
}
