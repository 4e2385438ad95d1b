//! How a service is ended: `down-signal`, `timeout-kill`, `timeout-finish` and `kill-mode`.

use std::fs;
use std::io::{Write, stderr};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use svkit_tests::{
    Case, SLEEP, Sandbox, Service, Subject, case, eventually, holds_for, is_running, session, wait_end,
};

use crate::opt_in::{key, replace_runsv, wait_key, wait_warning};

pub(crate) const CASES: &[Case] = &[
    case!(bad_files_are_warned_of_and_change_nothing),
    case!(unreadable_files_are_warned_of),
    case!(down_signal_is_a_name_or_a_number),
    case!(down_signal_is_read_again),
    case!(the_log_service_has_no_such_files),
    case!(what_ignores_the_down_signal_is_killed),
    case!(a_kill_that_is_due_outlives_runsv),
    case!(what_is_not_told_to_end_is_not_killed),
    case!(a_finish_that_hangs_is_killed),
    case!(run_leads_a_group_that_is_ended_with_it),
    case!(a_process_alone_leaves_its_children),
    case!(what_a_crashed_run_leaves_of_its_group_is_killed),
    case!(who_leaves_the_group_is_told),
    case!(nobody_leaves_the_control_group).root(),
    case!(a_control_group_that_is_not_ours_is_a_process_group).root(),
];

/// Says which of these signals ended it.
const TELLS: &str = "for s in INT TERM USR1; do trap \"echo $s >>events; exit 0\" $s; done
echo ready >>events
while :; do sleep 0.02; done";
/// Ends by KILL alone.
const STUBBORN: &str = "trap '' TERM INT; echo ready >>events; exec sleep 1000";
/// How it ended.
const FINISH: &str = "echo finish $1 $2 >>events";

fn pids(service: &Service, count: usize) -> Vec<u32> {
    eventually(&format!("{count} processes in {}", service.dir().display()), || {
        let pids: Vec<u32> = service.read("pids").lines().map(|line| line.parse().unwrap()).collect();
        (pids.len() >= count).then_some(pids)
    })
}

/// "unreadable or malformed means a warning naming file and line, and runit's behaviour"
fn bad_files_are_warned_of_and_change_nothing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let files = [
        ("down-signal", "SIGNOTHING\n", "line 1: `SIGNOTHING` is no signal"),
        ("timeout-kill", "1s\n", "line 1: `1s` is no number of milliseconds"),
        ("timeout-finish", "\n", "line 1: it is empty"),
        ("timeout-watchdog", "-1\n", "line 1: `-1` is no number of milliseconds"),
        ("kill-mode", "mixed\n", "line 1: `mixed` is none of process, group, cgroup"),
        ("notification-fd", "2\n", "line 1: `2` is no descriptor from 3 to 1023"),
    ];
    let builder = sandbox.service("web").run(TELLS).finish(FINISH);
    let builder = files.iter().fold(builder, |builder, (file, text, _)| builder.file(file, text));
    let mut service = builder.supervise();
    service.wait_ready();
    let pid = service.wait_run();
    service.command("pcu");
    service.command("t");
    service.wait_restart(pid);
    assert_eq!(service.wait_events(4)[..3], ["ready", "TERM", "finish 0 0"]);
    service.command("d");
    service.wait_stat("down");
    assert_eq!(service.events()[3..], ["ready", "TERM", "finish 0 0"]);
    for (file, _, what) in files {
        wait_warning(&mut service, &format!("./{file}: {what}\n"));
    }
    assert_eq!(service.runsv().stderr().lines().count(), files.len());
    assert_eq!((key(&service, "ready"), key(&service, "tree"), key(&service, "left")), (None, None, None));
}

