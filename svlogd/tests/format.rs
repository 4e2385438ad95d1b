//! `format`, `clean` and `limit` lines, from outside.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What is in `current` after `input`, with these lines in the config of a service named web.
fn log(config: &str, options: &[&str], input: &[u8]) -> String {
    let sandbox = tempfile::tempdir().unwrap();
    let service = sandbox.path().join("web/log");
    fs::create_dir_all(service.join("main")).unwrap();
    fs::write(service.join("main/config"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_svlogd"));
    command.args(options).arg("main").current_dir(&service).env("TZ", "XXX-5:30").stdin(Stdio::piped());
    let mut svlogd = command.spawn().unwrap();
    svlogd.stdin.take().unwrap().write_all(input).unwrap();
    assert!(svlogd.wait().unwrap().success());
    String::from_utf8_lossy(&fs::read(service.join("main/current")).unwrap()).into_owned()
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_config_overrides_the_command_line() {
    assert_eq!(log("format none\n", &["-ttt"], b"one\n"), "one\n");
    let text = log("format rfc3339-local ms\np> \n", &["-t"], b"one\n");
    assert_eq!((text.len(), &text[23..]), ("2005-12-18T09:13:50.976+05:30 > one\n".len(), "+05:30 > one\n"));
    let text = log("format rfc3339 ns\n", &[], b"one\n");
    assert_eq!(&text[29..], "Z one\n");
    assert_eq!(log("format tai64n\n", &[], b"one\n").find(" one\n"), Some(25));
}

#[test]
fn json_is_valid_whatever_the_bytes() {
    let every: Vec<u8> = (0..=255).filter(|&byte| byte != b'\n').collect();
    let long = "日本 ".repeat(200);
    let text = log(
        "format json\np[\n",
        &["-tt", "-l", "300"],
        &[&every[..], b"\n", long.as_bytes(), b"\nend"].concat(),
    );
    let objects = objects(&text);
    assert!(objects.iter().all(|object| object["service"] == "web" && object["time"].is_string()));
    assert!(objects[0]["message_base64"].is_string());
    let count = objects.len();
    let message: String =
        objects[1..count - 1].iter().map(|object| object["message"].as_str().unwrap()).collect();
    assert_eq!((message, count > 4), (format!("[{long}"), true));
    assert_eq!(
        (&objects[count - 1]["message"], &objects[count - 2]["part"]),
        (&"[end".into(), &(count - 2).into())
    );
}

#[test]
fn no_object_is_torn_by_rotation() {
    let line = format!("{}\n", "\u{1}".repeat(200));
    let text = log("format json\ns700\nn0\n", &["-l", "300", "-b", "400"], line.repeat(20).as_bytes());
    assert!(objects(&text).iter().all(|object| object["message"].as_str().unwrap().len() == 200));
}

#[test]
fn terminal_escapes_are_cleaned() {
    let text = log("clean replace\n", &[], "\x1b[31m日本\u{9b}\n".as_bytes());
    assert_eq!(text, "�[31m日本�\n");
    let text = log("clean escape\nformat json\n", &[], b"\x1b[31m \xff\n");
    assert_eq!(objects(&text)[0]["message"], "\\x1b[31m \\xff");
}

#[test]
fn what_is_suppressed_is_counted() {
    let text =
        log("limit 1/s burst 3\n-drop*\n", &[], &[b"drop me\n".repeat(5), b"line\n".repeat(10)].concat());
    let passed = text.lines().filter(|&line| line == "line").count();
    let told = text.lines().filter_map(|line| line.strip_suffix(" lines suppressed")?.parse::<usize>().ok());
    assert_eq!((passed >= 3, passed + told.sum::<usize>()), (true, 10), "{text}");
}
