//! Messages with descriptors between two processes (unix(7), SOCK_SEQPACKET): each arrives whole, or not.

use std::io::IoSlice;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, Shutdown, SockFlag, SockType, getsockopt, sendmsg, shutdown,
    socketpair, sockopt,
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
    // Not nix's recvmsg: where not all descriptors could be opened, it tells of none, and the others would stay open.
    let mut control = [0_u64; CONTROL_LENGTH];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all bytes zero is a message header without anything.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
    let length = loop {
        // SAFETY: the header tells where there is room, and how much.
        match Errno::result(unsafe { libc::recvmsg(end.as_fd().as_raw_fd(), &raw mut header, flags) }) {
            Err(Errno::EINTR) => {}
            result => break result?,
        }
    };
    Ok((usize::try_from(length).unwrap_or_default(), received(&header)))
}

/// The descriptors that a message brought.
fn received(header: &libc::msghdr) -> Vec<OwnedFd> {
    // Descriptors are all that is sent besides bytes: there is no second entry.
    // SAFETY: the kernel has filled the header in.
    let entry = unsafe { libc::CMSG_FIRSTHDR(header) };
    if entry.is_null() {
        return Vec::new();
    }
    // SAFETY: it is a whole header within the control data.
    let head = unsafe { entry.read() };
    if head.cmsg_level != libc::SOL_SOCKET || head.cmsg_type != libc::SCM_RIGHTS {
        return Vec::new();
    }
    let length: usize = head.cmsg_len as _;
    // SAFETY: only computes.
    let empty = unsafe { libc::CMSG_LEN(0) } as usize;
    let count = (length - empty) / size_of::<RawFd>();
    // SAFETY: only computes.
    let first = unsafe { libc::CMSG_DATA(entry) }.cast::<RawFd>();
    // SAFETY: the entry says that so many follow it.
    let numbers = unsafe { std::slice::from_raw_parts(first, count) };
    // SAFETY: the kernel has just made these descriptors, for us.
    numbers.iter().map(|number| unsafe { OwnedFd::from_raw_fd(*number) }).collect()
}

/// Words enough for the control data of the most descriptors, and aligned as it.
const CONTROL_LENGTH: usize = 2 + MOST_DESCRIPTORS * size_of::<RawFd>() / size_of::<u64>();

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;

    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use nix::sys::wait::{WaitStatus, waitpid};

    use super::*;
    use crate::sys::fd;
    use crate::sys::process::Spawn;

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

    /// The limit is the process's, so this is one of its own.
    #[test]
    fn what_there_is_no_room_for_does_not_stay_open() {
        let test = "sys::channel::tests::with_room_for_one";
        let this = Spawn::new(std::env::current_exe().unwrap()).arg("--exact").arg(test);
        let pid = this.env("ROOM_FOR_ONE", "1").spawn().unwrap();
        assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, 0)));
    }

    #[test]
    fn with_room_for_one() {
        if std::env::var_os("ROOM_FOR_ONE").is_none() {
            return;
        }
        let (one, other) = pair().unwrap();
        let (reader, writer) = fd::pipe().unwrap();
        send(&one, b"two", &[writer.as_fd(), writer.as_fd()]).unwrap();
        drop(writer);
        // The lowest number that is free, and no other.
        let free = one.try_clone().unwrap().as_raw_fd();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, u64::try_from(free).unwrap() + 1, hard).unwrap();
        let (length, descriptors) = receive(&other, &mut [0; 16]).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        assert_eq!((length, descriptors.len()), (3, 1));
        drop(descriptors);
        assert_eq!(fd::read(&reader, &mut [0; 4]).unwrap(), 0, "nobody has the other end");
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
