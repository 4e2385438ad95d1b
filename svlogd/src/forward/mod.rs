//! Selected lines to a syslog server (the `forward` line of the config), beside the log that stays here.
//!
//! Nothing waits for the network: lines go to a [`queue`] of 1 MiB, and one that finds no place is dropped and counted.
//! The connection is made when there is a line to send, and made again, at a growing delay, when it breaks.
//!
//! - Over TCP and UNIX streams a line is sent **at least once**. It stays in the queue until the other kernel has
//!   acknowledged it, and then for five seconds, while there is place for it: a server that dies takes unread lines with it.
//!   When the connection breaks, all that is in the queue is sent again, each line from its beginning.
//! - Over UDP, and over UNIX datagram sockets once the server's kernel has them, lines may be lost. What is known to be
//!   lost is counted.
//! - A svlogd that ends waits up to two seconds for what is queued. A killed one loses the queue, not the local log.

pub mod queue;
pub mod resolve;

use std::ffi::OsStr;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use svlib::diag::Message;
use svlib::error::errno;
use svlib::moment::Moment;
use svlib::sys::poll::{self, PollFd, PollFlags};
use svlib::sys::{clock, fd, socket};

use crate::config::setting::{Forward, Server, Transport};
use crate::report::Report;
use crate::rfc5424::{self, Header};
use crate::service;
use queue::Queue;
use resolve::{Lookup, Progress};

/// The most text that a UDP datagram has room for.
const DATAGRAM_LIMIT: usize = 65_507;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// A connection that lasted so long was a good one: the next delay is short again.
const GOOD: Duration = Duration::from_secs(10);

/// How long to wait for an address, and for a connection.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a TCP peer may leave bytes unacknowledged, in milliseconds.
const ANSWER_TIMEOUT: u32 = 20_000;

/// How long to wait for the server when svlogd ends.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// How long losses are counted before they are told of, and how often they are.
const LOSS_DELAY: Duration = Duration::from_secs(1);
const LOSS_PACE: Duration = Duration::from_secs(10);

/// How often, at most, is looked for what need not be kept any more.
const FORGET_PACE: Duration = Duration::from_secs(1);

/// So many slices are sent at once.
const BATCH: usize = 128;

/// One server.
pub struct Forwarder {
    setting: Forward,
    header: Header,
    queue: Queue,
    link: Link,
    /// Addresses that were not tried yet.
    addresses: Vec<SocketAddr>,
    failures: u32,
    retry_at: Option<Duration>,
    forget_at: Duration,
    /// The outage has been told of.
    said: bool,
    /// How many lines were lost that were not told of.
    lost: u64,
    loss_due: Duration,
    /// How many lines were sent, and how many were lost, since the forwarder was made.
    counts: Counts,
    end_at: Option<Duration>,
}

/// What happened to lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many were sent, one that was sent again once more.
    pub sent: u64,
    /// How many were lost.
    pub lost: u64,
    /// How many wait.
    pub waiting: u64,
}

enum Link {
    Down,
    Resolving { lookup: Lookup, until: Duration },
    Connecting { socket: OwnedFd, until: Duration },
    Up { socket: OwnedFd, is_stream: bool, since: Duration, is_full: bool },
}

/// Why there is no connection.
enum Trouble {
    System(Errno),
    NoAddress,
    Closed,
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

impl Trouble {
    fn text(&self) -> &'static str {
        match self {
            Self::System(errno) => errno.desc(),
            Self::NoAddress => "no address found for the host name",
            Self::Closed => "connection closed by the server",
        }
    }
}

impl Forwarder {
    /// A forwarder that has nothing to send.
    pub fn new(setting: Forward) -> Self {
        let host = nix::unistd::gethostname().unwrap_or_default();
        let directory = std::env::current_dir().unwrap_or_default();
        let application = match &setting.tag {
            Some(tag) => tag.as_bytes(),
            None => service::name(&directory),
        };
        let header = Header::new(setting.facility, setting.severity, host.as_encoded_bytes(), application);
        Self {
            header,
            setting,
            queue: Queue::default(),
            link: Link::Down,
            addresses: Vec::new(),
            failures: 0,
            retry_at: None,
            forget_at: Duration::ZERO,
            said: false,
            lost: 0,
            loss_due: Duration::ZERO,
            counts: Counts::default(),
            end_at: None,
        }
    }

