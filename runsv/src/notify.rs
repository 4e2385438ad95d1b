//! How a service tells that it is ready: a newline on a descriptor (`notification-fd`, as in s6), or datagrams to
//! `NOTIFY_SOCKET` (sd_notify(3)).

use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::OFlag;
use nix::unistd::Pid;
use svlib::Result;
use svlib::sys::process::{Stat, own_identity};
use svlib::sys::{fd, notify_socket};

use crate::machine::Word;
use crate::setup;

/// The longest datagram that is looked at, in bytes.
const LONGEST: usize = 4096;
/// How often is read in one look: a service that never stops talking does not keep us from all else.
const AT_ONCE: usize = 64;
/// How many parents of a sender are looked at.
const MOST_PARENTS: usize = 32;

/// The reading end of the pipe of one `run`.
#[derive(Debug)]
pub struct NotifyPipe(pub OwnedFd);

/// The socket of a service, for all of its runs.
#[derive(Debug)]
pub struct NotifySocket {
    /// Its abstract name.
    pub name: String,
    /// Does not block.
    pub socket: OwnedFd,
}

/// What came of looking into a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The newline.
    Ready,
    /// Nothing yet.
    NotYet,
    /// Nothing will come any more.
    Closed,
}

impl NotifyPipe {
    /// The pipe with this inode that one of `processes` has open; None if none has, or it may not be seen.
    pub fn of_processes(inode: u64, processes: &[Pid]) -> Option<Self> {
        let found = setup::pipe_of(inode, processes)?;
        let mut options = OpenOptions::new();
        let reader = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(found).ok()?;
        (setup::inode(&reader) == Some(inode)).then(|| Self(reader.into()))
    }

    /// Reads what is there. Never waits.
    pub fn look(&self) -> Look {
        let mut bytes = [0; 64];
        for _ in 0..AT_ONCE {
            match fd::read(&self.0, &mut bytes) {
                Ok(0) => return Look::Closed,
                Ok(length) if bytes[..length].contains(&b'\n') => return Look::Ready,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        Look::NotYet
    }
}

impl NotifySocket {
    /// Binds `name`, or a new one.
    ///
    /// # Errors
    /// The name is taken, no descriptor is left.
    pub fn new(name: Option<String>) -> Result<Self> {
        let name = name.unwrap_or_else(|| {
            // Unique: of all processes that may have this number, one lives now.
            let own = own_identity();
            format!("svkit/notify/{}.{}", own.pid, own.start)
        });
        let socket = notify_socket::bind_abstract(&name)?;
        Ok(Self { name, socket })
    }

    /// What the process `run`, or one of its descendants, has said since the last look. Others are not heard.
    pub fn words(&self, run: Option<Pid>) -> Vec<Word> {
        let mut buffer = [0; LONGEST];
        let mut words = Vec::new();
        for _ in 0..AT_ONCE {
            let Ok((length, sender)) = notify_socket::receive(self.socket.as_fd(), &mut buffer) else {
                break;
            };
            if let (Some(run), Some(sender)) = (run, sender)
                && belongs(sender, run)
            {
                words.extend(parse(&buffer[..length]));
            }
        }
        words
    }
}

/// The words in one datagram: lines `NAME=VALUE`, of which those that mean something here count.
pub fn parse(datagram: &[u8]) -> Vec<Word> {
    let word = |line: &[u8]| {
        Some(match line {
            b"READY=1" => Word::Ready,
            b"STOPPING=1" => Word::Stopping,
            b"WATCHDOG=1" => Word::Alive,
            _ => Word::Text(String::from_utf8_lossy(line.strip_prefix(b"STATUS=")?).into_owned()),
        })
    };
    datagram.split(|&byte| byte == b'\n').filter_map(word).collect()
}

/// Whether `process` is `run`, or a child of its children. Of one that has ended already nothing can be told.
fn belongs(process: Pid, run: Pid) -> bool {
    let mut process = process;
    for _ in 0..MOST_PARENTS {
        if process == run {
            return true;
        }
        match Stat::of(process).and_then(|stat| stat.parent()) {
            Some(parent) if parent.as_raw() > 1 => process = parent,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use nix::unistd::{getpid, getppid};

    use super::*;

    #[test]
    fn words_are_lines() {
        let datagram = b"READY=1\nSTATUS=all is well\nMAINPID=7\nREADY=0\nWATCHDOG=1\nSTOPPING=1\n";
        let expected = [Word::Ready, Word::Text("all is well".into()), Word::Alive, Word::Stopping];
        assert_eq!(parse(datagram), expected);
        assert_eq!(parse(b""), []);
        assert_eq!(parse(b"STATUS=\xff"), [Word::Text("\u{fffd}".into())]);
    }

    #[test]
    fn descendants_belong() {
        assert!(belongs(getpid(), getpid()) && belongs(getpid(), getppid()));
        assert!(!belongs(getppid(), getpid()));
        assert!(!belongs(Pid::from_raw(i32::MAX), getpid()));
    }

    #[test]
    fn a_newline_is_readiness() {
        let (reader, writer) = fd::pipe().unwrap();
        fd::set_nonblocking(&reader, true).unwrap();
        let pipe = NotifyPipe(reader);
        assert_eq!(pipe.look(), Look::NotYet);
        fd::write_all(&writer, b"not yet").unwrap();
        assert_eq!(pipe.look(), Look::NotYet);
        fd::write_all(&writer, b"x\nmore").unwrap();
        assert_eq!(pipe.look(), Look::Ready);
        drop(writer);
        assert_eq!(pipe.look(), Look::Closed);
    }

    #[test]
    fn a_pipe_is_found_again_by_who_has_its_other_end() {
        let (reader, writer) = fd::pipe().unwrap();
        let inode = setup::inode(&reader).unwrap();
        drop(reader);
        let pipe = NotifyPipe::of_processes(inode, &[getpid()]).unwrap();
        assert_eq!(pipe.look(), Look::NotYet);
        fd::write_all(&writer, b"\n").unwrap();
        assert_eq!(pipe.look(), Look::Ready);
        drop((pipe, writer));
        assert!(NotifyPipe::of_processes(inode, &[getpid()]).is_none());
    }
}