fn unreadable_files_are_warned_of(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(TELLS).build();
    fs::create_dir(service.join("down-signal")).unwrap();
    fs::write(service.join("kill-mode"), [0xff]).unwrap();
    fs::write(service.join("restart"), vec![b'\n'; 5000]).unwrap();
    std::os::unix::fs::symlink("timeout-kill", service.join("timeout-kill")).unwrap();
    let mut service = sandbox.service("web").supervise();
    service.wait_ready();
    service.command("d");
    service.wait_stat("down");
    assert_eq!(service.events(), ["ready", "TERM"]);
    wait_warning(&mut service, "./down-signal: unable to read: Is a directory\n");
    wait_warning(&mut service, "./kill-mode: not UTF-8\n");
    wait_warning(&mut service, "./restart: longer than 4096 bytes\n");
    wait_warning(&mut service, "./timeout-kill: unable to open: Too many levels of symbolic links\n");
}

fn down_signal_is_a_name_or_a_number(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for (text, expected) in [("SIGINT\n", "INT"), ("usr1", "USR1"), ("2\n", "INT")] {
        for command in ["t", "d", "x"] {
            let name = format!("{}-{command}", text.trim_end());
            let mut service = sandbox.service(&name).run(TELLS).file("down-signal", text).supervise();
            service.wait_ready();
            service.command(command);
            assert_eq!(service.wait_events(2)[1], expected, "{name}");
            match command {
                "t" => eventually("a restart", || (service.events().len() == 3).then_some(())),
                "d" => service.wait_stat("down"),
                _ => assert_eq!(service.runsv().wait().code, Some(0)),
            }
        }
    }
}

fn down_signal_is_read_again(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(TELLS).supervise();
    service.wait_ready();
    for (count, (text, expected)) in [("INT", "INT"), ("TERM", "TERM"), ("USR1", "USR1")].iter().enumerate() {
        fs::write(service.join("down-signal"), text).unwrap();
        service.command("tu");
        let events = service.wait_events(count * 2 + 3);
        assert_eq!(events[count * 2 + 1..], [*expected, "ready"]);
    }
}

fn the_log_service_has_no_such_files(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let builder = sandbox.service("web").run(SLEEP).log(TELLS).file("log/down-signal", "INT");
    let service = builder.file("log/restart", "nonsense").supervise();
    let log = service.log();
    log.wait_ready();
    log.command("d");
    log.wait_stat("down");
    assert_eq!(log.events(), ["ready", "TERM"]);
}

/// "milliseconds after the down signal, then KILL"
fn what_ignores_the_down_signal_is_killed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for (command, signal) in [("d", "TERM"), ("x", "INT"), ("t", "TERM")] {
        let builder = sandbox.service(command).run(STUBBORN).finish(FINISH);
        let mut service = builder.file("timeout-kill", "300\n").file("down-signal", signal).supervise();
        service.wait_ready();
        let start = Instant::now();
        service.command(command);
        assert_eq!(service.wait_events(2)[1], "finish -1 9");
        assert!(start.elapsed() >= Duration::from_millis(300), "{command}: {:?}", start.elapsed());
        match command {
            "d" => service.wait_stat("down"),
            "x" => assert_eq!(service.runsv().wait().code, Some(0)),
            _ => eventually("a restart", || (service.events().len() == 3).then_some(())),
        }
    }
}

/// runsv is killed between the two signals: the next one sends the second.
fn a_kill_that_is_due_outlives_runsv(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(STUBBORN).file("timeout-kill", "2000").supervise();
    service.wait_ready();
    let pid = service.wait_run();
    service.command("d");
    let due = eventually("KILL is due", || key(&service, "kill-at"));
    let _runsv = replace_runsv(&sandbox, &mut service);
    // Unless this took so long that it is done.
    assert!(key(&service, "kill-at").is_none_or(|at| at == due));
    wait_end(pid);
    service.wait_stat("down");
}

