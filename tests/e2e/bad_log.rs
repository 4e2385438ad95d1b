//! svlogd's arguments, directories, configs and input: what is wrong is said, and nothing is lost.

use std::fs::{self, File, Permissions, set_permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use svkit_tests::{Case, Output, Sandbox, Subject, case, eventually};

pub(crate) const CASES: &[Case] = &[
    case!(lengths_out_of_range),
    case!(directories_of_any_kind),
    case!(unreadable_config).root(),
    case!(config_with_carriage_returns),
    case!(config_with_absurd_numbers),
    case!(config_that_is_binary),
    case!(garbage_passes_unchanged),
    case!(long_line_through_everything),
    case!(no_input_at_all),
];

/// Logs `input` with `arguments`.
fn log(sandbox: &Sandbox, arguments: &[&str], input: impl AsRef<[u8]>) -> Output {
    let input = sandbox.write("input", input);
    let mut command = sandbox.command("svlogd");
    sandbox.finish(command.args(arguments).stdin(File::open(input).unwrap()))
}

fn current(sandbox: &Sandbox, dir: &str) -> Vec<u8> {
    fs::read(sandbox.join(dir).join("current")).unwrap()
}

/// "-l and -b out of range": usage, 111, before a directory is touched.
fn lengths_out_of_range(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    let wrong: [&[&str]; 5] = [
        &["-l", "99999999999999999999999", "log"],
        &["-l", "18446744073709551616", "log"],
        &["-b", "18446744073709551615", "log"],
        &["-l", "1024", "-b", "1024", "log"],
        &["-l", "9223372036854775807", "-b", "9223372036854775808", "log"],
    ];
    for arguments in wrong {
        let output = log(&sandbox, arguments, "line\n");
        assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""), "{arguments:?}: {output:?}");
        assert!(output.stderr.starts_with("svlogd: ") || output.stderr.starts_with("usage: "), "{output:?}");
        assert!(!sandbox.join("log/current").exists(), "{arguments:?}");
    }
    // The least there is.
    let output = log(&sandbox, &["-l", "1", "-b", "2", "log"], "line\n");
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(current(&sandbox, "log"), b"line\n");
}

/// "a log directory that is missing, locked, read-only": named, and the other one goes on; with none left, 111.
fn directories_of_any_kind(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.write("file", "");
    symlink("nowhere", sandbox.join("dangling")).unwrap();
    symlink("loop", sandbox.join("loop")).unwrap();
    sandbox.mkdir("lock-directory/lock");
    sandbox.mkdir("current-directory/current");
    sandbox.mkdir("locked");
    let holder = sandbox.start(sandbox.command("svlogd").arg("locked").stdin(std::process::Stdio::piped()));
    eventually("the lock", || sandbox.join("locked/current").exists().then_some(()));
    for bad in [
        "missing",
        "file",
        "file/below",
        "dangling",
        "loop",
        "",
        "lock-directory",
        "current-directory",
        "locked",
    ] {
        let output = log(&sandbox, &[bad], "line\n");
        assert_eq!(output.code, Some(111), "{bad}: {output:?}");
        assert!(output.stderr.starts_with("svlogd: warning: ") && output.stderr.contains(bad), "{output:?}");
        assert!(output.stderr.ends_with("svlogd: fatal: no functional log directories.\n"), "{output:?}");
        let good = format!("good-{}", bad.replace('/', "-"));
        sandbox.mkdir(&good);
        let output = log(&sandbox, &[bad, &good], "line\n");
        assert_eq!(output.code, Some(0), "{bad}: {output:?}");
        assert!(output.stderr.starts_with("svlogd: warning: ") && output.stderr.contains(bad), "{output:?}");
        assert_eq!(current(&sandbox, &good), b"line\n");
    }
    drop(holder);
}

/// "a config that is unreadable": a warning that names the directory, and the defaults.
fn unreadable_config(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let bin = sandbox.copy_programs("copies");
    let dir = sandbox.mkdir("log");
    set_permissions(&dir, Permissions::from_mode(0o777)).unwrap();
    let config = sandbox.write("log/config", "-*\n");
    set_permissions(config, Permissions::from_mode(0o000)).unwrap();
    let input = sandbox.write("input", "line\n");
    let mut command = sandbox.command("chpst");
    command.args(["-u", "nobody"]).arg(bin.join("svlogd")).arg("log").stdin(File::open(input).unwrap());
    let output = sandbox.finish(&mut command);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.starts_with("svlogd: warning: unable to read config: log"), "{output:?}");
    assert_eq!(current(&sandbox, "log"), b"line\n");
}

