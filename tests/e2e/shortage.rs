//! No descriptors, no processes, no disk: supervision goes on, and catches up when there are some again. A runsv that is
//! killed meanwhile is followed by one that takes over, then or later, and never by a second copy of the service.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use svkit_tests::{
    Case, Disk, ProcStat, Running, SLEEP, Sandbox, Service, Subject, case, eventually, holds_for, is_running,
    kill_and_wait, send,
};

pub(crate) const CASES: &[Case] = &[
    case!(runsv_without_descriptors).needs(&["prlimit"]),
    case!(runsv_that_may_not_wait).needs(&["prlimit"]),
    case!(runsvdir_without_descriptors).needs(&["prlimit"]),
    case!(killed_runsv_without_descriptors).needs(&["prlimit"]),
    case!(runsv_without_processes).root().needs(&["prlimit"]),
    case!(runsvdir_without_processes).root().needs(&["prlimit"]),
    case!(killed_runsv_without_processes).root().needs(&["prlimit"]),
    case!(killed_runsv_of_a_service_without_processes).root().needs(&["prlimit"]),
    case!(finish_without_descriptors).needs(&["prlimit"]),
    case!(full_disk_below_supervise).root(),
    case!(record_that_cannot_be_made).root(),
    case!(killed_runsv_on_a_full_disk).root(),
    case!(read_only_supervise).root(),
    case!(killed_runsv_of_a_read_only_supervise).root(),
    case!(killed_runsv_of_a_pipe_and_one_that_cannot_begin).root(),
];

/// A user of which there is no other process: its processes are counted.
const LONELY: [&str; 4] = [":917351:917351", ":917352:917352", ":917353:917353", ":917354:917354"];

/// A `run` that tells of each of its starts.
const TELLING: &str = "echo $$ >>events; exec sleep 1000";

/// Longer than any pause after which something is tried again.
const PAUSE: Duration = Duration::from_millis(1300);

/// Sets the soft limit of a running process of our own.
fn limit(sandbox: &Sandbox, process: &Running, limit: &str) {
    set_limit(sandbox, &mut sandbox.command("prlimit"), process, limit);
}

/// Sets the soft limit of a process of a user, as that user: root in a container may not have the right.
fn limit_lonely(sandbox: &Sandbox, user: &str, process: &Running, limit: &str) {
    set_limit(sandbox, sandbox.command("chpst").args(["-u", user, "prlimit"]), process, limit);
}

fn set_limit(sandbox: &Sandbox, command: &mut Command, process: &Running, limit: &str) {
    let output = sandbox.finish(command.args(["--pid", &process.pid().to_string(), limit]));
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// What it holds open is enough to go on with: a service that dies is tried again until it comes up.
fn runsv_without_descriptors(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox
        .service("web")
        .run("echo run >>events; exec sleep 1000")
        .log("exec cat >/dev/null")
        .supervise();
    let pid = service.wait_run();
    service.log().wait_run();
    limit(&sandbox, service.runsv(), "--nofile=3:");
    service.command("k");
    eventually("the process is reaped", || (!is_running(pid)).then_some(()));
    eventually("a warning", || service.runsv().stderr().contains("Too many open files").then_some(()));
    assert!(service.runsv().is_running() && service.is_ok());
    limit(&sandbox, service.runsv(), "--nofile=1024:");
    service.wait_restart(pid);
    service.wait_stat("run");
    service.command("x");
    assert_eq!(service.runsv().wait().code, Some(0));
}

/// poll(2) fails when fewer descriptors are allowed than it is asked about. To give up would leave the service without a
/// supervisor, and the next one would start it a second time.
fn runsv_that_may_not_wait(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(SLEEP).supervise();
    let pid = service.wait_run();
    limit(&sandbox, service.runsv(), "--nofile=0:");
    service.command("k");
    eventually("the process is reaped", || (!is_running(pid)).then_some(()));
    assert!(service.runsv().is_running());
    limit(&sandbox, service.runsv(), "--nofile=1024:");
    service.wait_restart(pid);
    service.command("x");
    assert_eq!(service.runsv().wait().code, Some(0));
}

/// A service that comes meanwhile is taken up later, one that runs is not touched.
fn runsvdir_without_descriptors(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let first = sandbox.service("first").run(SLEEP).build();
    let mut runsvdir = sandbox.start(sandbox.command("runsvdir").arg("services"));
    let pid = first.wait_run();
    limit(&sandbox, &runsvdir, "--nofile=4:");
    let second = sandbox.service("second").run(SLEEP).build();
    eventually("a warning", || runsvdir.stderr().contains("Too many open files").then_some(()));
    assert!(runsvdir.is_running());
    limit(&sandbox, &runsvdir, "--nofile=1024:");
    second.wait_run();
    assert_eq!(first.status().pid, pid);
}

/// Kills the runsv of a service and waits for its end.
fn kill_runsv(service: &Service) -> u32 {
    let runsv = eventually("a runsv", || service.supervisor());
    kill_and_wait(runsv);
    runsv
}

/// Waits for the runsv after `old`, until it has written down that it is in charge.
fn next_runsv(service: &Service, old: u32) -> u32 {
    eventually(&format!("another runsv than {old}"), || {
        let next = service.supervisor().filter(|next| *next != old)?;
        service.read("supervise/record").contains(&format!("\nsupervisor={next} ")).then_some(next)
    })
}

/// The process that runs of a service is the one that it has started last, and it has started so many.
fn assert_last_of(service: &Service, starts: usize) -> u32 {
    let pids: Vec<u32> = service.events().iter().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), starts, "{pids:?}");
    let running: Vec<u32> = pids.iter().copied().filter(|pid| is_running(*pid)).collect();
    assert_eq!(running, pids[starts - 1..]);
    running[0]
}