fn what_is_not_told_to_end_is_not_killed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(STUBBORN).file("timeout-kill", "100").supervise();
    service.wait_ready();
    let pid = service.wait_run();
    service.command("pio");
    service.wait_stat("run, paused, want down");
    holds_for(Duration::from_millis(700), "it lives", || is_running(pid));
    let patient = sandbox.service("patient").run(STUBBORN).supervise();
    patient.wait_ready();
    let pid = patient.wait_run();
    patient.command("d");
    holds_for(Duration::from_millis(700), "it lives as under runit", || is_running(pid));
}

/// "`finish` is killed after it"
fn a_finish_that_hangs_is_killed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let finish = "echo $$ >>pids; exec sleep 1000";
    let run = "echo run >>events; exit 0";
    let service = sandbox.service("web").run(run).finish(finish).file("timeout-finish", "200\n").supervise();
    service.wait_events(2);
    wait_end(pids(&service, 1)[0]);

    let service = sandbox.service("runit").run(run).finish(finish).supervise();
    let pid = pids(&service, 1)[0];
    holds_for(Duration::from_millis(700), "it takes its time", || is_running(pid));
}

/// Its child gets the signals, too: first the down signal, and if need be KILL.
fn run_leads_a_group_that_is_ended_with_it(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    // `run` ends after its child.
    let gentle = format!("({TELLS}) & echo $! >>pids; trap '' TERM; wait");
    let stubborn = format!("({STUBBORN}) & echo $! >>pids; trap '' TERM; exec sleep 1000");
    let end: &[&str] = &["ready", "TERM"];
    for (name, run, timeout, events) in
        [("gentle", gentle, "0", end), ("stubborn", stubborn, "300", &end[..1])]
    {
        let builder = sandbox.service(name).run(&run).file("timeout-kill", timeout);
        let mut service = builder.file("kill-mode", "group\n").supervise();
        service.wait_ready();
        let (run, child) = (service.wait_run(), pids(&service, 1)[0]);
        assert_eq!((session(run), session(child)), (run, run));
        wait_key(&service, "tree", Some("group"));
        service.command("d");
        service.wait_stat("down");
        wait_end(child);
        assert_eq!(service.events(), events);
        // Nobody is left who lives, nor said to be.
        let stderr = service.runsv().stderr();
        assert!(!stderr.contains(" behind\n") && key(&service, "left").is_none(), "{stderr}");
    }
}

/// As under runit, whether that is said or not. But then what is left is told.
fn a_process_alone_leaves_its_children(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for (name, mode) in [("said", Some("process\n")), ("unsaid", None)] {
        let builder = sandbox.service(name).run("sleep 1000 & echo $! >>pids; exec sleep 1000");
        let builder = mode.into_iter().fold(builder, |builder, mode| builder.file("kill-mode", mode));
        let mut service = builder.supervise();
        let child = pids(&service, 1)[0];
        let run = service.wait_run();
        assert_ne!(session(run), run);
        service.command("d");
        service.wait_stat("down");
        assert!(is_running(child));
        if mode.is_some() {
            wait_warning(&mut service, &format!("./run left 1 process ({child} sleep) behind\n"));
            wait_key(&service, "left", Some("1"));
        } else {
            assert_eq!((service.runsv().stderr().as_str(), key(&service, "left")), ("", None));
        }
    }
}

fn what_a_crashed_run_leaves_of_its_group_is_killed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = "sleep 1000 & echo $! >>pids; echo run >>events; exit 1";
    let mut service = sandbox.service("web").run(run).file("kill-mode", "group").supervise();
    service.wait_events(2);
    let left = pids(&service, 1)[0];
    wait_end(left);
    wait_warning(&mut service, &format!("./run left 1 process ({left} "));
    let stderr = service.runsv().stderr();
    assert!(stderr.contains(") behind: killed\n"), "{stderr}");
    assert_eq!(key(&service, "left"), None);
}

/// A `run` that leaves a process in a session of its own. It ends as soon as that one is on its way.
const ESCAPE: &str = "setsid sh -c 'trap \"\" TERM; echo $$ >>pids; exec sleep 1000' &
while [ ! -s pids ]; do sleep 0.02; done; [ -e stay ] || exit 1; exec sleep 1000";

