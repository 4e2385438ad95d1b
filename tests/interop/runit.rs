//! The matrix with runit: some programs ours, the others runit's.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use nix::sys::signal::Signal;
use svkit_tests::{Case, SLEEP, Sandbox, Subject, case, eventually, is_running, mask_pids_and_seconds};

pub(crate) const CASES: &[Case] = &[
    case!(sv_controls_a_service),
    case!(sv_reads_every_state),
    case!(sv_sees_a_supervisor_that_is_gone),
    case!(sv_controls_the_log),
    case!(runsvdir_runs_the_tree),
    case!(a_supervised_logger),
    case!(supervise_directory_is_taken_over),
];

/// Commands and waiting across the border.
fn sv_controls_a_service(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(SLEEP).finish("echo finish $1 $2 >>events").supervise();
    service.wait_run();
    service.wait_next_second();
    let steps: [(&[&str], &str); 8] = [
        (&["-v", "up"], "ok: run: web: (pid PID) Ns\n"),
        (&["-v", "pause"], "ok: run: web: (pid PID) Ns, paused\n"),
        (&["-v", "cont"], "ok: run: web: (pid PID) Ns\n"),
        (&["-w", "15", "restart"], "ok: run: web: (pid PID) Ns\n"),
        (&["-w", "15", "stop"], "ok: down: web: Ns, normally up\n"),
        (&["check"], "ok: down: web: Ns, normally up\n"),
        (&["start"], "ok: run: web: (pid PID) Ns\n"),
        (&["-w", "15", "shutdown"], "ok: web: runsv not running\n"),
    ];
    for (args, expected) in steps {
        let mut all = args.to_vec();
        all.push("web");
        let output = sandbox.sv(&all);
        assert_eq!(mask_pids_and_seconds(&output.stdout), expected, "{args:?}");
        assert_eq!(output.code, Some(0), "{args:?}");
    }
    assert_eq!(service.runsv().wait().code, Some(0));
    assert_eq!(service.events(), ["finish -1 15"; 3]);
}

/// Every field of the status record.
fn sv_reads_every_state(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = "trap '' TERM; echo ready >>events; while :; do sleep 0.05; done";
    let service = sandbox.service("web").run(run).finish(SLEEP).down().supervise();
    let shows = |stat: &str, expected: &str| {
        service.wait_stat(stat);
        let text = mask_pids_and_seconds(&sandbox.sv(&["status", "web"]).stdout);
        assert_eq!(text, format!("{expected}\n"));
    };
    shows("down", "down: web: Ns");
    service.command("u");
    service.wait_ready();
    shows("run", "run: web: (pid PID) Ns, normally down");
    service.command("p");
    shows("run, paused", "run: web: (pid PID) Ns, normally down, paused");
    service.command("cd");
    shows("run, got TERM, want down", "run: web: (pid PID) Ns, normally down, want down, got TERM");
    service.command("k");
    // runit publishes the state once before finish has its pid.
    eventually("the pid of finish", || {
        let status = service.status();
        (status.state == 2 && status.pid != 0).then_some(())
    });
    shows("finish, want down", "finish: web: (pid PID) Ns, normally down, want down");
}

/// The `ok` fifo.
fn sv_sees_a_supervisor_that_is_gone(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    // Until it executes, a child has the descriptors of runsv, and `ok` among them.
    let mut service = sandbox.service("web").run(&format!("echo ready >>events; {SLEEP}")).supervise();
    service.wait_ready();
    service.runsv().signal(Signal::SIGKILL);
    service.runsv().wait();
    let output = sandbox.sv(&["status", "web"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), "fail: web: runsv not running\n"));
}

/// The log service by its path, and in the status of its service.
fn sv_controls_the_log(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).log("exec cat >/dev/null").supervise();
    service.wait_run();
    service.log().wait_run();
    let text = mask_pids_and_seconds(&sandbox.sv(&["status", "web"]).stdout);
    assert_eq!(text, "run: web: (pid PID) Ns; run: log: (pid PID) Ns\n");
    let output = sandbox.sv(&["-w", "15", "stop", "web/log"]);
    assert_eq!(mask_pids_and_seconds(&output.stdout), "ok: down: web/log: Ns, normally up\n");
}

/// A tree from runsvdir down to a service and its log service, and its end.
fn runsvdir_runs_the_tree(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service =
        sandbox.service_at("web").run(&format!("echo hello; {SLEEP}")).log("exec cat >>got").build();
    let link = sandbox.join("services/web");
    symlink(service.dir(), &link).unwrap();
    let mut runsvdir = sandbox.start(sandbox.command("runsvdir").args(["-P", "services"]));
    let pid = service.wait_run();
    service.log().wait_text("got", "hello\n");
    assert_eq!(sandbox.sv(&["down", "web"]).code, Some(0));
    service.wait_stat("down");
    assert_eq!(sandbox.sv(&["up", "web"]).code, Some(0));
    let pid = service.wait_restart(pid);
    runsvdir.signal(Signal::SIGHUP);
    assert_eq!(runsvdir.wait().code, Some(111));
    eventually("the tree ends", || (!is_running(pid) && !service.is_ok()).then_some(()));
}

/// svlogd as a log service: started, signalled and ended by runsv.
fn a_supervised_logger(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox
        .service("web")
        .run(&format!("echo one; echo two; {SLEEP}"))
        .log("mkdir -p main; exec svlogd -tt ./main")
        .supervise();
    let current = || fs::read_to_string(service.log().join("main/current")).unwrap_or_default();
    eventually("two lines", || {
        (svkit_tests::mask_stamps(&current()) == "DATE_TIME one\nDATE_TIME two\n").then_some(())
    });
    assert_eq!(sandbox.sv(&["alarm", "web/log"]).code, Some(0));
    eventually("rotation", || (current().is_empty()).then_some(()));
    assert_eq!(sandbox.sv(&["-w", "15", "shutdown", "web"]).code, Some(0));
    assert_eq!(service.runsv().wait().code, Some(0));
}

/// One implementation goes, the other comes: the same supervise directory, nothing to clean up.
fn supervise_directory_is_taken_over(subject: &Subject) {
    let runit = Subject::installed_runit().expect("the mixture has it");
    let ours = Subject::ours();
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).log("exec cat >/dev/null").build();
    for program in [&runit, &ours, &runit, &ours] {
        let mut command = sandbox.command(program.program("runsv"));
        let mut runsv = sandbox.start(command.arg(service.dir()).stdin(Stdio::null()));
        service.wait_ok();
        service.wait_run();
        service.log().wait_run();
        let refused = sandbox.run("runsv", &["services/web"]);
        assert_eq!(refused.code, Some(111), "the lock is the same");
        let mut control = fs::File::options().write(true).open(service.join("supervise/control")).unwrap();
        control.write_all(b"x").unwrap();
        assert_eq!(runsv.wait().code, Some(0));
    }
}
