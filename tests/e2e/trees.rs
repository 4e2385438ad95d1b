//! Service trees that change while they run.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use svkit_tests::{
    Case, Disk, Running, SLEEP, Sandbox, Service, Subject, case, eventually, holds_for, is_running,
    mask_pids_and_seconds, write_script,
};

pub(crate) const CASES: &[Case] = &[
    case!(log_added_later_is_taken_up_at_the_next_start),
    case!(removed_and_made_anew_the_new_one_waits_for_the_old),
    case!(moved_away_and_back_it_is_never_there_twice),
    case!(moved_to_and_fro_it_runs_in_the_end),
    case!(told_to_stay_while_it_leaves_it_still_ends_with_the_tree),
    case!(told_to_stay_while_it_leaves_it_still_ends_when_removed),
    case!(swapped_names_change_nothing),
    case!(renamed_while_runsv_restarts),
    case!(run_replaced_by_rename_is_for_the_next_start),
    case!(each_hop_of_a_chain_of_links_can_be_turned),
    case!(a_thousand_services_come_and_go_at_once).patient(),
    case!(services_directory_removed_ends_nothing),
    case!(services_directory_made_anew_is_followed),
    case!(services_on_a_mount_end_with_it).root(),
];

fn runsvdir(sandbox: &Sandbox) -> Running {
    sandbox.start(sandbox.command("runsvdir").arg("services"))
}

fn wait_gone(service: &Service) {
    eventually(&format!("the end of {}", service.dir().display()), || (!service.is_ok()).then_some(()));
}

/// Turns a symbolic link at once.
fn turn(link: &Path, target: impl AsRef<Path>) {
    let next = link.with_extension("next");
    symlink(target, &next).unwrap();
    fs::rename(next, link).unwrap();
}

/// Services that lock a file outside their directory, end when they are told to and may go, and tell of both.
struct Slow<'a> {
    sandbox: &'a Sandbox,
    /// The sandbox itself, for its `events`, `errors` and `go`.
    here: Service,
}

impl<'a> Slow<'a> {
    fn new(sandbox: &'a Sandbox) -> Self {
        Self { sandbox, here: Service::at(sandbox.path()) }
    }

    fn make(&self, place: &str, word: &str) -> Service {
        let here = self.sandbox.path().display();
        let script = format!(
            "trap \"while [ ! -e {here}/go ]; do sleep 0.02; done; echo end {word} >>{here}/events; exit\" TERM
echo {word} >>{here}/events; while :; do sleep 0.02; done"
        );
        let run = format!("exec 2>>'{here}/errors'; exec chpst -L '{here}/lock' sh -c '{script}'");
        self.sandbox.service_at(place).run(&run).build()
    }

    /// Lets those go that were told to end, and those that will be.
    fn let_go(&self) {
        self.sandbox.write("go", "");
    }

    /// Shows that no other one is begun before that.
    fn let_go_alone(&self) {
        let before = self.here.events();
        self.sandbox.wait_scan("looked");
        // One that is begun finds the lock held.
        holds_for(Duration::from_millis(500), "there is one", || {
            self.here.events() == before && self.here.read("errors").is_empty()
        });
        self.let_go();
    }

    fn events(&self, expected: &[&str]) {
        assert_eq!(self.here.wait_events(expected.len()), expected, "{:?}", self.here.read("errors"));
        assert_eq!(self.here.read("errors"), "");
    }
}

/// "log/ that appears later is taken up at the next start of run", and `sv status` says what is true.
fn log_added_later_is_taken_up_at_the_next_start(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let web = sandbox.service("web").run(&format!("echo hello; {SLEEP}")).build();
    let runsvdir = runsvdir(&sandbox);
    let first = web.wait_run();
    web.wait_stat("run");
    let status = || mask_pids_and_seconds(&sandbox.sv(&["status", "web"]).stdout);
    assert_eq!(status(), "run: web: (pid PID) Ns\n");
    // Complete when it shows.
    let log = sandbox.service_at("ready-log").run("exec cat >>got").build();
    fs::rename(log.dir(), web.join("log")).unwrap();
    assert!(!status().contains("run: log: "), "{}", status());
    assert_eq!(web.status().pid, first, "it is not ended for that");
    assert_eq!(sandbox.sv(&["-w", "15", "restart", "web"]).code, Some(0));
    web.wait_restart(first);
    let logger = web.log().wait_run();
    web.log().wait_stat("run");
    eventually("both are told of", || {
        (status() == "run: web: (pid PID) Ns; run: log: (pid PID) Ns\n").then_some(())
    });
    web.log().wait_text("got", "hello\n");
    assert_eq!(runsvdir.stdout(), "hello\n", "that of the first start");
    // It is a log service like any other.
    web.log().command("t");
    web.log().wait_restart(logger);
}

