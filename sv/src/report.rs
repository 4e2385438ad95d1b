//! The text of `sv`. Programs parse it: every byte is runit's.

use nix::errno::Errno;
use nix::unistd::Pid;
use svlib::status::{State, Status, Want};
use svlib::tai64n::Tai64n;

use crate::errno_text::errno_text;

/// What is said about a service before its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was waited for has happened.
    Reached,
    /// It has not happened in time.
    TimedOut,
    /// It has not happened in time, and KILL is sent.
    Killed,
}

/// Why the status of a service is not known, or a command did not reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such service directory, or it cannot be entered.
    NoService(Errno),
    /// There is no such log service directory, or it cannot be entered.
    NoLog(Errno),
    /// No runsv has `supervise/ok` open for reading.
    NotRunning,
    /// `supervise/status` is not a status record.
    BadStatus,
    /// An operation failed: what could not be done, and the system's reason.
    Unable(&'static str, Errno),
}

/// The line for a service whose waiting has ended. `status` is its status text, empty if unknown.
pub fn outcome_line(outcome: Outcome, status: &[u8]) -> Vec<u8> {
    let word = match outcome {
        Outcome::Reached => "ok: ",
        Outcome::TimedOut => "timeout: ",
        Outcome::Killed => "kill: ",
    };
    [word.as_bytes(), status, b"\n"].concat()
}

/// The status of a service in words, as `run: NAME: (pid 42) 3s, normally down`.
///
/// `now` is the current time, `normally_up` whether runsv starts the service by itself: there is no file `down`.
pub fn status_text(name: &[u8], status: &Status, now: Tai64n, normally_up: bool) -> Vec<u8> {
    let word = match status.state {
        State::Down => "down: ",
        State::Run => "run: ",
        State::Finish => "finish: ",
    };
    let mut text = [word.as_bytes(), name, b": "].concat();
    if status.state != State::Down {
        text.extend(format!("(pid {}) ", status.pid.map_or(0, Pid::as_raw)).bytes());
    }
    text.extend(format!("{}s", now.seconds.saturating_sub(status.changed.seconds)).bytes());
    let up = status.pid.is_some();
    let wants_up = status.want == Want::Up;
    for (applies, remark) in [
        (up && !normally_up, ", normally down"),
        (!up && normally_up, ", normally up"),
        (up && status.paused, ", paused"),
        (!up && wants_up, ", want up"),
        (up && !wants_up, ", want down"),
        (up && status.got_term, ", got TERM"),
    ] {
        if applies {
            text.extend(remark.bytes());
        }
    }
    text
}

impl Trouble {
    /// The line that tells of the trouble with the service `name`. `gone_is_ok` when runsv was told to exit.
    pub fn line(self, name: &[u8], gone_is_ok: bool) -> Vec<u8> {
        let (word, what, errno) = match self {
            Self::NoService(errno) => ("fail", "unable to change to service directory", Some(errno)),
            Self::NoLog(errno) => ("warning", "unable to change directory", Some(errno)),
            Self::NotRunning if gone_is_ok => ("ok", "runsv not running", None),
            Self::NotRunning => ("fail", "runsv not running", None),
            Self::BadStatus => ("warning", "unable to read supervise/status: bad format", None),
            Self::Unable(what, errno) => ("warning", what, Some(errno)),
        };
        let mut line = [word.as_bytes(), b": ", name, b": ", what.as_bytes()].concat();
        if let Some(errno) = errno {
            line.extend(b": ");
            line.extend(errno_text(errno).bytes());
        }
        line.push(b'\n');
        line
    }

