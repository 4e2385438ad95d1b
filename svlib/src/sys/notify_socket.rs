//! The socket that a service tells its readiness to (sd_notify(3)): datagrams with proven senders, in the abstract
//! namespace (unix(7)), which needs no directory that the service's user could reach.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, UnixCredentials, bind,
    recvmsg, setsockopt, socket, sockopt,
};
use nix::unistd::Pid;

use crate::error::{Context, Result};

/// Binds the abstract name `name`.
///
/// # Errors
/// EADDRINUSE: somebody else has it.
pub fn bind_abstract(name: &str) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None).during("create socket")?;
    setsockopt(&socket, sockopt::PassCred, &true).during("ask for credentials")?;
    let address = UnixAddr::new_abstract(name.as_bytes()).during("name the notify socket")?;
    bind(socket.as_raw_fd(), &address).during("bind the notify socket")?;
    Ok(socket)
}

/// One datagram: how many bytes of `buffer` it fills, and who sent it. Descriptors that came with it are closed.
///
/// # Errors
/// EAGAIN if there is none.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> nix::Result<(usize, Option<Pid>)> {
    let mut space = nix::cmsg_space!(UnixCredentials);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let mut parts = [IoSliceMut::new(buffer)];
    loop {
        match recvmsg::<UnixAddr>(socket.as_fd().as_raw_fd(), &mut parts, Some(&mut space), flags) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(message) => {
                // There is no room for descriptors: the kernel drops them.
                let sender = message.cmsgs().into_iter().flatten().find_map(|control| match control {
                    ControlMessageOwned::ScmCredentials(credentials) => {
                        Some(Pid::from_raw(credentials.pid()))
                    }
                    _ => None,
                });
                return Ok((message.bytes, sender));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    #[test]
    fn the_sender_is_known() {
        let name = format!("svkit/test/{}", std::process::id());
        let socket = bind_abstract(&name).unwrap();
        assert_eq!(bind_abstract(&name).unwrap_err().errno, Errno::EADDRINUSE);
        let mut buffer = [0; 16];
        assert_eq!(receive(&socket, &mut buffer), Err(Errno::EAGAIN));
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to_addr(b"READY=1", &SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let own = Pid::from_raw(std::process::id().cast_signed());
        assert_eq!(receive(&socket, &mut buffer), Ok((7, Some(own))));
    }
}
