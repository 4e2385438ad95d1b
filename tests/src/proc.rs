//! What proc(5) says of processes. All of it may be out of date at once: a test polls.

use std::fs::{self, read_dir};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Some fields of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcStat {
    /// `R`, `S`, `D`, `T` (stopped), `Z` (a zombie), …
    pub state: char,
    /// The parent's process id.
    pub parent: u32,
    /// The process group.
    pub group: u32,
    /// The session.
    pub session: u32,
    /// When it was started, in clock ticks since the boot.
    pub start: u64,
}

impl ProcStat {
    /// Of a process, while there is one.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may itself hold parentheses and blanks.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            start: fields.get(19)?.parse().ok()?,
        })
    }
}

/// The parent of a process that is there.
pub fn parent(pid: u32) -> u32 {
    existing(pid).parent
}

/// The session of a process that is there.
pub fn session(pid: u32) -> u32 {
    existing(pid).session
}

fn existing(pid: u32) -> ProcStat {
    ProcStat::of(pid).unwrap_or_else(|| panic!("there is no process {pid}"))
}

/// Every process there is, zombies too.
pub fn all_processes() -> Vec<u32> {
    let Ok(entries) = read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// How many descriptors a process has open.
pub fn descriptors(pid: u32) -> Option<usize> {
    Some(read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// How often a process has waited for something. One that waits gives up the processor once for each time it goes on:
/// without such a switch there was no system call that waits.
pub fn voluntary_switches(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

/// The process that has a file locked by flock(2), exclusively. To try the lock would be to take it for a moment.
pub fn lock_holder(path: &Path) -> Option<u32> {
    let file = fs::metadata(path).ok()?;
    let (major, minor) = (nix::libc::major(file.dev()), nix::libc::minor(file.dev()));
    let place = format!("{major:02x}:{minor:02x}:{}", file.ino());
    let look = || {
        fs::read_to_string("/proc/locks").ok()?.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            match fields[..] {
                [_, "FLOCK", _, "WRITE", pid, locked, ..] if locked == place => pid.parse().ok(),
                _ => None,
            }
        })
    };
    // The list is not read in one piece: while other locks come and go, one that stays may be passed over.
    (0..LOOKS).find_map(|_| look())
}

/// How often a list is read that changes meanwhile.
const LOOKS: usize = 8;
