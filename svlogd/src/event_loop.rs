//! Standard input, signals, children and deadlines, one after the other, for all log directories.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use memchr::memchr_iter;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::geteuid;
use svlib::error::{Result, errno};
use svlib::sys::poll::{self, PollFd, PollFlags};
use svlib::sys::signal::{Signal, Signals};
use svlib::sys::wall_timer::WallTimer;
use svlib::sys::{clock, fd, memory, process, startup};

use crate::cli::Request;
use crate::format::{STAMP_LENGTH, Stamper};
use crate::log_dir::{LogDir, Remains};
use crate::report::Report;
use crate::split::Splitter;

/// The least that is read at once, if there is so much. Memory of this size comes from the kernel, which provides only
/// what is used of it.
const READ_SIZE: usize = 128 << 10;

/// What a pipe holds by default (pipe(7)): a read of this much means that its writer is waiting.
const PIPE_SIZE: usize = 64 << 10;

/// What the pipe of a busy writer is enlarged to, so that it can go on while `current` is synced.
const BUSY_PIPE_SIZE: i32 = 1 << 20;

/// After TERM, the end of the line that is being read is waited for so long.
const LINE_END_TIMEOUT: Duration = Duration::from_secs(1);

/// A read of so much takes memory that is worth giving back.
const MUCH: usize = 16 << 10;

