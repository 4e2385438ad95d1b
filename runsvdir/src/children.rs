//! All children of this process, whoever started them.

use std::fs;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getpid};
use svlib::sys::process;
use svlib::sys::signal::{self, Signal};

/// Every process that may get a signal from here: for the first process, its whole namespace without itself (kill(2)).
const EVERYBODY: Pid = Pid::from_raw(-1);

/// Whether there is a child, ended or not.
#[must_use]
pub fn any() -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, flags) != Err(Errno::ECHILD)
}

/// Sends a signal to every child that can be found.
pub fn signal_all(signal: Signal) {
    let children = all();
    if children.is_empty() && getpid().as_raw() == 1 {
        // Without proc(5) they cannot be told.
        let _ = kill(EVERYBODY, signal);
    }
    for pid in children {
        // It has not been reaped, so its number is its own.
        let _ = signal::send(pid, signal);
    }
}

fn all() -> Vec<Pid> {
    // A child is listed with the thread that started it (proc(5)); orphans come to the first one.
    let threads = names("/proc/self/task").map(|thread| format!("/proc/self/task/{thread}/children"));
    let listed: Option<Vec<String>> = threads.map(|path| fs::read_to_string(path).ok()).collect();
    let pids: Vec<i32> = match listed {
        Some(lists) if !lists.is_empty() => lists
            .iter()
            .flat_map(|list| list.split_ascii_whitespace())
            .filter_map(|pid| pid.parse().ok())
            .collect(),
        // The kernel does not list them (before Linux 3.5, or without CONFIG_PROC_CHILDREN).
        _ => names("/proc").collect(),
    };
    // /proc may be that of another namespace, with other numbers.
    pids.into_iter().filter(|pid| *pid > 0).map(Pid::from_raw).filter(|pid| process::is_child(*pid)).collect()
}

/// The names in a directory that are numbers.
fn names(directory: &str) -> impl Iterator<Item = i32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use svlib::sys::process::Spawn;

    use super::*;

    #[test]
    fn a_child_is_found_until_it_is_reaped() {
        let pid = Spawn::new("sleep").search_path().arg("1000").spawn().unwrap();
        assert!(any() && all().contains(&pid));
        signal::send(pid, Signal::SIGKILL).unwrap();
        while process::reap_one(pid).is_none() {
            std::thread::yield_now();
        }
        assert!(!all().contains(&pid));
    }
}