fn removed_and_made_anew_the_new_one_waits_for_the_old(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let slow = Slow::new(&sandbox);
    let _runsvdir = runsvdir(&sandbox);
    slow.make("services/web", "one").wait_run();
    slow.events(&["one"]);
    let web = sandbox.services().join("web");
    eventually("it is removed", || match fs::remove_dir_all(&web) {
        Ok(()) => Some(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Some(()),
        // Its runsv has written a file there meanwhile.
        Err(_) => None,
    });
    let ready = slow.make("ready", "two");
    fs::rename(ready.dir(), &web).unwrap();
    slow.let_go_alone();
    slow.events(&["one", "end one", "two"]);
    Service::at(&web).wait_run();
}

fn moved_away_and_back_it_is_never_there_twice(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let slow = Slow::new(&sandbox);
    let _runsvdir = runsvdir(&sandbox);
    let [web, away] = [sandbox.services().join("web"), sandbox.join("away")];
    let first = slow.make("services/web", "run").wait_run();
    slow.events(&["run"]);
    fs::rename(&web, &away).unwrap();
    eventually("it is told to end", || Service::at(&away).stat().contains("got TERM").then_some(()));
    fs::rename(&away, &web).unwrap();
    slow.let_go_alone();
    Service::at(&web).wait_restart(first);
    slow.events(&["run", "end run", "run"]);
}

fn moved_to_and_fro_it_runs_in_the_end(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = "exec chpst -L lock sleep 1000 2>>errors";
    let service = sandbox.service("web").run(run).log("exec cat >/dev/null").build();
    let [web, away] = [sandbox.services().join("web"), sandbox.join("away")];
    let mut runsvdir = runsvdir(&sandbox);
    service.wait_run();
    for round in 0..20 {
        fs::rename(&web, &away).unwrap();
        if round % 2 == 0 {
            sandbox.wait_scan(&format!("looked-{round}"));
        }
        fs::rename(&away, &web).unwrap();
        if round % 3 == 0 {
            sandbox.wait_scan(&format!("looked-back-{round}"));
        }
    }
    eventually("it runs", || {
        let status = service.try_status()?;
        (status.got_term == 0 && status.want == b'u' && is_running(status.pid)).then_some(())
    });
    assert_eq!(service.read("errors"), "");
    runsvdir.signal(Signal::SIGHUP);
    assert_eq!(runsvdir.wait().code, Some(111));
    eventually("nothing is left", || sandbox.processes().is_empty().then_some(()));
}

/// A service that was moved away and back, and was told `u` between: its runsv stays, as runsv(8) says of `u`.
fn told_to_stay<'a>(sandbox: &'a Sandbox, slow: &Slow<'a>) -> Service {
    let [web, away] = [sandbox.services().join("web"), sandbox.join("away")];
    slow.make("services/web", "run").wait_run();
    slow.events(&["run"]);
    fs::rename(&web, &away).unwrap();
    eventually("it is told to end", || Service::at(&away).stat().contains("want exit").then_some(()));
    Service::at(&away).command("u");
    Service::at(&away).wait_stat("run, got TERM");
    fs::rename(&away, &web).unwrap();
    slow.let_go();
    slow.events(&["run", "end run", "run"]);
    sandbox.wait_scan("looked");
    let web = Service::at(web);
    web.wait_run();
    web
}

fn told_to_stay_while_it_leaves_it_still_ends_with_the_tree(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let slow = Slow::new(&sandbox);
    let mut runsvdir = runsvdir(&sandbox);
    let web = told_to_stay(&sandbox, &slow);
    runsvdir.signal(Signal::SIGHUP);
    assert_eq!(runsvdir.wait().code, Some(111));
    wait_gone(&web);
    eventually("nothing is left", || sandbox.processes().is_empty().then_some(()));
}

fn told_to_stay_while_it_leaves_it_still_ends_when_removed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let slow = Slow::new(&sandbox);
    let _runsvdir = runsvdir(&sandbox);
    let web = told_to_stay(&sandbox, &slow);
    let gone = sandbox.services().join(".web");
    fs::rename(web.dir(), &gone).unwrap();
    wait_gone(&Service::at(gone));
    slow.events(&["run", "end run", "run", "end run"]);
}

