//! One log directory: which lines it takes, and in which form.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::ops::Range;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;
use svlib::diag::Message;
use svlib::exit_status::ExitStatus;
use svlib::sys::lock::Lock;
use svlib::sys::{clock, timezone};
use svlib::tai64n::Tai64n;

use crate::clean;
use crate::config::Config;
use crate::config::setting::{Clean, FormatKind};
use crate::config_file;
use crate::counters::Counters;
use crate::current::Failure;
use crate::directory::Directory;
use crate::filter::Filter;
use crate::format::{LONGEST_STAMP, Stamper, Style};
use crate::forward::Forwarders;
use crate::limit::Limiter;
use crate::old_files::{self, OldFiles, Underway};
use crate::permissions::Permissions;
use crate::policy::{Age, Policy};
use crate::report::{InDirectory, Report};
use crate::retention::Retention;
use crate::rewrite::{Fragment, Line, Rewriter};
use crate::service;
use crate::split::Piece;
use crate::udp::Udp;
use crate::writer::{self, Writer};

/// From this length on lines are written from where they were read; less of them is gathered.
const LONG_RUN: usize = 16 << 10;

/// How long the lock of a directory is waited for: what a killed svlogd was just starting holds it until it is another
/// program, and a directory that is left out loses lines.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// An open log directory.
pub struct LogDir {
    /// Its files.
    pub writer: Writer,
    /// The servers that its lines go to, too.
    pub forwarders: Forwarders,
    _lock: Lock,
    filter: Filter,
    prefix: Vec<u8>,
    line_limit: usize,
    udp: Option<Udp>,
    udp_only: bool,
    stamping: Stamping,
    rewriter: Option<Box<Rewriter>>,
    limiter: Option<Limiter>,
    /// A line that is written here has begun and not ended.
    is_mid_line: bool,
    clean: Option<Clean>,
    /// The line whose pieces come is written here.
    selected: bool,
    /// Selected lines, one after the other in the read buffer, that are written as they are.
    run: Range<usize>,
}

/// Where the stamps come from.
enum Stamping {
    /// The command line.
    Given,
    /// `format`.
    Own(Box<Stamper>),
    /// `format none`
    None,
}

/// What remains of a directory that is closed, until it is opened again.
#[derive(Default)]
pub struct Remains {
    underway: Underway,
    selected: bool,
    unwritten: Vec<u8>,
    line: Line,
    is_mid_line: bool,
    limiter: Option<Limiter>,
    forwarders: Forwarders,
}

impl Remains {
    /// Gives up what was to be forwarded, and returns how many lines that is.
    pub fn stop_forwarding(&mut self, report: &Report) -> u64 {
        self.forwarders.give_up(report)
    }

    /// How many bytes could not be written.
    pub fn unwritten(&self) -> usize {
        self.unwritten.len()
    }

    /// Takes note that a child has ended. `false` if it is none of this directory's.
    pub fn child_ended(&mut self, pid: Pid) -> bool {
        self.underway.child_ended(pid) || self.forwarders.child_ended(pid)
    }
}

/// A log directory that nothing keeps from being opened.
pub struct Prepared {
    directory: Directory,
    lock: Lock,
    config: Config,
    filter: Filter,
    current: writer::Opened,
    has_config: bool,
    complaints: Vec<Vec<u8>>,
}

