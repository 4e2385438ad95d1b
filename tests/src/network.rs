//! The network of a case that needs more than the machine has. Only root makes one, and nobody but that case sees it.

use std::fs;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

/// Gives this thread, and what it starts, the address `::1`: that of the machine, or else one in a network of its own.
pub(crate) fn ensure_ipv6() -> io::Result<()> {
    if is_ipv6_there().is_ok() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWNET)?;
    fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "0")?;
    set_loopback_up()?;
    is_ipv6_there()
}

fn is_ipv6_there() -> io::Result<()> {
    UdpSocket::bind("[::1]:0").map(drop)
}

/// `ip link set lo up`, see rtnetlink(7).
fn set_loopback_up() -> io::Result<()> {
    const LENGTH: u32 = 32;
    // The first device of every network.
    const LOOPBACK: i32 = 1;
    let up = libc::IFF_UP as u32;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let message = [
        // struct nlmsghdr: length, type, flags, sequence, sender.
        &LENGTH.to_ne_bytes()[..],
        &libc::RTM_NEWLINK.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &[0; 8],
        // struct ifinfomsg: family and type, index, flags, and which of them change.
        &[0; 4],
        &LOOPBACK.to_ne_bytes(),
        &up.to_ne_bytes(),
        &up.to_ne_bytes(),
    ]
    .concat();
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    sendto(socket.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    // A header, and zero or the negative number of an error.
    let mut answer = [0; 64];
    recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(-number)),
    }
}
