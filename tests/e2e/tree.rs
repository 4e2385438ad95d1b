//! A supervised, logged service from nothing: the whole suite at work.

use std::fs;

use nix::sys::signal::Signal;
use svkit_tests::{Case, SLEEP, Sandbox, Service, Subject, case, eventually, is_running, mask_stamps};

pub(crate) const CASES: &[Case] = &[case!(from_directory_to_log_file), case!(a_user_s_own_tree).root()];

/// runsvdir, runsv, chpst, svlogd and sv, one after the other.
fn from_directory_to_log_file(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("services/web/env");
    sandbox.write("services/web/env/GREETING", "hello there\n");
    let service = sandbox
        .service("web")
        .run(&format!("exec 2>&1; exec chpst -e ./env sh -c 'echo \"$GREETING\"; {SLEEP}'"))
        .log("mkdir -p main; exec svlogd -tt ./main")
        .build();
    let waiting = sandbox
        .service("waiting")
        .run("sv start web || exit 1; echo started >>events; exec sleep 1000")
        .build();
    let mut runsvdir = sandbox.start(sandbox.command("runsvdir").args(["-P", "services"]));
    waiting.wait_events(1);
    let current = service.log().join("main/current");
    eventually("the line", || {
        let text = fs::read_to_string(&current).unwrap_or_default();
        (mask_stamps(&text) == "DATE_TIME hello there\n").then_some(())
    });
    let pids = [service.wait_run(), service.log().wait_run(), waiting.wait_run()];
    runsvdir.signal(Signal::SIGHUP);
    assert_eq!(runsvdir.wait().code, Some(111));
    eventually("no process is left", || (!pids.iter().any(|pid| is_running(*pid))).then_some(()));
}

/// A runsvdir of a user under the one of root, and sv by the user's hand.
fn a_user_s_own_tree(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    // The user must be able to reach the programs, wherever they were built.
    let bin = sandbox.copy_programs("user/bin");
    let app: Service = sandbox.service_at("user/services/app").run(SLEEP).build();
    assert_eq!(sandbox.run("chown", &["-R", "nobody", "user"]).code, Some(0));
    let user = sandbox.join("user").display().to_string();
    let run = format!("export PATH='{user}/bin':$PATH; exec chpst -u nobody runsvdir '{user}/services'");
    sandbox.service("app-user").run(&run).build();
    let _runsvdir = sandbox.start(sandbox.command("runsvdir").arg("services"));
    let pid = app.wait_run();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("\nUid:\t65534\t65534\t65534\t65534\n"), "{status}");
    let mut command = sandbox.command("chpst");
    command.env("SVDIR", format!("{user}/services")).args(["-u", "nobody"]);
    let output = sandbox.finish(command.arg(bin.join("sv")).args(["-w", "15", "restart", "app"]));
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(!is_running(pid));
}
