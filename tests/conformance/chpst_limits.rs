//! Resource limits and locks.

use std::time::Duration;

use svkit_tests::{Case, Implementation, Running, Sandbox, Subject, case, eventually, holds_for};

pub(crate) const CASES: &[Case] = &[
    case!(each_option_sets_its_limit),
    case!(memory_sets_four_limits),
    case!(only_the_soft_limit_is_set),
    case!(limit_above_the_hard_one_is_lowered),
    case!(absurd_numbers_mean_no_limit),
    case!(limits_must_be_numbers),
    case!(lock_is_created_and_held),
    case!(lock_waits),
    case!(lock_without_waiting_fails),
    case!(only_one_lock),
    case!(lock_that_cannot_be_opened),
    case!(lock_is_shared_with_flock).needs(&["flock"]),
    case!(empty_number_is_zero_or_wrong).differs(Implementation::RUNIT, "crashes: reads an unset number"),
];

/// The soft and hard limit of a line of `/proc/self/limits`.
fn limit(sandbox: &Sandbox, args: &[&str], name: &str) -> (String, String) {
    let mut command = sandbox.command("chpst");
    let output = sandbox.finish(command.args(args).args(["cat", "/proc/self/limits"]));
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{args:?}");
    let line = output.stdout.lines().find(|line| line.starts_with(name)).expect("a limit of this name");
    let mut fields = line[name.len()..].split_whitespace().map(str::to_owned);
    (fields.next().unwrap(), fields.next().unwrap())
}

/// "-d limit data segment … -o limit open files … -p limit processes … -f limit output size … -c limit core size … -t limit
/// CPU time" chpst(8); `-r`, resident set size, is in no page.
fn each_option_sets_its_limit(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let table = [
        ("-d", "104857600", "Max data size"),
        ("-o", "77", "Max open files"),
        ("-p", "555", "Max processes"),
        ("-f", "1048577", "Max file size"),
        ("-c", "4097", "Max core file size"),
        ("-t", "71", "Max cpu time"),
        ("-r", "104857601", "Max resident set"),
    ];
    for (option, value, name) in table {
        assert_eq!(limit(&sandbox, &[option, value], name).0, value, "{option}");
        assert_eq!(limit(&sandbox, &[&format!("{option}{value}")], name).0, value, "{option}");
    }
    assert_eq!(limit(&sandbox, &["-c", "0"], "Max core file size").0, "0");
}

/// "limit memory. Limit the data segment, stack segment, locked physical pages, and total of all segment per process to
/// bytes bytes each." chpst(8)
fn memory_sets_four_limits(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for name in ["Max data size", "Max stack size", "Max address space"] {
        assert_eq!(limit(&sandbox, &["-m", "536870912"], name).0, "536870912", "{name}");
    }
    let (soft, hard) = limit(&sandbox, &["-m", "536870912"], "Max locked memory");
    assert!(soft == "536870912" || soft == hard, "{soft} {hard}");
    assert_eq!(limit(&sandbox, &["-m", "536870912", "-d", "104857600"], "Max data size").0, "104857600");
}

/// The hard limit stays. Not in the man page: runit 2.3.0 sets the soft limit alone.
fn only_the_soft_limit_is_set(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let before = limit(&sandbox, &[], "Max open files").1;
    assert_eq!(limit(&sandbox, &["-o", "77"], "Max open files"), ("77".to_owned(), before));
}

/// A limit above the hard one is lowered to it. Not in the man page: runit 2.3.0 does so.
fn limit_above_the_hard_one_is_lowered(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let script = "ulimit -Sn 50 && ulimit -Hn 90 && exec chpst -o 1000 sh -c 'ulimit -Sn; ulimit -Hn'";
    let output = sandbox.run("sh", &["-c", script]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "90\n90\n"), "{output:?}");
}

/// A number too large for any limit is the hard limit. Not in the man page: runit 2.3.0 does so.
fn absurd_numbers_mean_no_limit(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let hard = limit(&sandbox, &[], "Max open files").1;
    assert_eq!(limit(&sandbox, &["-o", "9223372036854775807"], "Max open files").0, hard);
}