/// How long there is little input until the memory of a busy time is given back.
const REST_AFTER: Duration = Duration::from_secs(1);

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
    buffer: Vec<u8>,
    /// So many bytes of the buffer are the beginning of a line.
    filled: usize,
    splitter: Splitter,
    stamper: Option<Stamper>,
    line_limit: usize,
    slots: Vec<Slot>,
    /// What the wall clock asks for; `None` until it asks for something.
    timer: Option<WallTimer>,
    timer_failed: bool,
    may_enlarge_pipe: bool,
    /// When the memory of a busy time is given back, on the monotonic clock, unless there is more input by then.
    rest: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
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
        let signals = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGALRM, Signal::SIGUSR1, Signal::SIGCHLD];
        let signals = Signals::block(&signals).map_err(|error| fatal(&error))?;
        let buffer = request.buffer_size.max(READ_SIZE).checked_add(request.line_limit).and_then(allocate);
        let buffer = buffer.ok_or_else(|| fatal(&"out of memory."))?;
        let slot = |name| Slot { name, log: None, remains: Remains::default() };
        let mut logger = Self {
            signals,
            input: Input::Open,
            buffer,
            filled: 0,
            splitter: Splitter::new(request.line_limit, request.replacement),
            stamper: request.style.map(|style| Stamper::new(style, svlib::sys::timezone::offset_at)),
            line_limit: request.line_limit,
            slots: request.directories.into_iter().map(slot).collect(),
            timer: None,
            timer_failed: false,
            may_enlarge_pipe: true,
            rest: None,
            report,
        };
        // What other processes read from the same open file, they have to be ready to find empty too: as with runit.
        let _ = fd::set_nonblocking(io::stdin(), true);
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
            if self.input == Input::Closed && self.logs().all(|log| log.is_finished()) {
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
        if let Input::LastLine(until) = self.input
            && (until <= now || !self.splitter.is_mid_line())
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

    fn rest(&mut self) {
        memory::release(&mut self.buffer[self.filled..]);
        self.logs().for_each(|log| log.writer.shrink());
        memory::trim();
    }

    /// Waits for a signal, for input if all directories can take it, and for the next deadline.
    fn wait(&mut self, now: Duration) -> Result<(bool, bool)> {
        let held = self.logs().any(|log| log.writer.is_held());
        let last_line = match self.input {
            Input::LastLine(until) => Some(until),
            Input::Open | Input::Closed => None,
        };
        let rest = self.rest;
        let deadline = self
            .logs()
            .flat_map(|log| [log.writer.deadline(), log.forwarders.deadline(), log.losses_due()])
            .flatten()
            .chain(last_line)
            .chain(rest)
            .min();
        let stdin = io::stdin();
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            match &self.timer {
                Some(timer) => PollFd::new(timer.as_fd(), PollFlags::POLLIN),
                None => PollFd::new(self.signals.as_fd(), PollFlags::empty()),
            },
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
        ];
        let takes_input = !held && self.input != Input::Closed;
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
                    if self.input == Input::Open {
                        self.input = Input::LastLine(clock::now().monotonic.saturating_add(LINE_END_TIMEOUT));
                    }
                }
                Signal::SIGALRM => {
                    self.report.info(&"sigalarm received.");
                    self.tell_losses(Duration::MAX);
                    self.logs().for_each(|log| log.writer.ask_rotation());
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
                let stamp = stamper.as_mut().map_or(&[] as &[u8], |stamper| stamper.stamp(clock::wall()));
                log.tell_losses(time, stamp, report);
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
            slot.log = LogDir::open(&slot.name, self.line_limit, &mut slot.remains, &self.report);
            if slot.log.is_none() && slot.remains.unwritten() > 0 {
                let bytes = slot.remains.unwritten().to_string();
                self.report.warning(&(&bytes, " bytes are not written: ", &slot.name));
            }
            let lost = if slot.log.is_none() { slot.remains.stop_forwarding(&self.report) } else { 0 };
            if lost > 0 {
                self.report.warning(&(&lost.to_string(), " lines not forwarded: ", &slot.name));
            }
            if self.input == Input::Closed
                && let Some(log) = &mut slot.log
            {
                log.end();
            }
        }
        if self.logs().next().is_none() {
            self.report.fatal(&"no functional log directories.");
            return Err(ExitCode::from(FAILED));
        }
        Ok(())
    }

    fn read(&mut self) {
        // The last byte is kept for the newline of an unfinished last line.
        let mut room = self.filled..self.buffer.len() - 1;
        if matches!(self.input, Input::LastLine(_)) {
            // What comes after the line is for whoever reads next.
            room.end = room.start + 1;
        }
        match fd::read(io::stdin(), &mut self.buffer[room]) {
            Ok(0) => self.close_input(),
            Ok(count) => {
                self.filled += count;
                self.report.counters.bytes.add(count as u64);
                self.process();
                if count >= MUCH {
                    self.rest = Some(clock::now().monotonic.saturating_add(REST_AFTER));
                }
                if count >= PIPE_SIZE && std::mem::take(&mut self.may_enlarge_pipe) && geteuid().is_root() {
                    // Of other users, all pipes together are limited (pipe(7)): theirs are not ours to use up.
                    // It may be no pipe, or there may be a limit: all goes well without, if not as fast.
                    let _ = fcntl(io::stdin(), FcntlArg::F_SETPIPE_SZ(BUSY_PIPE_SIZE));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.report.warning(&("unable to read standard input: ", errno(&error).desc()));
                self.close_input();
            }
        }
    }

    /// Reads no more; a line that has begun is ended.
    fn close_input(&mut self) {
        self.input = Input::Closed;
        if self.splitter.is_mid_line() {
            self.buffer[self.filled] = b'\n';
            self.filled += 1;
            self.process();
        }
        self.tell_losses(Duration::MAX);
        self.logs().for_each(LogDir::end);
    }

    /// Gives the lines in the buffer to the directories; the beginning of a line stays.
    fn process(&mut self) {
        let Self { report, buffer, splitter, stamper, slots, .. } = self;
        let buffer = &mut buffer[..self.filled];
        let mut stamp = [0; STAMP_LENGTH];
        let mut taken = 0;
        let takes_any = |slot: &Slot| slot.log.as_ref().is_none_or(LogDir::takes_any_line);
        if stamper.is_none()
            && slots.iter().all(takes_any)
            && let Some(lines) = splitter.next_lines(buffer, taken)
        {
            taken = lines.end;
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
        buffer.copy_within(taken.., 0);
        self.filled -= taken;
    }
}

/// Zeroed memory, which the kernel provides as it is used; `None` if there is not so much.
fn allocate(size: usize) -> Option<Vec<u8>> {
    Vec::<u8>::new().try_reserve_exact(size).ok()?;
    Some(vec![0; size])
}
