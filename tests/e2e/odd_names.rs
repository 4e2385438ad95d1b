//! "names with spaces, newlines and non-UTF-8 bytes everywhere a path can stand"

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use svkit_tests::{Case, SLEEP, Sandbox, Service, Subject, case, eventually};

pub(crate) const CASES: &[Case] = &[
    case!(runsv_and_sv),
    case!(runsvdir),
    case!(svlogd),
    case!(chpst_paths),
    case!(chpst_root).root(),
    case!(chpst_words_that_are_no_paths),
    case!(errors_name_them),
];

/// Files of these names exist in some sandbox: a space, a newline, bytes that are not UTF-8, a word for the shell.
const NAMES: [&[u8]; 5] = [b" a b ", b"line\nbreak", b"\xff\xfe\x80", b"$(exit 3)\"'*\\", b"\xc3"];

fn names() -> impl Iterator<Item = &'static OsStr> {
    NAMES.into_iter().map(OsStr::from_bytes)
}

/// The name as a diagnostic shows it: it stays one line.
fn shown(name: &OsStr) -> String {
    name.to_string_lossy().replace('\n', "\\x0a")
}

fn make(path: impl Into<PathBuf>) -> PathBuf {
    let path = path.into();
    fs::create_dir_all(&path).unwrap();
    path
}

/// Service directory, `supervise` target, services directory, name for sv.
fn runsv_and_sv(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for name in names() {
        let dir = sandbox.path().join("dirs").join(name).join(name);
        let mut service =
            sandbox.service_at(&dir).run(&format!("echo hello; {SLEEP}")).log("exec cat >>got").build();
        symlink(sandbox.path().join("supervise").join(name), service.join("supervise")).unwrap();
        sandbox.mkdir("supervise");
        let mut runsv = sandbox.start(sandbox.command("runsv").arg(&dir));
        service.wait_run();
        service.log().wait_text("got", "hello\n");
        for (svdir, word) in [(dir.parent().unwrap(), name.to_owned()), (Path::new("/"), dir.clone().into())]
        {
            let mut command = sandbox.command("sv");
            let output = sandbox.finish(command.env("SVDIR", svdir).args(["-w", "15", "restart"]).arg(&word));
            assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{name:?}: {output:?}");
            let expected = format!("ok: run: {}: (pid ", word.to_string_lossy());
            assert!(output.stdout.starts_with(&expected), "{output:?}");
        }
        // LSB mode: the name of the program is the service.
        symlink(sandbox.join("bin/sv"), sandbox.join("bin").join(name)).unwrap();
        let mut command = sandbox.command(sandbox.join("bin").join(name));
        let output = sandbox.finish(command.env("SVDIR", dir.parent().unwrap()).arg("status"));
        assert_eq!(output.code, Some(0), "{output:?}");
        service = Service::at(dir);
        service.command("x");
        assert_eq!(runsv.wait().code, Some(0));
    }
}

/// Services directory, through a link, with services and links of such names in it.
fn runsvdir(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let real = make(sandbox.path().join("real").join(OsStr::from_bytes(NAMES[2])));
    let link = sandbox.path().join(OsStr::from_bytes(NAMES[1]));
    symlink(&real, &link).unwrap();
    let mut services = Vec::new();
    for name in names() {
        services.push(sandbox.service_at(real.join(name)).run(SLEEP).build());
        let elsewhere = sandbox.service_at(sandbox.path().join("elsewhere").join(name)).run(SLEEP).build();
        let mut linked = name.to_owned();
        linked.push("-link");
        symlink(elsewhere.dir(), real.join(linked)).unwrap();
        services.push(elsewhere);
    }
    let mut runsvdir = sandbox.start(sandbox.command("runsvdir").arg("-P").arg(&link));
    for service in &services {
        service.wait_run();
    }
    let late = sandbox.service_at("late").run(SLEEP).build();
    let name = real.join(OsStr::from_bytes(b"\xfe late\n"));
    fs::rename(late.dir(), &name).unwrap();
    Service::at(name).wait_run();
    runsvdir.signal(Signal::SIGHUP);
    let output = runsvdir.wait();
    assert_eq!((output.code, output.stderr.as_str()), (Some(111), ""));
    eventually("all end", || (!services.iter().any(Service::is_ok)).then_some(()));
}

/// Log directory, and what its processor sees.
fn svlogd(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let input = sandbox.write("input", "line one\nline two\nline three\n");
    for name in names() {
        let dir = make(sandbox.path().join("logs").join(name));
        fs::write(dir.join("config"), "s20\nn0\n!cat; pwd >../../pwd; echo state >&5\n").unwrap();
        let mut command = sandbox.command("svlogd");
        command.args(["-l", "10", "-b", "20"]).arg(&dir).stdin(File::open(&input).unwrap());
        let output = sandbox.finish(&mut command);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{name:?}");
        let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| {
            let name = path.file_name().unwrap();
            name == "current" || name.as_bytes().starts_with(b"@")
        });
        files.sort();
        let text: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        assert_eq!(text, "line one\nline two\nline three\n");
        let mut pwd = dir.canonicalize().unwrap().into_os_string();
        pwd.push("\n");
        assert_eq!(OsString::from_vec(fs::read(sandbox.join("pwd")).unwrap()), pwd);
    }
}

