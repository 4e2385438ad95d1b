//! `chpst -u`, `-U`: who the program runs as.

use std::collections::BTreeMap;

use svkit_tests::{Case, Output, Sandbox, Subject, case};

pub(crate) const CASES: &[Case] = &[
    case!(user_sets_uid_gid_and_that_one_group).root(),
    case!(user_and_group).root(),
    case!(user_and_groups).root(),
    case!(numeric_identity).root(),
    case!(sixty_groups).root(),
    case!(uid_without_gid_is_an_error).root(),
    case!(unknown_users_and_groups).root(),
    case!(a_number_is_no_name).root(),
    case!(identity_cannot_be_regained).root(),
    case!(env_user_sets_variables),
    case!(env_user_with_group),
    case!(env_user_numeric),
    case!(env_user_does_not_change_the_identity),
    case!(env_user_unknown),
    case!(both_users_at_once).root(),
    case!(user_needs_privilege).root(),
];

/// The lines `Uid`, `Gid` and `Groups` of `/proc/self/status` of a program that chpst starts with `args`.
fn identity(sandbox: &Sandbox, args: &[&str]) -> BTreeMap<String, String> {
    let mut command = sandbox.command("chpst");
    command.args(args).args(["grep", "-E", "^(Uid|Gid|Groups):", "/proc/self/status"]);
    let output = sandbox.finish(&mut command);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{args:?}");
    let lines = output.stdout.lines().map(|line| line.split_once(':').expect("a line of status"));
    lines.map(|(name, ids)| (name.to_owned(), ids.split_whitespace().collect::<Vec<_>>().join(" "))).collect()
}

fn is(sandbox: &Sandbox, args: &[&str], uid: &str, gid: &str, groups: &str) {
    let found = identity(sandbox, args);
    // Real, effective, saved and file system id.
    assert_eq!(found["Uid"], [uid; 4].join(" "), "{args:?}");
    assert_eq!(found["Gid"], [gid; 4].join(" "), "{args:?}");
    assert_eq!(found["Groups"], groups, "{args:?}");
}

fn refused(sandbox: &Sandbox, args: &[&str]) -> Output {
    let mut command = sandbox.command("chpst");
    let output = sandbox.finish(command.args(args).args(["echo", "started"]));
    assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""), "{args:?}");
    assert!(output.stderr.starts_with("chpst: fatal: "), "{args:?}: {output:?}");
    output
}

/// "setuidgid. Set uid and gid to the user's uid and gid, as found in /etc/passwd. … All initial supplementary groups are
/// removed." chpst(8)
fn user_sets_uid_gid_and_that_one_group(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    is(&sandbox, &["-u", "nobody"], "65534", "65534", "65534");
    is(&sandbox, &["-udaemon"], "1", "1", "1");
}

/// "If user is followed by a colon and a group, set the gid to group's gid, as found in /etc/group, instead of user's
/// gid." chpst(8)
fn user_and_group(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    is(&sandbox, &["-u", "nobody:daemon"], "65534", "1", "1");
}

/// "If group consists of a colon-separated list of group names, chpst sets the group ids of all listed groups." chpst(8):
/// the first is the gid, and all together the whole list.
fn user_and_groups(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    is(&sandbox, &["-u", "nobody:adm:daemon:tty"], "65534", "4", "1 4 5");
}

/// "If user is prefixed with a colon, the user and all group arguments are interpreted as uid and gids respectively, and
/// not looked up in the password or group file." chpst(8)
fn numeric_identity(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    is(&sandbox, &["-u", ":12:34"], "12", "34", "34");
    is(&sandbox, &["-u", ":70001:70002:70003:7"], "70001", "70002", "7 70002 70003");
}

/// Up to 60 groups. Not in the man page: runit 2.3.0 takes 60 and no more.
fn sixty_groups(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let groups: Vec<String> = (101..161).map(|gid| gid.to_string()).collect();
    is(&sandbox, &["-u", &format!(":1:{}", groups.join(":"))], "1", "101", &groups.join(" "));
}

