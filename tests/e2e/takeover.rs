//! kill -9 of runsv: the next one goes on where it was, and nothing that it supervises notices. Under runsvdir, and alone
//! where that is no different.

use std::fs;
use std::os::unix::process::CommandExt;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use svkit_tests::{
    Case, ProcStat, Reaper, Running, SLEEP, Sandbox, Service, Subject, case, eventually, holds_for,
    is_running, kill_and_wait, send, wait_end, within,
};

use crate::chaos::{Asked, audit, writer};

pub(crate) const CASES: &[Case] = &[
    case!(run_goes_on),
    case!(log_goes_on),
    case!(log_killed_in_the_gap_loses_nothing),
    case!(all_killed_in_the_gap_lose_nothing),
    case!(end_in_the_gap_is_told_to_finish),
    case!(end_after_the_gap_is_told_to_finish),
    case!(finish_goes_on),
    case!(pause_stays),
    case!(down_stays),
    case!(once_stays),
    case!(control_script_is_waited_for),
    case!(command_in_the_gap_is_obeyed),
    case!(sv_waits_out_the_gap),
    case!(what_a_record_names_is_adopted),
    case!(record_of_another_boot_names_nothing),
    case!(recycled_number_names_nothing),
    case!(what_cannot_be_proven_is_waited_for),
    case!(what_was_waited_for_is_waited_for_by_the_next),
    case!(pause_between_starts_is_kept),
    case!(killed_at_any_moment_there_is_one_run).patient(),
    case!(next_runsvdir_adopts_quietly),
    case!(killed_with_runsvdir_all_goes_on),
];

/// What starts runsv again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Runsvdir,
    /// The test.
    Alone,
}

const PLACES: [Place; 2] = [Place::Runsvdir, Place::Alone];

/// A service, and what is above it.
struct Kept<'a> {
    sandbox: &'a Sandbox,
    service: Service,
    place: Place,
    reaper: Reaper,
    /// runsvdir or runsv.
    above: Running,
}

impl<'a> Kept<'a> {
    /// Starts what is above a service of `services/`.
    fn start(sandbox: &'a Sandbox, service: Service, place: Place) -> Self {
        let reaper = Reaper::new();
        let above = start(sandbox, &service, place, &reaper);
        service.wait_ok();
        Self { sandbox, service, place, reaper, above }
    }

    /// Kills runsv, and does something while there is none.
    fn gap(&mut self, during: impl FnOnce(&Service)) {
        let service = self.service.clone();
        let runsv = eventually("a runsv", || service.supervisor());
        match self.place {
            Place::Alone => {
                self.above.signal(Signal::SIGKILL);
                self.above.wait();
                during(&service);
                self.above = start(self.sandbox, &service, self.place, &self.reaper);
            }
            Place::Runsvdir => {
                self.above.signal(Signal::SIGSTOP);
                let state = || ProcStat::of(self.above.pid()).map(|stat| stat.state);
                eventually("runsvdir is stopped", || (state() == Some('T')).then_some(()));
                kill_and_wait(runsv);
                during(&service);
                self.above.signal(Signal::SIGCONT);
            }
        }
        service.wait_supervisor_after(runsv);
    }
}

fn start(sandbox: &Sandbox, service: &Service, place: Place, reaper: &Reaper) -> Running {
    let mut command = match place {
        Place::Runsvdir => sandbox.command("runsvdir"),
        Place::Alone => sandbox.command("runsv"),
    };
    match place {
        Place::Runsvdir => command.arg("services"),
        Place::Alone => command.arg(service.dir()),
    };
    let above = sandbox.start(command.process_group(0));
    reaper.watch(&above);
    above
}

fn touch(service: &Service, name: &str) {
    fs::write(service.join(name), "").unwrap();
}

/// Not restarted, not ended: longer than a restart would take.
fn stays(service: &Service, stat: &str) {
    holds_for(Duration::from_millis(1300), stat, || service.stat() == stat);
}

/// A `run` that is there until it is told to go.
const UNTIL_GO: &str = "while [ ! -e go ]; do sleep 0.01; done; rm -f go";