/// Without a descriptor runsvdir can neither look who is there nor make a socket for a runsv.
fn killed_runsv_without_descriptors(subject: &Subject) {
    for most in ["--nofile=4:", "--nofile=0:"] {
        let sandbox = Sandbox::new(subject);
        let service = sandbox.service("web").run(TELLING).log("exec cat >/dev/null").build();
        let runsvdir = sandbox.start(sandbox.command("runsvdir").arg("services"));
        service.wait_events(1);
        let pids = [service.wait_run(), service.log().wait_run()];
        service.wait_stat("run");
        limit(&sandbox, &runsvdir, most);
        let killed = kill_runsv(&service);
        eventually("a warning", || runsvdir.stderr().contains("Too many open files").then_some(()));
        holds_for(PAUSE, "no runsv, and no second service", || {
            service.supervisor().is_none() && service.events().len() == 1
        });
        limit(&sandbox, &runsvdir, "--nofile=1024:");
        next_runsv(&service, killed);
        assert_last_of(&service, 1);
        assert_eq!([service.wait_run(), service.log().wait_run()], pids, "{most}");
        // It is the new one's.
        service.command("k");
        service.wait_restart(pids[0]);
        service.wait_events(2);
        assert_last_of(&service, 2);
    }
}

/// Gives the sandbox's programs and services to a user who may have so many processes.
fn as_lonely(sandbox: &Sandbox, user: &str, most: &str, program: &str, operand: &str) -> Running {
    let bin = sandbox.copy_programs("copies");
    let owner = user.trim_start_matches(':');
    assert_eq!(sandbox.run("chown", &["-R", owner, "services"]).code, Some(0));
    let mut command = sandbox.command("chpst");
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    command.args(["-u", user, "-p", most]).arg(bin.join(program)).arg(operand);
    sandbox.start(&mut command)
}

/// "fork failure": said, tried again, and over with the shortage.
fn runsv_without_processes(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).build();
    let mut runsv = as_lonely(&sandbox, LONELY[0], "1", "runsv", "services/web");
    let expected = "unable to start ./run: Resource temporarily unavailable";
    eventually("the failure is said", || runsv.stderr().contains(expected).then_some(()));
    service.wait_ok();
    service.wait_stat("down");
    assert!(runsv.is_running());
    limit_lonely(&sandbox, LONELY[0], &runsv, "--nproc=100:");
    service.wait_run();
    service.wait_stat("run");
    service.command("x");
    assert_eq!(runsv.wait().code, Some(0));
}

fn runsvdir_without_processes(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let services: Vec<Service> = ["one", "two"].map(|name| sandbox.service(name).run(SLEEP).build()).into();
    let mut runsvdir = as_lonely(&sandbox, LONELY[1], "1", "runsvdir", "services");
    let expected = "unable to start runsv ";
    eventually("the failure is said", || runsvdir.stderr().contains(expected).then_some(()));
    assert!(runsvdir.is_running());
    limit_lonely(&sandbox, LONELY[1], &runsvdir, "--nproc=100:");
    for service in &services {
        service.wait_run();
    }
}