impl Prepared {
    /// Opens and locks the directory `name`, reads its config, and opens `current`.
    ///
    /// # Errors
    /// What to say: why the directory cannot be used, after what is wrong with its config.
    pub fn new(name: &OsStr) -> Result<Self, Vec<Vec<u8>>> {
        let failure = |what: &str, errno: Errno| text(&(what, ": ", name, ": ", errno.desc()));
        let mut directory =
            Directory::open(name).map_err(|errno| vec![failure("unable to open log directory", errno)])?;
        let lock = match Lock::exclusive_within(&directory.path().join("lock"), LOCK_WAIT) {
            Ok(lock) => lock.ok_or(Errno::EWOULDBLOCK),
            Err(error) => Err(error.errno),
        };
        let lock = lock.map_err(|errno| vec![failure("unable to lock directory", errno)])?;
        let mut complaints = Vec::new();
        let read = config_file::read(&directory).or_else(|errno| {
            let reason = config_file::reason(errno);
            complaints.push(text(&("unable to read config: ", name, ": ", &reason)));
            // If it can be read later: the defaults may delete what it keeps.
            if writer::is_shortage(errno) { Err(complaints.clone()) } else { Ok(None) }
        })?;
        let has_config = read.is_some();
        let (mut config, findings) = config_file::check(name, &read.unwrap_or_default());
        complaints.extend(findings);
        directory.set_permissions(Permissions::new(config.mode));
        let filter = match Filter::new(std::mem::take(&mut config.rules)) {
            Ok(filter) => filter,
            Err(error) => {
                complaints.push(text(&("unable to compile expressions: ", name, ": ", &error.to_string())));
                return Err(complaints);
            }
        };
        match writer::Opened::new(&directory) {
            Ok(current) => Ok(Self { directory, lock, config, filter, current, has_config, complaints }),
            Err(Failure { what, errno }) => {
                complaints.push(failure(what, errno));
                Err(complaints)
            }
        }
    }
}

impl LogDir {
    /// Opens what was prepared, and goes on with what `remains` of the directory before.
    ///
    /// Lines count as long from `line_limit` bytes on.
    pub fn open(prepared: Prepared, line_limit: usize, remains: &mut Remains, report: &Report) -> Self {
        let Prepared { directory, lock, config, filter, current, has_config, complaints } = prepared;
        if has_config {
            report.info(&("read: ", InDirectory(directory.name(), config_file::NAME)));
        }
        complaints.iter().for_each(|complaint| report.warning(complaint));
        if config.has_local_time() {
            timezone::reload();
        }
        let policy = Policy {
            size: config.size,
            line_limit: line_limit as u64,
            whole_lines: config.format.is_some_and(|format| format.kind == FormatKind::Json),
        };
        let settings = writer::Settings {
            policy,
            age: Age::new(config.age, clock::now().monotonic),
            clock_rotation: config.clock_rotation,
            fsync: config.fsync,
        };
        let retention = Retention {
            keep: config.keep,
            keep_min: config.keep_min,
            max_age: config.max_age,
            max_total: config.max_total,
        };
        let stamping = stamping(&config);
        let mut rewriter = rewriter(&config, line_limit).map(Box::new);
        let Remains { underway, selected, unwritten, line, is_mid_line, limiter, forwarders } =
            std::mem::take(remains);
        let old_files = old_files::Settings {
            processor: config.processor,
            processor_timeout: config.processor_timeout,
            compression: config.compress,
            retention,
        };
        let old_files = OldFiles::new(old_files, underway);
        let writer = Writer::open(directory, current, &settings, old_files, unwritten, report);
        if let Some(rewriter) = &mut rewriter {
            rewriter.go_on(line);
        }
        Self {
            writer,
            stamping,
            rewriter,
            limiter: Limiter::resume(limiter, config.limit, clock::now().monotonic),
            is_mid_line,
            forwarders: forwarders.renew(config.forward),
            clean: config.clean,
            _lock: lock,
            filter,
            prefix: config.prefix,
            line_limit,
            udp: config.udp.map(Udp::new),
            udp_only: config.udp_only,
            selected,
            run: 0..0,
        }
    }

