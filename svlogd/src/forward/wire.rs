//! The sockets of a connection, and the search for where it goes. Nothing here waits.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;
use svlib::error::errno;
use svlib::sys::poll::{self, PollFd, PollFlags};
use svlib::sys::{fd, socket};

use super::link::{Event, Target, Trouble};
use super::queue::Queue;
use super::resolve::{self, Lookup, Progress};
use crate::config::setting::Transport;

/// How long a TCP server may leave bytes unacknowledged or unread until it counts as gone, in milliseconds.
const ANSWER_TIMEOUT: u32 = 30_000;

/// So many slices are sent at once.
const BATCH: usize = 128;

/// What there is of a connection.
#[derive(Default)]
pub enum Wire {
    /// Nothing.
    #[default]
    None,
    /// A host name is being looked up.
    Lookup(Lookup),
    /// A TCP connection is being made.
    Connecting(OwnedFd),
    /// Messages can be sent.
    Open(Connection),
}

/// A socket that messages can be sent through.
pub struct Connection {
    socket: OwnedFd,
    kind: Kind,
    /// Its buffer is full.
    is_full: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stream,
    UnixDatagram,
    Udp,
}

/// How many messages were sent, and how many were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Taken by the kernel.
    pub sent: u64,
    /// Known to be lost.
    pub lost: u64,
}

impl Wire {
    /// Begins to find out where the server is. `None`: an [`event`](Self::event) tells of it later.
    ///
    /// # Errors
    /// Why the search cannot begin.
    pub fn look_up(&mut self, transport: &Transport) -> Result<Option<Event>, Trouble> {
        let server = match transport {
            Transport::Unix(_) => return Ok(Some(Event::Found(vec![Target::Path]))),
            Transport::Udp(server) | Transport::Tcp(server) => server,
        };
        match resolve::literal(server) {
            Some(address) => Ok(Some(Event::Found(vec![Target::Address(address)]))),
            None => {
                *self = Self::Lookup(Lookup::start(server).map_err(Trouble::NoLookup)?);
                Ok(None)
            }
        }
    }

    /// Begins to connect. `None`: an [`event`](Self::event) tells of it later.
    ///
    /// # Errors
    /// Why it cannot be connected.
    pub fn connect(&mut self, transport: &Transport, target: Target) -> Result<Option<Event>, Trouble> {
        let (socket, kind) = match (transport, target) {
            (Transport::Unix(path), _) => {
                let (socket, is_stream) = socket::connect_unix(Path::new(path))?;
                (socket, if is_stream { Kind::Stream } else { Kind::UnixDatagram })
            }
            (Transport::Udp(_), Target::Address(address)) => (socket::connect_udp(address)?, Kind::Udp),
            (Transport::Tcp(_), Target::Address(address)) => {
                *self = Self::Connecting(socket::connect_tcp(address, ANSWER_TIMEOUT)?);
                return Ok(None);
            }
            (Transport::Udp(_) | Transport::Tcp(_), Target::Path) => return Err(Trouble::NoAddress),
        };
        *self = Self::Open(Connection { socket, kind, is_full: false });
        Ok(Some(Event::Connected))
    }

    /// What has happened meanwhile.
    pub fn event(&mut self) -> Option<Event> {
        match self {
            Self::None => None,
            Self::Lookup(lookup) => match lookup.progress() {
                Progress::Waiting => None,
                Progress::Found(addresses) => {
                    *self = Self::None;
                    Some(Event::Found(addresses.into_iter().map(Target::Address).collect()))
                }
            },
            Self::Connecting(socket) => {
                let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
                let result = match poll::wait(&mut fds, Some(Duration::ZERO)) {
                    Ok(0) => return None,
                    Ok(_) => socket::pending_error(&*socket),
                    Err(error) => Err(errno(&error)),
                };
                match (result, std::mem::take(self)) {
                    (Ok(()), Self::Connecting(socket)) => {
                        let kind = Kind::Stream;
                        *self = Self::Open(Connection { socket, kind, is_full: false });
                        Some(Event::Connected)
                    }
                    (result, _) => result.err().map(|errno| Event::Failed(errno.into())),
                }
            }
            Self::Open(connection) => connection.end().err().map(Event::Failed),
        }
    }

    /// What to wait for.
    pub fn poll_fd(&self) -> Option<PollFd<'_>> {
        let (fd, events) = match self {
            Self::None => return None,
            Self::Lookup(lookup) => (lookup.fd(), PollFlags::POLLIN),
            Self::Connecting(socket) => (socket.as_fd(), PollFlags::POLLOUT),
            Self::Open(Connection { socket, kind, is_full }) => {
                let mut events = PollFlags::empty();
                events.set(PollFlags::POLLIN, *kind == Kind::Stream);
                events.set(PollFlags::POLLOUT, *is_full);
                (socket.as_fd(), events)
            }
        };
        // Without events, there would still be errors: they wait for the next message.
        (!events.is_empty()).then(|| PollFd::new(fd, events))
    }

    /// Takes note that a child has ended. `false` if it was not the one that looks a name up.
    pub fn child_ended(&mut self, pid: Pid) -> bool {
        match self {
            Self::Lookup(lookup) => lookup.child_ended(pid),
            Self::None | Self::Connecting(_) | Self::Open(_) => false,
        }
    }
}

impl Connection {
    /// Whether it takes nothing more for now.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Sends what it takes of the queue.
    ///
    /// # Errors
    /// The connection is broken; what was sent before that is counted.
    pub fn transmit(&mut self, queue: &mut Queue, now: Duration) -> (Sent, Result<(), Trouble>) {
        let mut count = Sent::default();
        self.is_full = false;
        while let Some(frame) = queue.next() {
            let waiting = queue.waiting();
            let result = match self.kind {
                Kind::Stream => socket::send(&self.socket, &queue.slices(BATCH)),
                Kind::Udp => socket::send(&self.socket, &[IoSlice::new(frame)]),
                // The newline is for streams.
                Kind::UnixDatagram => {
                    socket::send(&self.socket, &[IoSlice::new(frame.strip_suffix(b"\n").unwrap_or(frame))])
                }
            };
            match result {
                Ok(bytes) if self.kind == Kind::Stream => {
                    queue.advance(bytes, now);
                    count.sent += (waiting - queue.waiting()) as u64;
                }
                Ok(_) => {
                    queue.remove_next();
                    count.sent += 1;
                }
                Err(Errno::EAGAIN) => {
                    self.is_full = true;
                    break;
                }
                Err(Errno::EMSGSIZE) if self.kind != Kind::Stream => {
                    queue.remove_next();
                    count.lost += 1;
                }
                Err(errno) => {
                    // It was the one before that was refused.
                    count.lost += u64::from(self.kind == Kind::Udp && errno == Errno::ECONNREFUSED);
                    return (count, Err(errno.into()));
                }
            }
        }
        (count, Ok(()))
    }

    /// Lets the queue know what has arrived.
    pub fn note_arrival(&self, queue: &mut Queue) {
        if self.kind == Kind::Stream
            && let Ok(bytes) = socket::unarrived(&self.socket)
        {
            queue.note_arrival(bytes);
        }
    }

    /// A server that closes the connection says so to who reads; what else it says is of no interest.
    fn end(&self) -> Result<(), Trouble> {
        if self.kind != Kind::Stream {
            return Ok(());
        }
        // Once: there may always be more, and what is left wakes up the next wait.
        match fd::read(&self.socket, &mut [0; 512]).map_err(|error| errno(&error)) {
            Ok(0) => Err(Trouble::Closed),
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
