//! Which runsv processes runsvdir starts, restarts and ends.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use nix::sys::signal::Signal;
use svkit_tests::{
    Case, ProcStat, Running, SLEEP, Sandbox, Service, Subject, case, eventually, holds_for, is_running,
    parent, send, session,
};

pub(crate) const CASES: &[Case] = &[
    case!(starts_a_runsv_for_each_directory),
    case!(symlinks_to_directories_count),
    case!(skips_dots_and_files),
    case!(finds_new_services),
    case!(ends_removed_services),
    case!(ends_services_whose_symlink_is_removed),
    case!(renamed_service_keeps_its_runsv),
    case!(restarts_runsv),
    case!(removed_and_made_again),
    case!(services_directory_that_comes_later),
    case!(services_directory_that_is_replaced),
    case!(two_names_of_one_directory_are_one_service),
    case!(odd_names),
    case!(runsv_gets_a_relative_name),
    case!(capital_p_makes_sessions),
    case!(without_p_all_share_a_session),
    case!(nested),
];

fn runsvdir(sandbox: &Sandbox, args: &[&str]) -> Running {
    sandbox.start(sandbox.command("runsvdir").args(args).arg("services"))
}

/// "runsvdir starts a runsv(8) process for each subdirectory, or symlink to a directory, in the services directory dir"
/// runsvdir(8)
fn starts_a_runsv_for_each_directory(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let services = ["one", "two", "three"].map(|name| sandbox.service(name).run(SLEEP).build());
    let runsvdir = runsvdir(&sandbox, &[]);
    for service in &services {
        let pid = service.wait_run();
        assert_eq!(parent(parent(pid)), runsvdir.pid());
    }
}

/// "… or symlink to a directory" runsvdir(8)
fn symlinks_to_directories_count(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service_at("elsewhere/web").run(SLEEP).build();
    symlink("../elsewhere/web", sandbox.join("services/link")).unwrap();
    symlink("nowhere", sandbox.join("services/dangling")).unwrap();
    let _runsvdir = runsvdir(&sandbox, &[]);
    service.wait_run();
}

/// "runsvdir skips subdirectory names starting with dots." runsvdir(8)
fn skips_dots_and_files(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let hidden = sandbox.service(".hidden").run(SLEEP).build();
    sandbox.write("services/file", "");
    let service = sandbox.service("web").run(SLEEP).build();
    let _runsvdir = runsvdir(&sandbox, &[]);
    service.wait_run();
    holds_for(Duration::from_millis(300), "no runsv there", || !hidden.join("supervise").exists());
}

/// "if it sees a new subdirectory, or new symlink to a directory, in dir, it starts a new runsv(8) process" runsvdir(8)
fn finds_new_services(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let one = sandbox.service("one").run(SLEEP).build();
    let _runsvdir = runsvdir(&sandbox, &[]);
    let pid = one.wait_run();
    let two = sandbox.service_at("two").run(SLEEP).build();
    symlink(two.dir(), sandbox.join("services/two")).unwrap();
    two.wait_run();
    let three = sandbox.service_at("three").run(SLEEP).build();
    fs::rename(three.dir(), sandbox.join("services/three")).unwrap();
    Service::at(sandbox.join("services/three")).wait_run();
    assert_eq!(one.status().pid, pid);
}

/// "if runsvdir sees a subdirectory being removed that was previously there, it sends the corresponding runsv(8) process a
/// TERM signal, stops monitoring this process, and so does not restart the runsv(8) process if it exits." runsvdir(8)
fn ends_removed_services(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let web = sandbox.service("web").run(SLEEP).build();
    let stays = sandbox.service("stays").run(SLEEP).build();
    let _runsvdir = runsvdir(&sandbox, &[]);
    let pid = web.wait_run();
    stays.wait_run();
    let runsv = parent(pid);
    fs::rename(web.dir(), sandbox.join("services/.web")).unwrap();
    eventually("service and runsv end", || (!is_running(pid) && !is_running(runsv)).then_some(()));
    let web = Service::at(sandbox.join("services/.web"));
    // What holds the fifos of a runsv for the next one lets them go when it notices the end.
    eventually("nobody is there", || (!web.is_ok()).then_some(()));
    holds_for(Duration::from_millis(1500), "not restarted", || !web.is_ok());
    assert_eq!(web.stat(), "down");
    assert_eq!(stays.stat(), "run");
}

/// "if runsvdir sees a subdirectory being removed that was previously there, it sends the corresponding runsv(8)
/// process a TERM signal" runsvdir(8): the usual way to disable a service.
fn ends_services_whose_symlink_is_removed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service_at("web").run(SLEEP).log("exec cat >/dev/null").build();
    let link = sandbox.join("services/web");
    symlink(service.dir(), &link).unwrap();
    let _runsvdir = runsvdir(&sandbox, &[]);
    let pids = [service.wait_run(), service.log().wait_run()];
    let runsv = parent(pids[0]);
    fs::remove_file(link).unwrap();
    eventually("all end", || (!is_running(runsv)).then_some(()));
    assert!(!pids.into_iter().any(is_running));
}

/// A service is what its device and inode say: another name changes nothing. Not in the man page: runit 2.3.0 does so.
fn renamed_service_keeps_its_runsv(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("old").run(SLEEP).build();
    let _runsvdir = runsvdir(&sandbox, &[]);
    let pid = service.wait_run();
    fs::rename(service.dir(), sandbox.join("services/new")).unwrap();
    // What is added at the same time shows when the directory has been looked at.
    sandbox.service("other").run(SLEEP).build().wait_run();
    assert_eq!(Service::at(sandbox.join("services/new")).status().pid, pid);
    assert!(is_running(pid));
}

