//! The rest of the process state: environment, directory, nice value, session, descriptors, argv0, and their order.

use std::fs;

use svkit_tests::{Case, Implementation, Sandbox, Subject, case};

pub(crate) const CASES: &[Case] = &[
    case!(envdir_sets_variables),
    case!(envdir_removes_variables),
    case!(envdir_skips_dot_names),
    case!(envdir_skips_directories),
    case!(envdir_missing),
    case!(envdir_does_not_change_the_search_path),
    case!(envdir_takes_any_bytes),
    case!(argv0),
    case!(root_changes_the_root_directory).root(),
    case!(directory).differs(&[Implementation::Runit21], "-C came with 2.2"),
    case!(directory_is_changed_after_the_root).root().differs(&[Implementation::Runit21], "-C came with 2.2"),
    case!(directory_missing).differs(&[Implementation::Runit21], "-C came with 2.2"),
    case!(nice),
    case!(nice_negative).root(),
    case!(session),
    case!(standard_descriptors_are_closed),
    case!(closed_descriptors_stay_closed),
    case!(sigpipe_is_not_ignored),
    case!(environment_is_read_before_the_root_changes).root(),
    case!(lock_is_opened_after_the_drop).root(),
    case!(later_options_win),
];

fn sh(sandbox: &Sandbox, args: &[&str], script: &str) -> String {
    let output = sandbox.finish(sandbox.command("chpst").args(args).args(["sh", "-c", script]));
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{args:?}: {output:?}");
    output.stdout
}

/// "If dir contains a file named k whose first line is v, chpst removes the environment variable k if it exists, and then
/// adds the environment variable k with the value v. … Spaces and tabs at the end of v are removed, and nulls in v are
/// changed to newlines." chpst(8)
fn envdir_sets_variables(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("env");
    sandbox.write("env/A", " one two\t \t\nsecond line\n");
    sandbox.write("env/B", "no newline");
    sandbox.write("env/C", "a\0b\n");
    sandbox.write("env/D", "\n");
    sandbox.write("env/E", " \t\n");
    sandbox.write("env/F", "\0 \n");
    let script = "for v in A B C D E F; do eval echo \"\\\"[\\$$v]\\\"\"; done; env | grep -c '^[DE]=$'";
    assert_eq!(sh(&sandbox, &["-e", "env"], script), "[ one two]\n[no newline]\n[a\nb]\n[]\n[]\n[\n]\n2\n");
    assert_eq!(sh(&sandbox, &["-e./env"], "echo \"$B\""), "no newline\n");
}

/// "If the file k is empty (0 bytes long), chpst removes the environment variable k if it exists, without adding a new
/// variable." chpst(8)
fn envdir_removes_variables(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("env");
    sandbox.write("env/GONE", "");
    sandbox.write("env/NEVER", "");
    let mut command = sandbox.command("chpst");
    command.env("GONE", "here").env("STAYS", "here").args(["-e", "env", "env"]);
    let output = sandbox.finish(&mut command);
    assert!(!output.stdout.contains("GONE") && !output.stdout.contains("NEVER"), "{output:?}");
    assert!(output.stdout.contains("STAYS=here\n"));
}

/// Names that start with a dot are no variables. Not in the man page: runit 2.3.0 skips them.
fn envdir_skips_dot_names(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("env");
    sandbox.write("env/.hidden", "value");
    assert!(!sh(&sandbox, &["-e", "env"], "env").contains("hidden"));
}

/// "verbose. Print verbose messages to standard error." chpst(8): a sub-directory is skipped, with `-v` not silently.
/// That it goes on is not in the man page: runit 2.3.0 does so.
fn envdir_skips_directories(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("env/sub");
    sandbox.write("env/A", "value");
    assert_eq!(sh(&sandbox, &["-e", "env"], "echo $A $sub"), "value\n");
    let output = sandbox.run("chpst", &["-v", "-e", "env", "true"]);
    assert_eq!(output.code, Some(0));
    assert!(output.stderr.starts_with("chpst: warning: unable to read env/sub: "), "{output:?}");
}

/// "It prints an error message and exits 111 if it has trouble changing the process state." chpst(8)
fn envdir_missing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.write("file", "");
    for dir in ["nonexistent", "file", ""] {
        let output = sandbox.run("chpst", &["-e", dir, "echo", "started"]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""));
        assert!(output.stderr.starts_with("chpst: fatal: unable to "), "{output:?}");
        assert!(output.stderr.contains(dir));
    }
}

