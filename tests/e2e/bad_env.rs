//! chpst's environment directories, identities and limits.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use svkit_tests::{Case, Output, Sandbox, Subject, case};

pub(crate) const CASES: &[Case] = &[
    case!(envdir_contents),
    case!(envdir_name_with_an_equals_sign),
    case!(envdir_links),
    case!(envdir_without_permission).root(),
    case!(directories_that_are_none),
    case!(unknown_users_start_nothing).root(),
    case!(groups_at_the_limit).root(),
    case!(limits_of_any_kind),
];

fn refused(output: &Output, code: i32, named: &str) {
    assert_eq!((output.code, output.stdout.as_str()), (Some(code), ""), "{output:?}");
    assert!(output.stderr.starts_with("chpst: ") && output.stderr.contains(named), "{output:?}");
}

/// "an envdir with NUL, no newline": "the first line … trailing spaces and tabs are removed … nulls are changed to
/// newlines" chpst(8)
fn envdir_contents(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("env");
    for (name, content) in [
        ("NUL", &b"a\0b \t\nsecond"[..]),
        ("ONLY_NUL", b"\0"),
        ("NO_NEWLINE", b"value"),
        ("ONLY_NEWLINE", b"\n"),
        ("ONLY_BLANKS", b" \t \n"),
        ("CR", b"value\r\n"),
        ("EMPTY", b""),
    ] {
        sandbox.write(format!("env/{name}"), content);
    }
    let mut command = sandbox.command("chpst");
    let output = sandbox.finish(command.env("EMPTY", "set").args(["-e", "env", "cat", "/proc/self/environ"]));
    let mut ours: Vec<_> = output
        .stdout
        .split('\0')
        .filter(|variable| {
            ["NUL", "NO_", "ONLY", "CR", "EMPTY"].iter().any(|name| variable.starts_with(name))
        })
        .collect();
    ours.sort_unstable();
    assert_eq!(
        ours,
        ["CR=value\r", "NO_NEWLINE=value", "NUL=a\nb", "ONLY_BLANKS=", "ONLY_NEWLINE=", "ONLY_NUL=\n"]
    );
}

/// "an envdir with … = in a name": "The name … must not contain =." chpst(8)
fn envdir_name_with_an_equals_sign(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("env");
    sandbox.write("env/A=B", "value");
    refused(&sandbox.run("chpst", &["-e", "env", "echo", "started"]), 111, "A=B");
}

/// A link that leads nowhere is no variable; one that leads in a circle is an error.
fn envdir_links(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("env");
    sandbox.write("value", "linked\n");
    symlink("../value", sandbox.join("env/LINK")).unwrap();
    symlink("nowhere", sandbox.join("env/DANGLING")).unwrap();
    let output = sandbox.run("chpst", &["-e", "env", "sh", "-c", "echo $LINK${DANGLING-unset}"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), "linkedunset\n"), "{output:?}");
    symlink("LOOP", sandbox.join("env/LOOP")).unwrap();
    refused(&sandbox.run("chpst", &["-e", "env", "echo", "started"]), 111, "env/LOOP");
}

/// "an envdir with … no permission", to the directory and to a file in it.
fn envdir_without_permission(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let chpst = sandbox.copy_programs("copies").join("chpst");
    let dir = sandbox.mkdir("env");
    let file = sandbox.write("env/SECRET", "value");
    let as_nobody = || {
        let mut command = sandbox.command("chpst");
        sandbox.finish(command.args(["-u", "nobody"]).arg(&chpst).args(["-e", "env", "echo", "started"]))
    };
    set_permissions(&file, Permissions::from_mode(0o000)).unwrap();
    refused(&as_nobody(), 111, "env/SECRET");
    set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
    refused(&as_nobody(), 111, "env");
}

/// "no such directory; not a directory"
fn directories_that_are_none(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.write("file", "");
    symlink("loop", sandbox.join("loop")).unwrap();
    for option in ["-e", "-C", "-/"] {
        for dir in ["missing", "file", "file/below", "loop"] {
            refused(&sandbox.run("chpst", &[option, dir, "echo", "started"]), 111, dir);
        }
    }
    for option in ["-l", "-L"] {
        for lock in ["missing/lock", "file/lock", "loop", "."] {
            refused(&sandbox.run("chpst", &[option, lock, "echo", "started"]), 111, lock);
        }
    }
    for program in ["./missing", "./file", "file/program", "./loop", ".", "", "no-such-program-in-the-path"] {
        refused(&sandbox.run("chpst", &[program]), 111, program);
    }
}

/// "unknown user, group": named, and nothing is started.
fn unknown_users_start_nothing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for option in ["-u", "-U"] {
        for spec in
            ["no-such-user", "nobody:no-such-group", "root:root:no-such-group", ":x:1", ":1", "nobody:"]
        {
            let output = sandbox.run("chpst", &[option, spec, "echo", "started"]);
            refused(&output, 111, spec.trim_start_matches(':'));
        }
    }
    for emulation in ["setuidgid", "envuidgid"] {
        symlink("chpst", sandbox.join("bin").join(emulation)).unwrap();
        let output = sandbox.run(emulation, &["no-such-user", "echo", "started"]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""), "{output:?}");
        assert!(output.stderr.contains("no-such-user"), "{output:?}");
    }
}

/// "with 61 groups": 60 are taken, 61 refused, a thousand too.
fn groups_at_the_limit(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let spec = |count: u32| format!(":1{}", (1..=count).map(|gid| format!(":{gid}")).collect::<String>());
    let output = sandbox.run("chpst", &["-u", &spec(60), "id", "-G"]);
    assert_eq!((output.code, output.stdout.split_whitespace().count()), (Some(0), 60), "{output:?}");
    for count in [61, 62, 1000] {
        let output = sandbox.run("chpst", &["-u", &spec(count), "echo", "started"]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""), "{count}: {output:?}");
        assert!(output.stderr.starts_with("chpst: fatal: "), "{output:?}");
    }
}

/// "limits that are negative, empty, too large", also in the emulation.
fn limits_of_any_kind(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    symlink("chpst", sandbox.join("bin/softlimit")).unwrap();
    for option in ["-m", "-d", "-o", "-p", "-f", "-c", "-t"] {
        for value in ["-1", "-0", "", "1x", "0x10"] {
            let output = sandbox.run("chpst", &[option, value, "echo", "started"]);
            assert_eq!(
                (output.code, output.stdout.as_str()),
                (Some(100), ""),
                "{option} {value:?}: {output:?}"
            );
            let output = sandbox.run("softlimit", &[option, value, "echo", "started"]);
            assert_eq!(
                (output.code, output.stdout.as_str()),
                (Some(100), ""),
                "{option} {value:?}: {output:?}"
            );
        }
        // More than the hard limit means the hard limit; more than any number means a mistake.
        let output = sandbox.run("chpst", &[option, "18446744073709551615", "echo", "started"]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(0), "started\n"), "{option}: {output:?}");
        refused(&sandbox.run("chpst", &[option, "18446744073709551616", "echo", "started"]), 100, "184467");
    }
}
