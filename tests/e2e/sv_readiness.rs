//! sv and `supervise/record`: readiness, `reexec`, remarks, `--json`. Mostly sv is tested alone: the supervisor is a [`Fake`],
//! which writes what runsv would, when the test wants it. The last cases are with runsv.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use svkit_tests::{
    Case, Output, ProcStat, Running, Sandbox, Service, ServiceBuilder, Subject, case, eventually, holds_for,
    mask_pids_and_seconds,
};

pub(crate) const CASES: &[Case] = &[
    case!(remarks_follow_the_status),
    case!(a_record_that_is_of_no_use_changes_nothing),
    case!(a_record_that_may_not_be_read_changes_nothing).root(),
    case!(a_record_of_a_runsv_that_is_gone_changes_nothing),
    case!(a_torn_record_is_read_again),
    case!(a_record_that_stays_ahead_holds_no_command_up),
    case!(start_waits_for_readiness_and_not_for_check),
    case!(a_rewritten_record_is_seen_at_once),
    case!(restart_waits_for_the_readiness_of_the_next_process),
    case!(once_and_check_wait_for_readiness),
    case!(w_limits_the_wait_for_readiness),
    case!(readiness_may_take_longer_than_seven_seconds),
    case!(timeout_ready_limits_the_wait),
    case!(bad_timeout_ready_is_warned_of),
    case!(a_service_that_was_given_up_is_not_waited_for),
    case!(a_service_that_is_brought_down_is_not_waited_for),
    case!(reexec_waits_for_the_next_program),
    case!(reexec_that_does_not_happen_times_out),
    case!(reexec_does_without_the_status),
    case!(reexec_without_a_record_is_not_sent),
    case!(json_status),
    case!(json_of_what_is_not_known),
    case!(json_is_for_status_alone),
    case!(runsv_start_waits_for_the_newline),
    case!(runsv_service_needs_another_that_is_ready),
    case!(runsv_gives_up_and_sv_does_too),
    case!(runsv_tells_what_is_left),
    case!(runsv_reexec_keeps_everything),
];

/// What a service is, as both files tell it.
#[derive(Clone, Copy)]
struct Now {
    state: u8,
    pid: u32,
    want: u8,
    /// Its change happened so many nanoseconds after the Fake was made.
    changed: u32,
}

const DOWN: Now = Now { state: 0, pid: 0, want: b'd', changed: 1 };

/// A supervise directory without a runsv. Its fifos have a reader, the test; commands that come in are only read.
struct Fake {
    service: Service,
    control: File,
    _ok: File,
    record: File,
    seq: u64,
    began: u64,
    /// What stands for the process of `run`.
    sleep: Running,
}