/// "and restarts a runsv(8) process if it terminates" runsvdir(8)
fn restarts_runsv(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).build();
    let _runsvdir = runsvdir(&sandbox, &[]);
    let pid = service.wait_run();
    let runsv = parent(pid);
    service.command("x");
    let pid = service.wait_restart(pid);
    assert_ne!(parent(pid), runsv);
    assert!(!is_running(runsv));
}

/// "if it sees a new subdirectory, or new symlink to a directory, in dir, it starts a new runsv(8) process"
/// runsvdir(8): a service that comes back is a new one.
fn removed_and_made_again(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service_at("web").run(SLEEP).build();
    let link = sandbox.join("services/web");
    symlink(service.dir(), &link).unwrap();
    let _runsvdir = runsvdir(&sandbox, &[]);
    let pid = service.wait_run();
    fs::remove_file(&link).unwrap();
    eventually("gone", || (!service.is_ok()).then_some(()));
    symlink(service.dir(), &link).unwrap();
    service.wait_restart(pid);
}

/// A services directory that is not there is waited for. Not in the man page: runit 2.3.0 waits.
fn services_directory_that_comes_later(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut runsvdir = sandbox.start(sandbox.command("runsvdir").arg("later"));
    eventually("a warning", || {
        let stderr = runsvdir.stderr();
        stderr.starts_with("runsvdir later: warning: unable to stat later: ").then_some(())
    });
    assert!(runsvdir.is_running());
    let service = sandbox.service_at("later/web").run(SLEEP).build();
    service.wait_run();
}

/// "runsvdir checks whether the time of last modification, the inode, or the device, of the services directory dir has
/// changed" runsvdir(8)
fn services_directory_that_is_replaced(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let old = sandbox.service_at("old/web").run(SLEEP).build();
    let new = sandbox.service_at("new/web").run(SLEEP).build();
    symlink("old", sandbox.join("current")).unwrap();
    let _runsvdir = sandbox.start(sandbox.command("runsvdir").arg("current"));
    let pid = old.wait_run();
    symlink("new", sandbox.join("current.new")).unwrap();
    fs::rename(sandbox.join("current.new"), sandbox.join("current")).unwrap();
    new.wait_run();
    eventually("the old one ends", || (!is_running(pid)).then_some(()));
}

/// Device and inode again. Not in the man page: runit 2.3.0 does so.
fn two_names_of_one_directory_are_one_service(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).build();
    symlink("web", sandbox.join("services/alias")).unwrap();
    let runsvdir = runsvdir(&sandbox, &[]);
    service.wait_run();
    let other = sandbox.service_at("other").run(SLEEP).build();
    symlink("../other", sandbox.join("services/other")).unwrap();
    other.wait_run();
    assert_eq!(runsvdir.stderr(), "", "no second runsv complains of the lock");
}

/// "a runsv(8) process for each subdirectory" runsvdir(8): names are bytes.
fn odd_names(subject: &Subject) {
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::new(subject);
    let names: [&[u8]; 4] = [b"a b", b"line\nbreak", b"\xff\xfe", b"-P"];
    let services = names.map(|name| sandbox.service(std::ffi::OsStr::from_bytes(name)).run(SLEEP).build());
    let _runsvdir = runsvdir(&sandbox, &[]);
    for service in &services {
        service.wait_run();
    }
}

/// "runsv(8) must be in runsvdir's PATH." runsvdir(8): runsv is looked up in `PATH`, and started in the services
/// directory with the name of the service.
fn runsv_gets_a_relative_name(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.service("web").run(SLEEP).build();
    let dir = sandbox.mkdir("fake");
    svkit_tests::write_script(&dir.join("runsv"), "echo \"$# $1 $(pwd -P)\" >>../called; exec sleep 1000");
    let mut command = sandbox.command("runsvdir");
    command.env("PATH", format!("{}:/usr/bin:/bin", dir.display())).arg("services");
    let _runsvdir = sandbox.start(&mut command);
    let here = Service::at(sandbox.path());
    here.wait_text("called", "\n");
    let place = sandbox.services().canonicalize().unwrap();
    assert_eq!(here.read("called"), format!("1 web {}\n", place.display()));
}

/// "-P use setsid(2) to run each runsv(8) process in a new session and separate process group." runsvdir(8)
fn capital_p_makes_sessions(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).build();
    let runsvdir = runsvdir(&sandbox, &["-P"]);
    let runsv = parent(service.wait_run());
    assert_eq!((ProcStat::of(runsv).unwrap().group, session(runsv)), (runsv, runsv));
    assert_eq!(parent(runsv), runsvdir.pid());
}

/// "-P use setsid(2)" runsvdir(8): without `-P` a runsv stays in the session of runsvdir.
fn without_p_all_share_a_session(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).build();
    let runsvdir = runsvdir(&sandbox, &[]);
    let runsv = parent(service.wait_run());
    assert_eq!(session(runsv), session(runsvdir.pid()));
}

/// "starts a runsv(8) process for each subdirectory … and restarts a runsv(8) process if it terminates" runsvdir(8): a
/// runsvdir is a service like any other.
fn nested(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let inner = sandbox.service_at("inner/app").run(SLEEP).build();
    let run = format!("exec runsvdir -P '{}'", sandbox.join("inner").display());
    sandbox.service("users").run(&run).build();
    let _runsvdir = runsvdir(&sandbox, &[]);
    let pid = inner.wait_run();
    send(pid, Signal::SIGKILL);
    inner.wait_restart(pid);
}
