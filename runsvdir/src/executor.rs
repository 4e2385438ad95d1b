//! Performs what the plan decides, and holds the runsvs: children of this process, and those that were found running.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::mem;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use nix::unistd::Pid;
use svlib::exit_status::ExitStatus;
use svlib::keeper::{DESCRIPTOR, VARIABLE};
use svlib::record::ProcessId;
use svlib::sys::pidfd::{Found, Pidfd};
use svlib::sys::process::{self, Spawn};
use svlib::sys::signal::{self, Signal};
use svlib::sys::{fd, fifo};
use svlib::{Error, Result, paths};

use crate::keeper::Keeper;
use crate::plan::{Identity, Outcome};
use crate::poller::{Poller, Source, Token};
use crate::presence::{self, Presence};
use crate::reexec::Inheritance;
use crate::state::{self, State};

/// Starts and ends runsv processes.
#[derive(Debug)]
pub struct Executor {
    /// The services directory, in which each runsv is started.
    pub directory: PathBuf,
    /// Each runsv leads a session of its own.
    pub new_sessions: bool,
    /// The limits on descriptors that each runsv is to have, the soft and the hard one, if they are not this process's.
    pub descriptor_limit: Option<(u64, u64)>,
    /// What is kept for the runsvs.
    pub keeper: Keeper,
    poller: Poller,
    runsvs: HashMap<Identity, Runsv>,
    children: HashMap<Pid, Identity>,
}

/// A runsv that runs.
#[derive(Debug)]
enum Runsv {
    /// A child that has not been reaped: its number is nobody else's.
    Child(Pid),
    /// One that another runsvdir started.
    Adopted(ProcessId, Pidfd, Token),
}

/// What a child was that has been reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaped {
    /// The runsv of this service.
    Runsv(Identity),
    /// None of the runsvs.
    Stranger(Pid, ExitStatus),
}

impl Executor {
    /// An executor that has no runsv yet.
    #[must_use]
    pub fn new(directory: PathBuf, new_sessions: bool, poller: Poller) -> Self {
        Self {
            directory,
            new_sessions,
            descriptor_limit: None,
            keeper: Keeper::default(),
            poller,
            runsvs: HashMap::new(),
            children: HashMap::new(),
        }
    }

    /// Has a service supervised: by the runsv that is there, or by `runsv NAME`, found in PATH, in the services directory.
    ///
    /// # Errors
    ///
    /// There is no process to be had, no such directory any more, no runsv in PATH.
    pub fn start(&mut self, service: Identity, name: &OsStr) -> Result<Outcome> {
        // If the reader of the fifos is here, the runsv was killed.
        if !self.keeper.holds_fifos(service) {
            match presence::look(&self.directory.join(name))? {
                Presence::Nobody => {}
                // Somebody else's has its own pipes: what one before it left is nobody's any more.
                Presence::Unproven => {
                    self.forget(service);
                    return Ok(Outcome::Occupied);
                }
                Presence::Runsv(process, pidfd) => {
                    self.forget(service);
                    self.adopt(service, process, pidfd)?;
                    return Ok(Outcome::Running);
                }
            }
        }
        let end = self.keeper.open(service, &mut self.poller)?;
        let mut spawn = Spawn::new("runsv").search_path().arg(operand(name)).dir(&self.directory);
        if self.new_sessions {
            spawn = spawn.new_session();
        }
        if let Some(limit) = self.descriptor_limit {
            spawn = spawn.descriptor_limit(limit);
        }
        if let Some(end) = &end {
            spawn = spawn.env(VARIABLE, DESCRIPTOR.to_string()).fd(DESCRIPTOR, end.as_fd());
        }
        let started = spawn.spawn();
        match started {
            Ok(pid) => {
                self.runsvs.insert(service, Runsv::Child(pid));
                self.children.insert(pid, service);
                Ok(Outcome::Running)
            }
            Err(error) => {
                self.keeper.close(service, &mut self.poller);
                Err(Error { operation: "start runsv", path: Some(name.into()), ..error })
            }
        }
    }

    /// Sends a signal to the runsv of each service.
    pub fn signal(&self, services: impl IntoIterator<Item = Identity>, signal: Signal) {
        for service in services {
            // It has ended and that is about to be noticed: there is nothing left to end.
            match self.runsvs.get(&service) {
                Some(Runsv::Child(pid)) => drop(signal::send(*pid, signal)),
                Some(Runsv::Adopted(_, pidfd, _)) => drop(pidfd.send(Some(signal))),
                None => {}
            }
        }
    }

    /// Has the `run` of a service killed, by its runsv, and not its log service.
    pub fn kill_service(&self, name: &OsStr) {
        // The entry may have been removed, or the runsv may end at this moment.
        if let Ok(control) = fifo::open_write(&self.directory.join(name).join(paths::CONTROL)) {
            let _ = fd::write(control, b"k");
        }
    }

