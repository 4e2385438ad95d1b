//! What belongs to a `run`: its process group or control group, and what it leaves behind (`kill-mode`).

use std::fs;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use svlib::record::Tree;
use svlib::sys::pidfd::Pidfd;
use svlib::sys::process::{self, Stat};

use crate::cgroup::Cgroup;

/// How often a group is searched that grows while it is killed.
const ROUNDS: usize = 16;
/// How many processes are named in a message.
const NAMED: usize = 5;

/// Processes that `run` left behind.
#[derive(Debug, Default)]
pub struct Left {
    /// They belonged to its tree and were killed.
    pub killed: Vec<Pid>,
    /// They live on.
    pub alive: Vec<Pid>,
}

/// Sends `signal` to all of the tree of `run`, which has not been reaped.
///
/// # Errors
/// What kill(2) reports.
pub fn signal(tree: Tree, run: Pid, cgroup: Option<&Cgroup>, signal: Signal) -> nix::Result<()> {
    match (tree, cgroup) {
        (Tree::Process, _) => kill(run, signal),
        (Tree::Cgroup, Some(cgroup)) => {
            cgroup.signal(signal);
            Ok(())
        }
        (Tree::Group | Tree::Cgroup, _) => kill(Pid::from_raw(-run.as_raw()), signal),
    }
}

/// `run` has ended: kills what is left of its tree, and finds what is left of it besides. `known` are children of ours that
/// it did not leave.
pub fn end(tree: Tree, run: Pid, cgroup: Option<&Cgroup>, known: &[Pid]) -> Left {
    let killed = match (tree, cgroup) {
        (Tree::Process, _) => Vec::new(),
        (Tree::Cgroup, Some(cgroup)) => {
            let members = cgroup.members();
            cgroup.signal(Signal::SIGKILL);
            members
        }
        (Tree::Group | Tree::Cgroup, _) => kill_group(run),
    };
    // We are the parent of all that it left behind: we are a subreaper where this is asked for.
    let children = process::children();
    let is_left = |pid: &Pid| !known.contains(pid) && !killed.contains(pid) && is_alive(*pid);
    let alive = children.into_iter().filter(is_left).collect();
    Left { killed, alive }
}

/// As `2 processes (41 sleep, 42 sh)`.
pub fn describe(pids: &[Pid]) -> String {
    let name = |pid: &Pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        format!("{pid} {}", name.trim_end()).trim_end().to_owned()
    };
    let mut names: Vec<String> = pids.iter().take(NAMED).map(name).collect();
    if pids.len() > NAMED {
        names.push("…".into());
    }
    let noun = if pids.len() == 1 { "process" } else { "processes" };
    format!("{} {noun} ({})", pids.len(), names.join(", "))
}

/// Kills the process group that `run`, which has been reaped, led. As long as one member lives, nobody else gets its number.
fn kill_group(run: Pid) -> Vec<Pid> {
    let mut killed = Vec::new();
    for _ in 0..ROUNDS {
        let is_there = kill(Pid::from_raw(-run.as_raw()), None) != Err(Errno::ESRCH);
        // A group that has a leader is another's.
        if !is_there || is_member(run, run) {
            break;
        }
        let others: Vec<_> = members(run).into_iter().filter(|pid| !killed.contains(pid)).collect();
        if others.is_empty() {
            break;
        }
        killed.extend(others.into_iter().filter(|pid| signal_member(*pid, run, Signal::SIGKILL)));
    }
    killed
}

/// Sends `signal` to the process group of a leader that is not our child: it may be reaped, and its number given away, at any
/// moment.
pub fn signal_foreign_group(leader: Pid, signal: Signal) {
    for pid in members(leader) {
        signal_member(pid, leader, signal);
    }
}

/// Sends `signal` to a process if it is in the group while it is held. Says whether it was sent.
fn signal_member(pid: Pid, group: Pid, signal: Signal) -> bool {
    Pidfd::open(pid).is_ok_and(|pidfd| is_member(pid, group) && pidfd.send(Some(signal)).is_ok())
}

/// All processes of the group that are no zombies.
fn members(group: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw);
    pids.filter(|pid| is_member(*pid, group)).collect()
}

/// Whether a process, and no zombie, is in the group and the session of that number: in a session that `run` began.
fn is_member(pid: Pid, group: Pid) -> bool {
    let belongs =
        |stat: Stat| stat.is_alive() && stat.group() == Some(group) && stat.session() == Some(group);
    Stat::of(pid).is_some_and(belongs)
}

/// Whether a process is there and no zombie: one that ended on a signal meant for all waits to be reaped by us.
fn is_alive(pid: Pid) -> bool {
    Stat::of(pid).is_some_and(|stat| stat.is_alive())
}

#[cfg(test)]
mod tests {
    use svlib::sys::process::{Spawn, reap_one};

    use super::*;

    #[test]
    fn what_is_left_of_a_group_is_killed() {
        let script = "sleep 1000 & sleep 1000 & exit 0";
        let run =
            Spawn::new("/bin/sh").arg("-c").arg(script).new_session().prepare().unwrap().release().unwrap();
        while reap_one(run).is_none() {
            std::thread::yield_now();
        }
        let killed = kill_group(run);
        assert_eq!(killed.len(), 2);
        assert!(describe(&killed).starts_with("2 processes ("));
        // It takes a moment until they are dead.
        while !kill_group(run).is_empty() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let run =
            Spawn::new("/bin/sh").arg("-c").arg("exec sleep 1000").prepare().unwrap().release().unwrap();
        assert!(is_alive(run));
        kill(run, Signal::SIGKILL).unwrap();
        while is_alive(run) {
            std::thread::yield_now();
        }
        while reap_one(run).is_none() {
            std::thread::yield_now();
        }
        assert!(!is_alive(run));
    }
}
