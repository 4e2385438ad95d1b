//! kill -9 of what supervises.

use std::fs;

use nix::sys::signal::Signal;
use svkit_tests::{Case, SLEEP, Sandbox, Service, Subject, case, eventually, is_running, try_send};

pub(crate) const CASES: &[Case] = &[
    case!(killed_svlogd_loses_nothing_in_the_pipe).patient(),
    case!(killed_run_never_lives_twice),
    case!(killed_runsvdir_leaves_the_services),
];

/// What the killed svlogd had not read waits in the pipe; what it had written is put aside whole.
fn killed_svlogd_loses_nothing_in_the_pipe(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run =
        "n=0; while [ ! -e stop ]; do n=$((n+1)); echo line $n; sleep 0.005; done; echo end; exec sleep 1000";
    let service = sandbox.service("web").run(run).log("mkdir -p main; exec svlogd ./main").supervise();
    let log = service.log();
    let files = || -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(log.join("main"))
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        // `@…` sorts before `current`.
        names.sort();
        let logs = names.iter().filter(|path| !path.ends_with("lock"));
        logs.map(|path| fs::read_to_string(path).unwrap_or_default()).collect()
    };
    for after in ["line 20\n", "line 120\n"] {
        eventually(after, || files().iter().any(|file| file.contains(after)).then_some(()));
        let pid = log.wait_run();
        log.command("k");
        log.wait_restart(pid);
    }
    fs::write(service.join("stop"), "").unwrap();
    eventually("the last line", || files().last()?.ends_with("end\n").then_some(()));
    // Gone is at most what svlogd had read and not yet written when it was killed: a run of lines between two files. What
    // there is is in order, whole and there once.
    let files: Vec<Vec<u32>> = files()
        .iter()
        .map(|file| file.lines().filter(|line| *line != "end"))
        .map(|lines| lines.map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect())
        .collect();
    assert!(files.iter().all(|file| file.is_sorted_by(|one, next| one + 1 == *next)), "{files:?}");
    assert!(files.concat().is_sorted_by(|one, next| one < next) && files[0][0] == 1, "{files:?}");
}

/// "A service has at most one live run process": each takes a lock that the next would find held.
fn killed_run_never_lives_twice(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = "exec 2>>errors; echo run >>events; exec chpst -L lock sleep 1000";
    let mut service = sandbox.service("web").run(run).finish("chpst -L lock true 2>>errors").supervise();
    let mut pid = service.wait_run();
    for round in 0..24 {
        // Every other one is killed with the lock in its hands, the others wherever they are.
        if round % 2 == 0 {
            pid = eventually("the lock is held", || {
                let pid = service.try_status()?.pid;
                (fs::read_to_string(format!("/proc/{pid}/comm")).ok()? == "sleep\n").then_some(pid)
            });
        }
        // A command of the last round may have been quicker.
        try_send(pid, Signal::SIGKILL);
        // The kills go on from both sides, and the throttle is cut short.
        service.command(["u", "ku", "kuku", "tu", "du", "ou"][round / 2 % 6]);
        pid = eventually("another process", || {
            service.command("u");
            let status = service.try_status()?;
            (status.state == 1 && status.pid != pid).then_some(status.pid)
        });
    }
    service.command("x");
    assert_eq!(service.runsv().wait().code, Some(0));
    assert!(!is_running(pid));
    assert_eq!(service.read("errors"), "");
    assert!(service.events().len() >= 12);
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
    // What comes later shows that the directory has been looked at.
    sandbox.service("other").run(SLEEP).build().wait_run();
    assert!(!second.stderr().contains("unable to lock"), "{}", second.stderr());
    assert_eq!(service.status().pid, pid);
}
