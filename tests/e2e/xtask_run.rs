//! `cargo xtask run`: a tree at work until Ctrl-C.

use std::fs;

use nix::sys::signal::Signal;
use svkit_tests::{Case, PROGRAMS, SLEEP, Sandbox, Subject, case, eventually, is_running, xtask};

pub(crate) const CASES: &[Case] = &[case!(interrupt_ends_every_process).patient()];

/// Each service ends before its logger, which gets to the end of what it was sent; then the exit code is 0.
fn interrupt_ends_every_process(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let farewell = "trap 'echo farewell; exit 0' TERM; echo ready >>events; while :; do sleep 0.05; done";
    let web = sandbox.service("web").run(farewell).log("mkdir -p main; exec svlogd ./main").build();
    let crasher = sandbox.service("crasher").run("echo run >>events; exit 1").build();
    let programs = subject.program(PROGRAMS[0]).parent().unwrap();
    let mut command = sandbox.command(xtask());
    let mut run = sandbox.start(command.args(["run", "--programs"]).arg(programs).arg("services"));
    web.wait_events(1);
    crasher.wait_events(2);
    let pids = [web.wait_run(), web.log().wait_run()];
    eventually("the state is shown", || {
        let shown = run.stdout();
        (shown.contains("sv status") && shown.contains(&format!("web: run (process {})", pids[0])))
            .then_some(())
    });
    run.signal(Signal::SIGINT);
    let output = run.wait();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(!pids.iter().any(|pid| is_running(*pid)) && !web.is_ok() && !crasher.is_ok());
    assert_eq!(fs::read_to_string(web.join("log/main/current")).unwrap(), "farewell\n");

    // It can be run again, and refuses what is no directory, or supervised already.
    let busy = sandbox.service_at("busy/web").run(SLEEP).supervise();
    busy.wait_run();
    for (operand, reason) in [("missing", "unable to find"), ("busy", "is supervised already")] {
        let mut command = sandbox.command(xtask());
        let output = sandbox.finish(command.args(["run", "--programs"]).arg(programs).arg(operand));
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stderr.contains(reason) && output.stderr.contains(operand), "{output:?}");
    }
}
