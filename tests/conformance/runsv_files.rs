//! What is in `supervise/`, byte for byte.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg};
use svkit_tests::{Case, SLEEP, Sandbox, Service, Subject, case, eventually};

pub(crate) const CASES: &[Case] = &[
    case!(modes_are_private),
    case!(status_has_20_bytes),
    case!(status_counts_time_from_the_last_change),
    case!(status_keeps_the_time_of_run_in_finish),
    case!(stat_and_pid_are_text),
    case!(pid_is_empty_when_down),
    case!(a_wanted_exit_shows_as_d),
    case!(nothing_half_written_is_left),
    case!(status_is_replaced_not_rewritten),
    case!(lock_is_held),
    case!(ok_has_a_reader_while_runsv_lives),
    case!(supervise_may_be_a_dangling_symlink),
    case!(an_old_supervise_directory_is_used_again),
];

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// `supervise` is for the supervisor's user alone, what is in it for nobody else to write. Not in the man page: runit
/// 2.3.0 has these modes.
fn modes_are_private(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).log("exec cat").supervise();
    for service in [&*service, &service.log()] {
        service.wait_ok();
        service.wait_run();
        assert_eq!(mode(&service.join("supervise")), 0o700);
        let modes = ["lock", "control", "ok", "status", "stat", "pid"]
            .map(|name| (name, format!("{:o}", mode(&service.join("supervise").join(name)))));
        let expected = [
            ("lock", "600"),
            ("control", "600"),
            ("ok", "600"),
            ("status", "644"),
            ("stat", "644"),
            ("pid", "644"),
        ];
        assert_eq!(modes, expected.map(|(name, mode)| (name, mode.to_owned())));
        for fifo in ["control", "ok"] {
            let kind = fs::metadata(service.join("supervise").join(fifo)).unwrap().file_type();
            assert!(kind.is_fifo(), "{fifo} is a fifo");
        }
    }
}

/// "runsv maintains status information in a binary format (compatible to the daemontools' supervise program) in
/// service/supervise/status" runsv(8)
fn status_has_20_bytes(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    let pid = service.wait_run();
    let bytes = fs::read(service.join("supervise/status")).unwrap();
    assert_eq!(bytes.len(), 20);
    assert_eq!(bytes[0], 0x40, "TAI seconds start at 2^62");
    assert_eq!(bytes[12..16], pid.to_le_bytes());
    assert_eq!(bytes[16..20], [0, b'u', 0, 1]);
    assert!(service.status().nanoseconds < 1_000_000_000);
    service.command("d");
    service.wait_stat("down");
    let bytes = fs::read(service.join("supervise/status")).unwrap();
    assert_eq!(bytes[12..20], [0, 0, 0, 0, 0, b'd', 0, 0]);
}

/// "maintains status information in a binary format (compatible to the daemontools' supervise program)" runsv(8): the
/// time is when the state changed, in seconds since 1970 plus 2^62 plus 10.
fn status_counts_time_from_the_last_change(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let before = now();
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    let started = service.status().time();
    assert!(before <= started && started <= now(), "{before:?} <= {started:?} <= {:?}", now());
    service.command("p");
    service.wait_stat("run, paused");
    assert_eq!(service.status().time(), started, "a pause is no change between run and down");
    service.command("c");
    let before = now();
    service.command("d");
    service.wait_stat("down");
    let stopped = service.status().time();
    assert!(before <= stopped && stopped <= now(), "{before:?} <= {stopped:?}");
}

/// While `finish` runs, pid is its pid, and the time still the one of `run`. Not in the man page: runit 2.3.0 does so.
fn status_keeps_the_time_of_run_in_finish(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = "while [ ! -e go ]; do sleep 0.02; done";
    let service = sandbox.service("web").run(run).finish(&format!("echo $$ >>events; {SLEEP}")).supervise();
    let pid = service.wait_run();
    let started = service.status().time();
    fs::write(service.join("go"), "").unwrap();
    let finish: u32 = service.wait_events(1)[0].parse().unwrap();
    service.wait_stat("finish");
    eventually("the pid of finish", || (service.status().pid == finish).then_some(()));
    assert_ne!(finish, pid);
    assert_eq!(service.status().state, 2);
    assert_eq!(service.read("supervise/pid"), format!("{finish}\n"));
    assert_eq!(service.status().time(), started);
}

/// "and in a human-readable format in service/supervise/stat, … service/supervise/pid" runsv(8)
fn stat_and_pid_are_text(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    let pid = service.wait_run();
    assert_eq!(service.read("supervise/stat"), "run\n");
    assert_eq!(service.read("supervise/pid"), format!("{pid}\n"));
    service.command("p");
    service.wait_stat("run, paused");
    assert_eq!(service.read("supervise/stat"), "run, paused\n");
    service.command("o");
    service.wait_stat("run, paused, want down");
}