/// The program is looked up in the PATH that chpst was started with. Not in the man page: runit 2.3.0 does so.
fn envdir_does_not_change_the_search_path(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("programs");
    svkit_tests::write_script(&dir.join("special"), "echo special");
    sandbox.mkdir("env");
    sandbox.write("env/PATH", dir.display().to_string());
    let output = sandbox.run("chpst", &["-e", "env", "special"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""));
    let output = sandbox.run("chpst", &["-e", "env", "sh", "-c", "echo $PATH; special"]);
    assert_eq!(output.stdout, format!("{}\nspecial\n", dir.display()));
}

/// "adds the environment variable k with the value v" chpst(8): a value need not be text.
fn envdir_takes_any_bytes(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("env");
    let value: Vec<u8> = (1..=255).filter(|byte| *byte != b'\n').collect();
    sandbox.write("env/BYTES", &value);
    sandbox.write("env/LONG", "x".repeat(100_000));
    assert_eq!(sh(&sandbox, &["-e", "env"], "printf %s \"$BYTES\" >bytes; echo ${#LONG}"), "100000\n");
    assert_eq!(fs::read(sandbox.join("bytes")).unwrap(), value);
}

/// "argv0. Run prog with argv0 as the 0th argument." chpst(8)
fn argv0(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    assert_eq!(sh(&sandbox, &["-b", "-other name"], "echo \"$0\""), "-other name\n");
    let output = sandbox.run("chpst", &["-bx", "cat", "/proc/self/cmdline"]);
    assert_eq!(output.stdout, "x\0/proc/self/cmdline\0");
}

/// "chroot. Change the root directory to root before starting prog." chpst(8)
fn root_changes_the_root_directory(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("jail");
    let output = sandbox.run("chpst", &["-/", "jail", "/bin/sh", "-c", "true"]);
    assert_eq!(output.code, Some(111), "there is no shell in an empty directory");
    assert!(
        output.stderr.starts_with("chpst: fatal: unable to run") && output.stderr.contains("/bin/sh"),
        "{output:?}"
    );
    assert_eq!(sh(&sandbox, &["-/", "/"], "pwd"), "/\n");
    let output = sandbox.run("chpst", &["-/", "nonexistent", "true"]);
    assert_eq!(output.code, Some(111));
    assert!(output.stderr.contains("nonexistent"), "{output:?}");
}

/// "chdir. Change the working directory to pwd before starting prog." chpst(8)
fn directory(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("a b").canonicalize().unwrap();
    assert_eq!(sh(&sandbox, &["-C", "a b"], "pwd -P"), format!("{}\n", dir.display()));
}

/// "When combined with -/, the working directory is changed after the chroot." chpst(8)
fn directory_is_changed_after_the_root(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    assert_eq!(sh(&sandbox, &["-C", "/usr", "-/", "/"], "pwd -P"), "/usr\n");
    assert_eq!(sh(&sandbox, &["-C", "usr", "-/", "/"], "pwd -P"), "/usr\n", "relative to the new root");
}

/// "exits 111 if it has trouble changing the process state" chpst(8)
fn directory_missing(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = sandbox.run("chpst", &["-C", "nonexistent", "echo", "started"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""));
    assert!(
        output.stderr.starts_with("chpst: fatal: unable to change directory: nonexistent: "),
        "{output:?}"
    );
}

/// "nice. Add inc to the nice(2) value before starting prog. inc must be an integer, and may start with a minus or plus."
/// chpst(8)
fn nice(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let own = own_nice_value(&sandbox);
    for (argument, increment) in
        [("5", 5), ("+5", 5), ("0", 0), ("+0", 0), ("-0", 0), ("19", 19), ("100", 100)]
    {
        let expected = format!("{}\n", (own + increment).min(19));
        assert_eq!(sandbox.run("chpst", &["-n", argument, "nice"]).stdout, expected, "{argument}");
    }
    let output = sandbox.run("nice", &["-n", "3", "chpst", "-n4", "nice"]);
    assert_eq!(output.stdout, format!("{}\n", (own + 7).min(19)));
}

/// Whoever runs the tests may be nice already.
fn own_nice_value(sandbox: &Sandbox) -> i32 {
    sandbox.run("nice", &[]).stdout.trim().parse().unwrap()
}