    /// A forwarder for each of the settings: those of `old` that have the same setting go on, the others come second.
    pub fn renew(mut old: Vec<Self>, settings: Vec<Forward>) -> (Vec<Self>, Vec<Self>) {
        let take = |setting: Forward| match old.iter().position(|forwarder| forwarder.setting == setting) {
            Some(at) => old.remove(at),
            None => Self::new(setting),
        };
        let new = settings.into_iter().map(take).collect();
        (new, old)
    }

    /// Queues a line, whose text is all `parts`, one after the other, or drops and counts it.
    pub fn push(&mut self, parts: &[&[u8]]) {
        let Moment { monotonic: now, wall } = clock::now();
        let limit =
            if matches!(self.setting.transport, Transport::Udp(_)) { DATAGRAM_LIMIT } else { usize::MAX };
        let mut message = Vec::new();
        self.header.append(&mut message, wall, parts, limit);
        let frame = match self.setting.transport {
            Transport::Udp(_) => message,
            Transport::Tcp(_) => {
                let mut frame = Vec::with_capacity(message.len() + 8);
                rfc5424::append_count(&mut frame, &message);
                frame.extend_from_slice(&message);
                frame
            }
            // What listens on UNIX streams wants lines; the text has no newline.
            Transport::Unix(_) => {
                message.push(b'\n');
                message
            }
        };
        if !self.queue.has_place(frame.len()) {
            self.transmit_or_fail(now, None);
            self.note_arrival();
        }
        if !self.queue.push(frame) {
            self.lose(1, now);
        }
    }

    /// Does what can be done without waiting. `subject` is the log directory.
    pub fn tend(&mut self, now: Duration, subject: &OsStr, report: &Report) {
        let place = Some((subject, report));
        if matches!(self.link, Link::Up { .. }) {
            self.look_for_end(now, place);
            self.transmit_or_fail(now, place);
        }
        while self.advance(now, place) {}
        if self.queue.forget_at().is_some_and(|time| time.max(self.forget_at) <= now) {
            self.forget_at = now.saturating_add(FORGET_PACE);
            self.note_arrival();
            self.queue.forget_old(now);
        }
    }