fn run_goes_on(subject: &Subject) {
    for place in PLACES {
        let sandbox = Sandbox::new(subject);
        let run = format!("echo run >>events; {SLEEP}");
        let mut kept = Kept::start(&sandbox, sandbox.service("web").run(&run).build(), place);
        let pid = kept.service.wait_run();
        kept.service.wait_stat("run");
        kept.service.wait_events(1);
        let before = kept.service.status();
        eventually("it is a second old", || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            (now >= before.time() + Duration::from_secs(1)).then_some(())
        });
        for _ in 0..2 {
            kept.gap(|_| {});
            let text = sandbox.sv(&["status", "web"]).stdout;
            assert!(text.starts_with(&format!("run: web: (pid {pid}) ")), "{place:?}: {text:?}");
            assert!(!text.contains(") 0s"), "{place:?}: its time goes on: {text:?}");
            assert_eq!(kept.service.status(), before, "{place:?}");
        }
        stays(&kept.service, "run");
        assert!(is_running(pid) && kept.service.events() == ["run"], "{place:?}");
        // It is under control.
        kept.service.command("d");
        kept.service.wait_stat("down");
        assert!(!is_running(pid));
    }
}

/// A service with numbered lines, and what must be true of them.
fn numbered(sandbox: &Sandbox) -> Service {
    let service = sandbox.service("web").run(&writer::script("web")).log("exec svlogd ./main");
    service.file("log/main/config", "s10000\nn0\n").build()
}

/// Waits until so many more lines are written.
fn wait_lines(service: &Service, more: u64) {
    let done = || writer::number(service.dir(), "done");
    let enough = done() + more;
    eventually(&format!("line {enough}"), || (done() >= enough).then_some(()));
}

/// Stops the service and finds every line in its log.
fn assert_numbered(service: &Service, killed: bool) {
    wait_lines(service, 20);
    service.command("d");
    service.wait_stat("down");
    assert_eq!(service.read("errors"), "");
    let problems = || audit(Asked { name: "web", dir: service.dir(), before: &[], killed });
    // svlogd has still to read the pipe.
    if !within(Duration::from_secs(10), || problems().is_empty()) {
        panic!("{:?}", problems());
    }
}

fn log_goes_on(subject: &Subject) {
    for place in PLACES {
        let sandbox = Sandbox::new(subject);
        let mut kept = Kept::start(&sandbox, numbered(&sandbox), place);
        let pids = (kept.service.wait_run(), kept.service.log().wait_run());
        wait_lines(&kept.service, 20);
        for _ in 0..3 {
            kept.gap(|service| wait_lines(service, 20));
            wait_lines(&kept.service, 20);
            assert_eq!((kept.service.wait_run(), kept.service.log().wait_run()), pids, "{place:?}");
        }
        assert_numbered(&kept.service, false);
        // A log service that is started later gets the same pipe.
        kept.service.log().command("t");
        kept.service.log().wait_restart(pids.1);
        kept.service.command("u");
        kept.service.wait_restart(pids.0);
        assert_numbered(&kept.service, false);
    }
}

/// runsvdir holds the pipe: the service may go on writing.
fn log_killed_in_the_gap_loses_nothing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut kept = Kept::start(&sandbox, numbered(&sandbox), Place::Runsvdir);
    let run = kept.service.wait_run();
    for _ in 0..3 {
        let logger = kept.service.log().wait_run();
        wait_lines(&kept.service, 20);
        kept.gap(|service| {
            kill_and_wait(logger);
            wait_lines(service, 20);
        });
        kept.service.log().wait_restart(logger);
        assert_eq!(kept.service.wait_run(), run);
        assert!(is_running(run), "no broken pipe");
    }
    assert_numbered(&kept.service, true);
}

/// What is in the pipe is all that is left.
fn all_killed_in_the_gap_lose_nothing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut kept = Kept::start(&sandbox, numbered(&sandbox), Place::Runsvdir);
    for _ in 0..3 {
        let (run, logger) = (kept.service.wait_run(), kept.service.log().wait_run());
        wait_lines(&kept.service, 20);
        kept.gap(|service| {
            kill_and_wait(logger);
            wait_lines(service, 20);
            kill_and_wait(run);
        });
        kept.service.log().wait_restart(logger);
        kept.service.wait_restart(run);
    }
    assert_numbered(&kept.service, true);
}

