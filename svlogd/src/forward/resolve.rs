//! Host names into addresses, by getent(1) of the C library.
//!
//! Looking a name up means to wait, and to load what nsswitch.conf(5) names: the one would hold the log back, the other a
//! statically linked program cannot do. A child can do both, and whatever happens to it, svlogd goes on.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use svlib::error::errno;
use svlib::sys::process::Spawn;
use svlib::sys::{fd, signal};

use crate::config::setting::Server;

/// More is not read: no name has so many addresses that are worth trying.
const ANSWER_LIMIT: usize = 4096;

/// A lookup in progress, ended when it is dropped.
pub struct Lookup {
    port: u16,
    /// `None` once it has ended.
    child: Option<Pid>,
    answer: OwnedFd,
    text: Vec<u8>,
}

/// Where a lookup has got to.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is not done.
    Waiting,
    /// The addresses, of which there may be none.
    Found(Vec<SocketAddr>),
}

/// The address of a server that is named by one.
pub fn literal(server: &Server) -> Option<SocketAddr> {
    server.host.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, server.port))
}

impl Lookup {
    /// Starts a child that looks the server up.
    ///
    /// # Errors
    /// Why there is none.
    pub fn start(server: &Server) -> nix::Result<Self> {
        let (answer, output) = fd::pipe().map_err(|error| error.errno)?;
        fd::set_nonblocking(&answer, true).map_err(|error| error.errno)?;
        let child = Spawn::new("getent")
            .search_path()
            .arg("ahosts")
            .arg(&server.host)
            // Standard input is svlogd's alone to read: this end of the pipe gives nothing.
            .stdin(output.as_fd())
            .stdout(output.as_fd())
            .spawn()
            .map_err(|error| error.errno)?;
        Ok(Self { port: server.port, child: Some(child), answer, text: Vec::new() })
    }

    /// Readable when there is progress.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.answer.as_fd()
    }

    /// Takes what the child has said. Never waits.
    pub fn progress(&mut self) -> Progress {
        let mut buffer = [0; 512];
        loop {
            match fd::read(&self.answer, &mut buffer) {
                Ok(count) if count > 0 && self.text.len() < ANSWER_LIMIT => {
                    self.text.extend_from_slice(&buffer[..count]);
                }
                Err(error) if errno(&error) == Errno::EAGAIN => return Progress::Waiting,
                Ok(_) | Err(_) => return Progress::Found(addresses(&self.text, self.port)),
            }
        }
    }

    /// Takes note that a child has ended. `false` if it was another one.
    pub fn child_ended(&mut self, pid: Pid) -> bool {
        self.child.take_if(|child| *child == pid).is_some()
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        if let Some(child) = self.child {
            // It has ended if this fails, and is reaped with the others either way.
            let _ = signal::send(child, Signal::SIGKILL);
        }
    }
}

/// Each address once, in the order of the answer: a line a socket type, the address first.
fn addresses(text: &[u8], port: u16) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    // A line that is cut short is none.
    for line in text.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        let word = line.split(u8::is_ascii_whitespace).next().and_then(|word| str::from_utf8(word).ok());
        if let Some(address) = word.and_then(|word| word.parse::<IpAddr>().ok())
            && !addresses.contains(&SocketAddr::new(address, port))
        {
            addresses.push(SocketAddr::new(address, port));
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let answer = b"::1             STREAM localhost\n::1             DGRAM\n10.0.0.1        STREAM \n\n\
            nonsense\n\xff\n10.0.0.2";
        let expected = ["[::1]:514", "10.0.0.1:514"].map(|address| address.parse().unwrap());
        assert_eq!(addresses(answer, 514), expected);
    }

    #[test]
    fn an_address_needs_no_lookup() {
        for (host, expected) in [
            ("127.0.0.1", Some("127.0.0.1:514")),
            ("::1", Some("[::1]:514")),
            ("loghost", None),
            ("127.0.0", None),
        ] {
            let server = Server { host: host.into(), port: 514 };
            assert_eq!(literal(&server), expected.map(|address| address.parse().unwrap()), "{host}");
        }
    }
}
