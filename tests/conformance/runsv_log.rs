//! The appendant log service and the pipe to it.

use std::time::Duration;

use svkit_tests::{Case, SLEEP, Sandbox, Service, Subject, case, eventually, holds_for};

const KEEP: &str = "exec cat >>got";

pub(crate) const CASES: &[Case] = &[
    case!(standard_output_of_run_goes_to_the_log),
    case!(standard_output_of_finish_and_control_goes_to_the_log),
    case!(log_runs_in_its_directory_and_reads_the_pipe),
    case!(pipe_survives_the_restart_of_both_sides),
    case!(log_has_its_own_supervise_directory),
    case!(log_down_holds_back_the_log),
    case!(log_is_restarted),
    case!(log_finish_and_log_control_are_never_used),
    case!(log_obeys_its_own_control),
    case!(log_that_is_no_directory_is_passed_over),
    case!(stopping_the_service_leaves_the_log_running),
    case!(waits_for_the_lock_of_the_log),
];

/// "runsv creates a pipe, redirects service/run's and service/finish's standard output to the pipe" runsv(8)
fn standard_output_of_run_goes_to_the_log(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(&format!("echo hello; {SLEEP}")).log(KEEP).supervise();
    service.log().wait_text("got", "hello\n");
}

/// "redirects service/run's and service/finish's standard output to the pipe" runsv(8): the same pipe is the standard
/// output of `finish` and of control scripts. The one of control scripts is not in the man page: runit 2.3.0 does so.
fn standard_output_of_finish_and_control_goes_to_the_log(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox
        .service("web")
        .run(SLEEP)
        .finish("echo from finish")
        .control('u', "echo from control u")
        .control('t', "echo from control t; exit 1")
        .log(KEEP)
        .supervise();
    service.wait_run();
    service.command("d");
    service.log().wait_text("got", "from control u\nfrom control t\nfrom finish\n");
}

/// "switches to the directory service/log and starts ./run script. The standard input of the log service is redirected to
/// read from the pipe." runsv(8)
fn log_runs_in_its_directory_and_reads_the_pipe(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox
        .service("web")
        .run(SLEEP)
        .log(&format!("pwd -P >>events; readlink /proc/self/fd/0 >>events; {SLEEP}"))
        .supervise();
    let events = service.log().wait_events(2);
    assert_eq!(events[0], service.log().dir().canonicalize().unwrap().display().to_string());
    assert!(events[1].starts_with("pipe:"), "{events:?}");
}

/// "runsv creates a pipe" runsv(8): the pipe is runsv's: no line is lost when either side comes and goes.
fn pipe_survives_the_restart_of_both_sides(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let write = "n=$(cat next 2>/dev/null || echo 1); last=$((n + 3)); echo $((last + 1)) >next
while [ $n -le $last ]; do echo line $n; n=$((n + 1)); done";
    // The shell reads a pipe byte by byte, so it takes nothing that it does not write down.
    let read = "n=0; while [ $n -lt 5 ] && read line; do echo $line >>got; n=$((n + 1)); done";
    let service = sandbox.service("web").run(write).log(read).supervise();
    service.log().wait_text("got", "line 10\n");
    let expected: String = (1..=10).map(|n| format!("line {n}\n")).collect();
    assert!(service.log().read("got").starts_with(&expected));
}

/// "runsv maintains status information in a binary format … in service/supervise/status and service/log/supervise/status,
/// and in a human-readable format in service/supervise/stat, service/log/supervise/stat …" runsv(8)
fn log_has_its_own_supervise_directory(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).log(KEEP).supervise();
    let log = service.log();
    let pid = log.wait_run();
    assert_ne!(pid, service.wait_run());
    assert_eq!(log.read("supervise/pid"), format!("{pid}\n"));
    assert_eq!(log.read("supervise/stat"), "run\n");
    log.wait_ok();
}

/// `log/down` does for the log service what `down` does for the service. Not in the man page: runit 2.3.0 does so.
fn log_down_holds_back_the_log(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).log(KEEP).file("log/down", "").supervise();
    service.wait_run();
    service.log().wait_ok();
    service.log().wait_stat("down");
    service.log().command("u");
    service.log().wait_run();
}

/// "If ./finish doesn't exist or ./finish exits, runsv restarts ./run." runsv(8): the log service is restarted like any
/// service.
fn log_is_restarted(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).log(KEEP).supervise();
    let pid = service.log().wait_run();
    service.log().command("k");
    service.log().wait_restart(pid);
}

/// "The control of the optional log service cannot be customized." runsv(8); nor has it a `finish`.
fn log_finish_and_log_control_are_never_used(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let record = "echo custom >>events";
    let service = sandbox
        .service("web")
        .run(SLEEP)
        .log(KEEP)
        .script("log/finish", record)
        .script("log/control/t", record)
        .script("log/control/u", record)
        .supervise();
    let pid = service.log().wait_run();
    service.log().command("t");
    service.log().wait_restart(pid);
    assert!(service.log().events().is_empty());
}

/// "The named pipes service/supervise/control, and (optionally) service/log/supervise/control are provided to give
/// commands to runsv." runsv(8)
fn log_obeys_its_own_control(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).log(SLEEP).supervise();
    service.log().wait_run();
    let pid = service.wait_run();
    service.log().command("p");
    service.log().wait_stat("run, paused");
    service.log().command("c");
    service.log().wait_stat("run");
    service.log().command("d");
    service.log().wait_stat("down");
    service.log().command("o");
    service.log().wait_stat("run, want down");
    assert_eq!(service.status().pid, pid, "the service is not concerned");
}

/// "If the directory service/log exists" runsv(8): a `log` that is not a directory is warned about; the service runs
/// without.
fn log_that_is_no_directory_is_passed_over(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(SLEEP).file("log", "").supervise();
    service.wait_run();
    let expected = format!("runsv {}: warning: ./log: not a directory.", service.dir().display());
    let stderr = service.runsv().stderr();
    assert!(stderr.starts_with(&expected), "{stderr}");
}

/// "d Down. If the service is running, send it a TERM signal" runsv(8): a service that goes down leaves its log service
/// alone.
fn stopping_the_service_leaves_the_log_running(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).log(KEEP).supervise();
    let pid = service.log().wait_run();
    service.wait_run();
    service.command("d");
    service.wait_stat("down");
    service.command("u");
    service.wait_run();
    assert_eq!(service.log().status().pid, pid);
}

/// runsv waits for `log/supervise/lock`, where it gives up on `supervise/lock`: a log service outlives its runsv for
/// the time it needs to empty the pipe. Not in the man page: runit 2.3.0 waits.
fn waits_for_the_lock_of_the_log(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).log(KEEP).build();
    sandbox.mkdir("services/web/log/supervise");
    let lock = service.log().join("supervise/lock");
    let mut holder = sandbox.start(sandbox.command("chpst").arg("-l").arg(&lock).args(["sleep", "1000"]));
    eventually("the lock is held", || {
        let taken =
            sandbox.finish(sandbox.command("chpst").arg("-L").arg(&lock).arg("true")).code == Some(111);
        (lock.exists() && taken).then_some(())
    });
    let mut runsv = sandbox.start(sandbox.command("runsv").arg(service.dir()));
    holds_for(Duration::from_millis(300), "runsv waits", || runsv.is_running() && service.stat() != "run");
    holder.signal(nix::sys::signal::Signal::SIGKILL);
    holder.wait();
    Service::at(service.dir()).wait_run();
}
