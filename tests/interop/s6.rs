//! s6 where the two families meet: log stamps and locks. Their supervise directories differ.

use svkit_tests::{Case, Sandbox, Subject, case};

pub(crate) const CASES: &[Case] = &[
    case!(s6_tai64nlocal_reads_our_stamps).needs(&["s6-tai64nlocal"]),
    case!(s6_setlock_and_chpst_exclude_each_other).needs(&["s6-setlock"]),
];

/// TAI64N is one format.
fn s6_tai64nlocal_reads_our_stamps(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    let script = "date -u +%Y; echo line | svlogd -t log && TZ=UTC s6-tai64nlocal <log/current";
    let output = sandbox.run("sh", &["-c", script]).stdout;
    let lines: Vec<_> = output.lines().collect();
    assert!(lines[1].starts_with("20") && lines[1].ends_with(" line"), "{output}");
    assert!(lines[1][..4] >= *lines[0], "{output}");
}

/// One of them holds the file, the other waits or gives up.
fn s6_setlock_and_chpst_exclude_each_other(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let output = sandbox.run("s6-setlock", &["lock", "chpst", "-L", "lock", "echo", "started"]);
    let nested = sandbox.run("chpst", &["-l", "lock", "s6-setlock", "-n", "lock", "echo", "started"]);
    // s6 locks with fcntl(2) or flock(2), as it was built: whichever it is, both directions must agree.
    assert_eq!(output.stdout.is_empty(), nested.stdout.is_empty(), "{output:?} {nested:?}");
}
