//! sv: it sees the process, not the second.

use std::time::{Duration, Instant};

use svkit_tests::{Case, SLEEP, Sandbox, Subject, case, is_running, mask_pids_and_seconds};

pub(crate) const CASES: &[Case] = &[
    case!(restart_within_the_second_is_a_restart),
    case!(waiting_reacts_to_the_change),
    case!(start_waits_where_it_sent),
    case!(silent_services_directory_default),
];

/// C takes a process that started in the second of the command for the new one.
fn restart_within_the_second_is_a_restart(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    let mut pid = service.wait_run();
    for _ in 0..4 {
        let output = sandbox.sv(&["-w", "15", "restart", "web"]);
        assert_eq!(mask_pids_and_seconds(&output.stdout), "ok: run: web: (pid PID) Ns\n");
        assert_eq!(output.code, Some(0));
        assert!(!output.stdout.contains(&format!("(pid {pid})")) && !is_running(pid), "{output:?}");
        pid = service.wait_run();
    }
}

/// C looks every 420 ms.
fn waiting_reacts_to_the_change(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    service.wait_next_second();
    let stops_early = |_| {
        let start = Instant::now();
        assert_eq!(sandbox.sv(&["-w", "15", "stop", "web"]).code, Some(0));
        let elapsed = start.elapsed();
        assert_eq!(sandbox.sv(&["-w", "15", "start", "web"]).code, Some(0));
        elapsed < Duration::from_millis(400)
    };
    // The machine may be busy, but not always.
    assert!((0..20).any(stops_early));
}

/// `sv start dir/`: the service is where the command went, also for the wait.
fn start_waits_where_it_sent(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service_at("elsewhere/web").run(SLEEP).down().supervise();
    service.wait_stat("down");
    let output = sandbox.sv(&["start", "elsewhere/web/"]);
    let expected = "ok: run: elsewhere/web/: (pid PID) Ns, normally down\n";
    assert_eq!((output.code, mask_pids_and_seconds(&output.stdout).as_str()), (Some(0), expected));
}

/// Without `$SVDIR` some default is used; a service that is not there is a failure, not a crash.
fn silent_services_directory_default(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output =
        sandbox.finish(sandbox.command("sv").env_remove("SVDIR").args(["status", "no-such-service-here"]));
    assert_eq!(output.code, Some(1));
    assert!(output.stdout.starts_with("fail: no-such-service-here: unable to change to service directory: "));
}