    /// Whether the trouble counts in the exit code.
    pub fn is_failure(self, gone_is_ok: bool) -> bool {
        !(gone_is_ok && self == Self::NotRunning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn running() -> Status {
        Status {
            changed: Tai64n::from_unix(1000, 999_999_999),
            pid: Some(Pid::from_raw(42)),
            paused: false,
            want: Want::Up,
            got_term: false,
            state: State::Run,
        }
    }

    fn text(status: Status, normally_up: bool) -> String {
        String::from_utf8(status_text(b"web", &status, Tai64n::from_unix(1003, 0), normally_up)).unwrap()
    }

    #[test]
    fn status_texts() {
        let run = running();
        let down = Status { pid: None, state: State::Down, want: Want::Down, ..run };
        for (status, normally_up, expected) in [
            (run, true, "run: web: (pid 42) 3s"),
            (run, false, "run: web: (pid 42) 3s, normally down"),
            (Status { paused: true, ..run }, true, "run: web: (pid 42) 3s, paused"),
            (
                Status { want: Want::Down, got_term: true, ..run },
                true,
                "run: web: (pid 42) 3s, want down, got TERM",
            ),
            (
                Status { paused: true, want: Want::Down, got_term: true, ..run },
                false,
                "run: web: (pid 42) 3s, normally down, paused, want down, got TERM",
            ),
            (Status { state: State::Finish, ..run }, true, "finish: web: (pid 42) 3s"),
            (
                Status { state: State::Finish, pid: None, ..run },
                true,
                "finish: web: (pid 0) 3s, normally up, want up",
            ),
            (down, true, "down: web: 3s, normally up"),
            (down, false, "down: web: 3s"),
            (Status { want: Want::Up, ..down }, true, "down: web: 3s, normally up, want up"),
            (Status { paused: true, got_term: true, ..down }, false, "down: web: 3s"),
            (Status { changed: Tai64n::from_unix(2000, 0), ..down }, false, "down: web: 0s"),
        ] {
            assert_eq!(text(status, normally_up), expected);
        }
    }

    #[test]
    fn names_are_printed_as_they_are() {
        let name = b"\xff a\nb";
        assert_eq!(
            status_text(name, &running(), Tai64n::from_unix(1000, 0), true),
            b"run: \xff a\nb: (pid 42) 0s"
        );
        assert_eq!(Trouble::NotRunning.line(name, false), b"fail: \xff a\nb: runsv not running\n");
    }

    #[test]
    fn outcome_lines() {
        assert_eq!(outcome_line(Outcome::Reached, b"run: web"), b"ok: run: web\n");
        assert_eq!(outcome_line(Outcome::TimedOut, b"run: web"), b"timeout: run: web\n");
        assert_eq!(outcome_line(Outcome::Killed, b"run: web"), b"kill: run: web\n");
    }

    #[test]
    fn trouble_lines() {
        for (trouble, gone_is_ok, line) in [
            (
                Trouble::NoService(Errno::ENOENT),
                false,
                "fail: web: unable to change to service directory: file does not exist\n",
            ),
            (
                Trouble::NoLog(Errno::ENOTDIR),
                false,
                "warning: web: unable to change directory: not a directory\n",
            ),
            (Trouble::NotRunning, false, "fail: web: runsv not running\n"),
            (Trouble::NotRunning, true, "ok: web: runsv not running\n"),
            (Trouble::BadStatus, true, "warning: web: unable to read supervise/status: bad format\n"),
            (
                Trouble::Unable("unable to open supervise/ok", Errno::EACCES),
                false,
                "warning: web: unable to open supervise/ok: access denied\n",
            ),
        ] {
            assert_eq!(String::from_utf8(trouble.line(b"web", gone_is_ok)).unwrap(), line);
            assert_eq!(trouble.is_failure(gone_is_ok), !line.starts_with("ok: "));
        }
    }

    proptest! {
        #[test]
        fn any_record_has_one_line_of_text(record in any::<[u8; 20]>(), seconds: i64, normally_up: bool) {
            if let Ok(status) = Status::decode(&record) {
                let text = status_text(b"web", &status, Tai64n::from_unix(seconds, 0), normally_up);
                prop_assert!(!text.contains(&b'\n'));
                let words = String::from_utf8(text).unwrap();
                let seconds = words.split([' ', ',']).find_map(|word| word.strip_suffix('s'));
                prop_assert!(seconds.is_some_and(|seconds| seconds.parse::<u64>().is_ok()));
                prop_assert_eq!(words.contains("(pid "), status.state != State::Down);
            }
        }
    }
}