fn who_leaves_the_group_is_told(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let builder = sandbox.service("web").down().run(ESCAPE);
    let mut service = builder.file("kill-mode", "group\n").supervise();
    service.command("o");
    let escaped = pids(&service, 1)[0];
    wait_key(&service, "left", Some("1"));
    service.wait_stat("down");
    wait_warning(&mut service, &format!("./run left 1 process ({escaped} "));
    assert!(is_running(escaped));
}

/// The directory of this process' control group, if one can be made below it.
fn control_group() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?;
    let directory = Path::new(mount).join(group);
    let probe = directory.join(format!("svkit-test.{}", std::process::id()));
    fs::create_dir(&probe).ok()?;
    fs::remove_dir(&probe).unwrap();
    Some(directory)
}

/// The control group of a process, as the second version has it.
fn group_of(pid: u32) -> String {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
}

fn skip(why: &str) {
    // Nobody reads it: no harm is done.
    let _ = writeln!(stderr(), "{why}: skipped");
}

/// "`cgroup` uses `cgroup.kill` where delegated"
fn nobody_leaves_the_control_group(subject: &Subject) {
    let Some(ours) = control_group() else { return skip("nobody_leaves_the_control_group: no cgroup2") };
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(ESCAPE).file("kill-mode", "cgroup\n").supervise();
    // It crashes: what it leaves dies.
    let escaped = pids(&service, 1)[0];
    wait_end(escaped);
    wait_warning(&mut service, &format!("./run left 1 process ({escaped} "));
    assert_eq!(key(&service, "left"), None);

    // It is told to end: the escaped one ignores TERM, and dies when `run` has ended.
    fs::write(service.join("stay"), "").unwrap();
    for (round, command) in [(0, "d"), (1, "k"), (2, "x")] {
        service.command("d");
        service.wait_stat("down");
        fs::write(service.join("pids"), "").unwrap();
        service.command("u");
        let escaped = pids(&service, 1)[0];
        let run = service.wait_run();
        wait_key(&service, "tree", Some("cgroup"));
        let group = group_of(run);
        assert_eq!(group_of(escaped), group);
        assert!(group.contains("/web.") && group.ends_with(".runsv"), "{group}");
        assert_ne!(session(escaped), session(run));
        let directory = ours.join(Path::new(&group).file_name().unwrap());
        assert!(directory.is_dir(), "{}", directory.display());
        service.command(command);
        wait_end(escaped);
        wait_end(run);
        if round == 2 {
            assert_eq!(service.runsv().wait().code, Some(0));
            assert!(!directory.exists(), "{}", directory.display());
        }
    }
}

/// Who may not make control groups is warned, once, and gets the next best.
fn a_control_group_that_is_not_ours_is_a_process_group(subject: &Subject) {
    const NOBODY: u32 = 65534;
    let sandbox = Sandbox::new(subject);
    let bin = sandbox.copy_programs("copies");
    let run = "sleep 1000 & echo $! >>pids; exec sleep 1000";
    let service = sandbox.service("web").run(run).file("kill-mode", "cgroup").build();
    chown(service.dir(), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = sandbox.command("chpst");
    let runsv = sandbox.start(command.args(["-u", ":65534:65534"]).arg(bin.join("runsv")).arg(service.dir()));
    service.wait_ok();
    let child = pids(&service, 1)[0];
    let run = service.wait_run();
    assert_eq!(session(child), run);
    service.command("tu");
    service.wait_restart(run);
    wait_end(child);
    let child = pids(&service, 2)[1];
    service.command("d");
    service.wait_stat("down");
    wait_end(child);
    let stderr = runsv.stderr();
    assert_eq!(stderr.matches("warning: ./kill-mode: ").count(), 1, "{stderr}");
    assert!(stderr.contains(": using the process group\n"), "{stderr}");
}