/// Without a process `pid` is empty, and there. Not in the man page: runit 2.3.0 leaves it empty.
fn pid_is_empty_when_down(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).down().supervise();
    service.wait_stat("down");
    assert_eq!(fs::read(service.join("supervise/pid")).unwrap(), b"");
    assert_eq!(service.read("supervise/stat"), "down\n");
}

/// `stat` says `want exit`, where `status` has a `d`. Not in the man page: runit 2.3.0 does so.
fn a_wanted_exit_shows_as_d(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = "trap '' TERM; echo ready >>events; while :; do sleep 0.05; done";
    let service = sandbox.service("web").run(run).supervise();
    service.wait_ready();
    service.command("x");
    service.wait_stat("run, got TERM, want exit");
    let status = service.status();
    assert_eq!((status.want, status.got_term, status.state), (b'd', 1, 1));
}

/// Each file is written under another name and renamed. Not in the man page: runit 2.3.0 renames, too.
fn nothing_half_written_is_left(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    service.command("p");
    service.wait_stat("run, paused");
    let mut names: Vec<_> = fs::read_dir(service.join("supervise"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    if subject.is_ours() {
        // svkit's own; it is rewritten in place.
        names.retain(|name| name != "record");
    }
    assert_eq!(names, ["control", "lock", "ok", "pid", "stat", "status"]);
}

/// A reader that has the file open keeps a whole record. Not in the man page: runit 2.3.0 replaces it.
fn status_is_replaced_not_rewritten(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    let inodes =
        || ["status", "stat"].map(|name| fs::metadata(service.join("supervise").join(name)).unwrap().ino());
    let before = File::open(service.join("supervise/status")).unwrap();
    let old = inodes();
    service.command("p");
    service.wait_stat("run, paused");
    let new = inodes();
    assert!(old[0] != new[0] && old[1] != new[1], "{old:?} {new:?}");
    drop(before);
}

/// "or if another runsv is running in service" runsv(8): `lock` is held, with flock(2), while runsv lives. The name is
/// not in the man page: it is the one of runit 2.3.0.
fn lock_is_held(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(SLEEP).log("exec cat").supervise();
    service.wait_run();
    let try_lock = |service: &Service| {
        let file = File::options().append(true).open(service.join("supervise/lock")).unwrap();
        Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok()
    };
    service.log().wait_run();
    assert!(!try_lock(&service) && !try_lock(&service.log()));
    service.command("x");
    service.runsv().wait();
    assert!(try_lock(&service) && try_lock(&service.log()));
}

/// Opening `ok` for writing tells whether a runsv is there. Not in the man page: runit 2.3.0 has it open for reading.
fn ok_has_a_reader_while_runsv_lives(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(SLEEP).supervise();
    assert!(service.is_ok());
    service.command("x");
    service.runsv().wait();
    assert!(!service.is_ok());
}

/// A symlink `supervise` to a directory that is not there yet: runsv makes it. So a read-only /etc can hold services.
/// Not in the man page: runit 2.3.0 makes it.
fn supervise_may_be_a_dangling_symlink(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).log("exec cat").build();
    let target = sandbox.join("state-web");
    symlink(&target, service.join("supervise")).unwrap();
    symlink("../../../state-log", service.log().join("supervise")).unwrap();
    let _runsv = sandbox.start(sandbox.command("runsv").arg(service.dir()));
    service.wait_run();
    service.log().wait_run();
    assert_eq!(mode(&target), 0o700);
    assert_eq!(mode(&sandbox.join("state-log")), 0o700);
    assert!(target.join("status").is_file());
    assert!(sandbox.join("state-log/status").is_file());
    assert!(fs::symlink_metadata(service.join("supervise")).unwrap().is_symlink());
}

/// Whatever a killed predecessor left is overwritten. Not in the man page: runit 2.3.0 does so.
fn an_old_supervise_directory_is_used_again(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).file("supervise/status", "garbage").build();
    for name in ["status.new", "stat", "stat.new", "pid", "pid.new", "lock"] {
        fs::write(service.join("supervise").join(name), "left over, and longer than any record of ours")
            .unwrap();
    }
    let _runsv = sandbox.start(sandbox.command("runsv").arg(service.dir()));
    service.wait_ok();
    let pid = service.wait_run();
    assert_eq!(service.read("supervise/stat"), "run\n");
    assert_eq!(service.read("supervise/pid"), format!("{pid}\n"));
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}