fn end_in_the_gap_is_told_to_finish(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let builder = sandbox.service("web").run(&format!("{UNTIL_GO}; exit 42"));
    let service = builder.finish("echo \"$1 $2\" >>events").build();
    let mut kept = Kept::start(&sandbox, service, Place::Runsvdir);
    let first = kept.service.wait_run();
    kept.gap(|service| {
        touch(service, "go");
        wait_end(first);
    });
    let second = kept.service.wait_restart(first);
    kept.gap(|_| kill_and_wait(second));
    kept.service.wait_restart(second);
    assert_eq!(kept.service.events(), ["42 0", "-1 9"]);
}

/// How an adopted process ends is known from runsvdir, or from the kernel.
fn end_after_the_gap_is_told_to_finish(subject: &Subject) {
    for place in PLACES {
        let sandbox = Sandbox::new(subject);
        let builder = sandbox.service("web").run(&format!("{UNTIL_GO}; exit 7"));
        let service = builder.finish("echo \"$1 $2\" >>events").build();
        let mut kept = Kept::start(&sandbox, service, place);
        let first = kept.service.wait_run();
        kept.gap(|_| {});
        touch(&kept.service, "go");
        let second = kept.service.wait_restart(first);
        kept.gap(|_| {});
        send(second, Signal::SIGUSR1);
        let third = kept.service.wait_restart(second);
        let known = ["7 0", "-1 10"];
        let expected = if place == Place::Runsvdir || kernel_tells_exits() { known } else { ["-1 0"; 2] };
        assert_eq!(kept.service.events(), expected, "{place:?}");
        // This one is a child again.
        touch(&kept.service, "go");
        kept.service.wait_restart(third);
        assert_eq!(kept.service.events()[2..], ["7 0"], "{place:?}");
    }
}

/// The exit status of a process that is no child: ioctl_pidfd(2) PIDFD_GET_INFO, since Linux 6.15.
fn kernel_tells_exits() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 15)
}

fn finish_goes_on(subject: &Subject) {
    for place in PLACES {
        let sandbox = Sandbox::new(subject);
        let builder = sandbox.service("web").run(&format!("echo run >>events; {SLEEP}"));
        let service = builder.finish(&format!("echo finish >>events; {UNTIL_GO}; echo end >>events")).build();
        let mut kept = Kept::start(&sandbox, service, place);
        let first = kept.service.wait_run();
        kept.service.wait_events(1);
        send(first, Signal::SIGKILL);
        kept.service.wait_events(2);
        kept.service.wait_stat("finish");
        for _ in 0..2 {
            kept.gap(|_| {});
            stays(&kept.service, "finish");
        }
        touch(&kept.service, "go");
        let second = kept.service.wait_restart(first);
        assert_eq!(kept.service.wait_events(4), ["run", "finish", "end", "run"], "{place:?}");
        // It ends while nobody looks.
        send(second, Signal::SIGKILL);
        kept.service.wait_events(5);
        kept.service.wait_stat("finish");
        kept.gap(|service| {
            touch(service, "go");
            service.wait_events(6);
        });
        kept.service.wait_restart(second);
        assert_eq!(kept.service.wait_events(7)[4..], ["finish", "end", "run"], "{place:?}");
    }
}

fn pause_stays(subject: &Subject) {
    for place in PLACES {
        let sandbox = Sandbox::new(subject);
        let mut kept = Kept::start(&sandbox, sandbox.service("web").run(SLEEP).build(), place);
        let pid = kept.service.wait_run();
        let state = || ProcStat::of(pid).map(|stat| stat.state);
        kept.service.command("p");
        kept.service.wait_stat("run, paused");
        eventually("it is stopped", || (state() == Some('T')).then_some(()));
        kept.gap(|_| {});
        stays(&kept.service, "run, paused");
        assert_eq!(state(), Some('T'), "{place:?}");
        kept.service.command("c");
        kept.service.wait_stat("run");
        eventually("it goes on", || (state() == Some('S')).then_some(()));
    }
}