/// "has CRLF": a number ends where its digits do; a pattern has the carriage return for its last character, so it
/// matches no line without.
fn config_with_carriage_returns(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "s4096\r\nn3\r\n-hidden\r\n");
    let output = log(&sandbox, &["log"], "hidden\nhidden\r\nseen\n");
    assert_eq!(output.code, Some(0), "{output:?}");
    // The unprintable carriage return of the input is data as any.
    assert_eq!(current(&sandbox, "log"), b"hidden\nseen\n");
}

/// "absurd numbers", each on its own and with no last newline.
fn config_with_absurd_numbers(subject: &Subject) {
    for (count, line) in [
        "s99999999999999999999999999",
        "s18446744073709551615",
        "s18014398509481984k",
        "s17592186044416m",
        "s-5",
        "s1\nn0",
        "n99999999999999999999999",
        "n18446744073709551615",
        "n-1",
        "N99999999999999999999999",
        "N18446744073709551615",
        "t18446744073709551615",
        "t9999999999999999999999",
        "t307445734561825861m",
        "t5124095576030431h",
        "t-1",
        "t9223372036",
        "t4294967296",
        "u1.2.3.4:99999",
        "u999.1.1.1",
        "U0.0.0.0:0",
    ]
    .into_iter()
    .enumerate()
    {
        let sandbox = Sandbox::new(subject);
        sandbox.mkdir("log");
        sandbox.write("log/config", line);
        let output = log(&sandbox, &["-l", "20", "-b", "40", "log"], "first line\nsecond line\nthird line\n");
        assert_eq!(output.code, Some(0), "{count}: {line}: {output:?}");
        if line.starts_with('U') {
            continue;
        }
        let mut files: Vec<_> =
            fs::read_dir(sandbox.join("log")).unwrap().map(|e| e.unwrap().path()).collect();
        files.retain(|path| !path.ends_with("lock") && !path.ends_with("config"));
        files.sort();
        let text: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        assert_eq!(text, "first line\nsecond line\nthird line\n", "{line}: {output:?}");
    }
}

/// Garbage in the config selects no line away unless it says so.
fn config_that_is_binary(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    let config: Vec<u8> =
        (0..=255_u8).cycle().take(20_000).filter(|byte| !b"-+eEsnNtuU!p".contains(byte)).collect();
    sandbox.write("log/config", &config);
    let output = log(&sandbox, &["log"], "line\n");
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(current(&sandbox, "log"), b"line\n");
}

/// "binary garbage": every byte value, with and without stamps' worth of lines.
fn garbage_passes_unchanged(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "s0\n");
    // A cheap generator: the bytes only have to be odd.
    let mut state = 7_u32;
    let mut bytes: Vec<u8> = Vec::new();
    bytes.resize_with(400_000, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[3]
    });
    bytes.push(b'\n');
    let output = log(&sandbox, &["log"], &bytes);
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert!(current(&sandbox, "log") == bytes, "the garbage is changed");
}

/// "a 10 MB line without newline", stamped, replaced, selected, and cut on standard error; then the next line.
fn long_line_through_everything(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "s0\n-*\n+long*\n+short\nelong*\n");
    let mut input = b"dropped\nlong".to_vec();
    input.resize(10_000_000, b'\x01');
    let output = log(&sandbox, &["-r", "_", "log"], &input);
    assert_eq!(output.code, Some(0));
    // As with runit, replaced is what is matched: the first `len` characters.
    let mut expected = b"long".to_vec();
    expected.resize(1000, b'_');
    expected.resize(10_000_000 - 8, b'\x01');
    expected.push(b'\n');
    assert!(current(&sandbox, "log") == expected, "the long line, with the newline it lacked");
    assert_eq!(output.stderr, format!("long{}...\n", "_".repeat(996)));
}

/// "no input at all": at its end at once, closed, a directory.
fn no_input_at_all(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for (count, input) in ["</dev/null", "<&-", "<."].into_iter().enumerate() {
        let dir = format!("log{count}");
        sandbox.mkdir(&dir);
        let output = sandbox.run("sh", &["-c", &format!("exec svlogd {dir} {input}")]);
        assert_eq!(output.code, Some(0), "{input}: {output:?}");
        assert_eq!(current(&sandbox, &dir), b"");
        // Input that cannot be read is said.
        assert_eq!(
            output.stderr.contains("unable to read standard input: "),
            count > 0,
            "{input}: {output:?}"
        );
    }
}
