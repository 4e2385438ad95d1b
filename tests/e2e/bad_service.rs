//! Service directories that are not as they should be: said with the path, with the documented exit code, nothing lost.

use std::fs::{self, Permissions, set_permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use svkit_tests::{Case, Disk, SLEEP, Sandbox, Subject, case, eventually, write_script};

pub(crate) const CASES: &[Case] = &[
    case!(run_that_cannot_be_started),
    case!(finish_that_cannot_be_started),
    case!(supervise_unwritable).root(),
    case!(supervise_with_odd_entries),
    case!(lock_that_is_a_fifo),
    case!(status_that_cannot_be_published),
    case!(old_status_of_any_size),
    case!(read_only_file_system).root(),
    case!(log_that_is_a_file),
    case!(log_run_that_cannot_be_started),
    case!(check_of_any_kind),
    case!(runsvdir_on_what_is_no_directory),
    case!(runsvdir_on_a_directory_of_bad_services),
    case!(unknown_options),
];

/// Gives the service in `dir` a `run` of some bad kind.
fn spoil(sandbox: &Sandbox, dir: &str, kind: &str) {
    spoil_script(&sandbox.mkdir(dir).join("run"), kind);
}

fn spoil_script(script: &Path, kind: &str) {
    match kind {
        "missing" => {}
        "not executable" => fs::write(script, "#!/bin/sh\n").unwrap(),
        "directory" => fs::create_dir(script).unwrap(),
        "dangling" => symlink("nowhere", script).unwrap(),
        "loop" => symlink(script, script).unwrap(),
        "bad interpreter" | "garbage" => {
            let content = if kind == "garbage" { &b"\x7f\0\x01\xff"[..] } else { b"#!/nonexistent/sh\n" };
            write_script(script, "");
            fs::write(script, content).unwrap();
        }
        _ => panic!("{kind}"),
    }
}

const KINDS: [&str; 7] =
    ["missing", "not executable", "directory", "dangling", "loop", "bad interpreter", "garbage"];

/// "no run; run not executable, with a bad interpreter, or a directory"
fn run_that_cannot_be_started(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for kind in KINDS {
        let dir = format!("services/{kind}");
        spoil(&sandbox, &dir, kind);
        // Made executable or not, it is a service: there is a supervisor, which says what is wrong and obeys.
        let mut service = sandbox.service(kind).supervise();
        let mut expected = format!("runsv {}: fatal: unable to start ./run: ", service.dir().display());
        if kind == "bad interpreter" {
            expected += "its interpreter does not exist\n";
        }
        eventually(kind, || service.runsv().stderr().contains(&expected).then_some(()));
        let output = sandbox.sv(&["status", kind]);
        assert_eq!(output.code, Some(0), "{kind}: {output:?}");
        assert!(output.stdout.starts_with(&format!("down: {kind}: ")), "{output:?}");
        service.command("x");
        assert_eq!(service.runsv().wait().code, Some(0), "{kind}");
    }
}

/// The same for `finish`: the service goes on without.
fn finish_that_cannot_be_started(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run("echo run >>events; exec sleep 1000").build();
    for (round, kind) in ["garbage", "bad interpreter"].into_iter().enumerate() {
        spoil_script(&service.join("finish"), kind);
        let mut service = sandbox.service("web").supervise();
        service.wait_events(round * 2 + 1);
        let pid = service.wait_run();
        service.command("k");
        service.wait_restart(pid);
        service.wait_events(round * 2 + 2);
        let stderr = service.runsv().stderr();
        assert!(stderr.contains("./finish: "), "{kind}: {stderr:?}");
        service.command("x");
        assert_eq!(service.runsv().wait().code, Some(0));
    }
}

/// "supervise … unwritable"
fn supervise_unwritable(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let bin = sandbox.copy_programs("copies");
    let service = sandbox.service("web").run(SLEEP).build();
    let as_nobody = || {
        let mut command = sandbox.command("chpst");
        let output =
            sandbox.finish(command.args(["-u", "nobody"]).arg(bin.join("runsv")).arg("services/web"));
        assert_eq!(output.code, Some(111), "{output:?}");
        assert!(output.stderr.starts_with("runsv services/web: fatal: "), "{output:?}");
        assert!(output.stderr.contains("supervise"), "{output:?}");
    };
    as_nobody();
    fs::create_dir(service.join("supervise")).unwrap();
    as_nobody();
    set_permissions(service.join("supervise"), Permissions::from_mode(0o000)).unwrap();
    as_nobody();
}

/// What is in the way of a fifo or of the lock.
fn supervise_with_odd_entries(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for (count, (entry, is_directory)) in
        [("ok", false), ("ok", true), ("control", false), ("control", true), ("lock", true)]
            .iter()
            .enumerate()
    {
        let service = sandbox.service(count.to_string()).run("echo run >>events").build();
        sandbox.mkdir(service.join("supervise"));
        let path = service.join("supervise").join(entry);
        if *is_directory {
            fs::create_dir(path).unwrap();
        } else {
            fs::write(path, "").unwrap();
        }
        let name = format!("services/{count}");
        let output = sandbox.run("runsv", &[&name]);
        assert_eq!(output.code, Some(111), "{output:?}");
        assert!(output.stderr.starts_with(&format!("runsv {name}: fatal: ")), "{output:?}");
        assert!(output.stderr.contains(&format!("supervise/{entry}")), "{output:?}");
        assert!(service.events().is_empty(), "nothing was started");
    }
}

/// A fifo in the place of a lock file: nobody reads from it, and runsv does not wait for somebody to.
fn lock_that_is_a_fifo(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for lock in ["supervise/lock", "log/supervise/lock"] {
        let name = if lock.starts_with("log") { "log" } else { "service" };
        let service = sandbox.service(name).run("echo run >>events").log("exec cat").build();
        sandbox.mkdir(service.join(lock).parent().unwrap());
        mkfifo(&service.join(lock), Mode::S_IRWXU).unwrap();
        let dir = format!("services/{name}");
        let output = sandbox.run("runsv", &[&dir]);
        assert_eq!(output.code, Some(111), "{output:?}");
        assert!(
            output.stderr.starts_with(&format!("runsv {dir}: fatal: unable to open {lock}: ")),
            "{output:?}"
        );
        assert!(service.events().is_empty(), "nothing was started");
    }
}

/// Status files that are directories: a warning that names them, and the service runs.
fn status_that_cannot_be_published(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run("echo run >>events; exec sleep 1000").build();
    for entry in ["status", "stat", "pid"] {
        sandbox.mkdir(service.join("supervise").join(entry));
    }
    let mut service = sandbox.service("web").supervise();
    service.wait_events(1);
    eventually("a warning", || {
        let stderr = service.runsv().stderr();
        (stderr.contains(": warning: ") && stderr.contains("supervise/pid")).then_some(())
    });
    for entry in ["status", "stat", "pid"] {
        fs::remove_dir(service.join("supervise").join(entry)).unwrap();
    }
    // What could not be published is, once it can be.
    service.wait_run();
    service.wait_stat("run");
    assert_eq!(service.runsv().stderr().lines().count(), 1, "said once");
    service.command("x");
    assert_eq!(service.runsv().wait().code, Some(0));
}

/// "status of 0, 18, 19, 20, 21 bytes": what an earlier supervisor left does not matter to runsv.
fn old_status_of_any_size(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for size in [0, 18, 19, 20, 21] {
        let name = format!("web{size}");
        let service = sandbox.service(&name).run(SLEEP).build();
        sandbox.mkdir(service.join("supervise"));
        for entry in ["status", "stat", "pid", "status.new"] {
            fs::write(service.join("supervise").join(entry), vec![0xff; size]).unwrap();
        }
        // No supervisor: what is in the record is not believed.
        let output = sandbox.sv(&["status", &name]);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert_eq!(
            output.stdout,
            format!("warning: {name}: unable to open supervise/ok: file does not exist\n")
        );
        let service = sandbox.service(&name).supervise();
        service.wait_stat("run");
        assert_eq!(sandbox.sv(&["status", &name]).code, Some(0));
        // A record of nothing but ones under a live supervisor is none.
        fs::write(service.join("supervise/status"), vec![0xff; size]).unwrap();
        let output = sandbox.sv(&["status", &name]);
        let expected = format!("warning: {name}: unable to read supervise/status: bad format\n");
        assert_eq!((output.code, output.stdout), (Some(1), expected), "{size}");
    }
}

/// "a read-only file system"
fn read_only_file_system(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let disk = Disk::new(&sandbox, "disk", 256);
    let inside = sandbox.service_at("disk/services/inside").run(SLEEP).build();
    let linked = sandbox.service_at("disk/services/linked").run(SLEEP).build();
    // As on Void: the supervise directory is elsewhere.
    symlink(sandbox.join("supervise-linked"), linked.join("supervise")).unwrap();
    sandbox.mkdir("disk/log");
    disk.make_read_only();
    let output = sandbox.run("runsv", &["disk/services/inside"]);
    assert_eq!(output.code, Some(111));
    assert!(output.stderr.starts_with("runsv disk/services/inside: fatal: "), "{output:?}");
    assert!(output.stderr.contains("supervise") && output.stderr.contains("Read-only"), "{output:?}");
    let output = sandbox.run("svlogd", &["disk/log"]);
    assert_eq!(output.code, Some(111));
    assert!(output.stderr.contains("disk/log") && output.stderr.contains("Read-only"), "{output:?}");
    let output = sandbox.run("chpst", &["-l", "disk/lock", "true"]);
    assert_eq!(output.code, Some(111));
    assert!(output.stderr.contains("disk/lock") && output.stderr.contains("Read-only"), "{output:?}");
    let runsvdir = sandbox.start(sandbox.command("runsvdir").arg("disk/services"));
    linked.wait_run();
    eventually("runsv says why", || runsvdir.stderr().contains("runsv inside: fatal: ").then_some(()));
    assert!(!inside.join("supervise").exists());
}

/// "log a file"
fn log_that_is_a_file(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(SLEEP).file("log", "").supervise();
    service.wait_run();
    let expected = format!("runsv {}: warning: ./log: not a directory", service.dir().display());
    assert!(service.runsv().stderr().contains(&expected), "{}", service.runsv().stderr());
    let output = sandbox.sv(&["status", "web"]);
    assert!(output.stdout.starts_with("run: web: (pid "), "{output:?}");
    service.command("x");
    assert_eq!(service.runsv().wait().code, Some(0));
}

/// What the service writes meanwhile waits in the pipe.
fn log_run_that_cannot_be_started(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for kind in KINDS {
        let dir = format!("services/{kind}");
        sandbox.service(kind).run(&format!("echo hello; {SLEEP}")).build();
        spoil(&sandbox, &format!("{dir}/log"), kind);
        let mut service = sandbox.service(kind).supervise();
        service.wait_run();
        eventually(kind, || service.runsv().stderr().contains("log/run: ").then_some(()));
        let run = service.log().join("run");
        if kind == "directory" {
            fs::remove_dir(run).unwrap();
        } else {
            let _ = fs::remove_file(run);
        }
        let service_again = sandbox.service(kind).log("exec cat >>got").build();
        service_again.log().wait_text("got", "hello\n");
        service.command("x");
        assert_eq!(service.runsv().wait().code, Some(0), "{kind}");
    }
}

/// A `./check` that cannot be executed counts as success, whatever is wrong with it.
fn check_of_any_kind(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    for kind in KINDS {
        let check = service.join("check");
        spoil_script(&check, kind);
        // What cannot even be looked at may yet become better, and is waited for.
        let (seconds, code, word) = if kind == "loop" { ("1", 1, "timeout") } else { ("15", 0, "ok") };
        let output = sandbox.sv(&["-w", seconds, "check", "web"]);
        assert_eq!(output.code, Some(code), "{kind}: {output:?}");
        assert!(output.stdout.starts_with(&format!("{word}: run: web: ")), "{kind}: {output:?}");
        if kind == "directory" {
            fs::remove_dir(check).unwrap();
        } else {
            let _ = fs::remove_file(check);
        }
    }
}

/// "not a directory": fatal, 100. a directory that may yet come is waited for.
fn runsvdir_on_what_is_no_directory(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.write("file", "");
    symlink("file", sandbox.join("link")).unwrap();
    for dir in ["file", "link", "file/services"] {
        let output = sandbox.run("runsvdir", &[dir]);
        assert_eq!(output.code, Some(100), "{output:?}");
        assert!(output.stderr.starts_with(&format!("runsvdir {dir}: fatal: ")), "{output:?}");
        assert!(output.stderr.contains("Not a directory"), "{output:?}");
    }
    let mut runsvdir = sandbox.start(sandbox.command("runsvdir").arg("absent"));
    eventually("a warning that names it", || {
        let stderr = runsvdir.stderr();
        (stderr.starts_with("runsvdir absent: warning: ") && stderr.contains("No such file")).then_some(())
    });
    runsvdir.signal(Signal::SIGTERM);
    assert_eq!(runsvdir.wait().code, Some(0));
}

/// The good one among them is not held up.
fn runsvdir_on_a_directory_of_bad_services(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for kind in KINDS {
        spoil(&sandbox, &format!("services/{kind}"), kind);
    }
    symlink("nowhere", sandbox.services().join("dangling link")).unwrap();
    symlink("loop link", sandbox.services().join("loop link")).unwrap();
    sandbox.write("services/file", "");
    sandbox.mkdir("services/unusable/supervise/control");
    let good = sandbox.service("~good").run(SLEEP).build();
    let mut runsvdir = sandbox.start(sandbox.command("runsvdir").arg("services"));
    let pid = good.wait_run();
    eventually("each is named", || {
        let stderr = runsvdir.stderr();
        let named = |kind: &&str| stderr.contains(&format!("runsv {kind}: fatal: unable to start ./run: "));
        (KINDS.iter().all(named) && stderr.contains("runsv unusable: fatal: ")).then_some(())
    });
    assert_eq!(good.status().pid, pid);
    runsvdir.signal(Signal::SIGHUP);
    assert_eq!(runsvdir.wait().code, Some(111));
}

/// "unknown … option": usage on standard error, the usage code, nothing done.
fn unknown_options(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    let cases: [(&[&str], i32); 10] = [
        (&["runsvdir", "-z", "services"], 1),
        (&["runsvdir", "-Pz", "services"], 1),
        (&["sv", "-z", "status", "web"], 100),
        (&["sv", "-vz", "status", "web"], 100),
        (&["chpst", "-z", "true"], 100),
        (&["chpst", "-vz", "true"], 100),
        (&["chpst", "--frobnicate", "true"], 100),
        (&["svlogd", "-z", "log"], 111),
        (&["svlogd", "-ttz", "log"], 111),
        (&["svlogd", "--", "--frobnicate"], 111),
    ];
    for (arguments, code) in cases {
        let output = sandbox.run(arguments[0], &arguments[1..]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(code), ""), "{arguments:?}: {output:?}");
        assert!(output.stderr.starts_with(arguments[0]), "{arguments:?}: {output:?}");
    }
    assert!(!sandbox.join("log/current").exists());
}
