//! Standard input, signals, children and deadlines, one after the other, for all log directories.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use memchr::memchr_iter;
use nix::errno::Errno;
use svlib::error::{Result, errno};
use svlib::sys::poll::{self, PollFd, PollFlags};
use svlib::sys::signal::{Signal, Signals};
use svlib::sys::wall_timer::WallTimer;
use svlib::sys::{clock, memory, pipe, process, startup};
use svlib::tai64n::Tai64n;

use crate::cli::Request;
use crate::format::{STAMP_LENGTH, Stamper};
use crate::input::{Got, Input, Settled};
use crate::log_dir::{LogDir, Prepared, Remains};
use crate::report::Report;
use crate::split::Splitter;

/// After TERM, the end of the line that is being read is waited for so long.
const LINE_END_TIMEOUT: Duration = Duration::from_secs(1);

/// A read of so much takes memory that is worth giving back.
const MUCH: usize = 16 << 10;

/// How long there is little input until the memory of a busy time is given back.
const REST_AFTER: Duration = Duration::from_secs(1);

/// How long to wait before another try to use a re-created directory; its log wakes up as often.
const MOVE_RETRY: Duration = Duration::from_secs(1);

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
    wait_failed: bool,
    /// When the memory of a busy time is given back, on the monotonic clock, unless there is more input by then.
    rest: Option<Duration>,
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
    /// What keeps the log from its re-created directory.
    obstacle: Option<Obstacle>,
}

struct Obstacle {
    said: Vec<Vec<u8>>,
    /// When to try again, on the monotonic clock.
    retry_at: Duration,
}

impl Slot {
    /// Opens what was prepared, in the place of what was open.
    fn open(&mut self, prepared: Prepared, line_limit: usize, reading: Reading, report: &Report) {
        if let Some(log) = self.log.take() {
            self.remains = log.close(report);
        }
        let mut log = LogDir::open(prepared, line_limit, &mut self.remains, report);
        if reading == Reading::Closed {
            log.end();
        }
        self.log = Some(log);
        self.obstacle = None;
    }

    /// Says what is lost without the directory.
    fn give_up(&mut self, report: &Report) {
        let bytes = self.remains.unwritten();
        if bytes > 0 {
            report.warning(&(&bytes.to_string(), " bytes are not written: ", &self.name));
        }
        let lost = self.remains.stop_forwarding(report);
        if lost > 0 {
            report.warning(&(&lost.to_string(), " lines not forwarded: ", &self.name));
        }
    }

    /// If the directory was removed and there is another of its name, goes on in that as soon as it can be used.
    fn follow(&mut self, line_limit: usize, reading: Reading, report: &Report) {
        let now = clock::now().monotonic;
        if !self.log.as_ref().is_some_and(|log| log.writer.can_move())
            || self.obstacle.as_ref().is_some_and(|obstacle| now < obstacle.retry_at)
        {
            return;
        }
        match Prepared::new(&self.name) {
            Ok(prepared) => self.open(prepared, line_limit, reading, report),
            Err(complaints) => {
                if self.obstacle.as_ref().is_none_or(|obstacle| obstacle.said != complaints) {
                    complaints.iter().for_each(|complaint| report.warning(complaint));
                }
                let retry_at = now.saturating_add(MOVE_RETRY);
                self.obstacle = Some(Obstacle { said: complaints, retry_at });
            }
        }
    }
}

