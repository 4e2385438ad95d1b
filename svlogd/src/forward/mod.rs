//! Selected lines to syslog servers (the `forward` lines of the config), beside the log that stays here.
//!
//! Nothing waits for the network: lines go to a [`queue`] of 1 MiB, and one that finds no place is dropped and counted.
//! The connection is made when there is a line to send, and made again, at a growing delay, when it breaks.
//!
//! - Over TCP and UNIX streams a line is sent **at least once**. It stays in the queue until the other kernel has
//!   acknowledged it, and then for five seconds, while there is place for it: a server that dies takes unread lines with it.
//!   When the connection breaks, all that is in the queue is sent again, each line from its beginning.
//! - Over UDP, and over UNIX datagram sockets once the server's kernel has them, lines may be lost. What is known to be
//!   lost is counted.
//! - A svlogd that ends waits up to two seconds until what is queued has arrived. A killed one loses the queue, not the local log.
//!
//! A [`forwarder`] has one server. [`link`], [`losses`] and [`queue`] are pure; [`wire`] has the sockets.

pub mod forwarder;
pub mod link;
pub mod losses;
pub mod queue;
pub mod resolve;
pub mod wire;

use std::ffi::OsStr;
use std::time::Duration;

use nix::unistd::Pid;
use svlib::sys::poll::PollFd;

use crate::config::setting::Forward;
use crate::report::Report;
use forwarder::Forwarder;

/// The servers of one log directory.
#[derive(Default)]
pub struct Forwarders(Vec<Forwarder>);

impl Forwarders {
    /// Servers for other settings: those that are set as before go on with what is queued. Those that are set no more get
    /// no more lines, and go once they have done what they could.
    #[must_use]
    pub fn renew(self, settings: Vec<Forward>) -> Self {
        let Self(mut old) = self;
        old.retain(|forwarder| !forwarder.is_finished());
        let take = |setting| match old.iter().position(|forwarder| *forwarder.setting() == setting) {
            Some(at) => old.remove(at).go_on(),
            None => Forwarder::new(setting),
        };
        let mut forwarders: Vec<_> = settings.into_iter().map(take).collect();
        old.iter_mut().for_each(Forwarder::end);
        forwarders.append(&mut old);
        Self(forwarders)
    }

    /// Whether there is no server.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Queues a line for each, or drops and counts it.
    pub fn push(&mut self, text: &[u8], report: &Report) {
        self.0.iter_mut().for_each(|forwarder| forwarder.push(text, report));
    }

    /// Does what can be done without waiting. `subject` is the log directory.
    pub fn tend(&mut self, now: Duration, subject: &OsStr, report: &Report) {
        self.0.iter_mut().for_each(|forwarder| forwarder.tend(now, subject, report));
        self.0.retain(|forwarder| !forwarder.is_finished());
    }

    /// What to wait for on their behalf.
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.0.iter().filter_map(Forwarder::poll_fd)
    }

    /// The time on the monotonic clock at which there is something to [`tend`](Self::tend) to.
    pub fn deadline(&self) -> Option<Duration> {
        self.0.iter().filter_map(Forwarder::deadline).min()
    }

    /// How many lines wait to be sent.
    pub fn waiting(&self) -> usize {
        self.0.iter().map(Forwarder::waiting).sum()
    }

    /// When losses are to be told of.
    pub fn loss_due(&self) -> Option<Duration> {
        self.0.iter().filter_map(Forwarder::loss_due).min()
    }

    /// What the log directory is to be told of losses until `time`.
    pub fn take_losses(&mut self, time: Duration) -> impl Iterator<Item = Vec<u8>> {
        self.0.iter_mut().filter_map(move |forwarder| forwarder.take_loss(time))
    }

    /// Takes note that a child has ended. `false` if it was none of theirs.
    pub fn child_ended(&mut self, pid: Pid) -> bool {
        self.0.iter_mut().any(|forwarder| forwarder.child_ended(pid))
    }

    /// No more lines will come: what is queued is given a short time.
    pub fn end(&mut self) {
        self.0.iter_mut().for_each(Forwarder::end);
    }

    /// Whether no more lines will come, all have arrived, and all losses were told of.
    pub fn is_finished(&self) -> bool {
        self.0.iter().all(Forwarder::is_finished)
    }

    /// How many lines are lost, and were not told of, if all is given up now.
    pub fn give_up(&mut self, report: &Report) -> u64 {
        std::mem::take(&mut self.0).into_iter().map(|forwarder| forwarder.into_lost(report)).sum()
    }
}
