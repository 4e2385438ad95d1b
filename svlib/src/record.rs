//! `supervise/record`: all that one supervisor would have to know to go on where another was killed, as `key=value` lines.
//!
//! It has [`RECORD_LENGTH`] bytes and is rewritten in place by one write(2), so that it can be written on a full disk and
//! without another descriptor. A killed writer leaves it whole; who reads it while it is written finds that its first and
//! its last line, `seq` and `end`, differ, and reads again. Times without a name are of `CLOCK_MONOTONIC`, in nanoseconds:
//! they mean nothing after the next boot, and neither do the processes, which is why it says which boot it is of.

use std::fmt::{self, Write};
use std::str::FromStr;
use std::time::Duration;

use nix::unistd::Pid;

use crate::command::Command;
use crate::exit_status::ExitStatus;
use crate::status::Want;
use crate::tai64n::Tai64n;

/// The length of the file, in bytes. Newlines fill it up.
pub const RECORD_LENGTH: usize = 1024;

/// How much of a service's own words is kept, in bytes.
pub const TEXT_LENGTH: usize = 200;

/// The form of the record. A reader of another form cannot use it.
const VERSION: u32 = 1;

/// A process, told from any other that has or had its number since the machine was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// Its number.
    pub pid: Pid,
    /// When it was started, in clock ticks since the boot (field 22 in proc(5) `stat`); 0 if that could not be read.
    pub start: u64,
}

/// What runs of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    #[default]
    Down,
    /// `run`.
    Run(ProcessId),
    /// Nothing, but `finish` is owed.
    Ended,
    /// `finish`.
    Finish(ProcessId),
}

/// A control script that is asked for, or runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    /// The command it stands in for.
    pub command: Command,
    /// Its process, if it runs.
    pub process: Option<ProcessId>,
}

/// Who gets the signals that end `run`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tree {
    /// The process alone.
    #[default]
    Process,
    /// Its process group, which it leads.
    Group,
    /// All processes of the control group that runsv made for it.
    Cgroup,
}

/// Whether a service has said that it is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// It does not say.
    #[default]
    Undeclared,
    /// It will say, and has not.
    Awaited,
    /// It has.
    Ready,
}

/// The memory of the restart policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    /// How many runs in a row were too short.
    pub failures: u32,
    /// When the interval began in which restarts are counted.
    pub interval_began: Duration,
    /// How many restarts there were in it.
    pub interval_restarts: u32,
}

/// What one supervisor leaves to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The boot and the pid namespace ([`boot_id`](crate::sys::process::boot_id)); empty if unknown.
    pub boot: String,
    /// runsv. None: it has ended in an orderly way.
    pub supervisor: Option<ProcessId>,
    /// How often this runsv has become another program file (`sv reexec`).
    pub reexecs: u64,
    /// What runs.
    pub phase: Phase,
    /// A control script at work.
    pub script: Option<Script>,
    /// What was asked of the service.
    pub want: Want,
    /// Whether STOP was sent last.
    pub paused: bool,
    /// Whether it was sent the signal that ends it.
    pub got_term: bool,
    /// Whether `run` was told to end, by a signal or by its control script.
    pub told_to_end: bool,
    /// When it last changed between run and down.
    pub changed: Tai64n,
    /// When `run` was last started.
    pub started: Duration,
    /// Before then it is not started again.
    pub not_before: Duration,
    /// How `run` last ended.
    pub last_exit: Option<ExitStatus>,
    /// How often it was started again since it was last commanded up.
    pub restarts: u64,
    /// The restart policy.
    pub backoff: Backoff,
    /// It was given up.
    pub failed: bool,
    /// Whether it is ready.
    pub readiness: Readiness,
    /// What it says of itself (`STATUS=`).
    pub text: String,
    /// When KILL is due.
    pub kill_at: Option<Duration>,
    /// When it must have said that it is alive.
    pub watchdog_at: Option<Duration>,
    /// How it is ended.
    pub tree: Tree,
    /// How many processes were left when it was last stopped.
    pub left: u32,
    /// The pipe to the log service: the inode.
    pub pipe: Option<u64>,
    /// The pipe that readiness is written to: the inode.
    pub notify_pipe: Option<u64>,
    /// The abstract name of the socket that readiness is sent to.
    pub notify_socket: String,
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRecord {
    /// It was read while it was written.
    Torn,
    /// It is of another version.
    Version,
    /// This line, counted from 1, is not `key=value`, or the value does not fit the key.
    Line(usize),
}

impl fmt::Display for BadRecord {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torn => out.write_str("it is incomplete"),
            Self::Version => out.write_str("it is of another version"),
            Self::Line(number) => write!(out, "line {number} is not understood"),
        }
    }
}

impl std::error::Error for BadRecord {}

