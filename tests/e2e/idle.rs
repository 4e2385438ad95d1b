//! No wakeup without work: an idle program makes no system call.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::{Duration, Instant};

use svkit_tests::{Case, SLEEP, Sandbox, Subject, case, eventually, voluntary_switches, within};

pub(crate) const CASES: &[Case] =
    &[case!(idle_runsv), case!(idle_svlogd), case!(idle_forwarding_svlogd), case!(idle_runsvdir)];

/// Longer than any pace at which something could be looked at.
const QUIET: Duration = Duration::from_secs(6);

/// By then it has been quiet for so long.
const DEADLINE: Duration = Duration::from_secs(120);

/// Waits for a time of [`QUIET`] in which the process was never woken. A process that waits gives up the processor once
/// for each time it goes on: without such a switch there was no system call. Its first moments, and a mount of another
/// test, which runsvdir is right to notice, may break the quiet; it then begins anew.
fn assert_idle(what: &str, pid: u32) {
    let start = Instant::now();
    let quiet = || {
        let before = switches(pid);
        !within(QUIET, || switches(pid) != before)
    };
    while !quiet() {
        assert!(start.elapsed() < DEADLINE, "{what} is never idle");
    }
}

/// As of a process that is there.
fn switches(pid: u32) -> u64 {
    voluntary_switches(pid).unwrap()
}

/// With a log, and with `finish` and `control` there.
fn idle_runsv(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox
        .service("web")
        .run(SLEEP)
        .finish("exit 0")
        .control('h', "exit 0")
        .log("exec cat >/dev/null")
        .supervise();
    service.wait_run();
    service.log().wait_run();
    let runsv = service.runsv().pid();
    assert_idle("runsv", runsv);
    // And down.
    service.command("d");
    service.wait_stat("down");
    assert_idle("runsv", runsv);
}

/// With an open `current`, a rotation by age far off and a processor that is done.
fn idle_svlogd(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    sandbox.write("log/config", "s20\nt3600\n!cat\n");
    let mut command = sandbox.command("svlogd");
    command.args(["-ttt", "-l", "10", "-b", "20", "log"]).stdin(Stdio::piped());
    let mut svlogd = sandbox.start(&mut command);
    let mut input = svlogd.stdin();
    input.write_all(b"line one\nline").unwrap();
    eventually("the processor is done", || {
        let mut names = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name());
        names.any(|name| name.to_string_lossy().ends_with(".s")).then_some(())
    });
    assert_idle("svlogd", svlogd.pid());
}

/// With one server that has got all, and one that is not there: in the end, that is looked for less often than every
/// [`QUIET`].
fn idle_forwarding_svlogd(subject: &Subject) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    let config = format!(
        "forward syslog+tcp://{}\nforward syslog+unix://{}\n",
        listener.local_addr().unwrap(),
        sandbox.join("nobody").display()
    );
    sandbox.write("log/config", config);
    let mut svlogd = sandbox.start(sandbox.command("svlogd").arg("log").stdin(Stdio::piped()));
    let mut input = svlogd.stdin();
    input.write_all(b"line\n").unwrap();
    let connection = listener.accept().unwrap();
    assert_idle("svlogd", svlogd.pid());
    drop(connection);
}

/// With services of both kinds, one removed.
fn idle_runsvdir(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let here = sandbox.service("here").run(SLEEP).build();
    let linked = sandbox.service_at("elsewhere/linked").run(SLEEP).build();
    symlink("../elsewhere/linked", sandbox.services().join("linked")).unwrap();
    let runsvdir = sandbox.start(sandbox.command("runsvdir").args([
        "-P",
        "services",
        &format!("log: {}", ".".repeat(20)),
    ]));
    here.wait_run();
    linked.wait_run();
    fs::remove_file(sandbox.services().join("linked")).unwrap();
    eventually("the end of a service", || (!linked.is_ok()).then_some(()));
    assert_idle("runsvdir", runsvdir.pid());
}