impl Fake {
    fn new(sandbox: &Sandbox, builder: ServiceBuilder<'_>) -> Self {
        let service = builder.build();
        fs::create_dir(service.join("supervise")).unwrap();
        let fifo = |name: &str| {
            let path = service.join(name);
            mkfifo(&path, Mode::S_IRWXU).unwrap();
            let mut options = OpenOptions::new();
            options.read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).unwrap()
        };
        let (control, ok) = (fifo("supervise/control"), fifo("supervise/ok"));
        let record = File::create(service.join("supervise/record")).unwrap();
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let sleep = sandbox.start(sandbox.command("sleep").arg("1000"));
        Self { service, control, _ok: ok, record, seq: 0, began, sleep }
    }

    fn run(&self) -> Now {
        Now { state: 1, pid: self.sleep.pid(), want: b'u', changed: 2 }
    }

    /// Publishes a status, and then the record beside it, with `lines`.
    fn is(&mut self, now: Now, lines: &str) {
        self.publish(now);
        self.record(now, lines);
    }

    fn publish(&self, now: Now) {
        let mut status = Vec::new();
        status.extend(((1 << 62) + 10 + self.began).to_be_bytes());
        status.extend(now.changed.to_be_bytes());
        status.extend(now.pid.to_le_bytes());
        status.extend([0, now.want, 0, now.state]);
        fs::write(self.service.join("supervise/status.new"), status).unwrap();
        fs::rename(self.service.join("supervise/status.new"), self.service.join("supervise/status")).unwrap();
    }

    fn record(&mut self, now: Now, lines: &str) {
        let text = self.record_text(now, lines);
        self.write(&text);
    }

    fn record_text(&mut self, now: Now, lines: &str) -> String {
        self.seq += 1;
        let phase = match now.state {
            1 => format!("run={} 1\n", now.pid),
            2 => format!("finish={} 1\n", now.pid),
            _ => String::new(),
        };
        let want = if now.want == b'u' { "up" } else { "down" };
        format!(
            "seq={seq}\nversion=1\nboot=x\nsupervisor={} {}\n{phase}want={want}\nchanged={} {}\n{lines}end={seq}\n",
            std::process::id(),
            ProcStat::of(std::process::id()).unwrap().start,
            self.began,
            now.changed,
            seq = self.seq,
        )
    }

    /// In place, with one write, as runsv does.
    fn write(&self, text: &str) {
        let mut file = text.as_bytes().to_vec();
        file.resize(1024, b'\n');
        self.record.write_all_at(&file, 0).unwrap();
    }

    /// Waits for commands and returns them.
    fn commands(&mut self) -> String {
        eventually("a command", || {
            let mut bytes = [0; 16];
            match self.control.read(&mut bytes) {
                Ok(length) => Some(String::from_utf8_lossy(&bytes[..length]).into_owned()),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    None
                }
            }
        })
    }

    fn no_commands(&mut self) {
        let error = self.control.read(&mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

fn fake(sandbox: &Sandbox) -> Fake {
    Fake::new(sandbox, sandbox.service("web"))
}

fn is(output: &Output, code: i32, expected: &str) {
    assert_eq!(mask_pids_and_seconds(&output.stdout), expected);
    assert_eq!((output.code, output.stderr.as_str()), (Some(code), ""));
}

fn status(sandbox: &Sandbox) -> String {
    let output = sandbox.sv(&["status", "web"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    mask_pids_and_seconds(&output.stdout)
}

fn remarks_follow_the_status(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = fake(&sandbox);
    let run = fake.run();
    let finish = Now { state: 2, ..run };
    for (now, lines, expected) in [
        (run, "", "run: web: (pid PID) Ns"),
        (run, "ready=no\n", "run: web: (pid PID) Ns, not ready"),
        (run, "ready=yes\ntext=5 \"of\" 6\\7\n", r#"run: web: (pid PID) Ns, ready, "5 \"of\" 6\\7""#),
        (run, "text=five\nfailed=yes\nleft=3\nexit=256\n", "run: web: (pid PID) Ns, \"five\""),
        (finish, "ready=yes\ntext=five\n", "finish: web: (pid PID) Ns"),
        (DOWN, "failed=yes\nexit=256\n", "down: web: Ns, normally up, failed (exit code 1)"),
        (DOWN, "failed=yes\nexit=11\n", "down: web: Ns, normally up, failed (signal 11)"),
        (DOWN, "failed=yes\n", "down: web: Ns, normally up, failed"),
        (DOWN, "exit=256\nleft=2\n", "down: web: Ns, normally up, 2 left"),
    ] {
        fake.is(now, lines);
        assert_eq!(status(&sandbox), format!("{expected}\n"), "{lines}");
    }
}

/// No record, half of one, another's and rubbish: the text is runit's, and waiting is.
fn a_record_that_is_of_no_use_changes_nothing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = fake(&sandbox);
    let run = fake.run();
    fake.publish(run);
    let whole = fake.record_text(run, "ready=no\ntext=five\n");
    for text in [
        String::new(),
        whole.replace("end=", "end=7"),
        whole.replace("version=1", "version=2"),
        whole.replace("want=up", "want=sideways"),
        whole.replace("want=up", "want=down"),
        "rubbish".into(),
        "\u{0}".repeat(1024),
    ] {
        fake.write(&text);
        assert_eq!(status(&sandbox), "run: web: (pid PID) Ns\n", "{text}");
        is(&sandbox.sv(&["start", "web"]), 0, "ok: run: web: (pid PID) Ns\n");
    }
    fs::remove_file(fake.service.join("supervise/record")).unwrap();
    assert_eq!(status(&sandbox), "run: web: (pid PID) Ns\n");
    is(&sandbox.sv(&["start", "web"]), 0, "ok: run: web: (pid PID) Ns\n");
    assert_eq!(sandbox.run("mkfifo", &["services/web/supervise/record"]).code, Some(0));
    assert_eq!(status(&sandbox), "run: web: (pid PID) Ns\n");
}

/// Who may see the status, but not the record, sees what runit shows.
fn a_record_that_may_not_be_read_changes_nothing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = fake(&sandbox);
    let run = fake.run();
    fake.is(run, "ready=no\n");
    for (name, mode) in [("ok", 0o666), ("control", 0o666), ("status", 0o644), ("record", 0o600)] {
        let path = fake.service.join("supervise").join(name);
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let programs = sandbox.copy_programs("for-others");
    let as_nobody = |word: &str| {
        let mut command = sandbox.command(programs.join("chpst"));
        command.args(["-u", ":65534:65534"]).arg(programs.join("sv")).args([word, "web"]);
        sandbox.finish(&mut command)
    };
    is(&as_nobody("status"), 0, "run: web: (pid PID) Ns\n");
    is(&as_nobody("start"), 0, "ok: run: web: (pid PID) Ns\n");
    is(&as_nobody("reexec"), 1, "warning: web: runsv does not know reexec\n");
    assert_eq!(status(&sandbox), "run: web: (pid PID) Ns, not ready\n");
}

/// runit's runsv, after ours was killed, leaves the record alone.
fn a_record_of_a_runsv_that_is_gone_changes_nothing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = fake(&sandbox);
    let run = fake.run();
    let old = fake.record_text(Now { changed: 1, ..run }, "ready=no\ntext=five\n");
    let supervisor = old.lines().find(|line| line.starts_with("supervisor=")).unwrap();
    fake.publish(run);
    for other in [format!("supervisor={} 1", std::process::id()), "left=0".into()] {
        fake.write(&old.replace(supervisor, &other));
        assert_eq!(status(&sandbox), "run: web: (pid PID) Ns\n");
        is(&sandbox.sv(&["start", "web"]), 0, "ok: run: web: (pid PID) Ns\n");
        is(&sandbox.sv(&["reexec", "web"]), 1, "warning: web: runsv does not know reexec\n");
    }
    fake.no_commands();
}

/// A reader between the status and the record, or in the middle of the record, does not take one process for another.
fn a_torn_record_is_read_again(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = fake(&sandbox);
    let run = fake.run();
    fake.is(DOWN, "");
    let mut start = sandbox.start(sandbox.command("sv").args(["-w", "15", "start", "web"]));
    assert_eq!(fake.commands(), "u");
    // Were one of these taken for no record, the service would be up at the latest after 420 ms.
    fake.publish(run);
    std::thread::sleep(Duration::from_millis(600));
    fake.record(run, "ready=no\n");
    for _ in 0..10 {
        let unready = fake.record_text(run, "ready=no\n");
        fake.write(&unready.replace("end=", "end=7"));
        std::thread::sleep(Duration::from_millis(30));
        fake.write(&unready);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(start.is_running(), "{}", start.stdout());
    fake.record(run, "ready=yes\n");
    is(&start.wait(), 0, "ok: run: web: (pid PID) Ns, ready\n");
}

/// On a full disk the record is rewritten and the status is not. Were each of these looked at for as long as one may be, it
/// would take 50 seconds, which the test does not wait for.
fn a_record_that_stays_ahead_holds_no_command_up(subject: &Subject) {
    const SERVICES: usize = 500;
    let sandbox = Sandbox::new(subject);
    let mut fake = fake(&sandbox);
    fake.publish(DOWN);
    fake.record(fake.run(), "ready=no\n");
    let output = sandbox.finish(sandbox.command("sv").arg("status").args(["web"; SERVICES]));
    is(&output, 0, &"down: web: Ns, normally up\n".repeat(SERVICES));
}

fn start_waits_for_readiness_and_not_for_check(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = Fake::new(&sandbox, sandbox.service("web").check("echo check >>events; exit 1"));
    let run = fake.run();
    fake.is(DOWN, "");
    let mut start = sandbox.start(sandbox.command("sv").args(["start", "web"]));
    assert_eq!(fake.commands(), "u");
    fake.is(run, "ready=no\n");
    holds_for(Duration::from_millis(900), "sv waits", || start.is_running());
    // Only the record changes now.
    fake.record(run, "ready=yes\n");
    is(&start.wait(), 0, "ok: run: web: (pid PID) Ns, ready\n");
    // One that is ready already is up.
    is(&sandbox.sv(&["-w", "0", "start", "web"]), 0, "ok: run: web: (pid PID) Ns, ready\n");
    fake.no_commands();
    assert_eq!(fake.service.events(), [""; 0]);
    // Without readiness it is as ever.
    fake.record(run, "");
    is(&sandbox.sv(&["-w", "0", "start", "web"]), 1, "timeout: run: web: (pid PID) Ns\n");
    assert!(!fake.service.events().is_empty());
}

/// inotify reports nothing below `supervise` of what is written through a name of the file elsewhere: it is found by the look
/// that sv takes 420 ms after the last one. The medians are compared, as the machine may be busy.
fn a_rewritten_record_is_seen_at_once(subject: &Subject) {
    const PAIRS: usize = 7;
    let sandbox = Sandbox::new(subject);
    let names: Vec<String> = (0..2 * PAIRS).map(|number| format!("web{number}")).collect();
    let mut fakes: Vec<Fake> = names.iter().map(|name| Fake::new(&sandbox, sandbox.service(name))).collect();
    for fake in &mut fakes {
        fake.is(fake.run(), "ready=no\n");
    }
    for fake in fakes.iter_mut().skip(1).step_by(2) {
        let other_name = fake.service.join("record");
        fs::hard_link(fake.service.join("supervise/record"), &other_name).unwrap();
        fake.record = OpenOptions::new().write(true).open(other_name).unwrap();
    }
    let mut start = sandbox.start(sandbox.command("sv").arg("start").args(names));
    holds_for(Duration::from_millis(200), "sv waits", || start.is_running());
    let mut seen_after = [Vec::new(), Vec::new()];
    for (number, fake) in fakes.iter_mut().enumerate() {
        let began = Instant::now();
        fake.record(fake.run(), "ready=yes\n");
        eventually("its line", || (start.stdout().lines().count() > number).then_some(()));
        seen_after[number % 2].push(began.elapsed());
    }
    assert_eq!(start.wait().code, Some(0));
    let [reported, found] = seen_after.each_mut().map(|times| {
        times.sort_unstable();
        times[PAIRS / 2]
    });
    assert!(reported * 2 < found, "{seen_after:?}");
}

/// That the process before was ready says nothing.
fn restart_waits_for_the_readiness_of_the_next_process(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = fake(&sandbox);
    let run = fake.run();
    for (word, commands) in [("restart", "tcu"), ("try-restart", "tc")] {
        fake.is(run, "ready=yes\n");
        let mut restart = sandbox.start(sandbox.command("sv").args([word, "web"]));
        assert_eq!(fake.commands(), commands);
        let next = sandbox.start(sandbox.command("sleep").arg("1000"));
        let now = Now { pid: next.pid(), changed: 3, ..run };
        // The record is late: it is still of the process before.
        fake.publish(now);
        std::thread::sleep(Duration::from_millis(50));
        fake.record(now, "ready=no\n");
        holds_for(Duration::from_millis(600), "sv waits", || restart.is_running());
        fake.record(now, "ready=yes\n");
        is(&restart.wait(), 0, "ok: run: web: (pid PID) Ns, ready\n");
    }
}

fn once_and_check_wait_for_readiness(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = fake(&sandbox);
    let run = fake.run();
    fake.is(run, "ready=no\n");
    let mut check = sandbox.start(sandbox.command("sv").args(["check", "web"]));
    let mut once = sandbox.start(sandbox.command("sv").args(["-v", "once", "web"]));
    assert_eq!(fake.commands(), "o");
    let now = Now { want: b'd', ..run };
    fake.is(now, "ready=no\n");
    holds_for(Duration::from_millis(600), "sv waits", || once.is_running());
    fake.record(now, "ready=yes\n");
    is(&once.wait(), 0, "ok: run: web: (pid PID) Ns, want down, ready\n");
    assert!(check.is_running(), "what was asked for last is down");
    fake.is(run, "ready=yes\n");
    is(&check.wait(), 0, "ok: run: web: (pid PID) Ns, ready\n");
}

fn w_limits_the_wait_for_readiness(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = Fake::new(&sandbox, sandbox.service("web").file("timeout-ready", "90000\n"));
    let run = fake.run();
    fake.is(run, "ready=no\n");
    let expected = "timeout: run: web: (pid PID) Ns, not ready\n";
    is(&sandbox.sv(&["-w", "1", "start", "web"]), 1, expected);
    is(&sandbox.finish(sandbox.command("sv").env("SVWAIT", "1").args(["check", "web"])), 1, expected);
}

/// The service that does not declare it keeps its seven seconds.
fn readiness_may_take_longer_than_seven_seconds(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = fake(&sandbox);
    let mut other = Fake::new(&sandbox, sandbox.service("other"));
    let run = fake.run();
    fake.is(run, "ready=no\n");
    other.is(DOWN, "");
    let began = Instant::now();
    let mut start = sandbox.start(sandbox.command("sv").args(["start", "other", "web"]));
    eventually("the end of seven seconds", || (!start.stdout().is_empty()).then_some(()));
    assert!(began.elapsed() >= Duration::from_secs(7));
    assert_eq!(mask_pids_and_seconds(&start.stdout()), "timeout: down: other: Ns, normally up\n");
    holds_for(Duration::from_secs(1), "sv waits", || start.is_running());
    fake.record(run, "ready=yes\n");
    let expected = "timeout: down: other: Ns, normally up\nok: run: web: (pid PID) Ns, ready\n";
    is(&start.wait(), 1, expected);
}

fn timeout_ready_limits_the_wait(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = Fake::new(&sandbox, sandbox.service("web").file("timeout-ready", "600\n"));
    let run = fake.run();
    fake.is(run, "ready=no\n");
    let began = Instant::now();
    is(&sandbox.sv(&["start", "web"]), 1, "timeout: run: web: (pid PID) Ns, not ready\n");
    let elapsed = began.elapsed();
    assert!(elapsed >= Duration::from_millis(600) && elapsed < Duration::from_secs(7), "{elapsed:?}");
}

fn bad_timeout_ready_is_warned_of(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = Fake::new(&sandbox, sandbox.service("web").file("timeout-ready", "soon\n"));
    let run = fake.run();
    fake.is(run, "ready=no\n");
    let mut start = sandbox.start(sandbox.command("sv").args(["start", "web"]));
    eventually("a warning", || (!start.stderr().is_empty()).then_some(()));
    fake.record(run, "ready=yes\n");
    let output = start.wait();
    assert_eq!(output.code, Some(0));
    let file = fake.service.join("timeout-ready");
    let expected =
        format!("sv: warning: {}: not a number of milliseconds; sv waits for a minute\n", file.display());
    assert_eq!(output.stderr, expected);
}

/// It is down and failed before as well: only a failure after the command counts.
fn a_service_that_was_given_up_is_not_waited_for(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = fake(&sandbox);
    let run = fake.run();
    let expected = "timeout: down: web: Ns, normally up, failed (exit code 1)\n";
    for (word, commands) in [("start", "u"), ("restart", "tcu"), ("force-restart", "tcu")] {
        fake.is(DOWN, "failed=yes\nexit=256\n");
        let began = Instant::now();
        let mut start = sandbox.start(sandbox.command("sv").args(["-w", "60", word, "web"]));
        assert_eq!(fake.commands(), commands);
        holds_for(Duration::from_millis(600), "sv waits", || start.is_running());
        fake.is(run, "ready=no\nexit=256\n");
        fake.is(Now { changed: 3, ..DOWN }, "failed=yes\nexit=256\n");
        is(&start.wait(), 1, expected);
        assert!(began.elapsed() < Duration::from_secs(30));
        fake.no_commands();
    }
    // A check asks for what was requested last, and that was not to be given up.
    is(&sandbox.sv(&["-w", "60", "check", "web"]), 1, expected);
    is(&sandbox.sv(&["stop", "web"]), 0, "ok: down: web: Ns, normally up, failed (exit code 1)\n");
}

fn a_service_that_is_brought_down_is_not_waited_for(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = fake(&sandbox);
    let run = fake.run();
    fake.is(run, "ready=no\n");
    let began = Instant::now();
    let mut restart = sandbox.start(sandbox.command("sv").args(["-w", "60", "restart", "web"]));
    assert_eq!(fake.commands(), "tcu");
    holds_for(Duration::from_millis(300), "sv waits", || restart.is_running());
    fake.is(Now { changed: 3, ..DOWN }, "exit=15\n");
    is(&restart.wait(), 1, "timeout: down: web: Ns, normally up\n");
    assert!(began.elapsed() < Duration::from_secs(30));
}

/// The log service has a fifo of its own, and the same runsv.
fn reexec_waits_for_the_next_program(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for name in ["web", "web/log"] {
        let mut fake = Fake::new(&sandbox, sandbox.service(name));
        let run = fake.run();
        fake.is(run, "reexecs=3\n");
        let mut reexec = sandbox.start(sandbox.command("sv").args(["reexec", name]));
        assert_eq!(fake.commands(), "R");
        holds_for(Duration::from_millis(300), "sv waits", || reexec.is_running());
        fake.record(run, "reexecs=4\n");
        is(&reexec.wait(), 0, &format!("ok: run: {name}: (pid PID) Ns\n"));
    }
}

/// Neither the same program nor another process is what was asked for.
fn reexec_that_does_not_happen_times_out(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = fake(&sandbox);
    let run = fake.run();
    fake.is(run, "reexecs=3\nready=no\n");
    let mut reexec = sandbox.start(sandbox.command("sv").args(["-w", "1", "reexec", "web"]));
    assert_eq!(fake.commands(), "R");
    let other = fake.record_text(run, "reexecs=4\nready=no\n");
    let own = format!("supervisor={} ", std::process::id());
    fake.write(&other.replace(&own, &format!("supervisor={} ", std::os::unix::process::parent_id())));
    is(&reexec.wait(), 1, "timeout: run: web: (pid PID) Ns, not ready\n");
}

/// On a full disk it stays behind.
fn reexec_does_without_the_status(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = fake(&sandbox);
    let run = fake.run();
    fake.publish(DOWN);
    fake.record(run, "reexecs=3\n");
    let mut reexec = sandbox.start(sandbox.command("sv").args(["reexec", "web"]));
    assert_eq!(fake.commands(), "R");
    holds_for(Duration::from_millis(300), "sv waits", || reexec.is_running());
    fake.record(run, "reexecs=4\n");
    is(&reexec.wait(), 0, "ok: down: web: Ns, normally up\n");
}

fn reexec_without_a_record_is_not_sent(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = fake(&sandbox);
    fake.publish(fake.run());
    fs::remove_file(fake.service.join("supervise/record")).unwrap();
    is(&sandbox.sv(&["reexec", "web"]), 1, "warning: web: runsv does not know reexec\n");
    fake.no_commands();
    drop(fake);
    is(&sandbox.sv(&["reexec", "web"]), 1, "fail: web: runsv not running\n");
    for word in ["reexe", "reexecs"] {
        assert_eq!(sandbox.sv(&[word, "web"]).code, Some(100));
    }
}

fn json_status(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = fake(&sandbox);
    let run = fake.run();
    let me = std::process::id();
    let members = |text: &str, expected: &[&str]| {
        assert!(
            text.starts_with("{\"name\":") && text.ends_with("}\n") && text.lines().count() == 1,
            "{text}"
        );
        for member in expected {
            assert!(text.contains(member), "{member} in {text}");
        }
    };
    let json = |name: &str| {
        let output = sandbox.sv(&["--json", "status", name]);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
        output.stdout
    };
    fake.is(run, "ready=no\ntext=a \"b\"\nrestarts=2\nexit=9\n");
    members(
        &json("web"),
        &[
            r#"{"name":"web","state":"run","#,
            &format!(r#","pid":{},"seconds":"#, run.pid),
            r#".000000002Z","want":"up","paused":false,"got_term":false,"normally_up":true,"ready":false,"#,
            r#","status_text":"a \"b\"","failed":false,"restarts":2,"last_exit":{"signal":9},"left":0,"#,
            &format!(r#","supervisor":{me},"log":null}}"#),
        ],
    );
    fake.is(DOWN, "failed=yes\nexit=256\nleft=1\n");
    let mut log = Fake::new(&sandbox, sandbox.service("web/log").down());
    log.publish(log.run());
    fs::remove_file(log.service.join("supervise/record")).unwrap();
    members(
        &json("web"),
        &[
            r#""state":"down","pid":null,"#,
            r#""want":"down","#,
            r#""ready":null,"status_text":null,"failed":true,"restarts":0,"last_exit":{"code":1},"left":1,"#,
            r#","log":{"name":"web/log","state":"run","#,
            r#""normally_up":false,"ready":null,"status_text":null,"failed":null,"restarts":null,"last_exit":null,"left":null,"supervisor":null}}"#,
        ],
    );
    log.is(DOWN, "");
}

/// An object a line for each, and plain status's exit code.
fn json_of_what_is_not_known(subject: &Subject) {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let sandbox = Sandbox::new(subject);
    let odd = OsStr::from_bytes(b"odd\xff\"\n");
    let mut fake = Fake::new(&sandbox, sandbox.service(odd));
    fake.is(DOWN, "");
    sandbox.service("dead").log("exec cat").build();
    for (name, code) in [("web", 1), ("sv", 3)] {
        let mut command = sandbox.command("sv");
        std::os::unix::process::CommandExt::arg0(&mut command, name);
        if name == "web" {
            // An init script has one service, its name's.
            command.args(["--json", "status"]);
        } else {
            command.args(["--json", "status", "missing"]).arg(odd).args(["dead", "missing/"]);
        }
        let output = sandbox.finish(&mut command);
        assert_eq!((output.code, output.stderr.as_str()), (Some(code), ""), "{output:?}");
        let lines: Vec<&str> = output.stdout.lines().collect();
        let gone = "unable to change to service directory: file does not exist";
        if name == "web" {
            assert_eq!(lines, [format!(r#"{{"name":"web","error":"{gone}"}}"#)]);
        } else {
            assert_eq!(lines.len(), 4, "{lines:?}");
            assert_eq!(lines[0], format!(r#"{{"name":"missing","error":"{gone}"}}"#));
            assert!(lines[1].starts_with("{\"name\":\"odd\u{fffd}\\\"\\n\",\"state\":\"down\""), "{lines:?}");
            assert!(
                lines[2].starts_with(r#"{"name":"dead","error":"unable to open supervise/ok: "#),
                "{lines:?}"
            );
            assert_eq!(lines[3], format!(r#"{{"name":"missing/","error":"{gone}"}}"#));
        }
    }
}

fn json_is_for_status_alone(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut fake = fake(&sandbox);
    fake.is(DOWN, "");
    for word in ["up", "start", "check", "reexec"] {
        let output = sandbox.sv(&["--json", word, "web"]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(100), ""));
        assert!(output.stderr.starts_with("sv: --json is for the command status\nusage: sv "), "{output:?}");
    }
    fake.no_commands();
}

/// Says after a while that it is ready.
const READY_SOON: &str = "sleep 0.5; echo >&3; exec sleep 1000";

fn runsv_start_waits_for_the_newline(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let builder =
        sandbox.service("web").run(READY_SOON).check("exit 1").file("notification-fd", "3\n").down();
    let service = builder.supervise();
    service.wait_stat("down");
    for (word, expected) in [
        ("start", "ok: run: web: (pid PID) Ns, normally down, ready\n"),
        ("restart", "ok: run: web: (pid PID) Ns, normally down, ready\n"),
        ("try-restart", "ok: run: web: (pid PID) Ns, normally down, ready\n"),
        ("check", "ok: run: web: (pid PID) Ns, normally down, ready\n"),
        ("stop", "ok: down: web: Ns\n"),
    ] {
        is(&sandbox.sv(&[word, "web"]), 0, expected);
    }
    is(
        &sandbox.sv(&["-v", "once", "web"]),
        0,
        "ok: run: web: (pid PID) Ns, normally down, want down, ready\n",
    );
}

/// sv(8), EXAMPLES: what needs another service is not started before that is ready.
fn runsv_service_needs_another_that_is_ready(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = format!("echo begins >>events; {}", READY_SOON.replace("echo", "echo ready >>events; echo"));
    let database = sandbox.service("database").run(&run).file("notification-fd", "3\n").down().supervise();
    database.wait_stat("down");
    let run = "sv start database >&2 || exit 1; cat ../database/events >>events; echo app >>events; exec sleep 1000";
    let app = sandbox.service("app").run(run).supervise();
    assert_eq!(app.wait_events(3), ["begins", "ready", "app"]);
}

fn runsv_gives_up_and_sv_does_too(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let builder = sandbox.service("web").run("sleep 0.1; exit 3").file("notification-fd", "3\n").down();
    let service = builder.file("restart", "min 100ms\nlimit 2/60s\n").supervise();
    service.wait_stat("down");
    let expected = "timeout: down: web: Ns, failed (exit code 3)\n";
    for word in ["start", "start", "restart"] {
        let began = Instant::now();
        is(&sandbox.sv(&["-w", "60", word, "web"]), 1, expected);
        assert!(began.elapsed() < Duration::from_secs(30));
    }
    let json = sandbox.sv(&["--json", "status", "web"]).stdout;
    assert!(json.contains(r#""failed":true,"#) && json.contains(r#""last_exit":{"code":3},"#), "{json}");
}

fn runsv_tells_what_is_left(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = "sleep 1000 & sleep 1000 & echo ready >>events; exec sleep 1000";
    let service = sandbox.service("web").run(run).file("kill-mode", "process\n").supervise();
    service.wait_ready();
    assert_eq!(sandbox.sv(&["stop", "web"]).code, Some(0));
    eventually("what is left", || (status(&sandbox) == "down: web: Ns, normally up, 2 left\n").then_some(()));
}

/// The service, its log service, their readiness and their supervisor are what they were.
fn runsv_reexec_keeps_everything(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let builder =
        sandbox.service("web").run(READY_SOON).log("exec cat >/dev/null").file("notification-fd", "3\n");
    let mut service = builder.supervise();
    is(&sandbox.sv(&["start", "web"]), 0, "ok: run: web: (pid PID) Ns, ready\n");
    let pids = [service.wait_run(), service.log().wait_run()];
    is(&sandbox.sv(&["reexec", "web"]), 0, "ok: run: web: (pid PID) Ns, ready\n");
    is(&sandbox.sv(&["reexec", "web/log"]), 0, "ok: run: web/log: (pid PID) Ns\n");
    let output = sandbox.sv(&["reexec", "web", "web/log"]);
    // Each is told of when it is seen.
    let text = mask_pids_and_seconds(&output.stdout);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["ok: run: web/log: (pid PID) Ns", "ok: run: web: (pid PID) Ns, ready"]);
    assert_eq!(output.code, Some(0));
    assert_eq!([service.wait_run(), service.log().wait_run()], pids);
    assert!(service.runsv().is_running());
    let json = sandbox.sv(&["--json", "status", "web"]).stdout;
    let supervisor = format!(r#""supervisor":{},"#, service.runsv().pid());
    assert_eq!(json.matches(&supervisor).count(), 1, "{json}");
}
