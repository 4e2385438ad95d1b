//! chpst under the names of daemontools' programs.

use std::os::unix::fs::symlink;
use std::time::Duration;

use svkit_tests::{Case, Implementation, Output, Running, Sandbox, Subject, case, eventually, holds_for};

pub(crate) const CASES: &[Case] = &[
    case!(setuidgid).root(),
    case!(setuidgid_takes_an_account_only).root(),
    case!(envuidgid),
    case!(envdir),
    case!(envdir_fails_on_a_directory),
    case!(pgrphack),
    case!(setlock_holds_the_lock),
    case!(setlock_n_gives_up).differs(Implementation::RUNIT, "-n and -N are the wrong way round"),
    case!(setlock_waits_by_default).differs(Implementation::RUNIT, "gives up by default"),
    case!(setlock_x_is_silent),
    case!(softlimit),
    case!(softlimit_equals_is_the_hard_limit),
    case!(a_leading_d_is_allowed),
    case!(directory_of_the_name_does_not_matter),
    case!(each_has_its_own_usage),
    case!(options_of_chpst_are_not_theirs),
    case!(program_that_cannot_be_started),
];

/// "If chpst is called as envdir, envuidgid, pgrphack, setlock, setuidgid, or softlimit, it emulates the functionality of
/// these programs from the daemontools package respectively." chpst(8)
fn applet(sandbox: &Sandbox, name: &str, args: &[&str]) -> Output {
    sandbox.finish(command(sandbox, name).args(args))
}

fn command(sandbox: &Sandbox, name: &str) -> std::process::Command {
    let path = sandbox.mkdir("applets").join(name);
    if !path.exists() {
        symlink(sandbox.join("bin/chpst").canonicalize().unwrap(), &path).unwrap();
    }
    sandbox.command(path)
}

/// "setuidgid account child": uid and gid of the account, and no other group.
fn setuidgid(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let show = ["nobody", "sh", "-c", "id -u; id -g; id -G"];
    let output = applet(&sandbox, "setuidgid", &show);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "65534\n65534\n65534\n"), "{output:?}");
}

/// "it emulates the functionality of these programs from the daemontools package respectively" chpst(8): "setuidgid
/// account child" setuidgid(8) of daemontools. Neither groups nor numbers.
fn setuidgid_takes_an_account_only(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for account in ["nobody:daemon", ":1:2", "nosuchuser", "65534"] {
        let output = applet(&sandbox, "setuidgid", &[account, "echo", "started"]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""), "{account}");
        assert!(output.stderr.contains(account), "{output:?}");
    }
}

/// "envuidgid account child": `$UID` and `$GID`.
fn envuidgid(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = applet(&sandbox, "envuidgid", &["nobody", "sh", "-c", "echo $UID $GID"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "65534 65534\n"));
}

/// "envdir dir child"
fn envdir(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("env");
    sandbox.write("env/A", "value \nmore");
    let output = applet(&sandbox, "envdir", &["env", "sh", "-c", "echo \"[$A]\""]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "[value]\n"));
    assert_eq!(applet(&sandbox, "envdir", &["nonexistent", "true"]).code, Some(111));
}

/// Where chpst skips a sub-directory, envdir fails, as daemontools' does. Not in the man page: runit 2.3.0 does so.
fn envdir_fails_on_a_directory(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("env/sub");
    let output = applet(&sandbox, "envdir", &["env", "echo", "started"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""));
    assert!(output.stderr.contains("env/sub"), "{output:?}");
}

/// "pgrphack child": a new session.
fn pgrphack(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = applet(&sandbox, "pgrphack", &["cut", "-d ", "-f1,5,6", "/proc/self/stat"]);
    let ids: Vec<_> = output.stdout.split_whitespace().collect();
    assert!(ids.len() == 3 && ids[0] == ids[1] && ids[1] == ids[2], "{output:?}");
}

fn holder(sandbox: &Sandbox, args: &[&str]) -> Running {
    let script = "echo holding; exec sleep 1000";
    let mut command = command(sandbox, "setlock");
    let holder = sandbox.start(command.args(args).args(["lock", "sh", "-c", script]));
    eventually("the lock is held", || holder.stdout().contains("holding").then_some(()));
    holder
}

/// "setlock [ -nNxX ] file program [ arg ... ]"
fn setlock_holds_the_lock(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for option in [&[][..], &["-n"], &["-N"], &["-X"], &["-nX"]] {
        let _holder = holder(&sandbox, option);
        assert_eq!(sandbox.run("chpst", &["-L", "lock", "true"]).code, Some(111));
    }
}

/// "-n: No delay. If fn is locked by another process, setlock gives up." setlock(8) of daemontools
fn setlock_n_gives_up(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let _holder = holder(&sandbox, &["-N"]);
    let output = applet(&sandbox, "setlock", &["-n", "lock", "echo", "started"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""));
}

/// "-N: (Default.) Delay. If fn is locked by another process, setlock waits until it can obtain a new lock." setlock(8) of
/// daemontools
fn setlock_waits_by_default(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for option in [&[][..], &["-N"], &["-nN"]] {
        let holder = holder(&sandbox, &[]);
        let mut waiter =
            sandbox.start(command(&sandbox, "setlock").args(option).args(["lock", "echo", "started"]));
        holds_for(Duration::from_millis(200), "waits", || waiter.is_running());
        drop(holder);
        assert_eq!(waiter.wait().stdout, "started\n");
    }
}

