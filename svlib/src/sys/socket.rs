//! Sockets that connect without waiting.

use std::ffi::c_int;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, connect,
    getsockopt, sendmsg, setsockopt, socket, sockopt,
};

/// Connects a UDP socket: it sends to `address` only, and hears of errors there.
///
/// # Errors
/// What socket(2) and connect(2) report.
pub fn connect_udp(address: SocketAddr) -> nix::Result<OwnedFd> {
    begin(SockType::Datagram, &SockaddrStorage::from(address))
}

/// Begins to connect a TCP socket, which is writable once [`pending_error`] tells how that went. A peer that does not
/// answer what was sent to it for `timeout` milliseconds is gone.
///
/// # Errors
/// What socket(2) and connect(2) report.
pub fn connect_tcp(address: SocketAddr, timeout: u32) -> nix::Result<OwnedFd> {
    let socket = begin(SockType::Stream, &SockaddrStorage::from(address))?;
    // Without these, a peer that vanishes is noticed late, or only once something is sent.
    let _ = setsockopt(&socket, sockopt::TcpUserTimeout, &timeout);
    let _ = setsockopt(&socket, sockopt::KeepAlive, &true);
    Ok(socket)
}

/// Connects to the UNIX socket at `path`; `true` if it is one for streams, `false` if it is one for datagrams.
///
/// # Errors
/// What socket(2) and connect(2) report; ENAMETOOLONG for a path that no address has room for.
pub fn connect_unix(path: &Path) -> nix::Result<(OwnedFd, bool)> {
    let address = UnixAddr::new(path)?;
    match begin(SockType::Datagram, &address) {
        Err(Errno::EPROTOTYPE) => Ok((begin(SockType::Stream, &address)?, true)),
        result => Ok((result?, false)),
    }
}

/// What went wrong since it was last asked, while connecting above all (`SO_ERROR`).
///
/// # Errors
/// What went wrong.
pub fn pending_error(socket: impl AsFd) -> nix::Result<()> {
    match getsockopt(&socket, sockopt::SocketError)? {
        0 => Ok(()),
        error => Err(Errno::from_raw(error)),
    }
}

/// Sends from several places, as one datagram or so many bytes of a stream; never waits (sendmsg(2)).
///
/// # Errors
/// What sendmsg(2) reports; EAGAIN if there is no room.
pub fn send(socket: impl AsFd, parts: &[IoSlice<'_>]) -> nix::Result<usize> {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    loop {
        match sendmsg::<()>(socket.as_fd().as_raw_fd(), parts, &[], flags, None) {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// How much of what was sent has not arrived: bytes that the peer has not acknowledged on TCP, at least the bytes that it
/// has not read on a UNIX stream (`SIOCOUTQ`, tcp(7)).
///
/// # Errors
/// What ioctl(2) reports.
pub fn unarrived(socket: impl AsFd) -> nix::Result<usize> {
    let mut bytes: c_int = 0;
    // SAFETY: the request, SIOCOUTQ by another name, writes an int, which there is room for.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    Errno::result(result).map(|_| usize::try_from(bytes).unwrap_or_default())
}

fn begin(kind: SockType, address: &dyn SockaddrLike) -> nix::Result<OwnedFd> {
    let family = address.family().unwrap_or(AddressFamily::Unspec);
    let socket = socket(family, kind, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?;
    match connect(socket.as_raw_fd(), address) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::{PollFd, PollFlags, wait};
    use std::io::Read;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener};
    use std::time::Duration;

    fn writable(socket: &OwnedFd) {
        let ready =
            wait(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], Some(Duration::from_secs(20)));
        assert_eq!(ready.unwrap(), 1);
    }

    #[test]
    fn tcp_tells_what_has_not_arrived() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else { continue };
            let socket = connect_tcp(listener.local_addr().unwrap(), 1000).unwrap();
            writable(&socket);
            pending_error(&socket).unwrap();
            assert_eq!(send(&socket, &[IoSlice::new(b"a"), IoSlice::new(b"bc")]), Ok(3));
            let mut text = [0; 3];
            listener.accept().unwrap().0.read_exact(&mut text).unwrap();
            assert_eq!(&text, b"abc");
            assert_eq!(unarrived(&socket), Ok(0));
        }
    }

    #[test]
    fn nobody_listens() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = connect_tcp(address, 1000).and_then(|socket| {
            writable(&socket);
            pending_error(&socket)
        });
        assert_eq!(refused, Err(Errno::ECONNREFUSED));
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(connect_unix(&dir.path().join("none")).unwrap_err(), Errno::ENOENT);
    }

    #[test]
    fn a_unix_socket_is_of_either_kind() {
        let dir = tempfile::tempdir().unwrap();
        let [datagram, stream] = ["datagram", "stream"].map(|name| dir.path().join(name));
        let receiver = UnixDatagram::bind(&datagram).unwrap();
        let (socket, is_stream) = connect_unix(&datagram).unwrap();
        assert!(!is_stream && send(&socket, &[IoSlice::new(b"abc")]) == Ok(3));
        assert_eq!(receiver.recv(&mut [0; 9]).unwrap(), 3);
        let _listener = UnixListener::bind(&stream).unwrap();
        let (socket, is_stream) = connect_unix(&stream).unwrap();
        assert!(is_stream && send(&socket, &[IoSlice::new(b"abc")]) == Ok(3));
        assert!(unarrived(&socket).unwrap() >= 3, "nobody has read it");
    }

    #[test]
    fn a_datagram_arrives() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = connect_udp(receiver.local_addr().unwrap()).unwrap();
        send(&socket, &[IoSlice::new(b"abc")]).unwrap();
        assert_eq!(receiver.recv(&mut [0; 9]).unwrap(), 3);
    }
}
