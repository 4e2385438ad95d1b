//! Which runsv to start and which to end: pure, told of scans, exits and the time.
//!
//! ```text
//!                      present            start succeeded
//!   (unknown) ───────────────→ Waiting ────────────────────→ Running
//!                             ↑ │   ↑        exited            │
//!     nobody of this name     │ │   └──────────────────────────┤
//!     leaves any more         │ │ vanished                     │ vanished: TERM
//!                       Behind│ ↓        exited, is back       ↓
//!                             (unknown) ←────────────────── Leaving
//!                                        exited
//! ```
//!
//! A service is a directory's [`Identity`], not its name. One whose runsv was told to leave and that is back
//! before that runsv has gone waits for it, so there never are two for one directory. Another directory under the name of
//! one whose runsv is leaving waits as well, *behind* it: it is the same service to whoever made it anew.
//!
//! Where a runsv is there that nobody of ours started and that cannot be taken over, no other is started beside it: the
//! service is *occupied*, and is looked at again and again until nobody is there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::mem;
use std::time::Duration;

/// The least time between two starts of one service's runsv, and the pause after a start that failed.
pub const PACE: Duration = Duration::from_secs(1);
/// The time between two looks at a service that is occupied for longer than a moment.
pub const OCCUPIED: Duration = Duration::from_secs(5);

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

/// What came of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A runsv of ours runs: it was started, or taken over.
    Running,
    /// Another runs, which is nothing of ours.
    Occupied,
}

/// What the runsv of a service does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Process {
    /// There is none; one is started at that moment.
    Waiting {
        /// When.
        start_at: Duration,
        /// How many looks in a row found another's there.
        occupied: u32,
    },
    /// There is none until that of another directory has gone, which had this one's name.
    Behind,
    /// It runs.
    Running {
        /// When it was started, or taken over.
        since: Duration,
    },
    /// It was sent TERM.
    Leaving {
        /// The directory is there again.
        is_back: bool,
        /// The name that it had.
        was: OsString,
    },
}

/// A service, as one runsvdir tells it to the next ([`Plan::entries`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its directory.
    pub identity: Identity,
    /// The name of that.
    pub name: OsString,
    /// What its runsv does.
    pub process: Process,
}

/// All services known, with what their runsv does.
#[derive(Debug, Default)]
pub struct Plan {
    services: BTreeMap<Identity, Service>,
    /// The services that are [`Process::Waiting`], the next one first.
    queue: BTreeSet<(Duration, Identity)>,
    /// The services that are [`Process::Leaving`], by the names they had.
    leaving: Names,
    /// The services that are [`Process::Behind`].
    behind: Names,
    /// Names of services that have just been found to be occupied for longer than a moment.
    complaints: Vec<OsString>,
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

impl Plan {
    /// The plan of a runsvdir that knew these services. No look has shown any of them yet.
    #[must_use]
    pub fn resume(entries: Vec<Entry>) -> Self {
        let mut plan = Self::default();
        for Entry { identity, name, process } in entries {
            match &process {
                Process::Waiting { start_at, .. } => drop(plan.queue.insert((*start_at, identity))),
                Process::Behind => plan.behind.insert(&name, identity),
                Process::Running { .. } => {}
                Process::Leaving { was, .. } => plan.leaving.insert(was, identity),
            }
            plan.services.insert(identity, Service { name, seen: 0, process });
        }
        plan
    }

