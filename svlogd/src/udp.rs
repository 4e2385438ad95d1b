//! Lines sent as UDP datagrams (the `u` and `U` lines of the config).

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

/// Where a directory's lines are sent.
pub struct Udp {
    target: SocketAddrV4,
    socket: Option<UdpSocket>,
}

/// Why a line was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// There is no socket to be had.
    NoSocket,
    /// The datagram was not taken.
    Refused,
}

impl Unsent {
    /// What the log directory is told, before the line.
    pub fn warning(self) -> &'static str {
        match self {
            Self::NoSocket => "warning: no udp socket available: ",
            Self::Refused => "warning: failure sending through udp: ",
        }
    }
}

impl Udp {
    /// Sends to `target`. The socket is made for the first line.
    pub fn new(target: SocketAddrV4) -> Self {
        Self { target, socket: None }
    }

    /// Sends one line, and never waits.
    ///
    /// # Errors
    /// Which warning is due.
    pub fn send(&mut self, line: &[u8]) -> Result<(), Unsent> {
        if let Some(socket) = &self.socket {
            match socket.send_to(line, self.target) {
                // Its queue is full, of a new socket it is empty: runit takes one for each line.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent.map(drop).map_err(|_| Unsent::Refused),
            }
        }
        let socket = self.socket.insert(connectionless().map_err(|_| Unsent::NoSocket)?);
        socket.send_to(line, self.target).map(drop).map_err(|_| Unsent::Refused)
    }
}

fn connectionless() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn a_line_arrives_as_a_datagram() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(target) = receiver.local_addr().unwrap() else { panic!("not an IPv4 address") };
        let mut udp = Udp::new(target);
        let mut buffer = [0; 100];
        for line in ["a\n", "b...\n"] {
            udp.send(line.as_bytes()).unwrap();
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], line.as_bytes());
        }
    }

    #[test]
    fn what_no_datagram_can_hold_is_refused() {
        let mut udp = Udp::new(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9));
        assert_eq!(udp.send(&[b'x'; 70_000]), Err(Unsent::Refused));
    }
}
