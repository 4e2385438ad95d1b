//! svlogd's lines about time and space, from outside.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

fn log(dir: &Path, config: &str, input: &str) {
    fs::write(dir.join("config"), config).unwrap();
    fs::write(dir.join("input"), input).unwrap();
    let input = File::open(dir.join("input")).unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_svlogd")).arg(dir).stdin(input).status().unwrap();
    assert!(status.success());
}

fn old_files(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with('@')).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_day_that_ended_while_no_svlogd_ran_is_rotated_and_after_files_of_the_future() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let future = "@4fffffff0000000000000001.s";
    fs::write(dir.join(future), "future\n").unwrap();
    log(dir, "mode 0640\nfsync 0\n", "one\n");
    let current = dir.join("current");
    assert_eq!(mode(&current), 0o740);
    let two_days_ago = SystemTime::now() - Duration::from_secs(2 * 86_400);
    let times = FileTimes::new().set_modified(two_days_ago);
    File::options().append(true).open(&current).unwrap().set_times(times).unwrap();
    log(dir, "mode 0640\nrotate daily\n", "two\n");
    assert_eq!(old_files(dir), [future, "@4fffffff0000000000000002.s"]);
    let rotated = dir.join("@4fffffff0000000000000002.s");
    assert_eq!((fs::read(&rotated).unwrap(), mode(&rotated)), (b"one\n".to_vec(), 0o640));
    assert_eq!(fs::read(&current).unwrap(), b"two\n");
}

#[test]
fn what_is_too_old_or_too_much_goes_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for name in ["@400000000000000000000001.s", "@4fffffff0000000000000001.s", "@4fffffff0000000000000002.s"]
    {
        fs::write(dir.join(name), "0123456789").unwrap();
    }
    log(dir, "n1\n", "");
    assert_eq!(old_files(dir).len(), 3, "n alone waits for a rotation");
    log(dir, "n0\nmax-age 30d\n", "");
    assert_eq!(old_files(dir), ["@4fffffff0000000000000001.s", "@4fffffff0000000000000002.s"]);
    log(dir, "n0\nmax-total 15\n", "");
    assert_eq!(old_files(dir), ["@4fffffff0000000000000002.s"]);
}
