//! daemontools' tools on our supervise directories.

use svkit_tests::{Case, SLEEP, Sandbox, Subject, case, eventually};

pub(crate) const CASES: &[Case] = &[
    case!(svok).needs(&["svok"]),
    case!(svstat_reads_our_record).needs(&["svstat"]),
    case!(svc_controls).needs(&["svc"]),
    case!(sv_does_not_take_supervise_for_runsv).needs(&["supervise"]),
    case!(tai64nlocal_reads_our_stamps).needs(&["tai64nlocal"]),
];

/// "svok checks whether supervise is successfully running in service." svok(8)
fn svok(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(SLEEP).supervise();
    assert_eq!(sandbox.run("svok", &["services/web"]).code, Some(0));
    service.command("x");
    service.runsv().wait();
    assert_eq!(sandbox.run("svok", &["services/web"]).code, Some(100));
}

/// "runsv maintains status information in a binary format (compatible to the daemontools' supervise program)" runsv(8)
fn svstat_reads_our_record(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    let pid = service.wait_run();
    let shows = |expected: &str| {
        let text = sandbox.run("svstat", &["services/web"]).stdout;
        assert_eq!(svkit_tests::mask_pids_and_seconds(&text.replace(" seconds", "s")), expected);
        text
    };
    let text = shows("services/web: up (pid PID) Ns\n");
    assert!(text.contains(&format!("(pid {pid})")), "{text}");
    let seconds: u64 = text.split(' ').nth(4).unwrap().parse().unwrap();
    assert!(seconds < 60, "the same clock: {text}");
    service.command("p");
    service.wait_stat("run, paused");
    shows("services/web: up (pid PID) Ns, paused\n");
    service.command("cd");
    service.wait_stat("down");
    shows("services/web: down Ns, normally up\n");
}

/// "svc sends commands" svc(8): the letters are the same.
fn svc_controls(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = "for s in HUP ALRM INT; do trap \"echo $s >>events\" $s; done; trap exit TERM
echo ready >>events; while :; do sleep 0.05; done";
    let mut service = sandbox.service("web").run(run).supervise();
    service.wait_ready();
    let svc = |option: &str| assert_eq!(sandbox.run("svc", &[option, "services/web"]).code, Some(0));
    svc("-h");
    service.wait_events(2);
    svc("-a");
    service.wait_events(3);
    svc("-i");
    assert_eq!(service.wait_events(4), ["ready", "HUP", "ALRM", "INT"]);
    svc("-p");
    service.wait_stat("run, paused");
    svc("-c");
    service.wait_stat("run");
    svc("-d");
    service.wait_stat("down");
    svc("-o");
    service.wait_stat("run, want down");
    svc("-u");
    service.wait_stat("run");
    let pid = service.status().pid;
    svc("-k");
    service.wait_restart(pid);
    svc("-dx");
    assert_eq!(service.runsv().wait().code, Some(0));
}

/// A record of daemontools has 18 bytes: sv says so.
fn sv_does_not_take_supervise_for_runsv(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).build();
    let _supervise = sandbox.start(sandbox.command("supervise").arg(service.dir()));
    service.wait_ok();
    eventually("a record", || (service.read("supervise/status").len() >= 18).then_some(()));
    let output = sandbox.sv(&["status", "web"]);
    let expected = "warning: web: unable to read supervise/status: bad format\n";
    assert_eq!((output.code, output.stdout.as_str()), (Some(1), expected));
}

/// "Prefix each selected line with a precise timestamp (see the daemontools' tai64n program)" svlogd(8)
fn tai64nlocal_reads_our_stamps(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    let script = "echo line | svlogd -t log && TZ=UTC tai64nlocal <log/current && date -u +%Y-%m-%d";
    let output = sandbox.run("sh", &["-c", script]).stdout;
    let lines: Vec<_> = output.lines().collect();
    // Midnight may pass in between.
    assert!(lines[0].ends_with(" line") && (lines[0][..10] <= *lines[1]), "{output}");
    assert_eq!(lines[0][..7], lines[1][..7], "{output}");
}
