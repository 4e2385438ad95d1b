//! Which runsv to start and which to end: pure, told of scans, exits and the time.
//!
//! ```text
//!                      present            start succeeded
//!   (unknown) ───────────────→ Waiting ────────────────────→ Running
//!                               │   ↑        exited            │
//!                      vanished │   └──────────────────────────┤ vanished: TERM
//!                               ↓        exited, is back       ↓
//!                          (unknown) ←──────────────────── Leaving
//!                                        exited
//! ```
//!
//! A service is a directory's [`Identity`], not its name. One whose runsv was told to leave and that is back
//! before that runsv has gone waits for it, so there never are two for one directory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use nix::unistd::Pid;

/// The least time between two starts of one service's runsv, and the pause after a start that failed.
pub const PACE: Duration = Duration::from_secs(1);

/// What makes a service directory the same one under any name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The file system (`st_dev`).
    pub device: u64,
    /// The directory on it (`st_ino`).
    pub inode: u64,
}

/// What one look at the services directory showed.
#[derive(Clone, Debug, Default)]
pub struct Sighting {
    /// Every service directory seen, in the order of the directory, with the name it has there.
    pub services: Vec<(Identity, OsString)>,
    /// Names of which it is not known whether they lead to a service directory.
    pub uncertain: BTreeSet<OsString>,
    /// The look reached the end of the directory: what it did not show is not there.
    pub whole: bool,
}

/// All services known, with what their runsv does.
#[derive(Debug, Default)]
pub struct Plan {
    services: BTreeMap<Identity, Service>,
    pids: HashMap<Pid, Identity>,
    /// The services that are [`Process::Waiting`], the next one first.
    queue: BTreeSet<(Duration, Identity)>,
    /// No runsv is started before this moment: the last try failed.
    held_until: Duration,
    looks: u64,
}

#[derive(Debug)]
struct Service {
    name: OsString,
    /// The number of the last look that showed it.
    seen: u64,
    process: Process,
}

#[derive(Debug)]
enum Process {
    Waiting { start_at: Duration },
    Running { pid: Pid, since: Duration },
    Leaving { is_back: bool },
}

impl Plan {
    /// Takes in what a look at the directory showed; the answer is every runsv to send TERM, once each.
    #[must_use]
    pub fn observe(&mut self, sighting: Sighting, now: Duration) -> Vec<Pid> {
        self.looks += 1;
        for (identity, name) in sighting.services {
            self.see(identity, name, now);
        }
        if !sighting.whole {
            return Vec::new();
        }
        let (looks, queue, mut terminate) = (self.looks, &mut self.queue, Vec::new());
        self.services.retain(|identity, service| {
            if service.seen == looks || sighting.uncertain.contains(&service.name) {
                return true;
            }
            match &mut service.process {
                Process::Waiting { start_at } => {
                    queue.remove(&(*start_at, *identity));
                    return false;
                }
                Process::Running { pid, .. } => {
                    terminate.push(*pid);
                    service.process = Process::Leaving { is_back: false };
                }
                Process::Leaving { is_back } => *is_back = false,
            }
            true
        });
        terminate
    }

    /// Starts at most `limit` runsvs that are due, by calling `start` with the name of each service.
    ///
    /// # Errors
    ///
    /// The first error of `start`. It is taken as the system's, not the service's: no other one is tried for a
    /// [`PACE`], so that thousands of services make one complaint and not thousands.
    pub fn start_due<E>(
        &mut self,
        now: Duration,
        limit: usize,
        mut start: impl FnMut(&OsStr) -> Result<Pid, E>,
    ) -> Result<(), E> {
        if now < self.held_until {
            return Ok(());
        }
        for _ in 0..limit {
            let Some(&(start_at, identity)) = self.queue.first() else { break };
            let Some(service) = self.services.get_mut(&identity) else { break };
            if start_at > now {
                break;
            }
            let pid = start(&service.name).inspect_err(|_| self.held_until = now + PACE)?;
            service.process = Process::Running { pid, since: now };
            self.pids.insert(pid, identity);
            self.queue.pop_first();
        }
        Ok(())
    }

    /// Takes in that a child was reaped. False if it is none of the runsvs started here.
    pub fn exited(&mut self, pid: Pid, now: Duration) -> bool {
        let Some(identity) = self.pids.remove(&pid) else { return false };
        let Some(service) = self.services.get_mut(&identity) else { return true };
        let start_at = match service.process {
            Process::Running { since, .. } => now.max(since + PACE),
            Process::Leaving { is_back: true } | Process::Waiting { .. } => now,
            Process::Leaving { is_back: false } => {
                self.services.remove(&identity);
                return true;
            }
        };
        service.process = Process::Waiting { start_at };
        self.queue.insert((start_at, identity));
        true
    }

    /// When [`Plan::start_due`] has something to do next, if ever.
    #[must_use]
    pub fn next_start(&self) -> Option<Duration> {
        self.queue.first().map(|(start_at, _)| (*start_at).max(self.held_until))
    }

    /// The runsvs of all services that are present: not those already sent TERM.
    pub fn running(&self) -> impl Iterator<Item = Pid> {
        self.services.values().filter_map(|service| match service.process {
            Process::Running { pid, .. } => Some(pid),
            Process::Waiting { .. } | Process::Leaving { .. } => None,
        })
    }

    fn see(&mut self, identity: Identity, name: OsString, now: Duration) {
        if let Some(service) = self.services.get_mut(&identity) {
            // A second name of the same directory changes nothing: the first one seen is the service's.
            if service.seen != self.looks {
                service.seen = self.looks;
                service.name = name;
            }
            if let Process::Leaving { is_back } = &mut service.process {
                *is_back = true;
            }
        } else {
            let process = Process::Waiting { start_at: now };
            self.services.insert(identity, Service { name, seen: self.looks, process });
            self.queue.insert((now, identity));
        }
    }
}

#[cfg(test)]
mod tests;
