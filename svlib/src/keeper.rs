//! What a runsv and the runsvdir that started it say to each other: runsvdir keeps for it what must outlive it.
//!
//! They share a socket of [`channel`](crate::sys::channel); runsv finds its number in [`VARIABLE`]. runsv has its descriptors
//! held; if it is killed, its successor gets them back in the first message. And a runsv that took over processes which are
//! not its children asks runsvdir, whose children they are then, how they end.

use crate::exit_status::ExitStatus;
use crate::record::ProcessId;

/// The variable that names runsv's end of the socket. What runsv starts sees neither.
pub const VARIABLE: &str = "SVKIT_KEEPER";

/// The number that runsv's end has.
pub const DESCRIPTOR: i32 = 3;

/// The longest message, in bytes.
pub const MESSAGE_LENGTH: usize = 64;

/// What a held descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    /// The reading end of the pipe to the log service.
    LogRead,
    /// Its writing end.
    LogWrite,
    /// The reading end of the pipe that a service writes its readiness to.
    NotifyRead,
    /// The socket that a service sends its readiness to.
    NotifySocket,
    /// A fifo of a supervise directory: held so that what is written to it while there is no runsv is not lost. The next runsv
    /// opens it by its name, and does not get it back.
    Fifo,
}

/// What runsv says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Hold these, one descriptor each, and nothing else any more.
    Hold(Vec<Held>),
    /// Tell how this process ends, or has ended.
    Watch(ProcessId),
}

/// What runsvdir says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These were held for your predecessor, one descriptor each.
    Back(Vec<Held>),
    /// The process has ended.
    Ended(ProcessId, ExitStatus),
    /// The process is none of this runsvdir's children, or not any more, and nothing is known of it.
    Unknown(ProcessId),
}

impl Held {
    const ALL: [Self; 5] = [Self::LogRead, Self::LogWrite, Self::NotifyRead, Self::NotifySocket, Self::Fifo];

    fn letter(self) -> u8 {
        match self {
            Self::LogRead => b'r',
            Self::LogWrite => b'w',
            Self::NotifyRead => b'n',
            Self::NotifySocket => b's',
            Self::Fifo => b'f',
        }
    }

    fn from_letter(letter: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|held| held.letter() == letter)
    }
}

impl Request {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hold(held) => list(b'H', held),
            Self::Watch(process) => format!("W{process}").into_bytes(),
        }
    }

    /// The request in a message, if there is one.
    pub fn decode(message: &[u8]) -> Option<Self> {
        match message {
            [b'H', letters @ ..] => {
                letters.iter().map(|&letter| Held::from_letter(letter)).collect::<Option<_>>().map(Self::Hold)
            }
            [b'W', process @ ..] => Some(Self::Watch(text(process)?.parse().ok()?)),
            _ => None,
        }
    }
}

impl Answer {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Back(held) => list(b'B', held),
            Self::Ended(process, status) => format!("E{process} {}", status.to_raw()).into_bytes(),
            Self::Unknown(process) => format!("U{process}").into_bytes(),
        }
    }

    /// The answer in a message, if there is one.
    pub fn decode(message: &[u8]) -> Option<Self> {
        match message {
            [b'B', letters @ ..] => {
                letters.iter().map(|&letter| Held::from_letter(letter)).collect::<Option<_>>().map(Self::Back)
            }
            [b'E', rest @ ..] => {
                let (process, status) = text(rest)?.rsplit_once(' ')?;
                Some(Self::Ended(process.parse().ok()?, ExitStatus::from_raw(status.parse().ok()?)))
            }
            [b'U', process @ ..] => Some(Self::Unknown(text(process)?.parse().ok()?)),
            _ => None,
        }
    }
}

fn list(kind: u8, held: &[Held]) -> Vec<u8> {
    [kind].into_iter().chain(held.iter().map(|held| held.letter())).collect()
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use nix::unistd::Pid;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn process() -> impl Strategy<Value = ProcessId> {
        (1..i32::MAX, any::<u64>()).prop_map(|(pid, start)| ProcessId { pid: Pid::from_raw(pid), start })
    }

    proptest! {
        #[test]
        fn messages_round_trip(held in proptest::collection::vec(select(&Held::ALL[..]), 0..16), process in process(), raw: i32) {
            let requests = [Request::Hold(held.clone()), Request::Watch(process)];
            let answers =
                [Answer::Back(held), Answer::Ended(process, ExitStatus::from_raw(raw)), Answer::Unknown(process)];
            for request in requests {
                let message = request.encode();
                prop_assert!(message.len() <= MESSAGE_LENGTH);
                prop_assert_eq!(Request::decode(&message), Some(request));
            }
            for answer in answers {
                let message = answer.encode();
                prop_assert!(message.len() <= MESSAGE_LENGTH);
                prop_assert_eq!(Answer::decode(&message), Some(answer));
            }
        }

        #[test]
        fn any_bytes_are_a_message_or_not(bytes: Vec<u8>) {
            let _ = (Request::decode(&bytes), Answer::decode(&bytes));
        }
    }
}
