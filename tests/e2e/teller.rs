//! A service that says how it is to `NOTIFY_SOCKET` (sd_notify(3)): this test binary, started with [`ARGUMENT`] and steps.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{ExitCode, id};
use std::thread::{park, sleep};
use std::time::Duration;

const ARGUMENT: &str = "--teller";
/// How often it says that it is alive, and looks for a file.
const PACE: Duration = Duration::from_millis(20);

/// A shell command for `steps`: `send TEXT`, `await FILE`, `ping FILE` (says that it is alive until the file is there),
/// `write FILE` (its process id), `hold` (lives on).
pub(crate) fn command(steps: &[&str]) -> String {
    let program = env::current_exe().unwrap();
    let quoted = steps.iter().map(|step| format!(" '{step}'")).collect::<String>();
    format!("'{}' {ARGUMENT}{quoted}", program.display())
}

/// Sends one datagram to the abstract socket `name`.
pub(crate) fn send(name: &str, text: &str) {
    let address = SocketAddr::from_abstract_name(name).unwrap();
    UnixDatagram::unbound().unwrap().send_to_addr(text.as_bytes(), &address).unwrap();
}

/// Takes the steps, if this process was started for that.
pub(crate) fn run() -> Option<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(ARGUMENT)) {
        return None;
    }
    let socket = env::var("NOTIFY_SOCKET").unwrap();
    let name = socket.strip_prefix('@').unwrap();
    for step in arguments {
        let step = step.into_string().unwrap();
        match step.split_once(' ').unwrap_or((&step, "")) {
            ("send", text) => send(name, text),
            ("await", file) => {
                while !Path::new(file).exists() {
                    sleep(PACE);
                }
            }
            ("ping", file) => {
                while !Path::new(file).exists() {
                    send(name, "WATCHDOG=1");
                    sleep(PACE);
                }
            }
            ("write", file) => fs::write(file, id().to_string()).unwrap(),
            ("hold", _) => loop {
                park();
            },
            _ => panic!("no such step: {step}"),
        }
    }
    Some(ExitCode::SUCCESS)
}
