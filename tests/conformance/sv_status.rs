//! `sv status`: the text, and what it says of wants and signals.

use std::fs;

use svkit_tests::{
    Case, Implementation, SLEEP, Sandbox, Subject, Supervised, case, eventually, mask_pids_and_seconds,
};

const IGNORE_TERM: &str = "trap '' TERM; echo ready >>events; while :; do sleep 0.05; done";

pub(crate) const CASES: &[Case] = &[
    case!(running),
    case!(seconds_since_the_last_change),
    case!(down_normally_down),
    case!(down_normally_up),
    case!(running_normally_down),
    case!(paused),
    case!(want_down_got_term),
    case!(want_up),
    case!(finishing),
    case!(log_service_follows),
    case!(log_service_that_is_down),
    case!(log_without_supervisor)
        .differs(Implementation::RUNIT, "prints the service's own record once more, as the log's"),
    case!(several_services_a_line_each),
    case!(name_is_shown_as_given),
    case!(letter_s_is_enough),
    case!(status_never_waits),
];

fn status(sandbox: &Sandbox, name: &str) -> String {
    let output = sandbox.sv(&["status", name]);
    assert_eq!(output.stderr, "");
    assert_eq!(output.code, Some(0), "{output:?}");
    mask_pids_and_seconds(&output.stdout)
}

/// "status Report the current status of the service, and the appendant log service if available, to standard output."
/// sv(8)
fn running(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    let pid = service.wait_run();
    let output = sandbox.sv(&["status", "web"]);
    assert!(output.stdout.starts_with(&format!("run: web: (pid {pid}) ")), "{output:?}");
    assert_eq!(mask_pids_and_seconds(&output.stdout), "run: web: (pid PID) Ns\n");
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
}

/// "status Report the current status of the service … to standard output." sv(8): the seconds are whole ones since the
/// time in the record; a time in the future counts as none. The words are those of runit 2.3.0.
fn seconds_since_the_last_change(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    let mut record = fs::read(service.join("supervise/status")).unwrap();
    let seconds = |record: &[u8]| {
        // Nobody but runsv writes here, and it has no reason to until the service changes.
        fs::write(service.join("supervise/status"), record).unwrap();
        let text = sandbox.sv(&["status", "web"]).stdout;
        text.trim_end().rsplit(' ').next().unwrap().trim_end_matches('s').parse::<u64>().unwrap()
    };
    let started = u64::from_be_bytes(record[..8].try_into().unwrap());
    record[..8].copy_from_slice(&(started - 100_000).to_be_bytes());
    let shown = seconds(&record);
    assert!((100_000..100_060).contains(&shown), "{shown}");
    record[..8].copy_from_slice(&(started + 100_000).to_be_bytes());
    assert_eq!(seconds(&record), 0);
}

/// "status Report the current status of the service … to standard output." sv(8): a service with a file `down` is
/// normally down, and that it is down is then no news. The words are those of runit 2.3.0.
fn down_normally_down(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).down().supervise();
    service.wait_stat("down");
    assert_eq!(status(&sandbox, "web"), "down: web: Ns\n");
}

/// "status Report the current status of the service … to standard output." sv(8): a service that is down, and has no
/// file `down`. The words are those of runit 2.3.0.
fn down_normally_up(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    service.command("d");
    service.wait_stat("down");
    assert_eq!(status(&sandbox, "web"), "down: web: Ns, normally up\n");
}

/// "status Report the current status of the service … to standard output." sv(8): a service that is up in spite of a
/// file `down`. The words are those of runit 2.3.0.
fn running_normally_down(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).down().supervise();
    service.command("u");
    service.wait_run();
    assert_eq!(status(&sandbox, "web"), "run: web: (pid PID) Ns, normally down\n");
}

/// "status Report the current status of the service … to standard output." sv(8): a service that got a STOP. The words
/// are those of runit 2.3.0.
fn paused(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    service.command("p");
    service.wait_stat("run, paused");
    assert_eq!(status(&sandbox, "web"), "run: web: (pid PID) Ns, paused\n");
}

/// "status Report the current status of the service … to standard output." sv(8): a service that outlives its TERM: the
/// want comes before the signal. The words are those of runit 2.3.0.
fn want_down_got_term(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(IGNORE_TERM).down().supervise();
    service.command("u");
    service.wait_ready();
    service.command("pd");
    service.wait_stat("run, paused, got TERM, want down");
    let expected = "run: web: (pid PID) Ns, normally down, paused, want down, got TERM\n";
    assert_eq!(status(&sandbox, "web"), expected);
}

