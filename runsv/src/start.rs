//! From a service directory to its supervisor: from nothing, from what one left that was killed, or from another program file.

use std::env;
use std::os::fd::OwnedFd;
use std::path::Path;

use svlib::diag::Diag;
use svlib::keeper::{Answer, Held};
use svlib::moment::Moment;
use svlib::record::{ProcessId, Record};
use svlib::sys::lock::Lock;
use svlib::sys::pidfd::Pidfd;
use svlib::sys::process;
use svlib::sys::signal::Signals;
use svlib::{Context, paths};

use crate::adopt::{self, Adopted};
use crate::executor::{Executor, Own};
use crate::foreign::Foreign;
use crate::keeper::{Keeper, Message};
use crate::machine::pair::Pair;
use crate::machine::{Role, State};
use crate::notify::{NotifyPipe, NotifySocket};
use crate::record_file::RecordFile;
use crate::setup::{self, Failure, LogPipe, Supervised};

/// One process under its supervisor.
#[derive(Debug)]
pub struct Begun {
    /// What is held for it.
    pub supervised: Supervised,
    /// How it is.
    pub state: State,
    /// The processes that were left of it.
    left: Vec<(ProcessId, Option<Pidfd>)>,
    /// What was written down of it.
    record: Option<Record>,
}

impl Begun {
    /// The processes that were taken over, watched from now on.
    pub fn foreign(&mut self, keeper: Option<&Keeper>) -> Vec<Foreign> {
        let left = std::mem::take(&mut self.left).into_iter();
        left.map(|(process, pidfd)| Foreign::new(process, pidfd, keeper)).collect()
    }
}

/// Begins to supervise one process, whose lock is ours.
///
/// # Errors
/// A file or a fifo cannot be made or opened; it is not known whether an earlier process lives.
pub fn begin(role: Role, lock: Lock, boot: &str, now: Moment, diag: &Diag) -> Result<Begun, Failure> {
    let file = RecordFile::open(&setup::path(role, paths::RECORD))?;
    let (state, left, record) = match adopt::adopt(role, &file, boot, now, diag)? {
        Some(Adopted { state, processes, record }) => (state, processes, Some(record)),
        None => (State::new(role, setup::first_want(role), now), Vec::new(), None),
    };
    let supervised = Supervised::open(role, lock, file)?;
    Ok(Begun { supervised, state, left, record })
}

/// Takes hold of the service in `dir`. None if TERM came first.
///
/// # Errors
/// The service directory cannot be taken hold of.
#[inline(never)] // Its frame would lie on the stack for as long as the service is supervised.
pub fn start(
    dir: &Path,
    signals: &Signals,
    now: Moment,
    diag: &Diag,
) -> Result<Option<(Pair, Box<Executor>)>, Failure> {
    let keeper = Keeper::of_this_process();
    env::set_current_dir(dir).during("change to directory")?;
    let lock = setup::lock_left(Role::Service)?;
    let own = Own { boot: process::boot_id()?, process: process::own_identity(), reexecs: 0 };

    let mut log = None;
    if setup::has_log(diag) {
        let Some(lock) = setup::wait_for_lock(Role::Log, signals, diag)? else { return Ok(None) };
        log = Some(begin(Role::Log, lock, &own.boot, now, diag)?);
    }
    let mut service = begin(Role::Service, lock, &own.boot, now, diag)?;

    let mut back = Back::from(keeper.as_ref());
    let pipe = match &log {
        Some(log) => Some(log_pipe(&mut back, &service, log)?),
        None => None,
    };
    let mut foreign = service.foreign(keeper.as_ref());
    foreign.extend(log.as_mut().into_iter().flat_map(|log| log.foreign(keeper.as_ref())));
    let (notify_pipe, notify_socket) = notification(&mut back, &service, diag);
    let (held_log, log) = log.map(|log| (log.supervised, log.state)).unzip();
    let is_first = service.record.is_none();
    let mut executor = Box::new(Executor {
        log: held_log,
        pipe,
        keeper,
        foreign,
        notify_pipe,
        notify_socket,
        ..Executor::new(diag, own, service.supervised)
    });
    // What is held for one that was killed stays held until all of it is open here.
    if is_first {
        executor.hold(now.monotonic);
    }
    Ok(Some((Pair { service: service.state, log }, executor)))
}

/// What runsvdir held for the supervisor before this one.
#[derive(Debug, Default)]
struct Back(Vec<(Held, OwnedFd)>);

impl Back {
    fn from(keeper: Option<&Keeper>) -> Self {
        match keeper.and_then(Keeper::next) {
            Some(Message::Answer(Answer::Back(kinds), descriptors)) => {
                Self(kinds.into_iter().zip(descriptors).collect())
            }
            _ => Self::default(),
        }
    }

    fn take(&mut self, kind: Held) -> Option<OwnedFd> {
        let index = self.0.iter().position(|(held, _)| *held == kind)?;
        Some(self.0.swap_remove(index).1)
    }
}

/// The pipe that was there before, or a new one.
fn log_pipe(back: &mut Back, service: &Begun, log: &Begun) -> Result<LogPipe, Failure> {
    let inode = service.record.as_ref().or(log.record.as_ref()).and_then(|record| record.pipe);
    let held = back.take(Held::LogRead).zip(back.take(Held::LogWrite));
    let held = held.map(|(read, write)| LogPipe { read, write });
    // Another one is not where what runs writes to.
    if let Some(pipe) = held.filter(|pipe| inode.is_none() || pipe.inode() == inode) {
        return Ok(pipe);
    }
    let processes: Vec<_> = service.state.processes().chain(log.state.processes()).collect();
    match inode.and_then(|inode| LogPipe::of_processes(inode, &processes)) {
        Some(pipe) => Ok(pipe),
        None => Ok(LogPipe::new()?),
    }
}

/// What the service that was taken over says on that it is ready.
fn notification(back: &mut Back, service: &Begun, diag: &Diag) -> (Option<NotifyPipe>, Option<NotifySocket>) {
    let Some(record) = &service.record else { return (None, None) };
    let pipe = match (back.take(Held::NotifyRead), record.notify_pipe) {
        // It is that of an earlier `run`, of which nothing may be heard any more.
        (_, None) => None,
        (Some(held), Some(inode)) if setup::inode(&held) == Some(inode) => Some(NotifyPipe(held)),
        // Whoever still has to say it has the other end.
        (_, Some(inode)) => NotifyPipe::of_processes(inode, &service.state.processes().collect::<Vec<_>>()),
    };
    let name = Some(record.notify_socket.clone()).filter(|name| !name.is_empty());
    let socket = name.and_then(|name| match back.take(Held::NotifySocket) {
        Some(socket) => Some(NotifySocket { name, socket }),
        None => NotifySocket::new(Some(name)).inspect_err(|error| diag.warning(error)).ok(),
    });
    (pipe, socket)
}