    /// Reaps the next child that has ended.
    pub fn reap(&mut self) -> Option<Reaped> {
        let pid = process::ended()?;
        if let Some(service) = self.children.remove(&pid) {
            let status = process::reap_one(pid)?;
            self.runsvs.remove(&service);
            self.keeper.runsv_ended(service, status, &mut self.poller);
            return Some(Reaped::Runsv(service));
        }
        // While it is not reaped, its number is its own.
        let stranger = process::identify(pid);
        let status = process::reap_one(pid)?;
        self.keeper.stranger_ended(stranger, status);
        Some(Reaped::Stranger(pid, status))
    }

    /// Takes in what runsvs say. The answer is every service whose runsv, which is not our child, has ended.
    pub fn take_in(&mut self) -> Vec<Identity> {
        let mut ended = Vec::new();
        for source in self.poller.ready() {
            match source {
                Source::Socket(service) => self.keeper.read(service, &mut self.poller),
                Source::Runsv(service) => {
                    if let Some(Runsv::Adopted(_, pidfd, token)) = self.runsvs.remove(&service) {
                        self.poller.remove(&pidfd, token);
                    }
                    ended.push(service);
                }
            }
        }
        ended
    }

    /// Drops what is kept for a service.
    pub fn forget(&mut self, service: Identity) {
        self.keeper.forget(service, &mut self.poller);
    }

    /// Drops what is kept for services that `is_known` does not know.
    pub fn forget_unknown(&mut self, is_known: impl Fn(Identity) -> bool) {
        let forgotten: BTreeSet<Identity> =
            self.keeper.services().filter(|service| !is_known(*service)).collect();
        for service in forgotten {
            self.forget(service);
        }
    }

    /// The descriptors to wait for, before [`Executor::take_in`].
    #[must_use]
    pub const fn poller(&self) -> &Poller {
        &self.poller
    }

    /// Whether there is a runsv.
    #[must_use]
    pub fn has_runsvs(&self) -> bool {
        !self.runsvs.is_empty()
    }

    /// Writes down what the next runsvdir in this process has to know.
    pub fn save(&self, state: &mut State) {
        state.descriptor_limit = self.descriptor_limit;
        state.runsvs = self.runsvs.iter().map(|(service, runsv)| (*service, runsv.to_state())).collect();
        for (service, socket, held) in self.keeper.kept() {
            state.sockets.extend(socket.map(|socket| (service, socket.as_raw_fd())));
            let held: Vec<_> = held.iter().map(|(held, fd)| (*held, fd.as_raw_fd())).collect();
            if !held.is_empty() {
                state.held.push((service, held));
            }
        }
        state.strangers = self.keeper.strangers().clone();
    }

    /// The descriptors that [`Executor::save`] names.
    #[must_use]
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let kept = self.keeper.kept();
        kept.flat_map(|(_, socket, held)| socket.into_iter().chain(held.iter().map(|(_, fd)| fd.as_fd())))
            .collect()
    }

    /// Goes on where the runsvdir before this one in the same process was. The answer is every service whose runsv has
    /// ended meanwhile, or cannot be held.
    pub fn resume(&mut self, inheritance: &mut Inheritance) -> Vec<Identity> {
        let State { descriptor_limit, runsvs, strangers, .. } = &mut inheritance.state;
        self.descriptor_limit = *descriptor_limit;
        self.keeper = Keeper::new(mem::take(strangers));
        for (service, kept) in inheritance.kept.drain() {
            self.keeper.resume(service, kept, &mut self.poller);
        }
        let mut ended = Vec::new();
        for (service, runsv) in runsvs.iter() {
            let is_held = match runsv {
                state::Runsv::Child(pid) => {
                    let is_child = process::is_child(*pid);
                    if is_child {
                        self.runsvs.insert(*service, Runsv::Child(*pid));
                        self.children.insert(*pid, *service);
                    }
                    is_child
                }
                state::Runsv::Adopted(process) => match Pidfd::find(*process) {
                    Ok(Found::Alive(pidfd)) => self.adopt(*service, *process, pidfd).is_ok(),
                    _ => false,
                },
            };
            if !is_held {
                ended.push(*service);
            }
        }
        ended
    }

    /// Takes a runsv over that another runsvdir started.
    fn adopt(&mut self, service: Identity, process: ProcessId, pidfd: Pidfd) -> Result<()> {
        let pidfd = pidfd.lifted();
        let token = self.poller.add(&pidfd, Source::Runsv(service))?;
        self.runsvs.insert(service, Runsv::Adopted(process, pidfd, token));
        Ok(())
    }
}

impl Runsv {
    fn to_state(&self) -> state::Runsv {
        match self {
            Self::Child(pid) => state::Runsv::Child(*pid),
            Self::Adopted(process, ..) => state::Runsv::Adopted(*process),
        }
    }
}

/// The name as it is given to runsv: one that begins with a dash would be an option.
fn operand(name: &OsStr) -> OsString {
    let mut operand = OsString::new();
    if name.as_bytes().starts_with(b"-") {
        operand.push("./");
    }
    operand.push(name);
    operand
}
