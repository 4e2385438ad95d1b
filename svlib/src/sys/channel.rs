//! Messages with descriptors between two processes (unix(7), SOCK_SEQPACKET): each arrives whole, or not.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, Shutdown, SockFlag, SockType, getsockopt,
    recvmsg, sendmsg, shutdown, socketpair, sockopt,
};

use crate::error::{Context, Result};

/// As many descriptors go with one message at most.
pub const MOST_DESCRIPTORS: usize = 16;

/// Two ends, neither of which waits. Both are closed on exec.
///
/// # Errors
/// No descriptor or no memory is left.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).during("create socket pair")
}

/// The end that was handed over as descriptor `number`; from now on it is closed on exec. None if it is no such thing.
pub fn inherited(number: RawFd) -> Option<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return None;
    }
    // SAFETY: it is only borrowed to be asked; a number that is no descriptor makes the calls fail.
    let end = unsafe { BorrowedFd::borrow_raw(number) };
    if getsockopt(&end, sockopt::SockType).ok()? != SockType::SeqPacket {
        return None;
    }
    fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    // SAFETY: it was handed over to this process, in which nothing else knows of it.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sends one message.
///
/// # Errors
/// EAGAIN if the other end does not read, EPIPE if there is none, ETOOMANYREFS if too many descriptors are under way.
pub fn send(end: impl AsFd, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> nix::Result<()> {
    let descriptors: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let rights = if descriptors.is_empty() { &rights[..0] } else { &rights[..] };
    let parts = [IoSlice::new(message)];
    loop {
        let fd = end.as_fd().as_raw_fd();
        match sendmsg::<()>(fd, &parts, rights, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT, None) {
            Err(Errno::EINTR) => {}
            result => return result.map(drop),
        }
    }
}

/// Says that nothing more will be sent from this end (shutdown(2)): the other end sees that as the end.
pub fn finish(end: impl AsFd) {
    // An end whose other end is gone is finished already.
    let _ = shutdown(end.as_fd().as_raw_fd(), Shutdown::Write);
}

/// Receives one message: how many bytes of `buffer` it fills, and its descriptors, as many of them as this process may
/// still open. Zero bytes: the other end is gone.
///
/// # Errors
/// EAGAIN if there is none.
pub fn receive(end: impl AsFd, buffer: &mut [u8]) -> nix::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let mut parts = [IoSliceMut::new(buffer)];
    loop {
        match recvmsg::<()>(end.as_fd().as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(message) => {
                let mut descriptors = Vec::new();
                for control in message.cmsgs().into_iter().flatten() {
                    if let ControlMessageOwned::ScmRights(numbers) = control {
                        // SAFETY: the kernel has just made these descriptors, for us.
                        descriptors.extend(
                            numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }),
                        );
                    }
                }
                return Ok((message.bytes, descriptors));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;

    use super::*;
    use crate::sys::fd;

    #[test]
    fn messages_keep_their_bounds_and_bring_descriptors() {
        let (one, other) = pair().unwrap();
        let mut buffer = [0; 16];
        assert_eq!(receive(&other, &mut buffer).unwrap_err(), Errno::EAGAIN);
        let (reader, writer) = fd::pipe().unwrap();
        send(&one, b"first", &[writer.as_fd(), reader.as_fd()]).unwrap();
        send(&one, b"second", &[]).unwrap();
        drop(writer);
        let (length, descriptors) = receive(&other, &mut buffer).unwrap();
        assert_eq!((&buffer[..length], descriptors.len()), (&b"first"[..], 2));
        fd::write_all(&descriptors[0], b"x").unwrap();
        assert_eq!(fd::read(&reader, &mut [0; 4]).unwrap(), 1);
        assert_eq!(receive(&other, &mut buffer).unwrap().0, 6);
        drop(one);
        assert_eq!(receive(&other, &mut buffer).unwrap().0, 0);
        assert_eq!(send(&other, b"third", &[]), Err(Errno::EPIPE));
    }

    #[test]
    fn only_such_a_socket_is_taken_over() {
        let (one, _other) = pair().unwrap();
        let number = one.into_raw_fd();
        assert_eq!(inherited(number).unwrap().as_raw_fd(), number);
        let (reader, _writer) = fd::pipe().unwrap();
        assert!(inherited(reader.as_raw_fd()).is_none());
        assert!(inherited(1).is_none() && inherited(-1).is_none() && inherited(1_000_000).is_none());
    }
}