/// runsvdir cannot start the next runsv. The service that ends meanwhile is started again by that one, and not before.
fn killed_runsv_without_processes(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let [stays, ends] = ["stays", "ends"].map(|name| {
        sandbox.service(name).run(TELLING).finish("echo $1 $2 >>finished").log("exec cat >/dev/null").build()
    });
    let runsvdir = as_lonely(&sandbox, LONELY[2], "100", "runsvdir", "services");
    let pids = [&stays, &ends].map(|service| {
        service.wait_events(1);
        service.wait_stat("run");
        (service.wait_run(), service.log().wait_run())
    });
    limit_lonely(&sandbox, LONELY[2], &runsvdir, "--nproc=1:");
    let killed = [&stays, &ends].map(kill_runsv);
    let expected = "unable to start runsv ";
    eventually("the failure is said", || runsvdir.stderr().contains(expected).then_some(()));
    send(pids[1].0, Signal::SIGKILL);
    holds_for(PAUSE, "no runsv, and nothing is started", || {
        [&stays, &ends].iter().all(|service| service.supervisor().is_none() && service.events().len() == 1)
    });
    limit_lonely(&sandbox, LONELY[2], &runsvdir, "--nproc=100:");
    next_runsv(&stays, killed[0]);
    next_runsv(&ends, killed[1]);
    ends.wait_events(2);
    assert_ne!(assert_last_of(&ends, 2), pids[1].0);
    assert_eq!(ends.read("finished"), "-1 9\n");
    assert_eq!(assert_last_of(&stays, 1), pids[0].0);
    assert_eq!([stays.log().wait_run(), ends.log().wait_run()], pids.map(|(_, log)| log));
    assert_eq!(stays.read("finished"), "");
}

/// runsv has no process for its service when it is killed, and neither has the next.
fn killed_runsv_of_a_service_without_processes(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(TELLING).build();
    let start = |most| as_lonely(&sandbox, LONELY[3], most, "runsv", "services/web");
    let expected = "unable to start ./run: Resource temporarily unavailable";
    let mut first = start("100");
    service.wait_events(1);
    let pid = service.wait_run();
    limit_lonely(&sandbox, LONELY[3], &first, "--nproc=1:");
    service.command("k");
    eventually("the process is reaped", || (!is_running(pid)).then_some(()));
    eventually("the failure is said", || first.stderr().contains(expected).then_some(()));
    let killed = kill_runsv(&service);
    first.wait();
    let second = start("1");
    next_runsv(&service, killed);
    eventually("the failure is said", || second.stderr().contains(expected).then_some(()));
    assert_eq!(service.events().len(), 1);
    limit_lonely(&sandbox, LONELY[3], &second, "--nproc=100:");
    service.wait_restart(pid);
    service.wait_events(2);
    assert_last_of(&service, 2);
}

/// `finish` is owed, and the settings are what they were.
fn finish_without_descriptors(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service =
        sandbox.service("web").run(TELLING).finish("echo $1 $2 >>finished").file("down-signal", "HUP\n");
    let mut service = service.supervise();
    let pid = service.wait_events(1)[0].parse::<u32>().unwrap();
    service.wait_stat("run");
    limit(&sandbox, service.runsv(), "--nofile=3:");
    service.command("d");
    eventually("the process is reaped", || (!is_running(pid)).then_some(()));
    let failure = "unable to start ./finish: Too many open files";
    eventually("the failure is said", || service.runsv().stderr().contains(failure).then_some(()));
    limit(&sandbox, service.runsv(), "--nofile=1024:");
    eventually("finish", || {
        (service.read("finished") == format!("-1 {}\n", Signal::SIGHUP as i32)).then_some(())
    });
    service.wait_stat("down");
    let stderr = service.runsv().stderr();
    assert_eq!(stderr.matches("unable to read restart: Too many open files").count(), 1, "{stderr}");
}

/// A service whose `supervise` is on a disk.
fn on_disk(sandbox: &Sandbox, disk: &Disk) -> Service {
    let service = sandbox.service("web").run(TELLING).build();
    symlink(disk.path().join("supervise"), service.join("supervise")).unwrap();
    service
}

/// Whether the record, which the status need not agree with, names this process.
fn is_recorded(service: &Service, run: u32) -> bool {
    service.read("supervise/record").contains(&format!("\nrun={run} "))
}

