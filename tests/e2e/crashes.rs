//! kill -9 of what supervises.

use std::fs;

use nix::sys::signal::Signal;
use svkit_tests::{Case, SLEEP, Sandbox, Service, Subject, case, eventually, is_running};

pub(crate) const CASES: &[Case] =
    &[case!(killed_svlogd_loses_nothing_in_the_pipe), case!(killed_runsvdir_leaves_the_services)];

/// What the killed svlogd had not read waits in the pipe; what it had written is put aside whole.
fn killed_svlogd_loses_nothing_in_the_pipe(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = "n=0; while [ $n -lt 300 ]; do n=$((n+1)); echo line $n; sleep 0.005; done; exec sleep 1000";
    let service = sandbox.service("web").run(run).log("mkdir -p main; exec svlogd ./main").supervise();
    let log = service.log();
    let text = || {
        let mut names: Vec<_> = fs::read_dir(log.join("main"))
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        // `@…` sorts before `current`.
        names.sort();
        let logs = names.iter().filter(|path| !path.ends_with("lock"));
        logs.map(|path| fs::read_to_string(path).unwrap_or_default()).collect::<String>()
    };
    for after in ["line 20\n", "line 120\n"] {
        eventually(after, || text().contains(after).then_some(()));
        let pid = log.wait_run();
        log.command("k");
        log.wait_restart(pid);
    }
    eventually("the last line", || text().contains("line 300\n").then_some(()));
    // A line is gone only if svlogd had read and not yet written it: none of these was in its hands for long.
    let text = text();
    let missing = (1..=300).filter(|n| !text.contains(&format!("line {n}\n"))).count();
    assert!(missing <= 2, "{missing} lines are gone");
}

/// The runsvs live on, and are not started twice by the next runsvdir.
fn killed_runsvdir_leaves_the_services(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service: Service = sandbox.service("web").run(SLEEP).build();
    let mut first = sandbox.start(sandbox.command("runsvdir").arg("services"));
    let pid = service.wait_run();
    first.signal(Signal::SIGKILL);
    first.wait();
    assert!(is_running(pid) && service.is_ok());
    let second = sandbox.start(sandbox.command("runsvdir").arg("services"));
    let expected = "runsv web: fatal: unable to lock supervise/lock: ";
    eventually("the second runsv gives up", || second.stderr().contains(expected).then_some(()));
    assert_eq!(service.status().pid, pid);
}
