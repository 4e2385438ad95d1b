//! Bad input: a clear error, the documented exit code, no panic (every end of a program is checked for one).

use std::fs::{self, Permissions, set_permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use svkit_tests::{Case, PROGRAMS, SLEEP, Sandbox, Subject, case, eventually};

pub(crate) const CASES: &[Case] = &[
    case!(closed_standard_descriptors),
    case!(full_standard_output),
    case!(user_specifications).root(),
    case!(svlogd_configs),
    case!(svlogd_unwritable_directory).root(),
    case!(runsv_dangling_log_supervise),
    case!(svlogd_garbage),
    case!(sv_svwait_and_w_are_not_numbers),
];

/// A parent may have closed 0, 1 and 2.
fn closed_standard_descriptors(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(SLEEP).build();
    sandbox.mkdir("log");
    for line in [
        "exec sv status none <&- >&- 2>&-",
        "exec sv <&- >&- 2>&-",
        "exec chpst -u '' true <&- >&- 2>&-",
        "exec svlogd log <&- >&- 2>&-",
        "exec runsv none <&- >&- 2>&-",
        "exec runsvdir <&- >&- 2>&-",
    ] {
        let output = sandbox.run("sh", &["-c", line]);
        assert!(matches!(output.code, Some(0 | 1 | 100 | 111)), "{line}: {output:?}");
    }
    let mut runsv = sandbox.start(sandbox.command("sh").args(["-c", "exec runsv services/web <&- >&- 2>&-"]));
    service.wait_ok();
    service.wait_run();
    service.command("x");
    assert_eq!(runsv.wait().code, Some(0));
    service = sandbox.service("other").run(SLEEP).build();
    service.wait_text("run", "exec");
}

/// `/dev/full` and a pipe nobody reads.
fn full_standard_output(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for line in
        ["sv status none >/dev/full", "sv --help >/dev/full", "chpst --version >/dev/full", "sv 2>/dev/full"]
    {
        let output = sandbox.run("sh", &["-c", line]);
        assert!(output.code.is_some(), "{line}: {output:?}");
    }
    for program in PROGRAMS {
        let output = sandbox.run("sh", &["-c", &format!("{program} --help | true")]);
        assert_eq!(output.stderr, "", "{program}");
    }
}

fn chpst_refuses(sandbox: &Sandbox, option: &str, spec: &str) {
    let output = sandbox.run("chpst", &[option, spec, "echo", "started"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""), "{option} {spec:?}");
    assert!(output.stderr.starts_with("chpst: fatal: "), "{output:?}");
}

/// "a user spec with empty parts … with numbers out of range"
fn user_specifications(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let specs = [
        "",
        ":",
        ":::",
        "nobody:",
        "nobody::daemon",
        ":1x:1",
        ":-1:1",
        ":99999999999999999999:1",
        "::",
        "a:b",
    ];
    for spec in specs {
        chpst_refuses(&sandbox, "-u", spec);
        chpst_refuses(&sandbox, "-U", spec);
    }
    // The largest id is no id, but "leave as it is": it must not pass for a drop.
    chpst_refuses(&sandbox, "-u", ":4294967295:1");
    chpst_refuses(&sandbox, "-u", ":1:4294967295");
}

/// "a config that is unreadable, has CRLF, no last newline, unknown lines, absurd numbers"
fn svlogd_configs(subject: &Subject) {
    let configs: [&[u8]; 10] = [
        b"s100\r\nn2\r\n",
        b"s99999999999999999999999999\nn99999999999999999999999\nt9999999999999999999999h\n",
        b"s1\n",
        b"s0\nn0\nN5\n",
        b"t0\n",
        b"u\nU\nu999.1.1.1\nu1.2.3\nu1.2.3.4:99999\nU1.2.3.4:0\n",
        b"\0\0\0",
        b"\xff\xfe\xfd\n+\n-\ne\nE\n+*",
        b"!\np\n",
        b"s-5\nn-1\nt-1\n",
    ];
    for (count, config) in configs.iter().enumerate() {
        let sandbox = Sandbox::new(subject);
        sandbox.mkdir("log");
        sandbox.write("log/config", config);
        let input = sandbox.write("input", "first line\nsecond line\n");
        let mut command = sandbox.command("svlogd");
        command.args(["-l", "20", "-b", "40", "log"]).stdin(fs::File::open(input).unwrap());
        let output = sandbox.finish(&mut command);
        assert_eq!(output.code, Some(0), "{count}: {output:?}");
    }
}

/// "a log directory that is … read-only"
fn svlogd_unwritable_directory(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let dir = sandbox.mkdir("log");
    set_permissions(&dir, Permissions::from_mode(0o555)).unwrap();
    let svlogd = sandbox.copy_programs("copies").join("svlogd");
    let mut command = sandbox.command("chpst");
    let output = sandbox.finish(command.args(["-u", "nobody"]).arg(&svlogd).arg("log"));
    assert_eq!(output.code, Some(111));
    assert!(output.stderr.starts_with("svlogd: warning: ") && output.stderr.contains("log"), "{output:?}");
}

/// "supervise a dangling symlink", here the log's, to where nothing can be made.
fn runsv_dangling_log_supervise(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).log("exec cat").build();
    symlink("/nonexistent/deeper", service.log().join("supervise")).unwrap();
    let output = sandbox.run("runsv", &["services/web"]);
    assert_eq!(output.code, Some(111));
    assert!(
        output.stderr.contains("/nonexistent/deeper") || output.stderr.contains("log/supervise"),
        "{output:?}"
    );
}

/// "binary garbage"
fn svlogd_garbage(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "s0\n-*x*\ne+\0\n");
    // A cheap generator: the bytes only have to be odd.
    let mut state = 1_u32;
    let mut bytes: Vec<u8> = Vec::new();
    bytes.resize_with(300_000, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    });
    let input = sandbox.write("input", &bytes);
    for args in [&["-ttt"][..], &["-r", "_", "-R", "\u{7f}~"], &["-l", "3", "-b", "4"]] {
        let mut command = sandbox.command("svlogd");
        command.args(args).arg("log").stdin(fs::File::open(&input).unwrap());
        assert_eq!(sandbox.finish(&mut command).code, Some(0));
    }
}

/// Numbers that are none.
fn sv_svwait_and_w_are_not_numbers(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).supervise();
    service.wait_run();
    for value in ["x", "-1", "99999999999999999999999999", "1.5", " "] {
        let output = sandbox.finish(sandbox.command("sv").env("SVWAIT", value).args(["start", "web"]));
        assert!(output.code == Some(0) || output.code == Some(1), "{value}: {output:?}");
        let output = sandbox.sv(&["-w", value, "start", "web"]);
        assert!(matches!(output.code, Some(0 | 1 | 100)), "{value}: {output:?}");
    }
    eventually("still up", || (service.stat() == "run").then_some(()));
}
