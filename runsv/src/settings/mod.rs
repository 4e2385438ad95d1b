//! The opt-in files of a service directory: how its service is stopped, restarted and known to be ready.
//!
//! Without them everything is as in runit. One that cannot be read or is not understood counts as if it were not there, and is
//! warned of. They are read again at each start, exit and command, so that a change is obeyed without a restart of runsv. As long
//! as no file can be opened, what they said last counts.

mod parse;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::fd::RawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use svlib::error::{errno, is_shortage, reason};
use svlib::record::Tree;
use svlib::{Context, Error};

/// No file needs more than this, in bytes.
const LONGEST: u64 = 4096;

/// What the files say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `restart`.
    pub restart: Option<Restart>,
    /// `down-signal`: the signal that ends the service.
    pub down_signal: Signal,
    /// `timeout-kill`: how long after that signal KILL follows.
    pub timeout_kill: Option<Duration>,
    /// `timeout-finish`: how long `finish` may take.
    pub timeout_finish: Option<Duration>,
    /// `timeout-watchdog`: how long a service may be silent (sd_watchdog_enabled(3)).
    pub timeout_watchdog: Option<Duration>,
    /// `kill-mode`: who is sent these signals. With the file, what is left after `run` has ended is told.
    pub kill_mode: Option<Tree>,
    /// `notification-fd`: the descriptor that a newline on tells that the service is ready.
    pub notification_fd: Option<RawFd>,
    /// `notify-socket`: the service is ready when it says so to `NOTIFY_SOCKET` (sd_notify(3)).
    pub notify_socket: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            restart: None,
            down_signal: Signal::SIGTERM,
            timeout_kill: None,
            timeout_finish: None,
            timeout_watchdog: None,
            kill_mode: None,
            notification_fd: None,
            notify_socket: false,
        }
    }
}

/// When a service that ended by itself is started again (`restart`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The first delay.
    pub min: Duration,
    /// The longest one.
    pub max: Duration,
    /// What the delay is multiplied with each time, in thousandths.
    pub factor: u32,
    /// By how much a delay may differ from what it should be, in percent.
    pub jitter: u32,
    /// A run that lasted so long was a good one.
    pub reset: Duration,
    /// How many restarts there may be in an interval.
    pub limit: Option<Limit>,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            min: Duration::from_secs(1),
            max: Duration::from_secs(60),
            factor: 2000,
            jitter: 0,
            reset: Duration::from_secs(30),
            limit: None,
        }
    }
}

/// So many in such a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub count: u32,
    /// The time.
    pub interval: Duration,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file's name.
    pub file: &'static str,
    /// What is wrong, and in which line.
    pub what: String,
}

impl Settings {
    /// Reads the files in `directory`, and tells what is wrong with them.
    ///
    /// # Errors
    /// No descriptor or no memory is left: nothing is known of them.
    pub fn read(directory: &Path) -> Result<(Self, Vec<Problem>), Error> {
        let mut settings = Self::default();
        let mut problems = Vec::new();
        for (file, set) in FILES {
            let read = match text(&directory.join(file)) {
                Ok(Some(text)) => set(&mut settings, &text),
                Ok(None) => Ok(()),
                Err(Unread::Shortage(errno)) => return Err(errno).on("read", file),
                Err(Unread::Unfit(what)) => Err(what),
            };
            if let Err(what) = read {
                problems.push(Problem { file, what });
            }
        }
        Ok((settings, problems))
    }

    /// Whether the service says when it is ready.
    pub fn declares_readiness(&self) -> bool {
        self.notification_fd.is_some() || self.notify_socket
    }
}

/// Takes over what one file says, or tells why not.
type Set = fn(&mut Settings, &str) -> Result<(), String>;

const FILES: [(&str, Set); 8] = [
    ("restart", |settings, text| parse::restart(text).map(|value| settings.restart = Some(value))),
    ("down-signal", |settings, text| parse::signal(text).map(|value| settings.down_signal = value)),
    ("timeout-kill", |settings, text| parse::milliseconds(text).map(|value| settings.timeout_kill = value)),
    ("timeout-finish", |settings, text| {
        parse::milliseconds(text).map(|value| settings.timeout_finish = value)
    }),
    ("timeout-watchdog", |settings, text| {
        parse::milliseconds(text).map(|value| settings.timeout_watchdog = value)
    }),
    ("kill-mode", |settings, text| parse::kill_mode(text).map(|value| settings.kill_mode = Some(value))),
    ("notification-fd", |settings, text| {
        parse::descriptor(text).map(|value| settings.notification_fd = Some(value))
    }),
    ("notify-socket", |settings, _| {
        settings.notify_socket = true;
        Ok(())
    }),
];

/// Why a file was not read.
enum Unread {
    /// Nothing can be read now.
    Shortage(Errno),
    /// This one cannot, in words.
    Unfit(String),
}

/// The text of a file; None if there is no such file.
fn text(path: &Path) -> Result<Option<String>, Unread> {
    let unfit = |what: &str, error: &std::io::Error| match errno(error) {
        errno if is_shortage(errno) => Unread::Shortage(errno),
        errno => Unread::Unfit(format!("{what}: {}", reason(errno))),
    };
    // Not to hang should it be a fifo.
    let file = match OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unfit("unable to open", &error)),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| unfit("unable to read", &error))?;
    if bytes.len() as u64 > LONGEST {
        return Err(Unread::Unfit(format!("longer than {LONGEST} bytes")));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| Unread::Unfit("not UTF-8".into()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn no_file_is_runit() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Settings::read(directory.path()).unwrap(), (Settings::default(), Vec::new()));
    }

    #[test]
    fn each_file_has_its_effect_and_a_bad_one_has_none() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("restart", "min 2s\nlimit 3/1m\n"),
            ("down-signal", "INT\n"),
            ("timeout-kill", "1500\n"),
            ("timeout-finish", "x\n"),
            ("timeout-watchdog", "100"),
            ("kill-mode", "group\n"),
            ("notification-fd", "3\n"),
            ("notify-socket", ""),
        ] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let (settings, problems) = Settings::read(directory.path()).unwrap();
        let limit = Some(Limit { count: 3, interval: Duration::from_secs(60) });
        assert_eq!(
            settings,
            Settings {
                restart: Some(Restart { min: Duration::from_secs(2), limit, ..Restart::default() }),
                down_signal: Signal::SIGINT,
                timeout_kill: Some(Duration::from_millis(1500)),
                timeout_finish: None,
                timeout_watchdog: Some(Duration::from_millis(100)),
                kill_mode: Some(Tree::Group),
                notification_fd: Some(3),
                notify_socket: true,
            }
        );
        let files: Vec<_> = problems.iter().map(|problem| problem.file).collect();
        assert_eq!(files, ["timeout-finish"]);
    }

    #[test]
    fn what_cannot_be_read_is_a_problem() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("restart")).unwrap();
        fs::write(directory.path().join("kill-mode"), [0xff]).unwrap();
        fs::write(directory.path().join("down-signal"), vec![b'x'; 5000]).unwrap();
        let (settings, problems) = Settings::read(directory.path()).unwrap();
        assert_eq!((settings, problems.len()), (Settings::default(), 3));
    }
}
