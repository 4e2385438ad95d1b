//! Standard input, signals, children and deadlines, one after the other, for all log directories.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use nix::errno::Errno;
use svlib::error::{Result, errno};
use svlib::sys::poll::{self, PollFd, PollFlags};
use svlib::sys::signal::{Signal, Signals};
use svlib::sys::wall_timer::WallTimer;
use svlib::sys::{clock, process, startup};

use crate::cli::Request;
use crate::counters::Counters;
use crate::format::{STAMP_LENGTH, Stamper};
use crate::input::{Got, Input};
use crate::log_dir::{LogDir, Remains};
use crate::report::Report;
use crate::split::Splitter;

/// After TERM, the end of the line that is being read is waited for so long.
const LINE_END_TIMEOUT: Duration = Duration::from_secs(1);

const FAILED: u8 = 111;

/// Writes standard input to the log directories until it ends, or TERM comes.
pub fn run(request: Request) -> ExitCode {
    let report = Report::new(request.verbose);
    match Logger::new(request, report) {
        Ok(mut logger) => logger.run(),
        Err(code) => code,
    }
}

struct Logger {
    report: Report,
    signals: Signals,
    input: Input,
    reading: Reading,
    splitter: Splitter,
    stamper: Option<Stamper>,
    line_limit: usize,
    slots: Vec<Slot>,
    /// What the wall clock asks for; `None` until it asks for something.
    timer: Option<WallTimer>,
    timer_failed: bool,
    /// What is not counted by a directory.
    counters: Counters,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    /// Only the line that has begun is read to its end, until this time on the monotonic clock.
    LastLine(Duration),
    Closed,
}

/// An argument: a log directory that may or may not be open.
struct Slot {
    name: OsString,
    log: Option<LogDir>,
    remains: Remains,
}