fn down_stays(subject: &Subject) {
    for place in PLACES {
        let sandbox = Sandbox::new(subject);
        let run = "trap '' TERM; echo ready >>events; while :; do sleep 0.05; done";
        let mut kept = Kept::start(&sandbox, sandbox.service("web").run(run).build(), place);
        kept.service.wait_ready();
        let pid = kept.service.wait_run();
        kept.service.command("d");
        kept.service.wait_stat("run, got TERM, want down");
        kept.gap(|_| {});
        stays(&kept.service, "run, got TERM, want down");
        assert_eq!(kept.service.status().pid, pid, "{place:?}");
        kept.service.command("k");
        kept.service.wait_stat("down");
        kept.gap(|_| {});
        stays(&kept.service, "down");
        assert_eq!(kept.service.events(), ["ready"], "{place:?}");
    }
}

fn once_stays(subject: &Subject) {
    for place in PLACES {
        let sandbox = Sandbox::new(subject);
        let run = format!("echo run >>events; {UNTIL_GO}; echo end >>events");
        let mut kept = Kept::start(&sandbox, sandbox.service("web").run(&run).build(), place);
        let pid = kept.service.wait_run();
        kept.service.command("o");
        kept.service.wait_stat("run, want down");
        kept.gap(|_| {});
        stays(&kept.service, "run, want down");
        assert_eq!(kept.service.status().pid, pid, "{place:?}");
        touch(&kept.service, "go");
        kept.service.wait_stat("down");
        stays(&kept.service, "down");
        assert_eq!(kept.service.events(), ["run", "end"], "{place:?}");
    }
}

/// Its exit status says what becomes of the command.
fn control_script_is_waited_for(subject: &Subject) {
    for status in [0, 1] {
        let sandbox = Sandbox::new(subject);
        let script = format!("echo script >>events; {UNTIL_GO}; echo end >>events; exit {status}");
        let service = sandbox.service("web").run(SLEEP).control('t', &script).build();
        let mut kept = Kept::start(&sandbox, service, Place::Runsvdir);
        let pid = kept.service.wait_run();
        kept.service.command("t");
        kept.service.wait_events(1);
        kept.gap(|_| {});
        // This one waits its turn.
        kept.service.command("o");
        holds_for(Duration::from_millis(500), "the script is waited for", || {
            kept.service.status().pid == pid && kept.service.stat() == "run"
        });
        touch(&kept.service, "go");
        match status {
            // The script has done what there was to do.
            0 => kept.service.wait_stat("run, want down"),
            _ => wait_end(pid),
        }
        assert_eq!(is_running(pid), status == 0);
        assert_eq!(kept.service.events(), ["script", "end"]);
    }
}

fn command_in_the_gap_is_obeyed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).log("exec cat >/dev/null").build();
    let mut kept = Kept::start(&sandbox, service, Place::Runsvdir);
    let (run, logger) = (kept.service.wait_run(), kept.service.log().wait_run());
    kept.gap(|service| {
        service.command("d");
        service.log().command("p");
    });
    kept.service.wait_stat("down");
    kept.service.log().wait_stat("run, paused");
    assert!(!is_running(run) && is_running(logger));
    kept.gap(|service| {
        service.command("u");
        service.log().command("c");
    });
    kept.service.wait_restart(run);
    kept.service.log().wait_stat("run");
}

fn sv_waits_out_the_gap(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut kept = Kept::start(&sandbox, sandbox.service("web").run(SLEEP).build(), Place::Runsvdir);
    kept.service.wait_run();
    let mut client = None;
    kept.gap(|_| {
        let mut started = sandbox.start(sandbox.command("sv").args(["-w", "15", "down", "web"]));
        holds_for(Duration::from_millis(300), "sv waits", || started.is_running());
        client = Some(started);
    });
    let output = client.unwrap().wait();
    assert_eq!(output.code, Some(0), "{output:?}");
    kept.service.wait_stat("down");
}

/// `supervise/record` of a runsv that has been killed, as it stands in `svlib::record`.
fn write_record(sandbox: &Sandbox, service: &Service, boot: &str, run: &str) {
    // A supervisor that is there no more.
    let mut gone = sandbox.start(&mut sandbox.command("true"));
    gone.wait();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut record = format!(
        "seq=1\nversion=1\nboot={boot}\nsupervisor={} 1\nrun={run}\nwant=up\nchanged={now} 0\nend=1\n",
        gone.pid()
    );
    record.push_str(&"\n".repeat(1024 - record.len()));
    fs::create_dir_all(service.join("supervise")).unwrap();
    fs::write(service.join("supervise/record"), record).unwrap();
}

