//! What belongs to one service each, waited for with epoll(7): a wakeup costs what has happened, not what there is.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use svlib::{Context as _, Result};

use crate::plan::Identity;

/// How many are reported at once.
const BATCH: usize = 64;

/// What can be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The socket to the runsv of a service.
    Socket(Identity),
    /// The runsv of a service, which this process did not start: it has ended.
    Runsv(Identity),
}

/// The name of one descriptor here; no two ever have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(u64);

/// The descriptors.
#[derive(Debug)]
pub struct Poller {
    epoll: Epoll,
    sources: HashMap<Token, Source>,
    last: u64,
}

impl Poller {
    /// Waits for nothing yet.
    ///
    /// # Errors
    ///
    /// What epoll_create1(2) reports: no descriptor or no memory is left.
    pub fn new() -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).during("create epoll")?;
        Ok(Self { epoll, sources: HashMap::new(), last: 0 })
    }

    /// Waits for `fd` to become readable.
    ///
    /// # Errors
    ///
    /// What epoll_ctl(2) reports: no memory is left, or too many are waited for already.
    pub fn add(&mut self, fd: impl AsFd, source: Source) -> Result<Token> {
        self.last += 1;
        let token = Token(self.last);
        self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token.0)).during("wait for a runsv")?;
        self.sources.insert(token, source);
        Ok(token)
    }

    /// Does not wait for `fd` any more.
    pub fn remove(&mut self, fd: impl AsFd, token: Token) {
        // It cannot fail for what was added.
        let _ = self.epoll.delete(fd);
        self.sources.remove(&token);
    }

    /// What is ready, as much of it as is told at once. It does not wait.
    pub fn ready(&self) -> Vec<Source> {
        let mut events = [EpollEvent::empty(); BATCH];
        let count = loop {
            match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
                Err(Errno::EINTR) => {}
                result => break result.unwrap_or_default(),
            }
        };
        events[..count].iter().filter_map(|event| self.sources.get(&Token(event.data())).copied()).collect()
    }
}

impl AsFd for Poller {
    /// Readable when something is ready.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use svlib::sys::fd;

    use super::*;

    #[test]
    fn only_what_is_ready_and_still_there_is_told() {
        let mut poller = Poller::new().unwrap();
        let identity = |inode| Identity { device: 1, inode };
        let pipes: Vec<_> = (0..3).map(|_| fd::pipe().unwrap()).collect();
        let tokens: Vec<_> = (0..3)
            .map(|number| poller.add(&pipes[number].0, Source::Socket(identity(number as u64))).unwrap())
            .collect();
        assert!(poller.ready().is_empty());
        fd::write_all(&pipes[1].1, b"x").unwrap();
        fd::write_all(&pipes[2].1, b"x").unwrap();
        poller.remove(&pipes[2].0, tokens[2]);
        assert_eq!(poller.ready(), [Source::Socket(identity(1))]);
    }
}
