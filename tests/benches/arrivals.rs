//! Services that say when they run.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use svkit_tests::Sandbox;

use crate::interrupt;

const DEADLINE: Duration = Duration::from_secs(60);

/// Milliseconds after which a wait looks whether it was interrupted.
const LOOK: u8 = 100;

/// A fifo that services write their process id to as soon as they run: the same for every supervisor, and nothing has to
/// be polled.
pub(crate) struct Arrivals {
    path: PathBuf,
    fifo: File,
    unread: Vec<u8>,
}

impl Arrivals {
    /// A new fifo in a sandbox.
    pub(crate) fn new(sandbox: &Sandbox) -> Self {
        let path = sandbox.join("arrivals");
        mkfifo(&path, Mode::from_bits_truncate(0o600)).expect("a fresh directory takes a fifo");
        // Open for writing too, so that it is never at its end.
        let fifo = OpenOptions::new().read(true).write(true).open(&path).expect("our own fifo opens");
        Self { path, fifo, unread: Vec::new() }
    }

    /// The `run` script of a service that tells, and lives until it is killed.
    pub(crate) fn run_script(&self) -> String {
        format!("echo $$ >{}\nexec sleep 1000", self.path.display())
    }

    /// Lays out a service of this script.
    pub(crate) fn service(&self, sandbox: &Sandbox, path: impl AsRef<Path>) -> PathBuf {
        sandbox.service_at(path).run(&self.run_script()).build().dir().to_owned()
    }

    /// Waits for the next service to run and returns its process id.
    pub(crate) fn next(&mut self) -> i32 {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return String::from_utf8_lossy(&line)
                    .trim()
                    .parse()
                    .expect("a script writes its process id");
            }
            if self.is_readable() {
                let mut buffer = [0; 4096];
                let length = self.fifo.read(&mut buffer).expect("our own fifo can be read");
                self.unread.extend_from_slice(&buffer[..length]);
            } else {
                interrupt::check();
                assert!(Instant::now() < deadline, "no service was started within {DEADLINE:?}");
            }
        }
    }

    /// Waits for something to read, not for long.
    fn is_readable(&self) -> bool {
        match poll(&mut [PollFd::new(self.fifo.as_fd(), PollFlags::POLLIN)], LOOK) {
            Ok(ready) => ready > 0,
            Err(Errno::EINTR) => false,
            Err(errno) => panic!("poll: {errno}"),
        }
    }
}