impl Default for Record {
    fn default() -> Self {
        Self {
            boot: String::new(),
            supervisor: None,
            reexecs: 0,
            phase: Phase::Down,
            script: None,
            want: Want::Down,
            paused: false,
            got_term: false,
            told_to_end: false,
            changed: Tai64n::EPOCH,
            started: Duration::ZERO,
            not_before: Duration::ZERO,
            last_exit: None,
            restarts: 0,
            backoff: Backoff::default(),
            failed: false,
            readiness: Readiness::Undeclared,
            text: String::new(),
            kill_at: None,
            watchdog_at: None,
            tree: Tree::Process,
            left: 0,
            pipe: None,
            notify_pipe: None,
            notify_socket: String::new(),
        }
    }
}

impl Record {
    /// The lines, without `seq`, `end` and what fills up. What has its usual value is left out.
    pub fn lines(&self) -> String {
        let mut lines = Lines(String::with_capacity(RECORD_LENGTH));
        lines.put("version", Some(VERSION));
        lines.text("boot", &self.boot);
        lines.put("supervisor", self.supervisor);
        lines.number("reexecs", self.reexecs);
        match self.phase {
            Phase::Down => {}
            Phase::Run(process) => lines.put("run", Some(process)),
            Phase::Ended => lines.flag("ended", true),
            Phase::Finish(process) => lines.put("finish", Some(process)),
        }
        if let Some(Script { command, process }) = self.script {
            let letter = char::from(command.byte());
            match process {
                Some(process) => lines.put("script", Some(format_args!("{letter} {process}"))),
                None => lines.put("script", Some(letter)),
            }
        }
        lines.put(
            "want",
            Some(match self.want {
                Want::Up => "up",
                Want::Down => "down",
                Want::Exit => "exit",
            }),
        );
        lines.flag("paused", self.paused);
        lines.flag("got-term", self.got_term);
        lines.flag("told-to-end", self.told_to_end);
        lines.put("changed", Some(format_args!("{} {}", self.changed.unix_seconds(), self.changed.nanos)));
        lines.time("started", self.started);
        lines.time("not-before", self.not_before);
        lines.put("exit", self.last_exit.map(ExitStatus::to_raw));
        lines.number("restarts", self.restarts);
        let Backoff { failures, interval_began, interval_restarts } = self.backoff;
        if self.backoff != Backoff::default() {
            let began = interval_began.as_nanos();
            lines.put("backoff", Some(format_args!("{failures} {began} {interval_restarts}")));
        }
        lines.flag("failed", self.failed);
        match self.readiness {
            Readiness::Undeclared => {}
            Readiness::Awaited => lines.put("ready", Some("no")),
            Readiness::Ready => lines.put("ready", Some("yes")),
        }
        lines.text("text", &clipped(&self.text));
        lines.put("kill-at", self.kill_at.map(|time| time.as_nanos()));
        lines.put("watchdog-at", self.watchdog_at.map(|time| time.as_nanos()));
        match self.tree {
            Tree::Process => {}
            Tree::Group => lines.put("tree", Some("group")),
            Tree::Cgroup => lines.put("tree", Some("cgroup")),
        }
        lines.number("left", self.left.into());
        lines.put("pipe", self.pipe);
        lines.put("notify-pipe", self.notify_pipe);
        lines.text("notify-socket", &self.notify_socket);
        lines.0
    }

    /// The file: `lines` of [`lines`](Self::lines), `seq` being another number than last time.
    pub fn file(lines: &str, seq: u64) -> Vec<u8> {
        let mut file = String::with_capacity(RECORD_LENGTH);
        // A string takes all that is written to it.
        let _ = write!(file, "seq={seq}\n{lines}end={seq}\n");
        debug_assert!(file.len() <= RECORD_LENGTH, "the longest record fits");
        let mut file = file.into_bytes();
        file.resize(RECORD_LENGTH, b'\n');
        file
    }

