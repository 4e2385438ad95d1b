//! The runsvdir that started this runsv, if it is one of svkit's: it holds what must outlive us ([`svlib::keeper`]).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use svlib::keeper::{Answer, Held, MESSAGE_LENGTH, Request, VARIABLE};
use svlib::record::ProcessId;
use svlib::sys::poll::{self, PollFd, PollFlags};
use svlib::sys::{channel, clock, environment};

/// How long a runsvdir that does not read is left alone.
const RETRY: Duration = Duration::from_secs(1);

/// The way to runsvdir.
#[derive(Debug)]
pub struct Keeper {
    socket: OwnedFd,
    /// It does not hold yet what it shall: this is when to tell it again.
    retry: Option<Duration>,
}

/// What runsvdir says.
#[derive(Debug)]
pub enum Message {
    /// It answers; the descriptors are those of [`Answer::Back`].
    Answer(Answer, Vec<OwnedFd>),
    /// It is gone.
    Gone,
}

impl Keeper {
    /// The runsvdir that started this process.
    pub fn of_this_process() -> Option<Self> {
        let number = environment::take(VARIABLE)?.to_str()?.parse().ok()?;
        channel::inherited(number).map(Self::new)
    }

    /// The runsvdir at the other end of `socket`.
    pub const fn new(socket: OwnedFd) -> Self {
        Self { socket, retry: None }
    }

    /// Has these held, and nothing else any more. If runsvdir does not read, [`deadline`](Self::deadline) says when to call
    /// this again.
    pub fn hold(&mut self, held: &[(Held, BorrowedFd<'_>)], now: Duration) {
        let (kinds, descriptors): (Vec<Held>, Vec<BorrowedFd<'_>>) = held.iter().copied().unzip();
        let sent = channel::send(&self.socket, &Request::Hold(kinds).encode(), &descriptors);
        // One that has gone holds nothing, and that is noticed elsewhere.
        let again = matches!(sent, Err(Errno::EAGAIN | Errno::ETOOMANYREFS | Errno::ENOBUFS | Errno::ENOMEM));
        self.retry = again.then(|| now + RETRY);
    }

    /// Has nothing held any more, and waits for that, a second at most: who then looks for a supervisor finds none.
    pub fn release(self) {
        self.hold_nothing();
        let end = clock::now().monotonic + RETRY;
        while let Some(left) = end.checked_sub(clock::now().monotonic).filter(|left| !left.is_zero()) {
            match self.next() {
                Some(Message::Gone) => return,
                Some(Message::Answer(..)) => {}
                None => {
                    // Whatever it returns, the next thing to do is to look.
                    let _ =
                        poll::wait(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], Some(left));
                }
            }
        }
    }

    fn hold_nothing(&self) {
        // To one that does not read it is said for nothing. What it goes on to hold is then checked by the next runsv.
        let _ = channel::send(&self.socket, &Request::Hold(Vec::new()).encode(), &[]);
        channel::finish(&self.socket);
    }

    /// When [`hold`](Self::hold) is due again, on the monotonic clock.
    pub const fn deadline(&self) -> Option<Duration> {
        self.retry
    }

    /// Asks how `process` ends. False: no answer will come.
    pub fn watch(&self, process: ProcessId) -> bool {
        channel::send(&self.socket, &Request::Watch(process).encode(), &[]).is_ok()
    }

    /// What it has said, if anything. Never waits.
    pub fn next(&self) -> Option<Message> {
        let mut buffer = [0; MESSAGE_LENGTH];
        loop {
            match channel::receive(&self.socket, &mut buffer) {
                Ok((0, _)) => return Some(Message::Gone),
                Ok((length, descriptors)) => {
                    // What a newer runsvdir says besides is passed over.
                    if let Some(answer) = Answer::decode(&buffer[..length]) {
                        return Some(Message::Answer(answer, descriptors));
                    }
                }
                Err(Errno::EAGAIN) => return None,
                Err(_) => return Some(Message::Gone),
            }
        }
    }
}

impl AsFd for Keeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use svlib::sys::fd;

    use super::*;

    #[test]
    fn it_holds_and_answers() {
        let (ours, theirs) = channel::pair().unwrap();
        let mut keeper = Keeper::new(ours);
        let (reader, _writer) = fd::pipe().unwrap();
        keeper.hold(&[(Held::LogRead, reader.as_fd())], Duration::ZERO);
        assert_eq!(keeper.deadline(), None);
        let mut buffer = [0; MESSAGE_LENGTH];
        let (length, descriptors) = channel::receive(&theirs, &mut buffer).unwrap();
        assert_eq!(Request::decode(&buffer[..length]), Some(Request::Hold(vec![Held::LogRead])));
        channel::send(&theirs, b"?", &[]).unwrap();
        channel::send(&theirs, &Answer::Back(vec![Held::LogRead]).encode(), &[descriptors[0].as_fd()])
            .unwrap();
        let Some(Message::Answer(Answer::Back(kinds), back)) = keeper.next() else {
            panic!("it has answered")
        };
        assert_eq!((kinds, back.len()), (vec![Held::LogRead], 1));
        assert!(keeper.next().is_none());
        drop(theirs);
        assert!(matches!(keeper.next(), Some(Message::Gone)));
    }

    #[test]
    fn one_that_does_not_read_is_told_again_later() {
        let (ours, _theirs) = channel::pair().unwrap();
        let mut keeper = Keeper::new(ours);
        while keeper.deadline().is_none() {
            keeper.hold(&[], Duration::from_secs(5));
        }
        assert_eq!(keeper.deadline(), Some(Duration::from_secs(6)));
    }
}
