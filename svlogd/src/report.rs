//! What svlogd says on standard error, in runit's shape: `svlogd: WORD: WHAT: DIRECTORY: REASON`.

use std::ffi::OsStr;

use nix::errno::Errno;
use svlib::diag::{Diag, Message};

use crate::counters::Counters;

/// The voice of the program, and what it keeps count of.
pub struct Report {
    /// What USR1 asks for.
    pub counters: Counters,
    diag: Diag,
    verbose: bool,
}

impl Report {
    /// One that says what `-v` asks for only if `verbose`.
    pub fn new(verbose: bool) -> Self {
        Self { counters: Counters::default(), diag: Diag::new("svlogd", None), verbose }
    }

    /// Whether it says what `-v` asks for.
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// What ends the program.
    pub fn fatal(&self, message: &dyn Message) {
        self.diag.fatal(message);
    }

    /// What svlogd goes on after.
    pub fn warning(&self, message: &dyn Message) {
        self.diag.warning(message);
    }

    /// `what` failed for `subject`, a log directory or a file in one.
    pub fn failure(&self, what: &str, subject: &dyn Message, errno: Errno) {
        self.diag.warning(&(what, ": ", subject, ": ", errno.desc()));
    }

    /// Why the log, and so its writer, has to wait.
    pub fn pausing(&self, message: &dyn Message) {
        self.diag.line("pausing", message);
    }

    /// Tells the counters; so many lines wait to be sent.
    pub fn counters(&self, queue: usize) {
        self.diag.line("counters", &self.counters.line(queue));
    }

    /// What `-v` asks for.
    pub fn info(&self, message: &dyn Message) {
        if self.verbose {
            self.diag.info(message);
        }
    }
}

/// A file in a log directory: `DIRECTORY/FILE`.
pub struct InDirectory<'a>(pub &'a OsStr, pub &'a str);

impl Message for InDirectory<'_> {
    fn append_to(&self, line: &mut Vec<u8>) {
        (self.0, "/", self.1).append_to(line);
    }
}
