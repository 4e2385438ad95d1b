//! One syslog server: its queue, its connection, and what is lost on the way.

use std::ffi::OsStr;
use std::time::Duration;

use nix::unistd::Pid;
use svlib::diag::Message;
use svlib::moment::Moment;
use svlib::sys::poll::PollFd;
use svlib::sys::{clock, memory};

use super::link::{Action, Event, Link, Tell, Trouble};
use super::losses::Losses;
use super::queue::Queue;
use super::wire::Wire;
use crate::config::setting::{Forward, Server, Transport};
use crate::report::Report;
use crate::rfc5424::{Framing, Header};
use crate::service;

/// How long to wait for the server when no more lines will come.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// How often is then looked whether what was sent has arrived: nothing else tells.
const END_PACE: Duration = Duration::from_millis(50);

/// One server.
pub struct Forwarder {
    setting: Forward,
    header: Header,
    queue: Queue,
    link: Link,
    wire: Wire,
    /// The connection was found broken where that could not be dealt with.
    broken: Option<Trouble>,
    losses: Losses,
    /// No more lines will come, and what is queued is given up then.
    end_at: Option<Duration>,
    /// When the end is approached, what has arrived is looked for then.
    look_at: Duration,
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
            link: Link::default(),
            wire: Wire::default(),
            broken: None,
            losses: Losses::default(),
            end_at: None,
            look_at: Duration::ZERO,
        }
    }

    /// The setting it was made for.
    pub fn setting(&self) -> &Forward {
        &self.setting
    }

    /// There will be more lines after all.
    #[must_use]
    pub fn go_on(self) -> Self {
        Self { end_at: None, ..self }
    }

    /// Queues a line, or drops and counts it.
    pub fn push(&mut self, text: &[u8], report: &Report) {
        if self.end_at.is_some() {
            return;
        }
        let Moment { monotonic: now, wall } = clock::now();
        let framing = match self.setting.transport {
            Transport::Udp(_) => Framing::Datagram,
            Transport::Tcp(_) => Framing::Counted,
            Transport::Unix(_) => Framing::Line,
        };
        let frame = framing.frame(&self.header, wall, text);
        if !self.queue.has_place(frame.len()) {
            self.make_place(now, report);
        }
        if !self.queue.push(frame) {
            self.lose(1, now, report);
        }
    }

    /// Does what can be done without waiting. `subject` is the log directory.
    pub fn tend(&mut self, now: Duration, subject: &OsStr, report: &Report) {
        let is_late = self.end_at.is_some_and(|end_at| end_at <= now);
        let tick = Event::Tick { wanted: !is_late && !self.queue.is_sent() };
        let event = self.broken.take().map(Event::Failed).or_else(|| self.wire.event());
        for event in event.into_iter().chain([tick]) {
            self.drive(event, now, subject, report);
        }
        if let Err(trouble) = self.transmit(now, report) {
            self.drive(Event::Failed(trouble), now, subject, report);
        }
        if self.queue.forget_at().is_some_and(|time| time <= now) {
            self.forget(now);
        }
        if self.end_at.is_some() {
            self.note_arrival();
            self.look_at = now.saturating_add(END_PACE);
        }
        if is_late {
            self.give_up(now, report);
        }
    }

    /// What to wait for on its behalf.
    pub fn poll_fd(&self) -> Option<PollFd<'_>> {
        self.wire.poll_fd()
    }

    /// The time on the monotonic clock at which there is something to [`tend`](Self::tend) to.
    pub fn deadline(&self) -> Option<Duration> {
        let link = self.link.deadline(!self.queue.is_sent());
        let end = self.end_at.filter(|_| !self.queue.has_arrived());
        let look = end.map(|end_at| if self.queue.is_sent() { self.look_at } else { end_at });
        [link, self.queue.forget_at(), end, look].into_iter().flatten().min()
    }

    /// When losses are to be told of.
    pub fn loss_due(&self) -> Option<Duration> {
        self.losses.due()
    }

    /// What the log directory is to be told of losses until `time`.
    pub fn take_loss(&mut self, time: Duration) -> Option<Vec<u8>> {
        let count = self.losses.take(time)?.to_string();
        let mut text = Vec::new();
        (&count, " lines not forwarded to ", &Address(&self.setting)).append_to(&mut text);
        Some(text)
    }

    /// Takes note that a child has ended. `false` if it was none of this forwarder's.
    pub fn child_ended(&mut self, pid: Pid) -> bool {
        self.wire.child_ended(pid)
    }

    /// No more lines will come: what is queued is given a short time.
    pub fn end(&mut self) {
        if self.end_at.is_none() {
            self.end_at = Some(clock::now().monotonic.saturating_add(END_PATIENCE));
            self.link.hurry();
            self.losses.hurry();
        }
    }

    /// Whether no more lines will come, all have arrived, and all losses were told of.
    pub fn is_finished(&self) -> bool {
        self.end_at.is_some() && self.queue.has_arrived() && self.losses.due().is_none()
    }

    /// How many lines are lost, and were not told of, if it is given up now.
    pub fn into_lost(mut self, report: &Report) -> u64 {
        self.give_up(Duration::ZERO, report);
        self.losses.take(Duration::MAX).unwrap_or_default()
    }

    /// Gives up what has not arrived, which counts as lost.
    fn give_up(&mut self, now: Duration, report: &Report) {
        self.note_arrival();
        let lines = self.queue.clear();
        self.wire = Wire::None;
        self.link = Link::default();
        self.lose(lines as u64, now, report);
        self.losses.hurry();
    }

    /// How many lines wait to be sent.
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    fn lose(&mut self, lines: u64, now: Duration, report: &Report) {
        if lines > 0 {
            self.losses.add(lines, now);
            report.counters.lost.add(lines);
        }
    }

    /// Does what the link asks for, until it waits.
    fn drive(&mut self, event: Event, now: Duration, subject: &OsStr, report: &Report) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            if matches!(event, Event::Connected) {
                report.info(&("forward to ", &Address(&self.setting), ": ", subject));
            }
            let Some(action) = self.link.step(event, now) else { break };
            let result = match action {
                Action::LookUp => self.wire.look_up(&self.setting.transport),
                Action::Connect(target) => self.wire.connect(&self.setting.transport, target),
                Action::GiveUp(trouble, tell) => {
                    self.disconnect(trouble, now);
                    if tell == Tell::Yes {
                        let address = Address(&self.setting);
                        let reason = trouble.text();
                        report.warning(&("unable to forward to ", &address, ": ", subject, ": ", &reason));
                    }
                    break;
                }
            };
            next = result.unwrap_or_else(|trouble| Some(Event::Failed(trouble)));
        }
    }

    fn disconnect(&mut self, trouble: Trouble, now: Duration) {
        self.note_arrival();
        self.wire = Wire::None;
        self.queue.forget_old(now);
        // A server that closes in good order has read what its kernel has acknowledged.
        self.queue.rewind(trouble == Trouble::Closed);
    }

    fn transmit(&mut self, now: Duration, report: &Report) -> Result<(), Trouble> {
        let Wire::Open(connection) = &mut self.wire else { return Ok(()) };
        let (count, result) = connection.transmit(&mut self.queue, now);
        report.counters.forwarded.add(count.sent);
        self.lose(count.lost, now, report);
        result
    }

    /// Sends what can be sent, so that its place may be free.
    fn make_place(&mut self, now: Duration, report: &Report) {
        if matches!(&self.wire, Wire::Open(connection) if !connection.is_full()) && self.broken.is_none() {
            self.broken = self.transmit(now, report).err();
            self.note_arrival();
        }
    }

    fn note_arrival(&mut self) {
        if let Wire::Open(connection) = &self.wire {
            connection.note_arrival(&mut self.queue);
        }
    }

    fn forget(&mut self, now: Duration) {
        self.note_arrival();
        self.queue.forget_old(now);
        if self.queue.is_empty() {
            memory::trim();
        }
    }
}

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