/// "inc must be an integer, and may start with a minus" chpst(8)
fn nice_negative(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let own = own_nice_value(&sandbox);
    assert_eq!(sandbox.run("chpst", &["-n", "-5", "nice"]).stdout, format!("{}\n", own - 5));
    assert_eq!(sandbox.run("chpst", &["-n-40", "nice"]).stdout, "-20\n");
}

/// "pgrphack. Run prog in a new process group." chpst(8): a new session, in fact.
fn session(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let ids = "cut -d' ' -f1,5,6 /proc/self/stat";
    let shown = sh(&sandbox, &["-P"], &format!("exec {ids}"));
    let numbers: Vec<_> = shown.split_whitespace().collect();
    assert!(numbers[0] == numbers[1] && numbers[1] == numbers[2], "{shown}");
    let shown = sh(&sandbox, &[], &format!("exec {ids}"));
    let numbers: Vec<_> = shown.split_whitespace().collect();
    assert_ne!(numbers[0], numbers[2], "without -P: the old session");
}

/// "-0 Close standard input before starting prog. -1 Close standard output before starting prog. -2 Close standard error
/// before starting prog." chpst(8)
fn standard_descriptors_are_closed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let list = "for fd in 0 1 2; do [ ! -e /proc/$$/fd/$fd ] || echo $fd >>open; done; echo . >>open";
    for (options, open) in
        [("-0", "1 2 ."), ("-1", "0 2 ."), ("-2", "0 1 ."), ("-012", "."), ("-v", "0 1 2 .")]
    {
        let output = sandbox.run("chpst", &[options, "sh", "-c", list]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(0), ""));
        let found = fs::read_to_string(sandbox.join("open")).unwrap();
        assert_eq!(found.split_whitespace().collect::<Vec<_>>().join(" "), open, "{options}");
        fs::remove_file(sandbox.join("open")).unwrap();
    }
}

/// A descriptor that was closed before is closed in the program. Not in the man page: runit 2.3.0 does so.
fn closed_descriptors_stay_closed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let list = "for fd in 0 1 2; do [ ! -e /proc/$$/fd/$fd ] || echo $fd >>open; done; echo . >>open";
    let script = format!("exec chpst sh -c '{list}' <&- >&- 2>&-");
    assert_eq!(sandbox.run("sh", &["-c", &script]).code, Some(0));
    assert_eq!(fs::read_to_string(sandbox.join("open")).unwrap(), ".\n");
}

/// The program gets the signal dispositions that chpst got. Not in the man page: runit 2.3.0 does so.
fn sigpipe_is_not_ignored(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let ignored = |output: &str| {
        let mask = output.trim().rsplit('\t').next().and_then(|mask| u64::from_str_radix(mask, 16).ok());
        mask.unwrap() & (1 << 12) != 0
    };
    let shown = sandbox.run("chpst", &["grep", "^SigIgn", "/proc/self/status"]).stdout;
    assert!(!ignored(&shown), "{shown}");
    let shown = sandbox.run("sh", &["-c", "trap '' PIPE; exec chpst grep ^SigIgn /proc/self/status"]).stdout;
    assert!(ignored(&shown), "{shown}");
}

/// The environment directory is outside the new root. Not in the man page: runit 2.3.0 reads it first.
fn environment_is_read_before_the_root_changes(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("env");
    sandbox.write("env/A", "value");
    sandbox.mkdir("jail");
    let output = sandbox.run("chpst", &["-e", "env", "-/", "jail", "true"]);
    assert!(output.stderr.starts_with("chpst: fatal: unable to run"), "{output:?}");
}

/// The lock file belongs to the new user. Not in the man page: runit 2.3.0 opens it after -u.
fn lock_is_opened_after_the_drop(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("locks");
    let output = sandbox.run("chpst", &["-u", "nobody", "-L", "locks/lock", "echo", "started"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""), "nobody may not write there");
    std::os::unix::fs::chown(&dir, Some(65534), None).unwrap();
    let output =
        sandbox.run("chpst", &["-L", "locks/lock", "-u", "nobody", "stat", "-c", "%u:%a", "locks/lock"]);
    assert_eq!(output.stdout, "65534:600\n");
}

/// Of an option given twice the last counts. Not in the man page: runit 2.3.0 does so.
fn later_options_win(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    assert_eq!(
        sh(&sandbox, &["-b", "one", "-b", "two", "-o", "50", "-o", "60"], "echo $0; ulimit -n"),
        "two\n60\n"
    );
}