    /// The record in a file, or in [`lines`](Self::lines). Keys that are not known are passed over.
    ///
    /// # Errors
    /// [`BadRecord`].
    pub fn decode(bytes: &[u8]) -> Result<Self, BadRecord> {
        let text = std::str::from_utf8(bytes).map_err(|_| BadRecord::Torn)?;
        let (mut seq, mut end, mut version) = (None, None, None);
        let mut record = Self::default();
        for (index, line) in text.split('\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            let bad = BadRecord::Line(index + 1);
            let (key, value) = line.split_once('=').ok_or(bad)?;
            match key {
                "seq" => seq = Some(value),
                "end" => end = Some(value),
                "version" => version = Some(value),
                _ => record.set(key, value).ok_or(bad)?,
            }
        }
        if seq != end {
            return Err(BadRecord::Torn);
        }
        match version.map(str::parse) {
            Some(Ok(VERSION)) => Ok(record),
            Some(_) => Err(BadRecord::Version),
            None => Err(BadRecord::Torn),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "boot" => value.clone_into(&mut self.boot),
            "supervisor" => self.supervisor = Some(value.parse().ok()?),
            "reexecs" => self.reexecs = value.parse().ok()?,
            "run" => self.phase = Phase::Run(value.parse().ok()?),
            "ended" => self.phase = Phase::Ended,
            "finish" => self.phase = Phase::Finish(value.parse().ok()?),
            "script" => self.script = Some(script(value)?),
            "want" => {
                self.want = match value {
                    "up" => Want::Up,
                    "down" => Want::Down,
                    "exit" => Want::Exit,
                    _ => return None,
                }
            }
            "paused" => self.paused = true,
            "got-term" => self.got_term = true,
            "told-to-end" => self.told_to_end = true,
            "changed" => {
                let (seconds, nanos) = value.split_once(' ')?;
                self.changed = Tai64n::from_unix(seconds.parse().ok()?, nanos.parse().ok()?);
            }
            "started" => self.started = time(value)?,
            "not-before" => self.not_before = time(value)?,
            "exit" => self.last_exit = Some(ExitStatus::from_raw(value.parse().ok()?)),
            "restarts" => self.restarts = value.parse().ok()?,
            "backoff" => {
                let [failures, began, restarts] = value.split(' ').collect::<Vec<_>>()[..] else {
                    return None;
                };
                self.backoff = Backoff {
                    failures: failures.parse().ok()?,
                    interval_began: time(began)?,
                    interval_restarts: restarts.parse().ok()?,
                };
            }
            "failed" => self.failed = true,
            "ready" => {
                self.readiness = match value {
                    "no" => Readiness::Awaited,
                    "yes" => Readiness::Ready,
                    _ => return None,
                }
            }
            "text" => value.clone_into(&mut self.text),
            "kill-at" => self.kill_at = Some(time(value)?),
            "watchdog-at" => self.watchdog_at = Some(time(value)?),
            "tree" => {
                self.tree = match value {
                    "group" => Tree::Group,
                    "cgroup" => Tree::Cgroup,
                    _ => return None,
                }
            }
            "left" => self.left = value.parse().ok()?,
            "pipe" => self.pipe = Some(value.parse().ok()?),
            "notify-pipe" => self.notify_pipe = Some(value.parse().ok()?),
            "notify-socket" => value.clone_into(&mut self.notify_socket),
            _ => {}
        }
        Some(())
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.pid, self.start)
    }
}

impl FromStr for ProcessId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (pid, start) = text.split_once(' ').ok_or(())?;
        let pid: i32 = pid.parse().map_err(drop)?;
        let start = start.parse().map_err(drop)?;
        if pid > 0 { Ok(Self { pid: Pid::from_raw(pid), start }) } else { Err(()) }
    }
}

/// Lines being composed.
struct Lines(String);

impl Lines {
    fn put(&mut self, key: &str, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            // A string takes all that is written to it.
            let _ = writeln!(self.0, "{key}={value}");
        }
    }

    fn text(&mut self, key: &str, value: &str) {
        self.put(key, (!value.is_empty()).then_some(value));
    }

    fn number(&mut self, key: &str, value: u64) {
        self.put(key, (value != 0).then_some(value));
    }

    fn time(&mut self, key: &str, value: Duration) {
        self.put(key, (!value.is_zero()).then_some(value.as_nanos()));
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.put(key, value.then_some("yes"));
    }
}

/// `text` on one line, and not too long.
fn clipped(text: &str) -> String {
    let mut clipped = String::new();
    for character in text.chars().map(|character| if character.is_control() { ' ' } else { character }) {
        if clipped.len() + character.len_utf8() > TEXT_LENGTH {
            break;
        }
        clipped.push(character);
    }
    clipped
}

fn script(value: &str) -> Option<Script> {
    let (letter, process) = match value.split_once(' ') {
        Some((letter, process)) => (letter, Some(process.parse().ok()?)),
        None => (value, None),
    };
    let [byte] = *letter.as_bytes() else { return None };
    Some(Script { command: Command::from_byte(byte)?, process })
}