/// "the user and all group arguments are interpreted as uid and gids respectively" chpst(8): a uid alone says nothing
/// of the gid.
fn uid_without_gid_is_an_error(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for spec in [":1", ":", ":a:b", ":1:2x", ":1x:2", ":1:2:x"] {
        refused(&sandbox, &["-u", spec]);
        refused(&sandbox, &["-U", spec]);
    }
}

/// "It prints an error message and exits 111 if it has trouble changing the process state." chpst(8)
fn unknown_users_and_groups(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for spec in ["nosuchuser", "nobody:nosuchgroup", "nobody:daemon:nosuchgroup", "", "nobody:"] {
        let output = refused(&sandbox, &["-u", spec]);
        assert!(output.stderr.contains(spec), "{output:?}");
    }
}

/// "Set uid and gid to the user's uid and gid, as found in /etc/passwd." chpst(8): without the colon a number is a
/// name.
fn a_number_is_no_name(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    refused(&sandbox, &["-u", "65534"]);
    refused(&sandbox, &["-u", "nobody:1"]);
}

/// "All initial supplementary groups are removed." chpst(8): nothing of the old identity is left to go back to.
fn identity_cannot_be_regained(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = sandbox.run("chpst", &["-u", "nobody", "grep", "-E", "^Cap(Prm|Eff):", "/proc/self/status"]);
    assert_eq!(output.stdout, "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n");
    let output = sandbox.run("chpst", &["-u", "nobody", "cat", "/etc/shadow"]);
    assert_eq!(output.code, Some(1));
    // Not by asking for it either: setgroups, setgid and setuid are refused.
    for again in [["-u", ":0:0"], ["-u", "root"], ["-u", ":65534:0"]] {
        let output = sandbox.run("chpst", &["-u", "nobody", "chpst", again[0], again[1], "true"]);
        assert_eq!(output.code, Some(111), "{again:?}");
    }
    is(&sandbox, &["-u", "nobody"], "65534", "65534", "65534");
}

const SHOW: [&str; 3] = ["sh", "-c", "echo $UID $GID"];

fn variables(sandbox: &Sandbox, spec: &str) -> String {
    let output = sandbox.finish(sandbox.command("chpst").args(["-U", spec]).args(SHOW));
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    output.stdout
}

/// "envuidgid. Set the environment variables $UID and $GID to the user's uid and gid, as found in /etc/passwd." chpst(8)
fn env_user_sets_variables(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    assert_eq!(variables(&sandbox, "nobody"), "65534 65534\n");
}

/// "If user is followed by a colon and a group, set $GID to the group's gid" chpst(8)
fn env_user_with_group(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    assert_eq!(variables(&sandbox, "nobody:daemon"), "65534 1\n");
    assert_eq!(variables(&sandbox, "nobody:daemon:bin"), "65534 1\n");
}

/// "If user is prefixed with a colon, the user and group arguments are interpreted as uid and gid respectively" chpst(8)
fn env_user_numeric(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    assert_eq!(variables(&sandbox, ":70001:70002"), "70001 70002\n");
}

/// "Set the environment variables $UID and $GID" chpst(8): only the variables are set.
fn env_user_does_not_change_the_identity(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let own = sandbox.run("id", &[]).stdout;
    assert_eq!(sandbox.run("chpst", &["-U", "nobody", "id"]).stdout, own);
}

/// "exits 111 if it has trouble changing the process state" chpst(8)
fn env_user_unknown(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = refused(&sandbox, &["-U", "nosuchuser"]);
    assert!(output.stderr.contains("nosuchuser"), "{output:?}");
}

/// "[-u user] [-U user]" chpst(8): `-U` and `-u` may name different users.
fn both_users_at_once(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output =
        sandbox.run("chpst", &["-u", "nobody", "-U", "daemon", "sh", "-c", "echo $UID $GID $(id -u)"]);
    assert_eq!(output.stdout, "1 1 65534\n");
}

/// "exits 111 if it has trouble changing the process state" chpst(8)
fn user_needs_privilege(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let chpst = sandbox.copy_programs("copies").join("chpst");
    let mut command = sandbox.command("chpst");
    command.args(["-u", "nobody"]).arg(&chpst).args(["-u", "daemon", "echo", "started"]);
    let output = sandbox.finish(&mut command);
    assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""));
}
