//! What one runsvdir tells the next in the same process ([`svlib::sys::reexec`]), as lines of text: pure.
//!
//! Numbers of descriptors are those that the process has open. Names are in hexadecimal.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write as _};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::str::{FromStr, Split};
use std::time::Duration;

use nix::unistd::Pid;
use svlib::exit_status::ExitStatus;
use svlib::keeper::{Held, Request};
use svlib::record::ProcessId;

use crate::plan::{Entry, Identity, Process};
use crate::stop::Stop;
use crate::strangers::Strangers;

/// The form of the text. Another form cannot be gone on with.
const VERSION: u32 = 1;

/// A runsv that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runsv {
    /// A child.
    Child(Pid),
    /// One that another runsvdir started, whose child this process need not be.
    Adopted(ProcessId),
}

/// All that a runsvdir knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The process that knows it.
    pub pid: Pid,
    /// The limits on descriptors that each runsv is to have, if they are not this process's.
    pub descriptor_limit: Option<(u64, u64)>,
    /// The pipe of the `log` argument, and when its next dot is due.
    pub log: Option<(RawFd, Duration)>,
    /// A stop under way.
    pub stop: Option<Stop>,
    /// All services.
    pub services: Vec<Entry>,
    /// The runsvs of some.
    pub runsvs: Vec<(Identity, Runsv)>,
    /// The sockets to some.
    pub sockets: Vec<(Identity, RawFd)>,
    /// What is held for some.
    pub held: Vec<(Identity, Vec<(Held, RawFd)>)>,
    /// Children that are no runsvs.
    pub strangers: Strangers,
}

/// Why a text is no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadState {
    /// It is of another version, or does not say which.
    Version,
    /// It does not say of which process, or does not reach its end.
    Incomplete,
    /// This line, counted from 1, is not understood.
    Line(usize),
}

impl fmt::Display for BadState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => out.write_str("the state is of another version"),
            Self::Incomplete => out.write_str("the state is incomplete"),
            Self::Line(number) => write!(out, "line {number} of the state is not understood"),
        }
    }
}

impl std::error::Error for BadState {}

impl State {
    /// Nothing is known yet by this process.
    #[must_use]
    pub fn new(pid: Pid) -> Self {
        Self {
            pid,
            descriptor_limit: None,
            log: None,
            stop: None,
            services: Vec::new(),
            runsvs: Vec::new(),
            sockets: Vec::new(),
            held: Vec::new(),
            strangers: Strangers::default(),
        }
    }

