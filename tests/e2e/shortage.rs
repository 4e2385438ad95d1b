//! No descriptors, no processes, no disk: supervision goes on, and catches up when there are some again.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use svkit_tests::{Case, Disk, Running, SLEEP, Sandbox, Service, Subject, case, eventually};

pub(crate) const CASES: &[Case] = &[
    case!(runsv_without_descriptors).needs(&["prlimit"]),
    case!(runsv_that_may_not_wait).needs(&["prlimit"]),
    case!(runsvdir_without_descriptors).needs(&["prlimit"]),
    case!(runsv_without_processes).root().needs(&["prlimit"]),
    case!(runsvdir_without_processes).root().needs(&["prlimit"]),
    case!(full_disk_below_supervise).root(),
];

/// A user of which there is no other process: its processes are counted.
const LONELY: [&str; 2] = [":917351:917351", ":917352:917352"];

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
    eventually("the process is reaped", || (!svkit_tests::is_running(pid)).then_some(()));
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
    eventually("the process is reaped", || (!svkit_tests::is_running(pid)).then_some(()));
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

/// Gives the sandbox's programs and services to a user who may have so many processes.
fn as_lonely(sandbox: &Sandbox, user: &str, program: &str, operand: &str) -> Running {
    let bin = sandbox.copy_programs("copies");
    let owner = user.trim_start_matches(':');
    assert_eq!(sandbox.run("chown", &["-R", owner, "services"]).code, Some(0));
    let mut command = sandbox.command("chpst");
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    command.args(["-u", user, "-p", "1"]).arg(bin.join(program)).arg(operand);
    sandbox.start(&mut command)
}

/// "fork failure": said, tried again, and over with the shortage.
fn runsv_without_processes(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).build();
    let mut runsv = as_lonely(&sandbox, LONELY[0], "runsv", "services/web");
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
    let mut runsvdir = as_lonely(&sandbox, LONELY[1], "runsvdir", "services");
    let expected = "unable to start runsv ";
    eventually("the failure is said", || runsvdir.stderr().contains(expected).then_some(()));
    assert!(runsvdir.is_running());
    limit_lonely(&sandbox, LONELY[1], &runsvdir, "--nproc=100:");
    for service in &services {
        service.wait_run();
    }
}

/// "a full disk": nothing can be published, and the service is restarted and obeys all the same; what is true is
/// published as soon as it can be.
fn full_disk_below_supervise(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let disk = Disk::new(&sandbox, "disk", 64);
    let service = sandbox.service("web").run("echo $$ >>events; exec sleep 1000").build();
    symlink(disk.path().join("supervise"), service.join("supervise")).unwrap();
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
    eventually("it obeys", || (!svkit_tests::is_running(second)).then_some(()));
    service.command("u");
    let third = service.wait_events(3)[2].parse::<u32>().unwrap();
    disk.free();
    // Without another change of state.
    eventually("the process that runs", || (service.status().pid == third).then_some(()));
    service.wait_stat("run");
    assert_eq!(service.read("supervise/pid"), format!("{third}\n"));
    assert_eq!(service.events().len(), 3);
    let left = fs::read_dir(service.join("supervise")).unwrap();
    let names: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.ends_with(".new")), "{names:?}");
    service.command("x");
    assert_eq!(service.runsv().wait().code, Some(0));
}
