//! Host names into addresses, in a child: the C library's resolver waits, and may look names up in ways that a statically
//! linked program has trouble with. Whatever happens there, svlogd goes on.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use svlib::error::errno;
use svlib::sys::fd;
use svlib::sys::process::Spawn;

use crate::config::setting::Server;

/// The first argument of the child, which no user gives.
const OPTION: &str = "--resolve";

/// More is not read: no name has so many addresses that are worth trying.
const ANSWER_LIMIT: usize = 4096;

/// A lookup in progress.
pub struct Lookup {
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
        // Standard input is svlogd's alone to read: this end of the pipe gives nothing.
        Spawn::new("/proc/self/exe")
            .argument_zero("svlogd")
            .arg(OPTION)
            .arg(&server.host)
            .arg(server.port.to_string())
            .stdin(output.as_fd())
            .stdout(output.as_fd())
            .spawn()
            .map_err(|error| error.errno)?;
        Ok(Self { answer, text: Vec::new() })
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
                Ok(_) | Err(_) => return Progress::Found(addresses(&self.text)),
            }
        }
    }
}

/// One a line; a line that is cut short is none.
fn addresses(text: &[u8]) -> Vec<SocketAddr> {
    let lines = text.split_inclusive(|&byte| byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    lines.filter_map(|line| str::from_utf8(line).ok()?.parse().ok()).collect()
}

/// Does what the child is for, if these are its arguments. `Some(true)` if the name was found.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Option<bool> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next()? != OPTION {
        return None;
    }
    let mut next = || arguments.next()?.into_string().ok();
    let (host, port) = (next(), next());
    let (Some(host), Some(Ok(port))) = (host, port.map(|port| port.parse::<u16>())) else {
        return Some(false);
    };
    let Ok(found) = (host.as_str(), port).to_socket_addrs() else { return Some(false) };
    let text: String = found.map(|address| format!("{address}\n")).collect();
    Some(io::stdout().write_all(text.as_bytes()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let found = addresses(b"10.0.0.1:514\n[::1]:514\nnonsense\n\xff\n10.0.0.2:51");
        assert_eq!(found, ["10.0.0.1:514".parse().unwrap(), "[::1]:514".parse().unwrap()]);
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

    #[test]
    fn other_arguments_are_not_its() {
        for arguments in [&["svlogd"] as &[&str], &["svlogd", "log"], &["svlogd", "log", OPTION]] {
            assert_eq!(run(arguments.iter().map(OsString::from)), None);
        }
        for arguments in
            [&["svlogd", OPTION] as &[&str], &["svlogd", OPTION, "h"], &["svlogd", OPTION, "h", "x"]]
        {
            assert_eq!(run(arguments.iter().map(OsString::from)), Some(false));
        }
    }
}