/// The boot and the pid namespace.
fn boot() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    format!("{}/{}", boot.trim(), ProcStat::of(1).unwrap().start)
}

/// A process that no runsv has started, and a service that is not it.
fn stranger(sandbox: &Sandbox) -> (Running, u64, Service) {
    let other = sandbox.start(sandbox.command("sleep").arg("1000"));
    let start = ProcStat::of(other.pid()).unwrap().start;
    (other, start, sandbox.service("web").run(&format!("echo run >>events; {SLEEP}")).build())
}

/// The other side of the next three.
fn what_a_record_names_is_adopted(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let (mut other, start, service) = stranger(&sandbox);
    write_record(&sandbox, &service, &boot(), &format!("{} {start}", other.pid()));
    let kept = Kept::start(&sandbox, service, Place::Alone);
    assert_eq!(kept.service.wait_run(), other.pid());
    kept.service.command("d");
    assert_eq!(other.wait().signal, Some(Signal::SIGTERM as i32));
    kept.service.wait_stat("down");
    assert!(kept.service.events().is_empty());
}

fn starts_its_own(kept: &Kept<'_>, other: &mut Running) {
    kept.service.wait_events(1);
    assert_ne!(kept.service.wait_run(), other.pid());
    kept.service.command("dk");
    kept.service.wait_stat("down");
    assert!(other.is_running(), "it is none of its business");
}

fn record_of_another_boot_names_nothing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let (mut other, start, service) = stranger(&sandbox);
    let before = "11111111-2222-3333-4444-555555555555";
    write_record(&sandbox, &service, before, &format!("{} {start}", other.pid()));
    let kept = Kept::start(&sandbox, service, Place::Alone);
    starts_its_own(&kept, &mut other);
    assert_eq!(kept.above.stderr(), "");
}

fn recycled_number_names_nothing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let (mut other, start, service) = stranger(&sandbox);
    write_record(&sandbox, &service, &boot(), &format!("{} {}", other.pid(), start + 1));
    let kept = Kept::start(&sandbox, service, Place::Alone);
    starts_its_own(&kept, &mut other);
}

/// It may be the service: better none than two.
fn what_cannot_be_proven_is_waited_for(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let (mut other, _, service) = stranger(&sandbox);
    write_record(&sandbox, &service, &boot(), &format!("{} 0", other.pid()));
    let kept = Kept::start(&sandbox, service, Place::Alone);
    let pid = other.pid().to_string();
    eventually("a warning", || {
        let stderr = kept.above.stderr();
        (stderr.contains("warning: ") && stderr.contains(&pid)).then_some(())
    });
    holds_for(Duration::from_millis(1300), "no second one", || kept.service.events().is_empty());
    assert!(other.is_running());
    other.signal(Signal::SIGKILL);
    other.wait();
    kept.service.wait_events(1);
    kept.service.wait_stat("run");
}

/// It is not forgotten by an exit: the next runsv waits, too.
fn what_was_waited_for_is_waited_for_by_the_next(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let (mut other, _, service) = stranger(&sandbox);
    write_record(&sandbox, &service, &boot(), &format!("{} 0", other.pid()));
    let mut kept = Kept::start(&sandbox, service, Place::Alone);
    for _ in 0..2 {
        kept.service.command("x");
        assert_eq!(kept.above.wait().code, Some(0));
        kept.above = start(&sandbox, &kept.service, Place::Alone, &kept.reaper);
        kept.service.wait_ok();
        let warning = format!("warning: process {} may be a run that is running already", other.pid());
        eventually("a warning", || kept.above.stderr().contains(&warning).then_some(()));
        holds_for(Duration::from_millis(1300), "no second one", || kept.service.events().is_empty());
    }
    other.signal(Signal::SIGKILL);
    other.wait();
    kept.service.wait_events(1);
    kept.service.wait_stat("run");
}

