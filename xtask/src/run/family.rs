//! The processes below this one. Those whose parent ends become our children, so that none is lost.

use std::fs;

use anyhow::{Context, Result};
use nix::sys::prctl;
use nix::unistd::{Pid, getpid};
use svlib::sys::process;

/// Knows which children have ended.
pub(super) struct Family {
    ended: Vec<Pid>,
}

impl Family {
    /// From now on, orphans below this process become its children.
    pub(super) fn new() -> Result<Self> {
        prctl::set_child_subreaper(true).context("unable to adopt orphans")?;
        Ok(Self { ended: Vec::new() })
    }

    /// Collects the children that have ended.
    pub(super) fn reap(&mut self) {
        while let Some((pid, _)) = process::reap() {
            self.ended.push(pid);
        }
    }

    /// Whether `child` has not been seen to end.
    pub(super) fn has(&self, child: Pid) -> bool {
        !self.ended.contains(&child)
    }

    /// The children there are now.
    pub(super) fn children(&self) -> Vec<Pid> {
        let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.map(Pid::from_raw).filter(|&pid| parent(pid) == Some(getpid())).collect()
    }
}

/// The parent in /proc/PID/stat, proc(5): the second field after the name, which may hold anything.
fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let (_name, fields) = stat.rsplit_once(')')?;
    Some(Pid::from_raw(fields.split_whitespace().nth(1)?.parse().ok()?))
}
