//! Starting and restarting `run` and `finish`.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use svkit_tests::{Case, SLEEP, Sandbox, Service, Subject, case, eventually, holds_for};

pub(crate) const CASES: &[Case] = &[
    case!(starts_run_in_the_service_directory),
    case!(restarts_run),
    case!(keeps_the_environment_and_the_working_directory_for_every_start),
    case!(waits_a_second_after_a_short_run),
    case!(restarts_at_once_after_a_long_run),
    case!(runs_finish_after_run),
    case!(finish_gets_the_exit_code),
    case!(finish_gets_minus_one_and_the_signal),
    case!(finish_gets_111_and_0_when_run_cannot_be_started),
    case!(finish_starts_at_once),
    case!(finish_that_cannot_be_started_is_passed_over),
    case!(run_that_cannot_be_started_is_tried_again),
    case!(down_holds_back_the_first_start),
    case!(down_holds_back_only_the_first_start),
    case!(run_has_default_signal_dispositions),
    case!(run_inherits_standard_error),
    case!(run_inherits_no_descriptors),
];

/// "runsv switches to the directory service and starts ./run." runsv(8)
fn starts_run_in_the_service_directory(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service =
        sandbox.service("a b\nc").run(&format!("pwd -P >where; echo $# $0 >>events; {SLEEP}")).supervise();
    assert_eq!(service.wait_events(1), ["0 ./run"]);
    let place = service.dir().canonicalize().unwrap();
    assert_eq!(service.read("where"), format!("{}\n", place.display()));
}

/// "If ./finish doesn't exist or ./finish exits, runsv restarts ./run." runsv(8)
fn restarts_run(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run("echo run >>events").supervise();
    assert_eq!(service.wait_events(2)[..2], ["run", "run"]);
}

/// "runsv switches to the directory service and starts ./run." runsv(8): runsv passes its environment on, at every
/// start.
fn keeps_the_environment_and_the_working_directory_for_every_start(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run("echo $COLOUR $(basename $PWD) >>events").build();
    let _runsv = sandbox.start(sandbox.command("runsv").arg("./services/web").env("COLOUR", "blue"));
    assert_eq!(service.wait_events(2)[..2], ["blue web", "blue web"]);
}

/// "If ./run or ./finish exit immediately, runsv waits a second before starting ./finish or restarting ./run." runsv(8)
fn waits_a_second_after_a_short_run(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    // The time in the record is the one of the start, however late the script or the test then gets the processor.
    let service = sandbox.service("web").run("while [ ! -e go ]; do sleep 0.02; done; rm go").supervise();
    let mut last = service.wait_run();
    let mut starts = vec![service.status().time()];
    for _ in 0..3 {
        std::fs::write(service.join("go"), "").unwrap();
        last = service.wait_restart(last);
        starts.push(service.status().time());
    }
    for pair in starts.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(990), "starts {starts:?} are a second apart");
    }
}

/// "If ./run or ./finish exit immediately, runsv waits a second" runsv(8): the wait is for a `run` that lived less than
/// a second; after a longer life the next starts at once.
fn restarts_at_once_after_a_long_run(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let script = "date +%s%N >>events; sleep 1.1; date +%s%N >>events";
    let service = sandbox.service("web").run(script).supervise();
    // After the first start there are an end and a start by turns. A busy machine may delay one, but not all.
    eventually("a start within the second after an end", || {
        let times = nanoseconds(&service);
        times.get(1..)?.chunks_exact(2).any(|pair| pair[1] - pair[0] < 800_000_000).then_some(())
    });
}

/// "If ./run exits and ./finish exists, runsv starts ./finish." runsv(8)
fn runs_finish_after_run(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service =
        sandbox.service("web").run("echo run >>events").finish("echo finish $(pwd -P) >>events").supervise();
    let finish = format!("finish {}", service.dir().canonicalize().unwrap().display());
    assert_eq!(service.wait_events(4)[..4], ["run", &finish, "run", &finish]);
}

/// "The first one is ./run's exit code, or -1 if ./run didn't exit normally. The second one is the least significant byte
/// of the exit status as determined by waitpid(2); for instance it is 0 if ./run exited normally" runsv(8)
fn finish_gets_the_exit_code(subject: &Subject) {
    for code in [0, 1, 111, 255] {
        let sandbox = Sandbox::new(subject);
        let service =
            sandbox.service("web").run(&format!("exit {code}")).finish("echo $# $1 $2 >>events").supervise();
        assert_eq!(service.wait_events(1)[0], format!("2 {code} 0"));
    }
}

/// "… and the signal number if ./run was terminated by a signal." runsv(8)
fn finish_gets_minus_one_and_the_signal(subject: &Subject) {
    for signal in [9, 15, 10] {
        let sandbox = Sandbox::new(subject);
        let service = sandbox
            .service("web")
            .run(&format!("kill -{signal} $$; {SLEEP}"))
            .finish("echo $# $1 $2 >>events")
            .supervise();
        assert_eq!(service.wait_events(1)[0], format!("2 -1 {signal}"));
    }
}