impl Logger {
    fn new(request: Request, report: Report) -> std::result::Result<Self, ExitCode> {
        let fatal = |message: &dyn svlib::diag::Message| {
            report.fatal(message);
            ExitCode::from(FAILED)
        };
        let signals = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGALRM, Signal::SIGCHLD, Signal::SIGUSR1];
        let signals = Signals::block(&signals).map_err(|error| fatal(&error))?;
        let is_changed = request.replacement.is_some();
        let input = Input::new(io::stdin(), request.buffer_size, request.line_limit, is_changed);
        let input = input.ok_or_else(|| fatal(&"out of memory."))?;
        let slot = |name| Slot { name, log: None, remains: Remains::default() };
        let mut logger = Self {
            signals,
            input,
            reading: Reading::Open,
            splitter: Splitter::new(request.line_limit, request.replacement),
            stamper: request.style.map(|style| Stamper::new(style, svlib::sys::timezone::offset_at)),
            line_limit: request.line_limit,
            slots: request.directories.into_iter().map(slot).collect(),
            timer: None,
            timer_failed: false,
            counters: Counters::default(),
            report,
        };
        if startup::closed().any(|fd| fd == 0) {
            logger.report.warning(&("unable to read standard input: ", Errno::EBADF.desc()));
        }
        logger.open_directories()?;
        Ok(logger)
    }

    fn run(&mut self) -> ExitCode {
        loop {
            let now = clock::now().monotonic;
            self.tend(now);
            if self.reading == Reading::Closed && self.logs().all(|log| log.writer.is_finished()) {
                break;
            }
            match self.wait(now) {
                Ok((signalled, readable)) => {
                    if signalled && let Err(code) = self.take_signals() {
                        return code;
                    }
                    if readable {
                        self.read();
                    }
                }
                Err(error) => {
                    self.report.fatal(&error);
                    return ExitCode::from(FAILED);
                }
            }
        }
        for slot in &mut self.slots {
            if let Some(log) = slot.log.take() {
                log.close(&self.report);
            }
        }
        ExitCode::SUCCESS
    }

    fn logs(&mut self) -> impl Iterator<Item = &mut LogDir> {
        self.slots.iter_mut().filter_map(|slot| slot.log.as_mut())
    }

    fn tend(&mut self, now: Duration) {
        if let Reading::LastLine(until) = self.reading
            && (until <= now || !self.splitter.is_mid_line())
        {
            self.close_input();
        }
        self.tell_suppressed(now);
        loop {
            for log in self.slots.iter_mut().filter_map(|slot| slot.log.as_mut()) {
                log.writer.tend(now, &self.report);
            }
            if !self.set_timer() {
                break;
            }
            let wall = clock::wall();
            for log in self.slots.iter_mut().filter_map(|slot| slot.log.as_mut()) {
                log.writer.tend_wall(wall, &self.report);
            }
        }
        self.settle();
    }

    /// Sets the timer to what the wall clock asks for next. Whether it was not set to that: then the wall clock is to be
    /// looked at.
    fn set_timer(&mut self) -> bool {
        let Some(due) = self.logs().filter_map(|log| log.writer.wall_deadline()).min() else { return false };
        let set = match &mut self.timer {
            Some(timer) => timer.set(due),
            None => WallTimer::new().and_then(|timer| self.timer.insert(timer).set(due)),
        };
        set.unwrap_or_else(|error| {
            if !std::mem::replace(&mut self.timer_failed, true) {
                self.report.warning(&error);
            }
            false
        })
    }

    /// Waits for a signal, for input if all directories can take it, and for the next deadline.
    fn wait(&mut self, now: Duration) -> Result<(bool, bool)> {
        let held = self.logs().any(|log| log.writer.is_held());
        let last_line = match self.reading {
            Reading::LastLine(until) => Some(until),
            Reading::Open | Reading::Closed => None,
        };
        let deadline = self
            .logs()
            .flat_map(|log| [log.writer.deadline(), log.suppression_due()])
            .flatten()
            .chain(last_line)
            .min();
        let mut fds = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            match &self.timer {
                Some(timer) => PollFd::new(timer.as_fd(), PollFlags::POLLIN),
                None => PollFd::new(self.signals.as_fd(), PollFlags::empty()),
            },
            PollFd::new(self.input.readable(), PollFlags::POLLIN),
        ];
        let count = if held || self.reading == Reading::Closed { 2 } else { 3 };
        let fds = &mut fds[..count];
        svlib::Context::during(poll::wait(fds, deadline.map(|time| time.saturating_sub(now))), "poll")?;
        let [signalled, timed] = [0, 1].map(|index| poll::is_ready(&fds[index]));
        let readable = fds.get(2).is_some_and(poll::is_ready);
        if timed && let Some(timer) = &mut self.timer {
            timer.take()?;
        }
        Ok((signalled, readable))
    }

    fn take_signals(&mut self) -> std::result::Result<(), ExitCode> {
        while let Ok(Some(signal)) = self.signals.next() {
            match signal {
                Signal::SIGTERM => {
                    self.report.info(&"sigterm received.");
                    if self.reading == Reading::Open {
                        self.reading =
                            Reading::LastLine(clock::now().monotonic.saturating_add(LINE_END_TIMEOUT));
                    }
                }
                Signal::SIGALRM => {
                    self.report.info(&"sigalarm received.");
                    self.tell_suppressed(Duration::MAX);
                    self.logs().for_each(|log| log.writer.ask_rotation());
                }
                Signal::SIGHUP => {
                    self.report.info(&"sighangup received.");
                    self.open_directories()?;
                }
                Signal::SIGCHLD => {
                    self.report.info(&"sigchild received.");
                    self.reap();
                }
                Signal::SIGUSR1 => self.tell_counters(),
                _ => {}
            }
        }
        Ok(())
    }

    fn reap(&mut self) {
        while let Some((pid, status)) = process::reap() {
            for slot in &mut self.slots {
                match &mut slot.log {
                    Some(log) => log.writer.child_ended(pid, status, &self.report),
                    None => slot.remains.child_ended(pid),
                };
            }
        }
    }

    /// Writes of lines that were suppressed, where that is due until `time`.
    fn tell_suppressed(&mut self, time: Duration) {
        let Self { report, stamper, slots, .. } = self;
        for log in slots.iter_mut().filter_map(|slot| slot.log.as_mut()) {
            if log.suppression_due().is_some_and(|due| due <= time) {
                let stamp = stamper.as_mut().map_or(&[] as &[u8], |stamper| stamper.stamp(clock::wall()));
                log.tell_suppressed(stamp, report);
            }
        }
    }

    /// Closes and opens all log directories.
    fn open_directories(&mut self) -> std::result::Result<(), ExitCode> {
        self.tell_suppressed(Duration::MAX);
        for slot in &mut self.slots {
            if let Some(log) = slot.log.take() {
                slot.remains = log.close(&self.report);
            }
            slot.log = LogDir::open(&slot.name, self.line_limit, &mut slot.remains, &self.report);
            if slot.log.is_none() && slot.remains.unwritten() > 0 {
                let bytes = slot.remains.unwritten().to_string();
                self.report.warning(&(&bytes, " bytes are not written: ", &slot.name));
            }
            if self.reading == Reading::Closed
                && let Some(log) = &mut slot.log
            {
                log.writer.end();
            }
        }
        if self.logs().next().is_none() {
            self.report.fatal(&"no functional log directories.");
            return Err(ExitCode::from(FAILED));
        }
        Ok(())
    }

    fn read(&mut self) {
        // What comes after the last line is for whoever reads next.
        let most = if matches!(self.reading, Reading::LastLine(_)) { 1 } else { usize::MAX };
        match self.input.read(most) {
            Ok(Got::Bytes(count)) => {
                self.counters.bytes += count as u64;
                self.process();
                self.settle();
            }
            Ok(Got::Nothing) => {}
            Ok(Got::End) => self.close_input(),
            Ok(Got::Rival) => self.yield_to_rival(),
            Err(error) => {
                self.report.warning(&("unable to read standard input: ", errno(&error).desc()));
                self.close_input();
            }
        }
    }

    /// Reads no more; a line that has begun is ended.
    fn close_input(&mut self) {
        self.reading = Reading::Closed;
        if self.splitter.is_mid_line() {
            self.input.end_line();
            self.process();
        }
        self.tell_suppressed(Duration::MAX);
        self.logs().for_each(|log| log.writer.end());
        self.settle();
    }

    /// Gives the lines in the buffer to the directories; the beginning of a line stays.
    fn process(&mut self) {
        let Self { report, input, splitter, stamper, slots, counters, .. } = self;
        let (buffer, mut taken) = input.untaken();
        let mut stamp = [0; STAMP_LENGTH];
        while let Some(piece) = splitter.next(buffer, taken) {
            taken = piece.with_newline().end;
            if piece.first {
                counters.lines += 1;
                if let Some(stamper) = stamper {
                    stamp.copy_from_slice(stamper.stamp(clock::wall()));
                }
            }
            let stamp = if stamper.is_some() { &stamp[..] } else { &[] };
            for log in slots.iter_mut().filter_map(|slot| slot.log.as_mut()) {
                log.take(buffer, &piece, stamp, report);
            }
        }
        for log in slots.iter_mut().filter_map(|slot| slot.log.as_mut()) {
            log.finish(buffer, report);
        }
        input.set_taken(taken);
    }

    /// Lets go of the lines that all directories have written.
    fn settle(&mut self) {
        if self.input.is_owing()
            && !self.logs().any(|log| log.writer.is_held())
            && self.input.settle() == Got::Rival
        {
            self.yield_to_rival();
        }
    }

    /// Goes on with what came in place of what was seen.
    fn yield_to_rival(&mut self) {
        self.report.warning(&"another process reads from standard input too: lines are shared with it.");
        self.splitter.forget_beginning();
        self.process();
        self.settle();
    }

    fn tell_counters(&mut self) {
        let mut sum = self.counters;
        for slot in &self.slots {
            sum += slot.remains.counters;
            if let Some(log) = &slot.log {
                sum += log.counters();
            }
        }
        self.report.counters(&sum.to_string().as_str());
    }
}
