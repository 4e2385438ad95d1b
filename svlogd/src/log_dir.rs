//! One log directory: which lines it takes, and in which form.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::ops::Range;

use nix::errno::Errno;
use nix::unistd::Pid;
use svlib::sys::clock;
use svlib::sys::lock::Lock;

use crate::config::Config;
use crate::config_file;
use crate::directory::Directory;
use crate::filter::Filter;
use crate::policy::{Age, Policy};
use crate::report::{InDirectory, Report};
use crate::split::Piece;
use crate::udp::Udp;
use crate::writer::{Afterwards, Left, Writer};

/// From this length on lines are written from where they were read; less of them is gathered.
const LONG_RUN: usize = 16 << 10;

/// An open log directory.
pub struct LogDir {
    /// Its files.
    pub writer: Writer,
    _lock: Lock,
    filter: Filter,
    prefix: Vec<u8>,
    line_limit: usize,
    udp: Option<Udp>,
    udp_only: bool,
    /// The line whose pieces come is written here.
    selected: bool,
    /// Selected lines, one after the other in the read buffer, that are written as they are.
    run: Range<usize>,
}

/// What remains of a directory that is closed, until it is opened again.
#[derive(Default)]
pub struct Remains {
    left: Left,
    selected: bool,
}

impl Remains {
    /// How many bytes could not be written.
    pub fn unwritten(&self) -> usize {
        self.left.unwritten()
    }

    /// Takes note that a child has ended. `false` if it is none of this directory's.
    pub fn child_ended(&mut self, pid: Pid) -> bool {
        self.left.child_ended(pid)
    }
}

impl LogDir {
    /// Opens and locks the directory `name`, and reads its config. `None` after a warning: the directory is ignored.
    ///
    /// Lines count as long from `line_limit` bytes on.
    pub fn open(name: &OsStr, line_limit: usize, remains: &mut Remains, report: &Report) -> Option<Self> {
        let failure = |what: &str, errno: Errno| report.failure(what, &name, errno);
        let directory =
            Directory::open(name).map_err(|errno| failure("unable to open log directory", errno)).ok()?;
        let lock = match Lock::try_exclusive(&directory.path().join("lock")) {
            Ok(lock) => lock.ok_or(Errno::EWOULDBLOCK),
            Err(error) => Err(error.errno),
        };
        let lock = lock.map_err(|errno| failure("unable to lock directory", errno)).ok()?;
        let config = read_config(&directory, report);
        let filter = match Filter::new(config.rules) {
            Ok(filter) => filter,
            Err(error) => {
                report.warning(&("unable to compile expressions: ", name, ": ", &error.to_string()));
                return None;
            }
        };
        let Remains { left, selected } = std::mem::take(remains);
        let policy = Policy {
            size: config.size,
            line_limit: line_limit as u64,
            keep: config.keep,
            keep_min: config.keep_min,
        };
        let age = Age::new(config.age, clock::now().monotonic);
        let afterwards = Afterwards {
            processor: config.processor,
            processor_timeout: config.processor_timeout,
            compress: config.compress,
        };
        let writer = Writer::open(directory, policy, age, afterwards, left, report)
            .map_err(|found| failure(found.what, found.errno))
            .ok()?;
        Some(Self {
            writer,
            _lock: lock,
            filter,
            prefix: config.prefix,
            line_limit,
            udp: config.udp.map(Udp::new),
            udp_only: config.udp_only,
            selected,
            run: 0..0,
        })
    }

    /// Takes a piece of a line, found in `buffer`. What is to be written is written with [`finish`](Self::finish) at the
    /// latest. `stamp` may be empty.
    pub fn take(&mut self, buffer: &[u8], piece: &Piece, stamp: &[u8], report: &Report) {
        if piece.first {
            self.begin_line(buffer, &buffer[piece.text.clone()], stamp);
        }
        if !self.selected {
            return;
        }
        let bytes = piece.with_newline();
        if !stamp.is_empty() || !self.prefix.is_empty() {
            if piece.first {
                self.writer.gather(stamp);
                self.writer.gather(&self.prefix);
            }
            self.writer.gather(&buffer[bytes]);
            self.writer.flush_if_much(report);
        } else if bytes.start == self.run.end {
            self.run.end = bytes.end;
        } else {
            self.end_run(buffer, report);
            self.run = bytes;
        }
    }

    /// Writes what was taken, or gathers what cannot be written: the buffer may be used for something else.
    pub fn finish(&mut self, buffer: &[u8], report: &Report) {
        if self.writer.is_empty() {
            self.writer.write(&buffer[std::mem::take(&mut self.run)], report);
        } else {
            self.end_run(buffer, report);
            self.writer.flush(report);
        }
        self.run = 0..0;
    }

    /// Closes the directory; `current` counts as cleanly closed.
    pub fn close(self, report: &Report) -> Remains {
        Remains { left: self.writer.close(report), selected: self.selected }
    }

    fn begin_line(&mut self, buffer: &[u8], text: &[u8], stamp: &[u8]) {
        let verdict = self.filter.verdict(text);
        self.selected = verdict.select;
        let sends = verdict.select && self.udp.is_some();
        if verdict.alert || sends {
            let line = self.message(text, stamp);
            if verdict.alert {
                // Nobody is left to be told when standard error fails.
                let _ = io::stderr().write_all(&line);
            }
            if sends {
                self.send(buffer, &line);
            }
        }
    }

    /// A line for standard error and UDP, where long ones are cut.
    fn message(&self, text: &[u8], stamp: &[u8]) -> Vec<u8> {
        let dots: &[u8] = if text.len() == self.line_limit { b"..." } else { b"" };
        [stamp, &self.prefix, text, dots, b"\n"].concat()
    }

    fn send(&mut self, buffer: &[u8], line: &[u8]) {
        self.selected = !self.udp_only;
        if let Some(udp) = &mut self.udp
            && let Err(unsent) = udp.send(line)
        {
            self.writer.gather(&buffer[std::mem::take(&mut self.run)]);
            self.writer.gather(unsent.warning().as_bytes());
            self.writer.gather(line);
        }
    }

    fn end_run(&mut self, buffer: &[u8], report: &Report) {
        let run = &buffer[std::mem::take(&mut self.run)];
        if run.len() >= LONG_RUN {
            self.writer.write(run, report);
        } else {
            self.writer.gather(run);
            self.writer.flush_if_much(report);
        }
    }
}

/// Reads `config`, if there is one, and says what is wrong with it.
fn read_config(directory: &Directory, report: &Report) -> Config {
    let text = match config_file::read(directory) {
        Ok(text) => {
            if text.is_some() {
                report.info(&("read: ", InDirectory(directory.name(), config_file::NAME)));
            }
            text.unwrap_or_default()
        }
        Err(errno) => {
            report.failure("unable to read config", &directory.name(), errno);
            Vec::new()
        }
    };
    config_file::parse(directory, &text, report)
}