/// "status Report the current status of the service … to standard output." sv(8): a service between two starts. The
/// words are those of runit 2.3.0.
fn want_up(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run("exit").supervise();
    let text = eventually("the pause between two starts", || {
        let text = status(&sandbox, "web");
        text.starts_with("down").then_some(text)
    });
    assert_eq!(text, "down: web: Ns, normally up, want up\n");
    drop(service);
}

/// "status Report the current status of the service … to standard output." sv(8): while `finish` runs, its pid is
/// shown. The words are those of runit 2.3.0.
fn finishing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run("sleep 0.2").finish(SLEEP).supervise();
    service.wait_stat("finish");
    eventually("the pid of finish", || {
        (status(&sandbox, "web") == "finish: web: (pid PID) Ns\n" && service.status().pid != 0).then_some(())
    });
}

fn with_log(sandbox: &Sandbox) -> Supervised {
    let service = sandbox.service("web").run(SLEEP).log("exec cat >/dev/null").supervise();
    service.wait_run();
    service.log().wait_run();
    service.log().wait_ok();
    service
}

/// "… and the appendant log service if available" sv(8)
fn log_service_follows(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let _service = with_log(&sandbox);
    assert_eq!(status(&sandbox, "web"), "run: web: (pid PID) Ns; run: log: (pid PID) Ns\n");
}

/// "Report the current status of the service, and the appendant log service if available" sv(8): the log service has a
/// `down` file and wants of its own.
fn log_service_that_is_down(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = with_log(&sandbox);
    service.log().command("d");
    service.log().wait_stat("down");
    assert_eq!(status(&sandbox, "web"), "run: web: (pid PID) Ns; down: log: Ns, normally up\n");
}

/// "and the appendant log service if available" sv(8): a `log` no supervisor looks after is a warning, behind the state
/// of the service, and counts in the exit code.
fn log_without_supervisor(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    sandbox.mkdir("services/web/log");
    let output = sandbox.sv(&["status", "web"]);
    assert_eq!(
        mask_pids_and_seconds(&output.stdout),
        "run: web: (pid PID) Ns; warning: web/log: unable to open supervise/ok: file does not exist\n"
    );
    assert_eq!(output.code, Some(1));
}

/// "services consists of one or more arguments" sv(8)
fn several_services_a_line_each(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let one = sandbox.service("one").run(SLEEP).supervise();
    let two = sandbox.service("two").run(SLEEP).down().supervise();
    one.wait_run();
    two.wait_stat("down");
    let output = sandbox.sv(&["status", "one", "two", "one"]);
    let expected = "run: one: (pid PID) Ns\ndown: two: Ns\nrun: one: (pid PID) Ns\n";
    assert_eq!(mask_pids_and_seconds(&output.stdout), expected);
    assert_eq!(output.code, Some(0));
}

/// "If service doesn't start with a dot or slash and doesn't end with a slash, it is searched in the default services
/// directory /service/, otherwise relative to the current directory." "$SVDIR overrides the default services directory"
/// sv(8)
fn name_is_shown_as_given(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("a b").run(SLEEP).supervise();
    service.wait_run();
    let absolute = service.dir().display().to_string();
    for name in ["a b", "./services/a b", "services/a b/", "../services/a b", &absolute] {
        let mut command = sandbox.command("sv");
        command.args(["status", name]);
        if name.starts_with("..") {
            command.current_dir(sandbox.services());
        }
        let output = sandbox.finish(&mut command);
        assert_eq!(mask_pids_and_seconds(&output.stdout), format!("run: {name}: (pid PID) Ns\n"));
    }
    let output = sandbox.sv(&["status", "services/a b"]);
    assert_eq!(output.code, Some(1), "no slash at an end: searched in $SVDIR");
}

/// "sv actually looks only at the first character of these commands." sv(8)
fn letter_s_is_enough(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    for word in ["s", "stat", "state", "starting", "stopped"] {
        let output = sandbox.sv(&[word, "web"]);
        assert_eq!(mask_pids_and_seconds(&output.stdout), "run: web: (pid PID) Ns\n", "{word}");
    }
    assert_eq!(service.stat(), "run");
}

/// "If the command is up, down, term, once, cont, or exit, then wait" sv(8): status is none of them.
fn status_never_waits(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).down().supervise();
    service.wait_stat("down");
    let output = sandbox.sv(&["-v", "-w", "19", "status", "web"]);
    assert_eq!(mask_pids_and_seconds(&output.stdout), "down: web: Ns\n");
    assert_eq!(output.code, Some(0));
}