/// "If runsv cannot start ./run for some reason, the exit code is 111 and the status is 0." runsv(8)
fn finish_gets_111_and_0_when_run_cannot_be_started(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let finish = "echo $1 $2 >>events";
    let missing = sandbox.service("missing").finish(finish).supervise();
    let directory = sandbox.service("directory").finish(finish).file("run/x", "").supervise();
    let plain = sandbox.service("plain").finish(finish).file("run", "#!/bin/sh\n").supervise();
    let interpreter = sandbox.service("interpreter").finish(finish).script("run", "").build();
    std::fs::write(interpreter.join("run"), "#!/nonexistent/sh\n").unwrap();
    let _runsv = sandbox.start(sandbox.command("runsv").arg(interpreter.dir()));
    for service in [&*missing, &*directory, &*plain, &interpreter] {
        assert_eq!(service.wait_events(1)[0], "111 0", "{}", service.dir().display());
    }
}

/// The second of patience is before the next `run`; `finish` does not wait. Not in the man page: runit 2.3.0 waits only
/// there, whatever the page says of ./finish.
fn finish_starts_at_once(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run("date +%s%N >>events").finish("date +%s%N >>events").supervise();
    // A start and a finish by turns. A busy machine may delay one, but not all.
    eventually("a finish within the second after run", || {
        nanoseconds(&service).chunks_exact(2).any(|pair| pair[1] - pair[0] < 800_000_000).then_some(())
    });
}

/// "If ./finish doesn't exist or ./finish exits, runsv restarts ./run." runsv(8): a `finish` that exists but cannot be
/// executed is reported, and `run` restarted.
fn finish_that_cannot_be_started_is_passed_over(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service =
        sandbox.service("web").run("echo run >>events").file("finish", "#!/bin/sh\n").supervise();
    service.wait_events(2);
    let stderr = service.runsv().stderr();
    assert!(stderr.contains("fatal: unable to start ./finish: "), "{stderr}");
}

/// "If runsv cannot start ./run for some reason" runsv(8): a `run` that cannot be started is reported on standard
/// error, and tried again until it can be.
fn run_that_cannot_be_started_is_tried_again(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").file("run", "#!/bin/sh\necho run >>events\n").supervise();
    let prefix = format!("runsv {}: fatal: unable to start ./run: ", service.dir().display());
    eventually("a message", || service.runsv().stderr().contains(&prefix).then_some(()));
    set_permissions(service.join("run"), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(service.wait_events(1)[0], "run");
}

/// "If the file service/down exists, runsv does not start ./run immediately." runsv(8)
fn down_holds_back_the_first_start(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(&format!("echo run >>events; {SLEEP}")).down().supervise();
    service.wait_stat("down");
    holds_for(Duration::from_millis(300), "no run", || service.events().is_empty());
    let status = service.status();
    assert_eq!((status.pid, status.want, status.state), (0, b'd', 0));
    service.command("u");
    service.wait_run();
    assert_eq!(service.wait_events(1), ["run"]);
}

/// "If the file service/down exists, runsv does not start ./run immediately." runsv(8): `down` is looked at once, at
/// start-up: a service that was told to be up is restarted though the file is there.
fn down_holds_back_only_the_first_start(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).down().supervise();
    service.command("u");
    let pid = service.wait_run();
    service.command("t");
    service.wait_restart(pid);
}

/// `run` starts with no signal ignored or blocked, whatever runsv did for itself. Not in the man page: runit 2.3.0 does
/// so.
fn run_has_default_signal_dispositions(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service =
        sandbox.service("web").run("exec grep -E '^Sig(Blk|Ign):' /proc/self/status >>events").supervise();
    for line in &service.wait_events(2)[..2] {
        let mask = u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap();
        // The real-time signals may come ignored from whoever started the tests.
        assert_eq!(mask & 0x7fff_ffff, 0, "{line}");
    }
}

/// "redirects service/run's and service/finish's standard output to the pipe" runsv(8): standard error stays runsv's.
fn run_inherits_standard_error(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service =
        sandbox.service("web").run(&format!("echo problem >&2; {SLEEP}")).log("exec cat").supervise();
    eventually("standard error", || service.runsv().stderr().contains("problem\n").then_some(()));
}

/// What runsv opens for itself is closed in its children. Not in the man page: runit 2.3.0 does so.
fn run_inherits_no_descriptors(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    // 10 is the shell's own; cargo leaves some open for its children.
    let list = "for fd in 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$fd ] || echo $fd >>../found; done";
    let run = format!("{list}; echo done >>../found; {SLEEP}");
    let service = sandbox.service("web").run(&run).log("exec cat >/dev/null").build();
    let clean = "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; exec runsv services/web";
    let _runsv = sandbox.start(sandbox.command("sh").args(["-c", clean]));
    service.wait_run();
    let services = Service::at(sandbox.services());
    services.wait_text("found", "done\n");
    assert_eq!(services.read("found"), "done\n");
}

/// The events of scripts that tell the time.
fn nanoseconds(service: &Service) -> Vec<i64> {
    service.events().iter().map(|event| event.parse().unwrap()).collect()
}