fn time(value: &str) -> Option<Duration> {
    value.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn process() -> impl Strategy<Value = ProcessId> {
        (1..i32::MAX, any::<u64>()).prop_map(|(pid, start)| ProcessId { pid: Pid::from_raw(pid), start })
    }

    fn moment() -> impl Strategy<Value = Duration> {
        any::<u64>().prop_map(Duration::from_nanos)
    }

    prop_compose! {
        fn process_part()(
            supervisor in proptest::option::of(process()),
            reexecs: u64,
            phase in prop_oneof![
                Just(Phase::Down), Just(Phase::Ended), process().prop_map(Phase::Run), process().prop_map(Phase::Finish)
            ],
            script in proptest::option::of((0..Command::ALL.len(), proptest::option::of(process()))),
            want in prop_oneof![Just(Want::Up), Just(Want::Down), Just(Want::Exit)],
            flags: [bool; 4],
            changed: (i64, u32),
            started in moment(),
            not_before in moment(),
            last_exit in proptest::option::of(any::<i32>().prop_map(ExitStatus::from_raw)),
        ) -> Record {
            let [paused, got_term, told_to_end, failed] = flags;
            let script = script.map(|(command, process)| Script { command: Command::ALL[command], process });
            let changed = Tai64n::from_unix(changed.0, changed.1);
            Record {
                boot: "01234567-89ab-cdef-0123-456789abcdef".into(),
                supervisor, reexecs, phase, script, want, paused, got_term, told_to_end, changed, started, not_before, last_exit, failed,
                ..Record::default()
            }
        }
    }

    prop_compose! {
        fn any_record()(
            record in process_part(),
            restarts: u64,
            backoff in (any::<u32>(), moment(), any::<u32>()),
            readiness in prop_oneof![Just(Readiness::Undeclared), Just(Readiness::Awaited), Just(Readiness::Ready)],
            text in "[ -~]{0,200}",
            times in (proptest::option::of(moment()), proptest::option::of(moment())),
            tree in prop_oneof![Just(Tree::Process), Just(Tree::Group), Just(Tree::Cgroup)],
            left: u32,
            pipes: (Option<u64>, Option<u64>),
            notify_socket in "[a-z0-9/.:]{0,60}",
        ) -> Record {
            let (failures, interval_began, interval_restarts) = backoff;
            Record {
                restarts, backoff: Backoff { failures, interval_began, interval_restarts }, readiness, text,
                kill_at: times.0, watchdog_at: times.1, tree, left, pipe: pipes.0, notify_pipe: pipes.1, notify_socket,
                ..record
            }
        }
    }

    #[test]
    fn a_record_is_lines_of_text() {
        let record = Record {
            boot: "b".into(),
            supervisor: Some(ProcessId { pid: Pid::from_raw(41), start: 7 }),
            phase: Phase::Run(ProcessId { pid: Pid::from_raw(42), start: 8 }),
            script: Some(Script { command: Command::Terminate, process: None }),
            want: Want::Up,
            changed: Tai64n::from_unix(1, 2),
            last_exit: Some(ExitStatus::exited(1)),
            text: "two\nlines".into(),
            ..Record::default()
        };
        let lines = "version=1\nboot=b\nsupervisor=41 7\nrun=42 8\nscript=t\nwant=up\nchanged=1 2\nexit=256\ntext=two lines\n";
        assert_eq!(record.lines(), lines);
        let file = Record::file(lines, 3);
        assert!(file.starts_with(b"seq=3\nversion=1\n") && file.len() == RECORD_LENGTH);
    }

    #[test]
    fn what_is_no_record_is_told() {
        let whole = String::from_utf8(Record::file(&Record::default().lines(), 1)).unwrap();
        assert_eq!(Record::decode(whole.as_bytes()), Ok(Record::default()));
        let torn = whole.replace("end=1", "end=2");
        let newer = whole.replace("version=1", "version=2");
        let other = whole.replace("want=down", "want=sideways");
        for (text, expected) in [
            ("", BadRecord::Torn),
            (torn.as_str(), BadRecord::Torn),
            (newer.as_str(), BadRecord::Version),
            (other.as_str(), BadRecord::Line(3)),
            ("seq=1\nno line\nend=1\n", BadRecord::Line(2)),
            ("version=1\nrun=0 1\n", BadRecord::Line(2)),
        ] {
            assert_eq!(Record::decode(text.as_bytes()), Err(expected), "{text}");
        }
        assert!(Record::decode(&[0xff; 10]).is_err());
        let newer_key = whole.replace("want=down", "want=down\nmood=good");
        assert_eq!(Record::decode(newer_key.as_bytes()), Ok(Record::default()));
    }

    proptest! {
        #[test]
        fn records_round_trip_and_fit(record in any_record(), seq: u64) {
            let file = Record::file(&record.lines(), seq);
            prop_assert_eq!(file.len(), RECORD_LENGTH);
            prop_assert_eq!(Record::decode(&file), Ok(record.clone()));
            prop_assert_eq!(Record::decode(record.lines().as_bytes()), Ok(record));
        }

        #[test]
        fn any_text_of_a_service_is_one_line(text: String) {
            let record = Record { text, ..Record::default() };
            let decoded = Record::decode(record.lines().as_bytes()).unwrap();
            prop_assert!(decoded.text.len() <= TEXT_LENGTH);
        }

        #[test]
        fn any_bytes_decode_or_not(bytes: Vec<u8>) {
            let _ = Record::decode(&bytes);
        }
    }
}