    /// The lines.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("version {VERSION}\npid {}\n", self.pid);
        let mut line = |line: fmt::Arguments<'_>| {
            // A string takes all that is written to it.
            let _ = writeln!(text, "{line}");
        };
        if let Some((soft, hard)) = self.descriptor_limit {
            line(format_args!("limit {soft} {hard}"));
        }
        if let Some((fd, dot)) = self.log {
            line(format_args!("log {fd} {}", dot.as_nanos()));
        }
        if let Some(stop) = &self.stop {
            let Stop { code, began, limit, services_killed, orphans_ended, killed_at } = stop;
            let (began, limit) = (began.as_nanos(), limit.as_nanos());
            let (services, orphans) = (u8::from(*services_killed), u8::from(*orphans_ended));
            let killed = killed_at.map_or("-".to_owned(), |time| time.as_nanos().to_string());
            line(format_args!("stop {code} {began} {limit} {services} {orphans} {killed}"));
        }
        for Entry { identity, name, process } in &self.services {
            let name = hex(name);
            match process {
                Process::Waiting { start_at, occupied } => {
                    line(format_args!(
                        "service {identity} {name} waiting {} {occupied}",
                        start_at.as_nanos()
                    ));
                }
                Process::Behind => line(format_args!("service {identity} {name} behind")),
                Process::Running { since } => {
                    line(format_args!("service {identity} {name} running {}", since.as_nanos()));
                }
                Process::Leaving { is_back, was } => {
                    line(format_args!(
                        "service {identity} {name} leaving {} {}",
                        u8::from(*is_back),
                        hex(was)
                    ));
                }
            }
        }
        for (identity, runsv) in &self.runsvs {
            match runsv {
                Runsv::Child(pid) => line(format_args!("child {identity} {pid}")),
                Runsv::Adopted(process) => line(format_args!("adopted {identity} {process}")),
            }
        }
        for (identity, fd) in &self.sockets {
            line(format_args!("socket {identity} {fd}"));
        }
        for (identity, held) in &self.held {
            let tags = Request::Hold(held.iter().map(|(held, _)| *held).collect()).encode();
            let fds: Vec<String> = held.iter().map(|(_, fd)| fd.to_string()).collect();
            line(format_args!("held {identity} {} {}", String::from_utf8_lossy(&tags), fds.join(" ")));
        }
        for (process, status) in self.strangers.remembered() {
            line(format_args!("ended {process} {}", status.to_raw()));
        }
        for (process, watcher) in self.strangers.watches() {
            line(format_args!("watch {process} {watcher}"));
        }
        line(format_args!("end"));
        text
    }

    /// The state in a text. Lines that begin with another word than ours are passed over.
    ///
    /// # Errors
    ///
    /// [`BadState`].
    pub fn decode(text: &str) -> Result<Self, BadState> {
        let mut state = Self::new(Pid::from_raw(0));
        let (mut version, mut is_whole) = (None, false);
        for (index, line) in text.lines().enumerate() {
            let mut words = Words(line.split(' '));
            match words.text() {
                Some("version") => version = words.number::<u32>(),
                Some("end") => is_whole = true,
                Some(word) => state.set(word, &mut words).ok_or(BadState::Line(index + 1))?,
                None => {}
            }
        }
        match version {
            Some(VERSION) if is_whole && state.pid.as_raw() > 0 => Ok(state),
            Some(VERSION) => Err(BadState::Incomplete),
            _ => Err(BadState::Version),
        }
    }

    fn set(&mut self, word: &str, words: &mut Words<'_>) -> Option<()> {
        match word {
            "pid" => self.pid = words.pid()?,
            "limit" => self.descriptor_limit = Some((words.number()?, words.number()?)),
            "log" => self.log = Some((words.number()?, words.time()?)),
            "stop" => {
                self.stop = Some(Stop {
                    code: words.number()?,
                    began: words.time()?,
                    limit: words.time()?,
                    services_killed: words.flag()?,
                    orphans_ended: words.flag()?,
                    killed_at: match words.text()? {
                        "-" => None,
                        time => Some(Duration::from_nanos(time.parse().ok()?)),
                    },
                });
            }
            "service" => {
                let (identity, name) = (words.identity()?, words.name()?);
                let process = match words.text()? {
                    "waiting" => Process::Waiting { start_at: words.time()?, occupied: words.number()? },
                    "behind" => Process::Behind,
                    "running" => Process::Running { since: words.time()? },
                    "leaving" => Process::Leaving { is_back: words.flag()?, was: words.name()? },
                    _ => return None,
                };
                self.services.push(Entry { identity, name, process });
            }
            "child" => {
                self.runsvs.push((words.identity()?, Runsv::Child(words.pid()?)));
            }
            "adopted" => self.runsvs.push((words.identity()?, Runsv::Adopted(words.process()?))),
            "socket" => self.sockets.push((words.identity()?, words.number()?)),
            "held" => {
                let identity = words.identity()?;
                let Request::Hold(tags) = Request::decode(words.text()?.as_bytes())? else { return None };
                let held = tags.into_iter().map(|held| Some((held, words.number()?)));
                self.held.push((identity, held.collect::<Option<_>>()?));
            }
            "ended" => {
                let (process, status) = (words.process()?, words.number()?);
                self.strangers.ended(process, ExitStatus::from_raw(status));
            }
            "watch" => self.strangers.watch(words.process()?, words.identity()?),
            _ => {}
        }
        Some(())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.device, self.inode)
    }
}

/// The words of a line that have not been read yet.
struct Words<'a>(Split<'a, char>);

impl<'a> Words<'a> {
    fn text(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    fn number<T: FromStr>(&mut self) -> Option<T> {
        self.text()?.parse().ok()
    }

    fn flag(&mut self) -> Option<bool> {
        self.number::<u8>().map(|flag| flag != 0)
    }

    fn time(&mut self) -> Option<Duration> {
        self.number().map(Duration::from_nanos)
    }

    fn identity(&mut self) -> Option<Identity> {
        Some(Identity { device: self.number()?, inode: self.number()? })
    }

    /// Numbers below 1 are more than one process.
    fn pid(&mut self) -> Option<Pid> {
        self.number().filter(|pid| *pid > 0).map(Pid::from_raw)
    }

    fn process(&mut self) -> Option<ProcessId> {
        let (pid, start) = (self.pid()?, self.number()?);
        Some(ProcessId { pid, start })
    }

    fn name(&mut self) -> Option<OsString> {
        let digits = self.text()?.as_bytes();
        let pairs = digits.chunks(2).map(|pair| {
            let text = std::str::from_utf8(pair).ok().filter(|text| text.len() == 2)?;
            u8::from_str_radix(text, 16).ok()
        });
        pairs.collect::<Option<_>>().map(OsString::from_vec)
    }
}

fn hex(name: &OsStr) -> String {
    let mut text = String::with_capacity(2 * name.len());
    for byte in name.as_bytes() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests;