/// A service is its directory, whatever it is called.
fn swapped_names_change_nothing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let services = ["one", "two"].map(|name| sandbox.service(name).run(SLEEP).build());
    let _runsvdir = runsvdir(&sandbox);
    let pids = services.each_ref().map(Service::wait_run);
    let [one, two] = services.each_ref().map(Service::dir);
    renameat2(AT_FDCWD, one, AT_FDCWD, two, RenameFlags::RENAME_EXCHANGE).unwrap();
    sandbox.wait_scan("three");
    assert_eq!(services.each_ref().map(|service| service.status().pid), [pids[1], pids[0]]);
    assert!(pids.into_iter().all(is_running));
    let text = sandbox.sv(&["status", "one"]).stdout;
    assert!(text.starts_with(&format!("run: one: (pid {}) ", pids[1])), "{text}");
    // Whose link is removed now is the other one.
    fs::rename(one, sandbox.join("away")).unwrap();
    eventually("that one ends", || (!is_running(pids[1])).then_some(()));
    assert!(is_running(pids[0]));
}

/// The runsv that is started next gets the name that the service has by then.
fn renamed_while_runsv_restarts(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("name-0").run(SLEEP).build();
    let _runsvdir = runsvdir(&sandbox);
    let mut last = (service.dir().to_owned(), service.wait_run());
    for round in 1..4 {
        // runsv ends, and is started again within a second.
        Service::at(&last.0).command("x");
        let next = sandbox.services().join(format!("name-{round}"));
        fs::rename(&last.0, &next).unwrap();
        let pid = Service::at(&next).wait_restart(last.1);
        assert!(!is_running(last.1));
        last = (next, pid);
    }
}

fn run_replaced_by_rename_is_for_the_next_start(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let version = |number: u32| format!("echo {number} >>events; {SLEEP}");
    let web = sandbox.service("web").run(&version(1)).build();
    let _runsvdir = runsvdir(&sandbox);
    web.wait_events(1);
    let mut pid = web.wait_run();
    for number in 2..5 {
        write_script(&web.join("run.new"), &version(number));
        fs::rename(web.join("run.new"), web.join("run")).unwrap();
        sandbox.wait_scan(&format!("looked-{number}"));
        assert_eq!(web.status().pid, pid, "it is not ended for that");
        assert_eq!(web.events().len() + 1, number as usize);
        web.command("t");
        pid = web.wait_restart(pid);
        assert_eq!(web.wait_events(number as usize).last(), Some(&number.to_string()));
    }
}

fn each_hop_of_a_chain_of_links_can_be_turned(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let version = |number: usize| sandbox.service_at(format!("versions/{number}")).run(SLEEP).build();
    let web = sandbox.services().join("web");
    let hops = [web, sandbox.join("one"), sandbox.join("two"), sandbox.join("three")];
    let mut last = version(0);
    symlink(last.dir(), &hops[3]).unwrap();
    for (link, target) in hops.iter().zip(&hops[1..]) {
        symlink(target, link).unwrap();
    }
    let _runsvdir = runsvdir(&sandbox);
    last.wait_run();
    // From the far end to the near one, so that each is still on the way.
    for (number, hop) in hops.iter().rev().enumerate() {
        let next = version(number + 1);
        turn(hop, next.dir());
        next.wait_run();
        wait_gone(&last);
        last = next;
    }
}

/// A prepared directory of links takes the place of another.
fn a_thousand_services_come_and_go_at_once(subject: &Subject) {
    const COUNT: usize = 1000;
    let sandbox = Sandbox::new(subject);
    // Thousands of files take a while to remove from a disk that is busy with other tests.
    let _disk = geteuid().is_root().then(|| Disk::new(&sandbox, "sv", 128 << 10));
    let script = sandbox.join("run");
    write_script(&script, SLEEP);
    let ready = sandbox.mkdir("ready");
    let make = |name: &str| {
        let dir = sandbox.mkdir(format!("sv/{name}"));
        symlink(&script, dir.join("run")).unwrap();
        symlink(&dir, ready.join(name)).unwrap();
        Service::at(dir)
    };
    let services: Vec<Service> = (0..COUNT).map(|number| make(&number.to_string())).collect();
    let both = make("both");
    symlink(both.dir(), sandbox.services().join("both")).unwrap();
    let runsvdir = runsvdir(&sandbox);
    let pid = both.wait_run();
    let [here, before] = [sandbox.services(), sandbox.join("before")];
    fs::rename(&here, &before).unwrap();
    fs::rename(&ready, &here).unwrap();
    for service in &services {
        service.wait_run();
    }
    assert_eq!(both.status().pid, pid);
    renameat2(AT_FDCWD, &here, AT_FDCWD, &before, RenameFlags::RENAME_EXCHANGE).unwrap();
    services.iter().for_each(wait_gone);
    assert_eq!(both.status().pid, pid);
    assert!(is_running(pid) && both.is_ok());
    let stderr = runsvdir.stderr();
    assert!(stderr.lines().all(|line| line.contains("warning: unable to stat services: ")), "{stderr}");
}