    /// Takes a piece of a line, found in `buffer`. What is to be written is written with [`finish`](Self::finish) at the
    /// latest. The line came at `now`; `stamp`, the command line's, may be empty.
    pub fn take(&mut self, buffer: &[u8], piece: &Piece, now: Tai64n, stamp: &[u8], report: &Report) {
        let mut own = [0; LONGEST_STAMP];
        let stamp = match &mut self.stamping {
            Stamping::Given => stamp,
            Stamping::None => &[],
            Stamping::Own(stamper) => {
                let stamp = stamper.stamp(now);
                own[..stamp.len()].copy_from_slice(stamp);
                &own[..stamp.len()]
            }
        };
        if piece.first {
            self.begin_line(buffer, &buffer[piece.text.clone()], stamp, report);
        }
        if !self.selected {
            return;
        }
        self.is_mid_line = !piece.last;
        let bytes = piece.with_newline();
        if let Some(rewriter) = &mut self.rewriter {
            let fragment =
                Fragment { text: &buffer[piece.text.clone()], first: piece.first, last: piece.last };
            rewriter.append(self.writer.gathered(), stamp, fragment);
            self.writer.flush_if_much(report);
            return;
        }
        if !stamp.is_empty() || !self.prefix.is_empty() {
            if piece.first {
                self.writer.gather(stamp);
                self.writer.gather(&self.prefix);
            }
            self.writer.gather(&buffer[bytes]);
            self.writer.flush_if_much(report);
        } else {
            self.add_to_run(bytes, buffer, report);
        }
    }

    /// Whether all lines are written as they came, if the command line asks for no stamp: then they can be taken without
    /// looking at them.
    pub fn takes_any_line(&self) -> bool {
        self.filter.is_empty()
            && self.limiter.is_none()
            && self.rewriter.is_none()
            && self.udp.is_none()
            && self.forwarders.is_empty()
            && self.prefix.is_empty()
            && !self.stamps_itself()
    }

    /// Whether it has to be told when a line came.
    pub fn stamps_itself(&self) -> bool {
        matches!(self.stamping, Stamping::Own(_))
    }