/// A service that ends at once is started once a second, also if each start is another runsv's.
fn pause_between_starts_is_kept(subject: &Subject) {
    const GAPS: usize = 20;
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run("echo run >>events").build();
    let began = Instant::now();
    let mut kept = Kept::start(&sandbox, service, Place::Alone);
    let mut gaps = 0;
    // A pause that began anew with each runsv would never end.
    let starts = eventually("many gaps and some starts", || {
        // At any moment, not after any: this is no wait for something.
        sleep(Duration::from_millis(fastrand::u64(..80)));
        kept.gap(|_| {});
        gaps += 1;
        let starts = kept.service.events().len();
        (gaps >= GAPS && starts > 3).then_some(starts)
    });
    let seconds = began.elapsed().as_secs() as usize;
    assert!(starts <= seconds + 2, "{starts} starts in {seconds} s and {gaps} gaps");
}

/// `run` and `finish` take a lock that a second one would find held.
fn killed_at_any_moment_there_is_one_run(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox
        .service("web")
        .run("exec 2>>errors; echo run >>events; exec chpst -L lock sleep 0.02")
        .finish("exec chpst -L lock sleep 0.005 2>>errors")
        .build();
    let mut kept = Kept::start(&sandbox, service, Place::Alone);
    for _ in 0..50 {
        let until = Instant::now() + Duration::from_millis(fastrand::u64(..60));
        while Instant::now() < until {
            // It cuts the pause short.
            kept.service.command("u");
            sleep(Duration::from_millis(3));
        }
        kept.gap(|_| {});
    }
    eventually("it still starts", || {
        kept.service.command("u");
        (kept.service.events().len() > 60).then_some(())
    });
    kept.service.command("x");
    assert_eq!(kept.above.wait().code, Some(0));
    assert_eq!(kept.service.read("errors"), "");
    eventually("nothing is left", || sandbox.processes().is_empty().then_some(()));
}

/// Two services with a log, under runsvdir, with the pids of all that runs for them.
fn pids(services: &[Service]) -> Vec<u32> {
    services.iter().flat_map(|service| [service.wait_run(), service.log().wait_run()]).collect()
}

fn next_runsvdir_adopts_quietly(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let make = |name| sandbox.service(name).run(SLEEP).log("exec cat >/dev/null").build();
    let services = ["one", "two"].map(make);
    let [one, two] = &services;
    let mut kept = Kept::start(&sandbox, one.clone(), Place::Runsvdir);
    let before = pids(&services);
    let supervisors = services.each_ref().map(|service| service.supervisor().unwrap());
    kept.above.signal(Signal::SIGKILL);
    kept.above.wait();
    kept.above = start(&sandbox, one, Place::Runsvdir, &kept.reaper);
    // A new one shows that it has looked.
    let three = make("three");
    three.wait_run();
    holds_for(Duration::from_millis(1500), "no runsv is started", || {
        kept.above.stderr().is_empty()
            && services.each_ref().map(|service| service.supervisor().unwrap_or(0)) == supervisors
    });
    assert_eq!(pids(&services), before);
    // They are its own now: a killed one is started again, one that is removed ends.
    kill_and_wait(supervisors[0]);
    one.wait_supervisor_after(supervisors[0]);
    assert_eq!(pids(&services), before);
    one.command("d");
    one.wait_stat("down");
    fs::rename(two.dir(), sandbox.join("services/.two")).unwrap();
    wait_end(supervisors[1]);
    assert!(!is_running(before[2]) && !is_running(before[3]));
    assert_eq!(kept.above.stderr(), "");
}

/// Nobody is left but the services and their logs.
fn killed_with_runsvdir_all_goes_on(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut kept = Kept::start(&sandbox, numbered(&sandbox), Place::Runsvdir);
    let before = pids(std::slice::from_ref(&kept.service));
    for _ in 0..3 {
        wait_lines(&kept.service, 20);
        let runsv = kept.service.supervisor().unwrap();
        kept.above.signal(Signal::SIGKILL);
        send(runsv, Signal::SIGKILL);
        kept.above.wait();
        wait_end(runsv);
        wait_lines(&kept.service, 20);
        kept.above = start(&sandbox, &kept.service, Place::Runsvdir, &kept.reaper);
        kept.service.wait_supervisor_after(runsv);
        assert_eq!(pids(std::slice::from_ref(&kept.service)), before);
    }
    assert_numbered(&kept.service, false);
}
