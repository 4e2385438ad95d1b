//! What is kept for each runsv beyond its life, and what it is told: the other end of [`svlib::keeper`].
//!
//! A runsv that is killed leaves its pipes here, and its successor finds them in the first message of its own socket. One
//! that is done with them says so before it exits.

use std::collections::HashMap;
use std::mem;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::Pid;
use svlib::exit_status::ExitStatus;
use svlib::keeper::{Answer, Held, MESSAGE_LENGTH, Request};
use svlib::record::ProcessId;
use svlib::sys::{channel, fd, process};
use svlib::{Context as _, Error, Result};

use crate::plan::Identity;
use crate::poller::{Poller, Source, Token};
use crate::strangers::Strangers;

/// How many messages of one runsv are read before others have their turn.
const BATCH: usize = 16;

/// The sockets to all runsvs, and what they gave.
#[derive(Debug, Default)]
pub struct Keeper {
    kept: HashMap<Identity, Open>,
    strangers: Strangers,
    complaint: Option<Error>,
    has_complained: bool,
}

#[derive(Debug, Default)]
struct Open {
    socket: Option<(OwnedFd, Token)>,
    held: Vec<(Held, OwnedFd)>,
}

/// What is kept for one service.
#[derive(Debug, Default)]
pub struct Kept {
    /// The socket to its runsv.
    pub socket: Option<OwnedFd>,
    /// What that gave.
    pub held: Vec<(Held, OwnedFd)>,
}

impl Keeper {
    /// The keeper that another runsvdir was in this process, as far as it is told here and by [`Keeper::resume`].
    #[must_use]
    pub fn new(strangers: Strangers) -> Self {
        Self { strangers, ..Self::default() }
    }

    /// Goes on with the socket to a runsv, and with what is held for it. A socket that cannot be waited for is closed.
    pub fn resume(&mut self, service: Identity, Kept { socket, held }: Kept, poller: &mut Poller) {
        let socket = socket.and_then(|end| {
            let token = poller.add(&end, Source::Socket(service));
            token.map_err(|error| self.complain(error)).ok().map(|token| (end, token))
        });
        self.kept.insert(service, Open { socket, held });
    }

    /// Whether something is held for the successor of a runsv that was killed, or for one that runs.
    #[must_use]
    pub fn holds(&self, service: Identity) -> bool {
        self.kept.get(&service).is_some_and(|kept| !kept.held.is_empty())
    }

    /// Whether the fifos are, so that they have a reader here.
    #[must_use]
    pub fn holds_fifos(&self, service: Identity) -> bool {
        let is_fifo = |(held, _): &(Held, OwnedFd)| *held == Held::Fifo;
        self.kept.get(&service).is_some_and(|kept| kept.held.iter().any(is_fifo))
    }

    /// Makes the socket to a runsv that is about to be started, which is given back what is held for it. The answer is
    /// the runsv's end; None if there are too few descriptors: then nothing is kept for it.
    ///
    /// # Errors
    ///
    /// What is held cannot be given back now. It stays.
    pub fn open(&mut self, service: Identity, poller: &mut Poller) -> Result<Option<OwnedFd>> {
        let made = channel::pair().and_then(|(own, end)| {
            let own = fd::lift(own);
            let token = poller.add(&own, Source::Socket(service))?;
            Ok((own, end, token))
        });
        let (own, end, token) = match made {
            Ok(made) => made,
            Err(error) if self.holds(service) => return Err(error),
            Err(error) => {
                self.complain(error);
                return Ok(None);
            }
        };
        let kept = self.kept.entry(service).or_default();
        let back: Vec<_> = kept.held.iter().filter(|(held, _)| *held != Held::Fifo).collect();
        let tags = back.iter().map(|(held, _)| *held).collect();
        let descriptors: Vec<BorrowedFd<'_>> = back.iter().map(|(_, fd)| fd.as_fd()).collect();
        if !descriptors.is_empty()
            && let Err(errno) = channel::send(&own, &Answer::Back(tags).encode(), &descriptors)
        {
            poller.remove(&own, token);
            return Err(errno).during("hand back what runsv left");
        }
        if let Some((old, token)) = kept.socket.replace((own, token)) {
            poller.remove(&old, token);
        }
        Ok(Some(end))
    }

    /// Reads what a runsv says, a part of it: the rest has its turn later.
    pub fn read(&mut self, service: Identity, poller: &mut Poller) {
        self.read_messages(service, BATCH, poller);
    }

