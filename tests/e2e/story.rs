//! The story of the README, step by step: from a script to a supervised, logged service, a user's own tree, and the end.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use svkit_tests::{
    Case, SLEEP, Sandbox, Service, Subject, case, eventually, is_running, mask_pids_and_seconds, mask_stamps,
    parent, write_script,
};

pub(crate) const CASES: &[Case] = &[case!(a_service_from_script_to_removal), case!(a_tree_for_a_user).root()];

fn sv(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let output = sandbox.sv(&[&["-w", "15"], arguments].concat());
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{arguments:?}: {output:?}");
    mask_pids_and_seconds(&output.stdout)
}

fn all_gone(pids: &[u32]) {
    eventually("no process is left", || (!pids.iter().any(|pid| is_running(*pid))).then_some(()));
}

fn a_service_from_script_to_removal(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let _runsvdir = sandbox.start(sandbox.command("runsvdir").args(["-P", "services"]));

    // A directory with a script: no service yet.
    let dir = sandbox.mkdir("sv/web");
    write_script(&dir.join("run"), &format!("exec 2>&1\necho 'ready to serve'\n{SLEEP}"));
    sandbox.mkdir("sv/web/log/main");
    write_script(&dir.join("log/run"), "exec svlogd -tt ./main");
    let web = Service::at(&dir);
    assert_eq!(sandbox.sv(&["status", "web"]).code, Some(1));

    // Linked, it is one.
    symlink(&dir, sandbox.services().join("web")).unwrap();
    let first = web.wait_run();
    let logger = web.log().wait_run();
    let runsv = parent(first);
    assert_eq!(parent(logger), runsv);
    let up = "run: web: (pid PID) Ns; run: log: (pid PID) Ns\n";
    assert_eq!(sv(&sandbox, &["status", "web"]), up);
    let lines = |count: usize| {
        let path = dir.join("log/main/current");
        eventually(&format!("{count} lines in the log"), || {
            let text = mask_stamps(&fs::read_to_string(&path).unwrap_or_default());
            (text == "DATE_TIME ready to serve\n".repeat(count)).then_some(())
        });
    };
    lines(1);

    // Stopped, its log goes on; started, it is another process; restarted, again.
    let down = "down: web: Ns, normally up; run: log: (pid PID) Ns\n";
    assert_eq!(sv(&sandbox, &["stop", "web"]), format!("ok: {}", down.split(';').next().unwrap()) + "\n");
    assert_eq!(sv(&sandbox, &["status", "web"]), down);
    assert!(!is_running(first) && is_running(logger));
    assert_eq!(sv(&sandbox, &["start", "web"]), "ok: run: web: (pid PID) Ns\n");
    let second = web.wait_restart(first);
    lines(2);
    assert_eq!(sv(&sandbox, &["restart", "web"]), "ok: run: web: (pid PID) Ns\n");
    let third = web.wait_restart(second);
    lines(3);
    assert!(!is_running(second));
    assert_eq!(web.log().status().pid, logger);

    // It crashes, and is back.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(third.cast_signed()), nix::sys::signal::SIGKILL)
        .unwrap();
    let fourth = web.wait_restart(third);
    lines(4);

    // Its link removed, it is gone, with its logger and its supervisor.
    fs::remove_file(sandbox.services().join("web")).unwrap();
    all_gone(&[fourth, logger, runsv]);
    lines(4);
    assert!(!web.is_ok());
    assert_eq!(sandbox.sv(&["status", "web"]).code, Some(1));
}

/// `chpst -u USER runsvdir DIR` as a service of root's: what is below is the user's.
fn a_tree_for_a_user(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let bin = sandbox.copy_programs("home/bin");
    let home = sandbox.join("home");
    let app = sandbox
        .service_at("home/service/app")
        .run(&format!("echo hello from the app; {SLEEP}"))
        .log("mkdir -p main; exec svlogd -tt ./main")
        .build();
    assert_eq!(sandbox.run("chown", &["-R", "nobody", "home"]).code, Some(0));
    let run = format!(
        "exec 2>&1\nexport PATH='{}':$PATH\nexec chpst -u nobody runsvdir -P '{}'",
        bin.display(),
        home.join("service").display()
    );
    let tree = sandbox.service_at("sv/app-user").run(&run).build();
    let _runsvdir = sandbox.start(sandbox.command("runsvdir").args(["-P", "services"]));
    symlink(tree.dir(), sandbox.services().join("app-user")).unwrap();

    let pids = [tree.wait_run(), app.wait_run(), app.log().wait_run()];
    let supervisor = parent(pids[1]);
    let inner = parent(supervisor);
    assert_eq!(inner, pids[0], "runsvdir runs in the place of chpst");
    for pid in [pids[1], pids[2], supervisor, inner] {
        assert_eq!(uids(pid), ["65534"; 4], "process {pid}");
    }
    app.log().wait_text("main/current", "hello from the app\n");

    // The user's own sv, in the user's own directory.
    let mut command = sandbox.command("chpst");
    command.env("SVDIR", home.join("service")).args(["-u", "nobody"]).arg(bin.join("sv"));
    let output = sandbox.finish(command.args(["-w", "15", "restart", "app"]));
    assert_eq!(output.code, Some(0), "{output:?}");
    let restarted = app.wait_restart(pids[1]);

    // A runsvdir that gets TERM leaves its services, a HUP ends them first.
    assert_eq!(sandbox.sv(&["hup", "app-user"]).code, Some(0));
    all_gone(&[restarted, pids[2], supervisor, inner]);
    // It is a service: it comes again, and its services with it.
    let again = [tree.wait_restart(inner), app.wait_restart(restarted)];
    let supervisor = parent(again[1]);
    let logger = app.log().wait_restart(pids[2]);
    fs::remove_file(sandbox.services().join("app-user")).unwrap();
    all_gone(&again[..1]);
    // As with runit, the inner services are left when TERM ends the inner runsvdir: each still has its supervisor.
    assert!(is_running(supervisor) && is_running(again[1]));
    let mut command = sandbox.command("chpst");
    command.env("SVDIR", home.join("service")).args(["-u", "nobody"]).arg(bin.join("sv"));
    assert_eq!(sandbox.finish(command.args(["-w", "15", "shutdown", "app"])).code, Some(0));
    all_gone(&[again[1], logger, supervisor]);
    assert!(!Path::new(&format!("/proc/{}", again[1])).exists() || !is_running(again[1]));
}

/// Real, effective, saved and file system user of a process, proc(5).
fn uids(pid: u32) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    line.split_whitespace().skip(1).map(str::to_owned).collect()
}