    /// What to wait for on its behalf.
    pub fn poll_fd(&self) -> Option<PollFd<'_>> {
        let (fd, events) = match &self.link {
            Link::Down => return None,
            Link::Resolving { lookup, .. } => (lookup.fd(), PollFlags::POLLIN),
            Link::Connecting { socket, .. } => (socket.as_fd(), PollFlags::POLLOUT),
            Link::Up { socket, is_stream, is_full, .. } => {
                let mut events = PollFlags::empty();
                events.set(PollFlags::POLLIN, *is_stream);
                events.set(PollFlags::POLLOUT, *is_full);
                if events.is_empty() {
                    return None;
                }
                (socket.as_fd(), events)
            }
        };
        Some(PollFd::new(fd, events))
    }

    /// The time on the monotonic clock at which there is something to [`tend`](Self::tend) to.
    pub fn deadline(&self) -> Option<Duration> {
        let link = match self.link {
            Link::Down if self.queue.is_sent() => None,
            Link::Down => self.retry_at,
            Link::Resolving { until, .. } | Link::Connecting { until, .. } => Some(until),
            Link::Up { .. } => None,
        };
        let forget = self.queue.forget_at().map(|time| time.max(self.forget_at));
        let end = self.end_at.filter(|_| !self.queue.is_sent());
        [link, forget, end].into_iter().flatten().min()
    }

    /// When losses are to be told of.
    pub fn loss_due(&self) -> Option<Duration> {
        (self.lost > 0).then_some(self.loss_due)
    }

    /// What the log directory is to be told of losses, if it is time for that.
    pub fn take_loss(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.lost == 0 || now < self.loss_due {
            return None;
        }
        self.loss_due = now.saturating_add(LOSS_PACE);
        let count = std::mem::take(&mut self.lost).to_string();
        let mut line = Vec::new();
        ("warning: ", &count, " lines not forwarded to ", &Address(&self.setting), "\n").append_to(&mut line);
        Some(line)
    }

    /// No more lines will come: what is queued is given a short time.
    pub fn end(&mut self) {
        if self.end_at.is_none() {
            self.end_at = Some(clock::now().monotonic.saturating_add(END_PATIENCE));
            self.retry_at = None;
        }
    }

    /// Whether all is sent, or its time is up.
    pub fn is_finished(&self) -> bool {
        let is_late = || self.end_at.is_some_and(|time| time <= clock::now().monotonic);
        self.queue.is_sent() || is_late()
    }

    /// Gives up what is queued, which counts as lost.
    pub fn give_up(&mut self) -> Option<Vec<u8>> {
        let waiting = self.queue.clear();
        self.link = Link::Down;
        self.lose(waiting as u64, Duration::ZERO);
        self.loss_due = Duration::ZERO;
        self.take_loss(Duration::ZERO)
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        Counts { waiting: self.queue.waiting() as u64, ..self.counts }
    }

    fn lose(&mut self, lines: u64, now: Duration) {
        if self.lost == 0 {
            self.loss_due = self.loss_due.max(now.saturating_add(LOSS_DELAY));
        }
        self.lost += lines;
        self.counts.lost += lines;
    }

    /// One step towards a connection. Whether there may be another one at once.
    fn advance(&mut self, now: Duration, place: Place<'_>) -> bool {
        match &mut self.link {
            Link::Down => {
                let is_due = !self.queue.is_sent() && self.retry_at.is_none_or(|time| time <= now);
                is_due && self.attempt(now, place, Self::open)
            }
            Link::Resolving { lookup, until } => match lookup.progress() {
                Progress::Found(addresses) => {
                    self.addresses = addresses;
                    // The first one first.
                    self.addresses.reverse();
                    self.attempt(now, place, Self::connect_next)
                }
                Progress::Waiting if *until <= now => self.fail(now, Trouble::NoAddress, place),
                Progress::Waiting => false,
            },
            Link::Connecting { socket, until } => {
                let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
                let result = match poll::wait(&mut fds, Some(Duration::ZERO)) {
                    Ok(0) if now < *until => return false,
                    Ok(0) => Err(Errno::ETIMEDOUT),
                    Ok(_) => socket::pending_error(&*socket),
                    Err(error) => Err(errno(&error)),
                };
                match (result, std::mem::replace(&mut self.link, Link::Down)) {
                    (Ok(()), Link::Connecting { socket, .. }) => {
                        self.come_up(socket, true, now, place);
                        false
                    }
                    (Err(_), _) if !self.addresses.is_empty() => self.attempt(now, place, Self::connect_next),
                    (Err(errno), _) => self.fail(now, errno.into(), place),
                    (Ok(()), _) => false,
                }
            }
            Link::Up { .. } => false,
        }
    }

    fn attempt(
        &mut self,
        now: Duration,
        place: Place<'_>,
        step: impl Fn(&mut Self, Duration, Place<'_>) -> Result<(), Trouble>,
    ) -> bool {
        match step(self, now, place) {
            Ok(()) => true,
            Err(trouble) => self.fail(now, trouble, place),
        }
    }

    fn open(&mut self, now: Duration, place: Place<'_>) -> Result<(), Trouble> {
        let server = match &self.setting.transport {
            Transport::Unix(path) => {
                let (socket, is_stream) = socket::connect_unix(Path::new(path))?;
                self.come_up(socket, is_stream, now, place);
                return Ok(());
            }
            Transport::Udp(server) | Transport::Tcp(server) => server,
        };
        match resolve::literal(server) {
            Some(address) => {
                self.addresses = vec![address];
                self.connect_next(now, place)
            }
            None => {
                let until = now.saturating_add(PATIENCE);
                self.link = Link::Resolving { lookup: Lookup::start(server)?, until };
                Ok(())
            }
        }
    }

    fn connect_next(&mut self, now: Duration, place: Place<'_>) -> Result<(), Trouble> {
        let mut trouble = Trouble::NoAddress;
        while let Some(address) = self.addresses.pop() {
            let result = match self.setting.transport {
                Transport::Udp(_) => socket::connect_udp(address),
                Transport::Tcp(_) | Transport::Unix(_) => socket::connect_tcp(address, ANSWER_TIMEOUT),
            };
            match result {
                Ok(socket) if matches!(self.setting.transport, Transport::Udp(_)) => {
                    self.come_up(socket, false, now, place);
                    return Ok(());
                }
                Ok(socket) => {
                    self.link = Link::Connecting { socket, until: now.saturating_add(PATIENCE) };
                    return Ok(());
                }
                Err(errno) => trouble = errno.into(),
            }
        }
        Err(trouble)
    }

    fn come_up(&mut self, socket: OwnedFd, is_stream: bool, now: Duration, place: Place<'_>) {
        self.link = Link::Up { socket, is_stream, since: now, is_full: false };
        self.addresses.clear();
        if let Some((subject, report)) = place {
            report.info(&("forwarding to ", &Address(&self.setting), ": ", subject));
        }
        self.transmit_or_fail(now, place);
    }

    /// Drops the connection, if there is one. Always `false`.
    fn fail(&mut self, now: Duration, trouble: Trouble, place: Place<'_>) -> bool {
        if let Link::Up { since, .. } = self.link
            && since.saturating_add(GOOD) <= now
        {
            self.failures = 0;
            self.said = false;
        }
        self.note_arrival();
        self.link = Link::Down;
        self.queue.forget_old(now);
        self.queue.rewind();
        let delay = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now.checked_add(delay);
        if let Some((subject, report)) = place
            && !std::mem::replace(&mut self.said, true)
        {
            let address = Address(&self.setting);
            report.warning(&("unable to forward to ", &address, ": ", subject, ": ", trouble.text()));
        }
        false
    }

    /// A server that closes the connection says so to who reads; what else it says is of no interest.
    fn look_for_end(&mut self, now: Duration, place: Place<'_>) {
        let mut buffer = [0; 512];
        loop {
            let Link::Up { socket, is_stream: true, .. } = &self.link else { return };
            let trouble = match fd::read(socket, &mut buffer).map_err(|error| errno(&error)) {
                Ok(0) => Trouble::Closed,
                Ok(_) => continue,
                Err(Errno::EAGAIN) => return,
                Err(errno) => errno.into(),
            };
            self.fail(now, trouble, place);
        }
    }

    fn transmit_or_fail(&mut self, now: Duration, place: Place<'_>) {
        if let Err(errno) = self.transmit(now) {
            self.fail(now, errno.into(), place);
        }
    }

    fn transmit(&mut self, now: Duration) -> Result<(), Errno> {
        let Link::Up { socket, is_stream, is_full, .. } = &mut self.link else { return Ok(()) };
        *is_full = false;
        let (mut lost, mut failure) = (0, None);
        while let Some(frame) = self.queue.next() {
            let waiting = self.queue.waiting();
            let result = if *is_stream {
                socket::send(&*socket, &self.queue.slices(BATCH))
            } else {
                socket::send(&*socket, &[IoSlice::new(frame.strip_suffix(b"\n").unwrap_or(frame))])
            };
            match result {
                Ok(count) if *is_stream => {
                    self.queue.advance(count, now);
                    self.counts.sent += (waiting - self.queue.waiting()) as u64;
                }
                Ok(_) => {
                    self.queue.remove_next();
                    self.counts.sent += 1;
                }
                Err(Errno::EAGAIN) => {
                    *is_full = true;
                    break;
                }
                Err(Errno::EMSGSIZE) if !*is_stream => {
                    self.queue.remove_next();
                    lost += 1;
                }
                Err(errno) => {
                    if errno == Errno::ECONNREFUSED && matches!(self.setting.transport, Transport::Udp(_)) {
                        // It was the one before that was refused.
                        lost += 1;
                    }
                    failure = Some(errno);
                    break;
                }
            }
        }
        if lost > 0 {
            self.lose(lost, now);
        }
        failure.map_or(Ok(()), Err)
    }

    fn note_arrival(&mut self) {
        if let Link::Up { socket, is_stream: true, .. } = &self.link
            && let Ok(bytes) = socket::unarrived(socket)
        {
            self.queue.note_arrival(bytes);
        }
    }
}

/// The log directory, and the voice to speak of it with.
type Place<'a> = Option<(&'a OsStr, &'a Report)>;

/// The server, as the config has it.
struct Address<'a>(&'a Forward);

impl Message for Address<'_> {
    fn append_to(&self, line: &mut Vec<u8>) {
        let mut server = |scheme: &str, Server { host, port }: &Server| {
            let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
            (scheme, open, host.as_str(), close, ":", &port.to_string()).append_to(line);
        };
        match &self.0.transport {
            Transport::Udp(address) => server("syslog+udp://", address),
            Transport::Tcp(address) => server("syslog+tcp://", address),
            Transport::Unix(path) => ("syslog+unix://", path).append_to(line),
        }
    }
}