    /// All services known.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.services.iter().map(|(identity, Service { name, process, .. })| Entry {
            identity: *identity,
            name: name.clone(),
            process: process.clone(),
        })
    }

    /// Takes in what a look at the directory showed; the answer is every runsv to send TERM, once each time that its
    /// directory vanishes.
    #[must_use]
    pub fn observe(&mut self, sighting: Sighting, now: Duration) -> Vec<Identity> {
        self.looks += 1;
        for (identity, name) in sighting.services {
            self.see(identity, name, now);
        }
        if !sighting.whole {
            return Vec::new();
        }
        let gone =
            |service: &Service| service.seen != self.looks && !sighting.uncertain.contains(&service.name);
        let gone = self.services.iter().filter(|(_, service)| gone(service)).map(|(identity, _)| *identity);
        let mut terminate = Vec::new();
        for identity in gone.collect::<Vec<_>>() {
            let Some(service) = self.services.get_mut(&identity) else { continue };
            match &mut service.process {
                Process::Waiting { start_at, .. } => {
                    self.queue.remove(&(*start_at, identity));
                    self.services.remove(&identity);
                }
                Process::Behind => {
                    self.behind.remove(&service.name, identity);
                    self.services.remove(&identity);
                }
                Process::Running { .. } => {
                    terminate.push(identity);
                    self.leaving.insert(&service.name, identity);
                    service.process = Process::Leaving { is_back: false, was: service.name.clone() };
                }
                // It may have been told to stay meanwhile, as runsv(8) says of `u`.
                Process::Leaving { is_back, .. } => {
                    if mem::replace(is_back, false) {
                        terminate.push(identity);
                    }
                }
            }
        }
        terminate
    }

    /// Starts at most `limit` runsvs that are due, by calling `start` with each service and its name.
    ///
    /// # Errors
    ///
    /// The first error of `start`. It is taken as the system's, not the service's: no other one is tried for a
    /// [`PACE`], so that thousands of services make one complaint and not thousands.
    pub fn start_due<E>(
        &mut self,
        now: Duration,
        limit: usize,
        mut start: impl FnMut(Identity, &OsStr) -> Result<Outcome, E>,
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
            if self.leaving.of(&service.name).next().is_some() {
                service.process = Process::Behind;
                self.behind.insert(&service.name, identity);
                self.queue.pop_first();
                continue;
            }
            match start(identity, &service.name).inspect_err(|_| self.held_until = now + PACE)? {
                Outcome::Running => {
                    service.process = Process::Running { since: now };
                    self.queue.pop_first();
                }
                Outcome::Occupied => self.occupied(identity, now),
            }
        }
        Ok(())
    }

    /// Takes in that the runsv of a service has ended.
    pub fn exited(&mut self, identity: Identity, now: Duration) {
        let Some(service) = self.services.get_mut(&identity) else { return };
        match &service.process {
            Process::Running { since } => {
                let start_at = now.max(*since + PACE);
                self.wait(identity, start_at);
            }
            Process::Leaving { is_back, was } => {
                let (is_back, was) = (*is_back, was.clone());
                self.leaving.remove(&was, identity);
                if is_back {
                    self.wait(identity, now);
                } else {
                    self.services.remove(&identity);
                }
                for next in self.behind.take(&was) {
                    self.wait(next, now);
                }
            }
            Process::Waiting { .. } | Process::Behind => {}
        }
    }

    /// When [`Plan::start_due`] has something to do next, if ever.
    #[must_use]
    pub fn next_start(&self) -> Option<Duration> {
        self.queue.first().map(|(start_at, _)| (*start_at).max(self.held_until))
    }

    /// The services that are present and have a runsv.
    pub fn running(&self) -> impl Iterator<Item = Identity> {
        let running = |service: &Service| {
            matches!(service.process, Process::Running { .. } | Process::Leaving { is_back: true, .. })
        };
        self.services.iter().filter(move |(_, service)| running(service)).map(|(identity, _)| *identity)
    }

    /// The services whose runsv was sent TERM and has not ended, with the names they had.
    pub fn leaving(&self) -> impl Iterator<Item = (Identity, &OsStr)> {
        self.leaving.0.iter().map(|(name, identity)| (*identity, name.as_os_str()))
    }

    /// Whether anything is known of a service.
    #[must_use]
    pub fn knows(&self, identity: Identity) -> bool {
        self.services.contains_key(&identity)
    }

    /// The names of services that have turned out to be occupied; each is told once.
    pub fn complaints(&mut self) -> Vec<OsString> {
        mem::take(&mut self.complaints)
    }

    fn see(&mut self, identity: Identity, name: OsString, now: Duration) {
        let Some(service) = self.services.get_mut(&identity) else {
            let process = Process::Behind;
            self.services.insert(identity, Service { name, seen: self.looks, process });
            self.wait(identity, now);
            return;
        };
        if let Process::Leaving { is_back, .. } = &mut service.process {
            *is_back = true;
        }
        // A second name of the same directory changes nothing: the first one seen is the service's.
        if service.seen != self.looks {
            service.seen = self.looks;
            let before = mem::replace(&mut service.name, name);
            if service.process == Process::Behind && service.name != before {
                self.behind.remove(&before, identity);
                self.wait(identity, now);
            }
        }
    }

    /// Has the runsv of a service started at `start_at`.
    fn wait(&mut self, identity: Identity, start_at: Duration) {
        if let Some(service) = self.services.get_mut(&identity) {
            service.process = Process::Waiting { start_at, occupied: 0 };
            self.queue.insert((start_at, identity));
        }
    }

    /// Another's runsv is there. It may just be about to end, or to say who it is: so nothing is said the first time.
    fn occupied(&mut self, identity: Identity, now: Duration) {
        let Some(service) = self.services.get_mut(&identity) else { return };
        let Process::Waiting { start_at, occupied } = &mut service.process else { return };
        self.queue.remove(&(*start_at, identity));
        *occupied = occupied.saturating_add(1);
        *start_at = now + if *occupied == 1 { PACE } else { OCCUPIED };
        self.queue.insert((*start_at, identity));
        if *occupied == 2 {
            self.complaints.push(service.name.clone());
        }
    }
}

/// Services by name; a name may be that of several.
#[derive(Debug, Default)]
struct Names(BTreeSet<(OsString, Identity)>);

impl Names {
    fn insert(&mut self, name: &OsStr, identity: Identity) {
        self.0.insert((name.to_owned(), identity));
    }

    fn remove(&mut self, name: &OsStr, identity: Identity) {
        self.0.remove(&(name.to_owned(), identity));
    }

    fn of(&self, name: &OsStr) -> impl Iterator<Item = Identity> {
        let first = (name.to_owned(), Identity { device: 0, inode: 0 });
        self.0.range(first..).take_while(move |(other, _)| other == name).map(|(_, identity)| *identity)
    }

    fn take(&mut self, name: &OsStr) -> Vec<Identity> {
        let taken: Vec<Identity> = self.of(name).collect();
        for identity in &taken {
            self.remove(name, *identity);
        }
        taken
    }
}

#[cfg(test)]
mod tests;