    /// Takes `count` whole lines at once: for a directory that [takes any](Self::takes_any_line).
    pub fn take_lines(&mut self, lines: Range<usize>, count: usize, buffer: &[u8], report: &Report) {
        report.counters.selected.add(count as u64);
        self.add_to_run(lines, buffer, report);
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

    /// When lines that were suppressed or not forwarded are to be told of, on the monotonic clock. Never amid a line.
    pub fn losses_due(&self) -> Option<Duration> {
        let suppressed = self.limiter.as_ref().and_then(Limiter::due);
        [suppressed, self.forwarders.loss_due()].into_iter().flatten().min().filter(|_| !self.is_mid_line)
    }

    /// Writes how many lines were suppressed, and how many were not forwarded, as far as that is due until `time`.
    /// It is `now`, for which `stamp` is that of the command line.
    pub fn tell_losses(&mut self, time: Duration, now: Tai64n, stamp: &[u8], report: &Report) {
        let mut texts = Vec::new();
        if let Some(limiter) = &mut self.limiter
            && limiter.due().is_some_and(|due| due <= time)
        {
            texts.push(format!("{} lines suppressed", limiter.take_suppressed()).into_bytes());
        }
        texts.extend(self.forwarders.take_losses(time));
        for text in texts {
            let line = match &mut self.stamping {
                Stamping::Given => self.line(stamp, &text),
                Stamping::None => self.line(&[], &text),
                Stamping::Own(stamper) => {
                    let stamp = stamper.stamp(now).to_vec();
                    self.line(&stamp, &text)
                }
            };
            self.writer.gather(&line);
        }
        self.writer.flush(report);
    }

    /// Sends to the servers what can be sent without waiting.
    pub fn forward(&mut self, now: Duration, report: &Report) {
        self.forwarders.tend(now, self.writer.directory_name(), report);
    }

    /// Takes note that a child has ended. `false` if it is none of this directory's.
    pub fn child_ended(&mut self, pid: Pid, status: ExitStatus, report: &Report) -> bool {
        self.writer.child_ended(pid, status, report) || self.forwarders.child_ended(pid)
    }

    /// No more lines will come.
    pub fn end(&mut self) {
        self.writer.end();
        self.forwarders.end();
    }

    /// Whether all is written, processed and forwarded, as far as is waited for that.
    pub fn is_finished(&self) -> bool {
        self.writer.is_finished() && self.forwarders.is_finished()
    }

    /// Closes the directory; `current` counts as cleanly closed.
    pub fn close(mut self, report: &Report) -> Remains {
        let line = match self.rewriter {
            Some(rewriter) if self.is_mid_line => rewriter.break_off(self.writer.gathered()),
            _ => Line::default(),
        };
        self.writer.flush(report);
        let (underway, unwritten) = self.writer.close(report);
        Remains {
            underway,
            selected: self.selected,
            unwritten,
            line,
            is_mid_line: self.is_mid_line,
            limiter: self.limiter,
            forwarders: self.forwarders,
        }
    }

    fn begin_line(&mut self, buffer: &[u8], text: &[u8], stamp: &[u8], report: &Report) {
        let verdict = self.filter.verdict(text);
        self.selected = verdict.select
            && self.limiter.as_mut().is_none_or(|limiter| limiter.admits(clock::now().monotonic));
        let Counters { selected, dropped, suppressed, .. } = &report.counters;
        let counter = match (verdict.select, self.selected) {
            (true, true) => selected,
            (true, false) => suppressed,
            (false, _) => dropped,
        };
        counter.add(1);
        if self.selected && !self.forwarders.is_empty() {
            self.queue(text, report);
        }
        let sends = self.selected && self.udp.is_some();
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
    fn message(&mut self, text: &[u8], stamp: &[u8]) -> Vec<u8> {
        self.line(stamp, &[text, self.dots(text)].concat())
    }

    /// What stands for the rest of a line that begins with `text`.
    fn dots(&self, text: &[u8]) -> &'static [u8] {
        if text.len() == self.line_limit { b"..." } else { b"" }
    }

    /// Queues a line for the servers, where long ones are cut too.
    fn queue(&mut self, text: &[u8], report: &Report) {
        let mut message = [&self.prefix, text].concat();
        if let Some(how) = self.clean {
            let mut cleaned = Vec::new();
            clean::append(&mut cleaned, &message, how);
            message = cleaned;
        }
        message.extend_from_slice(self.dots(text));
        self.forwarders.push(&message, report);
    }

    fn line(&mut self, stamp: &[u8], text: &[u8]) -> Vec<u8> {
        match &mut self.rewriter {
            Some(rewriter) => rewriter.message(stamp, text),
            None => [stamp, &self.prefix, text, b"\n"].concat(),
        }
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

    fn add_to_run(&mut self, bytes: Range<usize>, buffer: &[u8], report: &Report) {
        if bytes.start == self.run.end {
            self.run.end = bytes.end;
        } else {
            self.end_run(buffer, report);
            self.run = bytes;
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

fn text(message: &dyn Message) -> Vec<u8> {
    let mut text = Vec::new();
    message.append_to(&mut text);
    text
}

fn stamping(config: &Config) -> Stamping {
    let Some(format) = config.format else { return Stamping::Given };
    let style = match format.kind {
        FormatKind::None => return Stamping::None,
        FormatKind::Tai64n => Style::Tai64n,
        FormatKind::Rfc3339 | FormatKind::Json => Style::Rfc3339(format.precision),
        FormatKind::Rfc3339Local => Style::Rfc3339Local(format.precision),
    };
    Stamping::Own(Box::new(Stamper::new(style, timezone::offset_at)))
}

fn rewriter(config: &Config, line_limit: usize) -> Option<Rewriter> {
    let is_json = config.format.is_some_and(|format| format.kind == FormatKind::Json);
    let directory = is_json.then(|| std::env::current_dir().unwrap_or_default());
    let service = directory.as_deref().map(service::name);
    (is_json || config.clean.is_some())
        .then(|| Rewriter::new(config.clean, service, config.prefix.clone(), line_limit))
}