impl Logger {
    fn new(request: Request, report: Report) -> std::result::Result<Self, ExitCode> {
        let fatal = |message: &dyn svlib::diag::Message| {
            report.fatal(message);
            ExitCode::from(FAILED)
        };
        let signals = [
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGALRM,
            Signal::SIGUSR1,
            Signal::SIGCHLD,
            pipe::SIGNAL,
            // So that it does not kill: a write beyond the limit fails like one on a full disk.
            Signal::SIGXFSZ,
        ];
        let signals = Signals::block(&signals).map_err(|error| fatal(&error))?;
        let is_changed = request.replacement.is_some();
        let input = Input::new(io::stdin(), request.buffer_size, request.line_limit, is_changed);
        let input = input.ok_or_else(|| fatal(&"out of memory."))?;
        let slot = |name| Slot { name, log: None, remains: Remains::default(), obstacle: None };
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
            wait_failed: false,
            rest: None,
            report,
        };
        if startup::closed().any(|fd| fd == 0) {
            logger.report.warning(&("unable to read standard input: ", Errno::EBADF.desc()));
        }
        if let Some(errno) = logger.input.obstacle().filter(|&errno| passes(errno)) {
            // To be started again is better than to be killed one day with lines that are nowhere else.
            logger.report.fatal(&("unable to look ahead in standard input: ", errno.desc()));
            return Err(ExitCode::from(FAILED));
        }
        logger.tell_obstacle();
        logger.open_directories()?;
        Ok(logger)
    }

    fn run(&mut self) -> ExitCode {
        loop {
            let now = clock::now().monotonic;
            self.tend(now);
            if self.reading == Reading::Closed && self.logs().all(|log| log.is_finished()) {
                break;
            }
            let waited = self.wait(now);
            if let Err(error) = &waited
                && !self.wait_failed
            {
                // A limit was lowered, perhaps. What fails has taken its time.
                self.report.warning(error);
            }
            self.wait_failed = waited.is_err();
            let (signalled, readable) = waited.unwrap_or((true, false));
            if signalled && let Err(code) = self.take_signals() {
                return code;
            }
            self.move_directories();
            if readable {
                self.read();
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
            && (until <= now || !self.is_mid_line())
        {
            self.close_input();
        }
        let report = &self.report;
        self.slots.iter_mut().filter_map(|slot| slot.log.as_mut()).for_each(|log| log.forward(now, report));
        self.tell_losses(now);
        if self.rest.take_if(|time| *time <= now).is_some() {
            self.rest();
        }
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
        let Some(due) = wall_deadline(&self.slots) else { return false };
        let set = match &mut self.timer {
            Some(timer) => timer.set(due),
            None => WallTimer::new().and_then(|timer| self.timer.insert(timer).set(due)),
        };
        set.unwrap_or_else(|error| {
            self.tell_timer_failure(&error);
            false
        })
    }

    /// Tells of the first one.
    fn tell_timer_failure(&mut self, error: &svlib::Error) {
        if !std::mem::replace(&mut self.timer_failed, true) {
            self.report.warning(error);
        }
    }

    fn rest(&mut self) {
        self.input.release();
        self.logs().for_each(|log| log.writer.shrink());
        memory::trim();
    }

    /// Waits for a signal, for input if all directories can take it, and for the next deadline.
    fn wait(&mut self, now: Duration) -> Result<(bool, bool)> {
        let held = self.logs().any(|log| log.writer.is_held());
        let last_line = match self.reading {
            Reading::LastLine(until) => Some(until),
            Reading::Open | Reading::Closed => None,
        };
        let rest = self.rest;
        let deadline = self
            .logs()
            .flat_map(|log| [log.writer.deadline(), log.forwarders.deadline(), log.losses_due()])
            .flatten()
            .chain(last_line)
            .chain(rest)
            .min();
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            match &self.timer {
                Some(timer) => PollFd::new(timer.as_fd(), PollFlags::POLLIN),
                None => PollFd::new(self.signals.as_fd(), PollFlags::empty()),
            },
            PollFd::new(self.input.readable(), PollFlags::POLLIN),
        ];
        let takes_input = !held && self.reading != Reading::Closed;
        if !takes_input {
            fds.truncate(2);
        }
        // What is ready for them, they find out themselves.
        fds.extend(
            self.slots.iter().filter_map(|slot| slot.log.as_ref()).flat_map(|log| log.forwarders.poll_fds()),
        );
        svlib::Context::during(poll::wait(&mut fds, deadline.map(|time| time.saturating_sub(now))), "poll")?;
        let [signalled, timed] = [0, 1].map(|index| poll::is_ready(&fds[index]));
        let readable = takes_input && poll::is_ready(&fds[2]);
        drop(fds);
        if timed
            && let Some(timer) = &mut self.timer
            && let Err(error) = timer.take()
        {
            // It would stay readable.
            self.timer = None;
            self.tell_timer_failure(&error);
        }
        Ok((signalled, readable))
    }

    fn take_signals(&mut self) -> std::result::Result<(), ExitCode> {
        while let Ok(Some(signal)) = self.signals.next() {
            match signal {
                Signal::SIGTERM => {
                    self.report.info(&"sigterm received.");
                    if self.reading == Reading::Open {
                        self.input.read_last_line();
                        let until = clock::now().monotonic.saturating_add(LINE_END_TIMEOUT);
                        self.reading = Reading::LastLine(until);
                    }
                }
                Signal::SIGALRM => {
                    self.report.info(&"sigalarm received.");
                    self.tell_losses(Duration::MAX);
                    self.logs().for_each(|log| log.writer.ask_rotation("ALRM"));
                }
                Signal::SIGUSR1 => {
                    let queued = self.logs().map(|log| log.forwarders.waiting()).sum();
                    self.report.counters(queued);
                }
                Signal::SIGHUP => {
                    self.report.info(&"sighangup received.");
                    self.open_directories()?;
                }
                Signal::SIGCHLD => self.reap(),
                pipe::SIGNAL => self.input.look_again(),
                _ => {}
            }
        }
        Ok(())
    }

    fn reap(&mut self) {
        while let Some((pid, status)) = process::reap() {
            for slot in &mut self.slots {
                match &mut slot.log {
                    Some(log) => log.child_ended(pid, status, &self.report),
                    None => slot.remains.child_ended(pid),
                };
            }
        }
    }

    /// Writes of lines that were suppressed or not forwarded, where that is due until `time`.
    fn tell_losses(&mut self, time: Duration) {
        let Self { report, stamper, slots, .. } = self;
        for log in slots.iter_mut().filter_map(|slot| slot.log.as_mut()) {
            if log.losses_due().is_some_and(|due| due <= time) {
                let now = clock::wall();
                if log.writer.wall_deadline().is_some_and(|due| due <= now.unix_seconds()) {
                    log.writer.tend_wall(now, report);
                }
                let stamp = stamper.as_mut().map_or(&[] as &[u8], |stamper| stamper.stamp(now));
                log.tell_losses(time, now, stamp, report);
            }
        }
    }

    /// Closes and opens all log directories.
    fn open_directories(&mut self) -> std::result::Result<(), ExitCode> {
        self.tell_losses(Duration::MAX);
        for slot in &mut self.slots {
            if let Some(log) = slot.log.take() {
                slot.remains = log.close(&self.report);
            }
            match Prepared::new(&slot.name) {
                Ok(prepared) => slot.open(prepared, self.line_limit, self.reading, &self.report),
                Err(complaints) => {
                    complaints.iter().for_each(|complaint| self.report.warning(complaint));
                    slot.give_up(&self.report);
                }
            }
        }
        if self.logs().next().is_none() {
            self.report.fatal(&"no functional log directories.");
            return Err(ExitCode::from(FAILED));
        }
        Ok(())
    }

    fn move_directories(&mut self) {
        let Self { slots, line_limit, reading, report, .. } = self;
        slots.iter_mut().for_each(|slot| slot.follow(*line_limit, *reading, report));
    }

    fn read(&mut self) {
        let got = self.input.read();
        self.tell_obstacle();
        match got {
            Ok(Got::Bytes(count)) => {
                self.process();
                self.settle();
                if count >= MUCH {
                    self.rest = Some(clock::now().monotonic.saturating_add(REST_AFTER));
                }
            }
            Ok(Got::Nothing) => {}
            Ok(Got::End) => self.close_input(),
            Err(error) => {
                self.report.warning(&("unable to read standard input: ", errno(&error).desc()));
                self.close_input();
            }
        }
    }

    /// Tells why standard input is read plainly, if that is news.
    fn tell_obstacle(&mut self) {
        if let Some(errno) = self.input.take_obstacle() {
            let message = ("unable to look ahead in standard input, it is read plainly: ", errno.desc());
            self.report.warning(&message);
        }
    }

    fn is_mid_line(&self) -> bool {
        self.splitter.is_mid_line() || self.input.has_beginning()
    }

    /// Reads no more; a line that has begun is ended.
    fn close_input(&mut self) {
        self.reading = Reading::Closed;
        if self.is_mid_line() {
            self.input.end_line();
            self.process();
        }
        self.tell_losses(Duration::MAX);
        self.logs().for_each(LogDir::end);
        self.settle();
    }

    /// Gives the lines that are ready to the directories.
    fn process(&mut self) {
        let Self { report, input, splitter, stamper, slots, .. } = self;
        let (buffer, begin) = input.ready();
        let mut taken = begin;
        let mut stamp = [0; STAMP_LENGTH];
        let mut due = wall_deadline(slots);
        let is_timed = due.is_some()
            || stamper.is_some()
            || slots.iter().any(|slot| slot.log.as_ref().is_some_and(LogDir::stamps_itself));
        let mut now = if is_timed { clock::wall() } else { Tai64n::EPOCH };
        let takes_any = |slot: &Slot| slot.log.as_ref().is_none_or(LogDir::takes_any_line);
        if stamper.is_none()
            && slots.iter().all(takes_any)
            && let Some(lines) = splitter.next_lines(buffer, taken)
        {
            taken = lines.end;
            if due.is_some_and(|due| due <= now.unix_seconds()) {
                due = tend_wall(slots, now, buffer, report);
            }
            let count = memchr_iter(b'\n', &buffer[lines.clone()]).count();
            report.counters.lines.add(count as u64);
            for log in slots.iter_mut().filter_map(|slot| slot.log.as_mut()) {
                log.take_lines(lines.clone(), count, buffer, report);
            }
        }
        while let Some(piece) = splitter.next(buffer, taken) {
            taken = piece.with_newline().end;
            if piece.first {
                report.counters.lines.add(1);
                if is_timed {
                    now = clock::wall();
                }
                // Before the timer says so: a line belongs to the file of the time in its stamp.
                if due.is_some_and(|due| due <= now.unix_seconds()) {
                    due = tend_wall(slots, now, buffer, report);
                }
                if let Some(stamper) = stamper {
                    stamp.copy_from_slice(stamper.stamp(now));
                }
            }
            let stamp = if stamper.is_some() { &stamp[..] } else { &[] };
            for log in slots.iter_mut().filter_map(|slot| slot.log.as_mut()) {
                log.take(buffer, &piece, now, stamp, report);
            }
        }
        for log in slots.iter_mut().filter_map(|slot| slot.log.as_mut()) {
            log.finish(buffer, report);
        }
        report.counters.bytes.add((taken - begin) as u64);
        input.set_taken(taken);
    }

    /// Lets go of the input that all directories have written.
    fn settle(&mut self) {
        while !self.logs().any(|log| log.writer.is_held()) && self.input.settle() == Settled::Shared {
            self.report.warning(&"another process reads from standard input too: lines are shared with it.");
            self.splitter.forget_beginning();
            self.process();
        }
    }
}