/// Three services, linked in a new directory.
fn linked(sandbox: &Sandbox, place: &str) -> (PathBuf, [Service; 3]) {
    let dir = sandbox.mkdir(place);
    let services = ["one", "two", "three"].map(|name| {
        let service = sandbox.service_at(format!("sv/{name}")).run(SLEEP).build();
        symlink(service.dir(), dir.join(name)).unwrap();
        service
    });
    (dir, services)
}

/// It may be back, as a mount or a rename at a bad moment would have it.
fn services_directory_removed_ends_nothing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let (here, services) = linked(&sandbox, "services");
    let (ready, _) = linked(&sandbox, "ready");
    fs::remove_file(ready.join("three")).unwrap();
    let runsvdir = runsvdir(&sandbox);
    for service in &services {
        service.wait_run();
    }
    fs::remove_dir_all(&here).unwrap();
    // What was seen of it while it was emptied is another matter: these have ended, and are back.
    let expected = "runsvdir services: warning: unable to ";
    eventually("a warning", || runsvdir.stderr().contains(expected).then_some(()));
    fs::rename(ready, &here).unwrap();
    sandbox.wait_scan("four");
    wait_gone(&services[2]);
    for service in &services[..2] {
        service.wait_run();
        eventually("it runs", || {
            let status = service.try_status()?;
            (status.state == 1 && status.got_term == 0 && is_running(status.pid)).then_some(())
        });
    }
    // Moved away whole, it is never seen without its services.
    let pids = [&services[0], &services[1]].map(Service::wait_run);
    for round in 0..3 {
        let before = runsvdir.stderr().len();
        fs::rename(&here, sandbox.join("away")).unwrap();
        eventually("a warning", || runsvdir.stderr()[before..].contains(expected).then_some(()));
        holds_for(Duration::from_millis(300), "they run", || pids.into_iter().all(is_running));
        fs::rename(sandbox.join("away"), &here).unwrap();
        // What was not seen to be back is not warned of again.
        sandbox.wait_scan(&format!("back-{round}"));
    }
    assert_eq!([&services[0], &services[1]].map(|service| service.status().pid), pids);
}

/// Removed, made, and filled one by one.
fn services_directory_made_anew_is_followed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let (here, services) = linked(&sandbox, "services");
    let _runsvdir = runsvdir(&sandbox);
    for service in &services {
        service.wait_run();
    }
    for round in 0..3 {
        fs::remove_dir_all(&here).unwrap();
        fs::create_dir(&here).unwrap();
        sandbox.wait_scan(&format!("looked-{round}"));
        services.iter().for_each(wait_gone);
        for (service, name) in services.iter().zip(["one", "two", "three"]) {
            symlink(service.dir(), here.join(name)).unwrap();
        }
        for service in &services {
            service.wait_ok();
            service.wait_run();
        }
    }
}

/// What lies below a mount is not there.
fn services_on_a_mount_end_with_it(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let below = sandbox.service("below").run(SLEEP).build();
    let linked = sandbox.service_at("sv/linked").run(SLEEP).build();
    symlink(linked.dir(), sandbox.services().join("linked")).unwrap();
    let _runsvdir = runsvdir(&sandbox);
    let hidden = [below.wait_run(), linked.wait_run()];
    let disk = Disk::new(&sandbox, "services", 1024);
    eventually("what is below ends", || (!hidden.into_iter().any(is_running)).then_some(()));
    let above = sandbox.service("above").run(SLEEP).build();
    let pid = above.wait_run();
    drop(disk);
    eventually("what was on it ends", || (!is_running(pid)).then_some(()));
    below.wait_restart(hidden[0]);
    linked.wait_restart(hidden[1]);
}