fn names_in_supervise(service: &Service) -> Vec<String> {
    let entries = fs::read_dir(service.join("supervise")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// "a full disk": nothing can be published, and the service is restarted and obeys all the same; what is true is
/// published as soon as it can be.
fn full_disk_below_supervise(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let disk = Disk::new(&sandbox, "disk", 64);
    on_disk(&sandbox, &disk);
    let mut service = sandbox.service("web").supervise();
    let first = service.wait_run();
    service.wait_stat("run");
    // It is published as soon as it runs; what it does comes later.
    service.wait_events(1);
    disk.fill();
    service.command("k");
    let second = service.wait_events(2)[1].parse::<u32>().unwrap();
    assert_ne!(first, second);
    eventually("a warning", || {
        let stderr = service.runsv().stderr();
        (stderr.contains("supervise/") && stderr.contains("No space left")).then_some(())
    });
    // Whichever record is there, it is a whole one.
    assert!(service.try_status().is_some());
    // What was replaced by less may have left room.
    disk.fill();
    service.command("d");
    eventually("it obeys", || (!is_running(second)).then_some(()));
    service.command("u");
    let third = service.wait_events(3)[2].parse::<u32>().unwrap();
    disk.free();
    // Without another change of state.
    eventually("the process that runs", || (service.status().pid == third).then_some(()));
    service.wait_stat("run");
    assert_eq!(service.read("supervise/pid"), format!("{third}\n"));
    assert_eq!(service.events().len(), 3);
    let names = names_in_supervise(&service);
    assert!(!names.iter().any(|name| name.ends_with(".new")), "{names:?}");
    service.command("x");
    assert_eq!(service.runsv().wait().code, Some(0));
}

/// "supervision goes on": a service that was supervised by a runsv without records is started where there is no room for one.
fn record_that_cannot_be_made(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let disk = Disk::new(&sandbox, "disk", 64);
    let service = on_disk(&sandbox, &disk);
    let mut before = sandbox.start(sandbox.command("runsv").arg(service.dir()));
    service.wait_events(1);
    service.wait_stat("run");
    service.command("x");
    assert_eq!(before.wait().code, Some(0));
    fs::remove_file(service.join("supervise/record")).unwrap();
    disk.refuse_files(true);
    let mut runsv = sandbox.start(sandbox.command("runsv").arg(service.dir()));
    let pid = service.wait_events(2)[1].parse::<u32>().unwrap();
    let warning = "unable to make supervise/record: No space left on device: ";
    eventually("a warning", || runsv.stderr().contains(warning).then_some(()));
    holds_for(PAUSE, "it is said once", || runsv.stderr().matches(warning).count() == 1);
    disk.refuse_files(false);
    eventually("it is recorded", || is_recorded(&service, pid).then_some(()));
    // It is as good as any.
    runsv.signal(Signal::SIGKILL);
    runsv.wait();
    let mut next = sandbox.start(sandbox.command("runsv").arg(service.dir()));
    next_runsv(&service, runsv.pid());
    assert_eq!(assert_last_of(&service, 2), pid);
    service.command("x");
    assert_eq!(next.wait().code, Some(0));
}

/// The record is written in place, for which there is room: it, and not the status, says what runs.
fn killed_runsv_on_a_full_disk(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let disk = Disk::new(&sandbox, "disk", 64);
    let service = on_disk(&sandbox, &disk);
    let runsvdir = sandbox.start(sandbox.command("runsvdir").arg("services"));
    let first = service.wait_events(1)[0].parse::<u32>().unwrap();
    service.wait_stat("run");
    let record = || {
        let metadata = fs::metadata(service.join("supervise/record")).unwrap();
        (metadata.ino(), metadata.len())
    };
    let before = record();
    disk.fill();
    let killed = kill_runsv(&service);
    let next = next_runsv(&service, killed);
    holds_for(PAUSE, "no second service", || service.events().len() == 1);
    assert_eq!(assert_last_of(&service, 1), first);
    // Another process, of which the disk has only the record.
    disk.fill();
    service.command("k");
    let second = service.wait_events(2)[1].parse::<u32>().unwrap();
    eventually("it is recorded", || is_recorded(&service, second).then_some(()));
    assert_ne!(service.status().pid, second);
    let killed = kill_runsv(&service);
    assert_eq!(killed, next);
    next_runsv(&service, killed);
    holds_for(PAUSE, "no second service", || service.events().len() == 2);
    assert_eq!(assert_last_of(&service, 2), second);
    assert_eq!(record(), before);
    service.command("p");
    eventually("it obeys", || is_paused(second).then_some(()));
    service.command("c");
    disk.free();
    eventually("the process that runs", || (service.status().pid == second).then_some(()));
    service.wait_stat("run");
    service.command("d");
    service.wait_stat("down");
    assert!(!is_running(second));
    let stderr = runsvdir.stderr();
    // The runsvs write to where runsvdir does: each warns once, and it itself has nothing to say.
    assert!(stderr.lines().all(|line| line.starts_with("runsv web: warning: ")), "{stderr}");
    assert!(stderr.matches("No space left").count() <= 3, "{stderr}");
}

fn is_paused(pid: u32) -> bool {
    ProcStat::of(pid).is_some_and(|stat| stat.state == 'T')
}

/// Makes what is on a path read-only, until it is dropped: for whoever comes by that path, as a mount above it is. The file
/// system below cannot be made so while files of it are open for writing.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn over(path: &Path) -> Self {
        let bind = |source: Option<&Path>, flags| {
            mount(source, path, None::<&str>, MsFlags::MS_BIND | flags, None::<&str>)
                .unwrap_or_else(|errno| panic!("mount {}: {errno}", path.display()));
        };
        bind(Some(path), MsFlags::empty());
        bind(None, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
        Self(path.to_owned())
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // Somebody may be looking at a file below it.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Nothing can be published until it can be written to again; commands are obeyed, and it is said once.
fn read_only_supervise(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let disk = Disk::new(&sandbox, "disk", 64);
    on_disk(&sandbox, &disk);
    let mut service = sandbox.service("web").supervise();
    let first = service.wait_events(1)[0].parse::<u32>().unwrap();
    service.wait_stat("run");
    let read_only = ReadOnly::over(disk.path());
    service.command("k");
    let second = service.wait_events(2)[1].parse::<u32>().unwrap();
    assert_ne!(first, second);
    eventually("a warning", || service.runsv().stderr().contains("Read-only file system").then_some(()));
    service.command("p");
    eventually("it obeys", || is_paused(second).then_some(()));
    service.command("cd");
    eventually("it obeys", || (!is_running(second)).then_some(()));
    holds_for(PAUSE, "it stays down, and it is said once", || {
        service.events().len() == 2 && service.runsv().stderr().lines().count() == 1
    });
    service.command("u");
    let third = service.wait_events(3)[2].parse::<u32>().unwrap();
    assert_eq!(service.status().pid, first);
    drop(read_only);
    // Without another change of state.
    eventually("the process that runs", || (service.status().pid == third).then_some(()));
    service.wait_stat("run");
    assert_eq!(service.read("supervise/pid"), format!("{third}\n"));
    assert_eq!(assert_last_of(&service, 3), third);
    let names = names_in_supervise(&service);
    assert!(!names.iter().any(|name| name.ends_with(".new")), "{names:?}");
    service.command("x");
    let output = service.runsv().wait();
    assert_eq!((output.code, output.stderr.lines().count()), (Some(0), 1), "{output:?}");
}

/// Kills the runsv of a service whose `supervise` is read-only by then, and waits for two that cannot begin.
fn kill_runsv_on_read_only(disk: &Disk, service: &Service, runsvdir: &Running) -> (ReadOnly, u32) {
    let read_only = ReadOnly::over(disk.path());
    let killed = kill_runsv(service);
    let failure = "Read-only file system";
    eventually("the failure is said, again", || {
        (runsvdir.stderr().matches(failure).count() > 1).then_some(())
    });
    (read_only, killed)
}

/// The next runsv cannot lock anything, and ends; one that can takes over.
fn killed_runsv_of_a_read_only_supervise(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let disk = Disk::new(&sandbox, "disk", 64);
    let service = on_disk(&sandbox, &disk);
    let runsvdir = sandbox.start(sandbox.command("runsvdir").arg("services"));
    let pid = service.wait_events(1)[0].parse::<u32>().unwrap();
    service.wait_stat("run");
    let (read_only, killed) = kill_runsv_on_read_only(&disk, &service, &runsvdir);
    assert_eq!(assert_last_of(&service, 1), pid);
    drop(read_only);
    next_runsv(&service, killed);
    assert_eq!(service.wait_run(), pid);
    service.command("k");
    service.wait_events(2);
    assert_ne!(assert_last_of(&service, 2), pid);
}

/// Both the service and its log service are down: only runsvdir has the pipe, with a line in it that nobody has read.
fn killed_runsv_of_a_pipe_and_one_that_cannot_begin(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let disk = Disk::new(&sandbox, "disk", 64);
    let service = on_disk(&sandbox, &disk);
    let read_later = "while [ ! -e go ]; do sleep 0.05; done; exec cat >>lines";
    sandbox.service("web").run("echo a line; exec sleep 1000").log(read_later);
    let runsvdir = sandbox.start(sandbox.command("runsvdir").arg("services"));
    for part in [&service.log(), &service] {
        part.wait_run();
        part.wait_stat("run");
        part.command("d");
        part.wait_stat("down");
    }
    let (read_only, killed) = kill_runsv_on_read_only(&disk, &service, &runsvdir);
    drop(read_only);
    next_runsv(&service, killed);
    fs::write(service.log().join("go"), "").unwrap();
    service.log().command("u");
    eventually("the line", || (service.log().read("lines") == "a line\n").then_some(()));
}