/// "-x: If fn cannot be opened (or created) or locked, setlock exits zero. -X: (Default.) … setlock prints an error message
/// and exits nonzero." setlock(8) of daemontools
fn setlock_x_is_silent(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = applet(&sandbox, "setlock", &["-x", "nonexistent/lock", "echo", "started"]);
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(0), "", ""));
    let output = applet(&sandbox, "setlock", &["-xX", "nonexistent/lock", "echo", "started"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""));
    assert!(output.stderr.contains("nonexistent/lock"), "{output:?}");
}

fn limits(sandbox: &Sandbox, args: &[&str]) -> String {
    let mut all = args.to_vec();
    all.extend(["cat", "/proc/self/limits"]);
    let output = applet(sandbox, "softlimit", &all);
    assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
    output.stdout
}

fn soft(limits: &str, name: &str) -> String {
    let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
    line[name.len()..].split_whitespace().next().unwrap().to_owned()
}

/// "softlimit [-a allbytes] [-c corebytes] [-d databytes] [-f filebytes] [-l lockbytes] [-m membytes] [-o openfiles]
/// [-p processes] [-r residentbytes] [-s stackbytes] [-t cpusecs] child"
fn softlimit(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let table = [
        ("-a", "536870912", "Max address space"),
        ("-c", "4097", "Max core file size"),
        ("-d", "104857600", "Max data size"),
        ("-f", "1048577", "Max file size"),
        ("-l", "4096", "Max locked memory"),
        ("-m", "536870912", "Max address space"),
        ("-m", "536870912", "Max data size"),
        ("-m", "536870912", "Max stack size"),
        ("-o", "77", "Max open files"),
        ("-p", "555", "Max processes"),
        ("-r", "104857601", "Max resident set"),
        ("-s", "4194304", "Max stack size"),
        ("-t", "71", "Max cpu time"),
    ];
    for (option, value, name) in table {
        assert_eq!(soft(&limits(&sandbox, &[option, value]), name), value, "{option}");
    }
}

/// "= means the hard limit" softlimit(8) of daemontools
fn softlimit_equals_is_the_hard_limit(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut link = command(&sandbox, "softlimit");
    sandbox.finish(link.arg("true"));
    let script = "ulimit -Sn 50; ulimit -Hn 90; exec applets/softlimit -o = sh -c 'ulimit -Sn'";
    assert_eq!(sandbox.run("sh", &["-c", script]).stdout, "90\n");
}

/// Names with a `d` in front are the same programs. Not in the man page: runit 2.3.0 takes them for the programs.
fn a_leading_d_is_allowed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = applet(&sandbox, "denvuidgid", &["nobody", "sh", "-c", "echo $UID"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "65534\n"));
    let output = applet(&sandbox, "dsoftlimit", &["-o", "77", "sh", "-c", "ulimit -n"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "77\n"));
}

/// "If chpst is called as envdir, envuidgid, pgrphack, setlock, setuidgid, or softlimit" chpst(8): any other name is
/// chpst.
fn directory_of_the_name_does_not_matter(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = applet(&sandbox, "envuidgidx", &["-U", "nobody", "sh", "-c", "echo $UID"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "65534\n"));
}

/// "chpst exits 100 when called with wrong options." chpst(8): a wrong call exits 100 and shows the usage of the
/// program it was called as.
fn each_has_its_own_usage(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let wrong: [(&str, &[&str]); 14] = [
        ("setuidgid", &[]),
        ("setuidgid", &["nobody"]),
        ("envuidgid", &[]),
        ("envuidgid", &["nobody"]),
        ("envdir", &[]),
        ("envdir", &["env"]),
        ("pgrphack", &[]),
        ("setlock", &[]),
        ("setlock", &["lock"]),
        ("setlock", &["-z", "lock", "true"]),
        ("softlimit", &[]),
        ("softlimit", &["-o", "5"]),
        ("softlimit", &["-z", "true"]),
        ("softlimit", &["-o", "x", "true"]),
    ];
    for (name, args) in wrong {
        let output = applet(&sandbox, name, args);
        assert_eq!((output.code, output.stdout.as_str()), (Some(100), ""), "{name} {args:?}");
        assert!(
            output.stderr.to_lowercase().contains(&format!("usage: {name} ")),
            "{name} {args:?}: {output:?}"
        );
    }
}

/// "it emulates the functionality of these programs from the daemontools package respectively" chpst(8): `setuidgid
/// account child` has no options: what looks like one is the account.
fn options_of_chpst_are_not_theirs(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = applet(&sandbox, "envuidgid", &["-v", "echo", "started"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""), "{output:?}");
    let output = applet(&sandbox, "pgrphack", &["echo", "-v"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "-v\n"), "{output:?}");
    let output = applet(&sandbox, "softlimit", &["-o", "77", "echo", "-o"]);
    assert_eq!(output.stdout, "-o\n", "{output:?}");
}

/// "exits 111 if it has trouble" chpst(8)
fn program_that_cannot_be_started(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for (name, args) in
        [("pgrphack", &[][..]), ("softlimit", &[]), ("setlock", &["lock"]), ("envuidgid", &["nobody"])]
    {
        let mut all = args.to_vec();
        all.push("nosuchprogram");
        let output = applet(&sandbox, name, &all);
        assert_eq!(output.code, Some(111), "{name}");
        assert!(output.stderr.contains("nosuchprogram"), "{output:?}");
    }
}
