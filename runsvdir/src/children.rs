//! All children of this process, whoever started them.

use std::fs;

use nix::sys::signal::kill;
use nix::unistd::{Pid, getpid};
use svlib::sys::process;
use svlib::sys::signal::{self, Signal};

/// Every process that may get a signal from here: for the first process, its whole namespace without itself (kill(2)).
const EVERYBODY: Pid = Pid::from_raw(-1);

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
    let mut pids = process::children();
    if pids.is_empty() {
        // The kernel may not list them.
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids = numbers.map(Pid::from_raw).collect();
    }
    // /proc may be that of another namespace, with other numbers.
    pids.into_iter().filter(|pid| pid.as_raw() > 0 && process::is_child(*pid)).collect()
}

#[cfg(test)]
mod tests {
    use svlib::sys::process::Spawn;

    use super::*;

    #[test]
    fn a_child_is_found_until_it_is_reaped() {
        let pid = Spawn::new("sleep").search_path().arg("1000").spawn().unwrap();
        assert!(process::has_children() && all().contains(&pid));
        signal::send(pid, Signal::SIGKILL).unwrap();
        while process::reap_one(pid).is_none() {
            std::thread::yield_now();
        }
        assert!(!all().contains(&pid));
    }
}