/// `-e`, `-l`, `-L`, `-C`, the program, its arguments, `-b`, and a PATH with such a directory.
fn chpst_paths(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for name in names() {
        let home = make(sandbox.path().join("homes").join(name));
        fs::write(make(home.join(name).join("env")).join("GREETING"), "hello\n").unwrap();
        let program = home.join(name).join("program");
        svkit_tests::write_script(&program, "printf '%s|' \"$GREETING\" \"$@\"; pwd -P");
        let mut expected = OsString::from("hello|");
        expected.push(name);
        expected.push("|");
        expected.push(home.canonicalize().unwrap());
        expected.push("\n");
        for (lock, by_path) in [("-l", false), ("-L", true)] {
            let mut command = sandbox.command("chpst");
            let mut path = home.join(name).into_os_string();
            path.push(":/usr/bin:/bin");
            command.env("PATH", path).arg("-e").arg(home.join(name).join("env")).arg("-C").arg(&home);
            command.arg(lock).arg(sandbox.path().join("homes").join(name).join("lock"));
            command.arg(if by_path { OsStr::new("program") } else { program.as_os_str() }).arg(name);
            let output = sandbox.finish(&mut command);
            assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{name:?}");
            assert_eq!(output.stdout, expected.to_string_lossy());
        }
        assert!(home.join("lock").exists());
        // A variable of such a name and value.
        fs::write(home.join(name).join("env").join(name), [name.as_bytes(), b"\nmore"].concat()).unwrap();
        let mut command = sandbox.command("chpst");
        command
            .arg("-e")
            .arg(home.join(name).join("env"))
            .arg("-b")
            .arg(name)
            .args(["cat", "/proc/self/cmdline"]);
        command.arg("/proc/self/environ");
        let output = sandbox.finish(&mut command);
        assert_eq!(output.code, Some(0), "{output:?}");
        let first_line = name.as_bytes().split(|byte| *byte == b'\n').next().unwrap();
        let value = first_line.trim_ascii_end();
        let variable = [name.as_bytes(), b"=", value, b"\0"].concat();
        assert!(output.stdout.contains(&*String::from_utf8_lossy(&variable)), "{output:?}");
        assert!(output.stdout.starts_with(&*name.to_string_lossy()), "{output:?}");
    }
}

/// `-/`
fn chpst_root(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for name in names() {
        let root = make(sandbox.path().join("roots").join(name));
        let output = sandbox.finish(sandbox.command("chpst").arg("-/").arg(&root).arg("/nonexistent"));
        assert_eq!(output.code, Some(111));
        assert!(output.stderr.contains("/nonexistent"), "the root was changed: {output:?}");
    }
}

/// Users and numbers of such names are unknown, and wrong.
fn chpst_words_that_are_no_paths(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for name in names() {
        for option in ["-u", "-U"] {
            let output =
                sandbox.finish(sandbox.command("chpst").arg(option).arg(name).args(["echo", "started"]));
            assert_eq!((output.code, output.stdout.as_str()), (Some(111), ""), "{output:?}");
            let expected = format!("chpst: fatal: unknown user/group: {}", shown(name));
            assert!(output.stderr.starts_with(&expected), "{output:?}");
        }
        for option in ["-m", "-o", "-n"] {
            let output =
                sandbox.finish(sandbox.command("chpst").arg(option).arg(name).args(["echo", "started"]));
            assert_eq!((output.code, output.stdout.as_str()), (Some(100), ""), "{option}: {output:?}");
        }
    }
}

/// All five, where there is nothing of that name: the documented code, and the name in the message.
fn errors_name_them(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.write("file", "");
    for name in names() {
        let mut beneath = OsString::from("file/");
        beneath.push(name);
        let run = |program: &str, arguments: &[&str], name: &OsStr| {
            sandbox.finish(sandbox.command(program).args(arguments).arg(name))
        };
        let failing = [
            ("runsv", run("runsv", &[], name), 111),
            ("runsvdir", run("runsvdir", &[], &beneath), 100),
            ("svlogd", run("svlogd", &[], name), 111),
            ("chpst -C", sandbox.finish(sandbox.command("chpst").arg("-C").arg(name).arg("true")), 111),
            ("chpst -e", sandbox.finish(sandbox.command("chpst").arg("-e").arg(name).arg("true")), 111),
            ("chpst -l", sandbox.finish(sandbox.command("chpst").arg("-l").arg(&beneath).arg("true")), 111),
            ("chpst", run("chpst", &[], name), 111),
        ];
        for (what, output, code) in failing {
            assert_eq!((output.code, output.stdout.as_str()), (Some(code), ""), "{what}: {output:?}");
            assert!(output.stderr.contains(&shown(name)), "{what}: {output:?}");
        }
        let output = run("sv", &["status"], name);
        let expected = format!(
            "fail: {}: unable to change to service directory: file does not exist\n",
            name.to_string_lossy()
        );
        assert_eq!((output.code, output.stdout), (Some(1), expected));
    }
}
