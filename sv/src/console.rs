//! Where the text goes, and the count of what went wrong.

use std::io;

use nix::errno::Errno;
use svlib::diag::{Diag, Message};
use svlib::paths;
use svlib::sys::fd;
use svlib::tai64n::Tai64n;

use crate::client::Service;
use crate::report::{Trouble, status_text};
use crate::seen::Seen;

/// Prints lines, each with one write, and counts failures for the exit code.
#[derive(Debug)]
pub struct Console {
    diag: Diag,
    failures: u8,
    gone_is_ok: bool,
}

impl Console {
    /// Nothing has failed yet. `gone_is_ok` says that a service without a runsv is what was asked for.
    pub fn new(gone_is_ok: bool) -> Self {
        Self { diag: Diag::new("sv", None), failures: 0, gone_is_ok }
    }

    /// Prints on standard output.
    pub fn print(&self, line: &[u8]) {
        // A reader who left has no use for the text; what is done to services and the exit code stay the same.
        let _ = fd::write_all(io::stdout(), line);
    }

    /// The line on a service's trouble, which is counted.
    pub fn trouble_line(&mut self, service: &Service, trouble: Trouble) -> Vec<u8> {
        if trouble.is_failure(self.gone_is_ok) {
            self.count_failure();
        }
        trouble.line(service.name(), self.gone_is_ok)
    }

    /// Prints and counts a service's trouble.
    pub fn trouble(&mut self, service: &Service, trouble: Trouble) {
        let line = self.trouble_line(service, trouble);
        self.print(&line);
    }

    /// The text of a service's status; `None` if it cannot be told whether the service is normally up, which is reported on
    /// standard error.
    pub fn describe(&self, service: &Service, label: &[u8], seen: &Seen, now: Tai64n) -> Option<Vec<u8>> {
        let normally_up = self.normally_up(service)?;
        Some(status_text(label, &seen.status, &seen.remarks(), now, normally_up))
    }

    /// Whether a service is normally up; `None` if it cannot be told, which is reported on standard error.
    pub fn normally_up(&self, service: &Service) -> Option<bool> {
        let report =
            |errno: Errno| self.warning(&("unable to stat ", service.path(paths::DOWN), ": ", errno.desc()));
        service.is_normally_up().map_err(report).ok()
    }

    /// Prints on standard error what does not count.
    pub fn warning(&self, message: &dyn Message) {
        self.diag.warning(message);
    }

    /// Counts a failure that has been printed.
    pub fn count_failure(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// The number of failures, 99 at most.
    pub fn exit_code(&self) -> u8 {
        self.failures.min(99)
    }
}