/// "chpst exits 100 when called with wrong options." chpst(8)
fn limits_must_be_numbers(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for option in ["-m", "-d", "-o", "-p", "-f", "-c", "-t", "-r"] {
        for value in ["x", "-1", "10k", "+1", " 1", "="] {
            let output = sandbox.run("chpst", &[option, value, "echo", "started"]);
            assert_eq!((output.code, output.stdout.as_str()), (Some(100), ""), "{option} {value}");
        }
    }
    let output = sandbox.run("chpst", &["-o", "x", "-o", "77", "-n", "x", "-n", "5", "echo", "started"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(100), ""), "each is looked at");
    for value in ["x", "5x", "--5", "+-5"] {
        let output = sandbox.run("chpst", &["-n", value, "echo", "started"]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(100), ""), "-n {value}");
    }
}

/// "chpst exits 100 when called with wrong options." chpst(8): an option with an empty number must not bring chpst
/// down.
fn empty_number_is_zero_or_wrong(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = sandbox.run("chpst", &["-m", "", "true"]);
    assert_eq!(output.code, Some(100), "{output:?}");
}

fn holder(sandbox: &Sandbox, args: &[&str]) -> Running {
    let script = "echo holding; exec sleep 1000";
    let holder = sandbox.start(sandbox.command("chpst").args(args).args(["sh", "-c", script]));
    eventually("the lock is held", || holder.stdout().contains("holding").then_some(()));
    holder
}

/// "lock. Open the file lock for writing, and obtain an exclusive lock on it. lock will be created if it does not exist."
/// chpst(8)
fn lock_is_created_and_held(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.write("old", "content");
    for (option, name) in [("-l", "lock"), ("-L", "lock"), ("-l", "old")] {
        let holder = holder(&sandbox, &[option, name]);
        let output = sandbox.run("chpst", &["-L", name, "true"]);
        assert_eq!(output.code, Some(111));
        drop(holder);
        assert_eq!(sandbox.run("chpst", &["-L", name, "true"]).code, Some(0));
    }
    assert_eq!(std::fs::read_to_string(sandbox.join("old")).unwrap(), "content");
}

/// "If lock is locked by another process, wait until a new lock can be obtained." chpst(8)
fn lock_waits(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let holder = holder(&sandbox, &["-l", "lock"]);
    let mut waiter = sandbox.start(sandbox.command("chpst").args(["-l", "lock", "echo", "started"]));
    holds_for(Duration::from_millis(300), "waits", || waiter.is_running());
    drop(holder);
    let output = waiter.wait();
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "started\n"));
}

/// "-L The same as -l, but fail immediately if lock is locked by another process." chpst(8)
fn lock_without_waiting_fails(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let _holder = holder(&sandbox, &["-l", "lock"]);
    let output = sandbox.run("chpst", &["-L", "lock", "echo", "started"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""));
    assert!(output.stderr.starts_with("chpst: fatal: unable to lock"), "{output:?}");
}

/// "[-l|-L lock]" chpst(8)
fn only_one_lock(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for args in [["-l", "a", "-L", "b"], ["-l", "a", "-l", "a"], ["-L", "a", "-L", "b"]] {
        assert_eq!(sandbox.finish(sandbox.command("chpst").args(args).arg("true")).code, Some(100));
    }
}

/// "exits 111 if it has trouble changing the process state" chpst(8)
fn lock_that_cannot_be_opened(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for option in ["-l", "-L"] {
        let output = sandbox.run("chpst", &[option, "nonexistent/lock", "echo", "started"]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""));
        assert!(output.stderr.starts_with("chpst: fatal: unable to open lock"), "{output:?}");
        assert!(output.stderr.contains("nonexistent/lock"), "{output:?}");
    }
}

/// "Open the file lock for writing, and obtain an exclusive lock on it." chpst(8): the lock is flock(2)'s, as
/// everyone's in this family.
fn lock_is_shared_with_flock(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let _holder = holder(&sandbox, &["-l", "lock"]);
    assert_eq!(sandbox.run("flock", &["-n", "lock", "true"]).code, Some(1));
}