/// Whether what svlogd lacks to look into its input may be there for the next one that is started, as it lacks nearly all
/// then. Not so what a user's pipes and watches may use up for good (pipe(7), epoll(7)).
fn passes(errno: Errno) -> bool {
    matches!(errno, Errno::EMFILE | Errno::ENOMEM)
}

/// When the wall clock asks for something, in Unix seconds.
fn wall_deadline(slots: &[Slot]) -> Option<i64> {
    slots.iter().filter_map(|slot| slot.log.as_ref()?.writer.wall_deadline()).min()
}

/// Does what the wall clock asks for at `now`, after what was taken from `buffer`. Returns when it asks for more.
fn tend_wall(slots: &mut [Slot], now: Tai64n, buffer: &[u8], report: &Report) -> Option<i64> {
    for log in slots.iter_mut().filter_map(|slot| slot.log.as_mut()) {
        log.finish(buffer, report);
        log.writer.tend_wall(now, report);
    }
    wall_deadline(slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_limit_is_no_reason_to_be_started_again() {
        assert_eq!([Errno::EMFILE, Errno::ENOMEM].map(passes), [true; 2]);
        // max_user_watches, pipe-user-pages-hard, a sandbox, a pipe of one page.
        let lasting = [Errno::ENOSPC, Errno::ENFILE, Errno::EPERM, Errno::ENOSYS, Errno::EMSGSIZE];
        assert_eq!(lasting.map(passes), [false; 5]);
    }
}