    fn read_messages(&mut self, service: Identity, most: usize, poller: &mut Poller) {
        for _ in 0..most {
            let mut buffer = [0; MESSAGE_LENGTH];
            let Some((socket, _)) = self.kept.get(&service).and_then(|kept| kept.socket.as_ref()) else {
                return;
            };
            match channel::receive(socket, &mut buffer) {
                Err(Errno::EAGAIN) => return,
                Ok((0, _)) | Err(_) => return self.close(service, poller),
                Ok((length, descriptors)) => self.take_in(service, &buffer[..length], descriptors),
            }
        }
    }

    /// The runsv of a service has ended so: its socket is closed. What one left that was killed is kept, and of what is kept
    /// for one that could not begin all but the fifos: they would say that somebody is there. One that is done says so itself.
    pub fn runsv_ended(&mut self, service: Identity, status: ExitStatus, poller: &mut Poller) {
        // What it said last may still be there. It is bounded: nobody says more.
        self.read_messages(service, usize::MAX, poller);
        if status.signal().is_none()
            && let Some(kept) = self.kept.get_mut(&service)
        {
            kept.held.retain(|(held, _)| *held != Held::Fifo);
        }
        self.close(service, poller);
    }

    /// Closes the socket to a runsv, and all that it left.
    pub fn forget(&mut self, service: Identity, poller: &mut Poller) {
        self.close(service, poller);
        self.kept.remove(&service);
    }

    /// A child that is no runsv has ended: whoever asked is told.
    pub fn stranger_ended(&mut self, stranger: ProcessId, status: ExitStatus) {
        for service in self.strangers.ended(stranger, status) {
            self.answer(service, &Answer::Ended(stranger, status));
        }
    }

    /// Why a runsv had to be started without a keeper, if it was not told yet.
    pub fn complaint(&mut self) -> Option<Error> {
        self.complaint.take()
    }

    /// The services for which there is something.
    pub fn services(&self) -> impl Iterator<Item = Identity> {
        self.kept.keys().copied()
    }

    /// The socket to the runsv of a service, and what is held for it.
    pub fn kept(&self) -> impl Iterator<Item = (Identity, Option<BorrowedFd<'_>>, &[(Held, OwnedFd)])> {
        self.kept.iter().map(|(service, Open { socket, held })| {
            (*service, socket.as_ref().map(|(end, _)| end.as_fd()), held.as_slice())
        })
    }

    /// What is known of children that are no runsvs.
    #[must_use]
    pub fn strangers(&self) -> &Strangers {
        &self.strangers
    }

    fn take_in(&mut self, service: Identity, message: &[u8], descriptors: Vec<OwnedFd>) {
        match Request::decode(message) {
            Some(Request::Hold(held)) => {
                if held.len() > descriptors.len() {
                    self.complain(Error::new("take what runsv gives", Errno::EMFILE));
                }
                let held = held.into_iter().zip(descriptors.into_iter().map(fd::lift)).collect();
                // The old ones are closed here.
                drop(mem::replace(&mut self.kept.entry(service).or_default().held, held));
            }
            Some(Request::Watch(stranger)) => self.watch(service, stranger),
            None => {}
        }
    }

    fn watch(&mut self, service: Identity, stranger: ProcessId) {
        let is_child = |pid: Pid| process::is_child(pid) && process::start_time(pid) == Some(stranger.start);
        if let Some(status) = self.strangers.status(stranger) {
            self.answer(service, &Answer::Ended(stranger, status));
        } else if is_child(stranger.pid) {
            self.strangers.watch(stranger, service);
        } else {
            self.answer(service, &Answer::Unknown(stranger));
        }
    }

    /// A runsv that does not read is not told.
    fn answer(&self, service: Identity, answer: &Answer) {
        if let Some((socket, _)) = self.kept.get(&service).and_then(|kept| kept.socket.as_ref()) {
            let _ = channel::send(socket, &answer.encode(), &[]);
        }
    }

    /// Closes the socket to a runsv. What is held stays.
    pub fn close(&mut self, service: Identity, poller: &mut Poller) {
        self.strangers.unwatch(service);
        let Some(kept) = self.kept.get_mut(&service) else { return };
        if let Some((socket, token)) = kept.socket.take() {
            poller.remove(&socket, token);
        }
        if kept.held.is_empty() {
            self.kept.remove(&service);
        }
    }

    fn complain(&mut self, error: Error) {
        if !self.has_complained {
            self.has_complained = true;
            self.complaint = Some(error);
        }
    }
}

#[cfg(test)]
mod tests;
