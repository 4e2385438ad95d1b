//! The text of `sv`. Programs parse it: every byte is runit's, and what is ours follows it, where a service has something of
//! ours to tell.

use nix::errno::Errno;
use nix::unistd::Pid;
use svlib::exit_status::ExitStatus;
use svlib::record::Readiness;
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
    /// There is no record to tell whether runsv becomes another program, so that it most likely cannot.
    NoReexec,
    /// An operation failed: what could not be done, and the system's reason.
    Unable(&'static str, Errno),
}

/// What a service has to tell that runit's have not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// It was given up.
    pub failed: bool,
    /// How `run` last ended.
    pub last_exit: Option<ExitStatus>,
    /// Whether it is ready.
    pub readiness: Readiness,
    /// What it says of itself.
    pub text: String,
    /// How many of its processes were left when it was last stopped.
    pub left: u32,
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
pub fn status_text(
    name: &[u8],
    status: &Status,
    remarks: &Remarks,
    now: Tai64n,
    normally_up: bool,
) -> Vec<u8> {
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
    text.extend(remarks.text(status).bytes());
    text
}

impl Remarks {
    /// What follows runit's words: `, failed (exit code 1)`, `, ready`, `, "what it says"`, `, 2 left`.
    fn text(&self, status: &Status) -> String {
        let mut text = String::new();
        let is_down = status.pid.is_none() && status.state == State::Down;
        let runs = status.pid.is_some() && status.state == State::Run;
        if is_down && self.failed {
            text += ", failed";
            match self.last_exit.map(|exit| (exit.code(), exit.signal())) {
                Some((Some(code), _)) => text += &format!(" (exit code {code})"),
                Some((None, Some(signal))) => text += &format!(" (signal {signal})"),
                Some((None, None)) | None => {}
            }
        }
        if runs {
            text += match self.readiness {
                Readiness::Undeclared => "",
                Readiness::Awaited => ", not ready",
                Readiness::Ready => ", ready",
            };
            if !self.text.is_empty() {
                // runsv writes no control characters; who else may have written the record is not known.
                let text_only = self.text.replace(char::is_control, " ");
                let escaped = text_only.replace('\\', r"\\").replace('"', r#"\""#);
                text += &format!(", \"{escaped}\"");
            }
        }
        if is_down && self.left > 0 {
            text += &format!(", {} left", self.left);
        }
        text
    }
}

impl Trouble {
    /// The line that tells of the trouble with the service `name`. `gone_is_ok` when runsv was told to exit.
    pub fn line(self, name: &[u8], gone_is_ok: bool) -> Vec<u8> {
        let word = match self {
            Self::NotRunning if gone_is_ok => "ok",
            Self::NoService(_) | Self::NotRunning => "fail",
            Self::NoLog(_) | Self::BadStatus | Self::NoReexec | Self::Unable(..) => "warning",
        };
        [word.as_bytes(), b": ", name, b": ", self.reason().as_bytes(), b"\n"].concat()
    }

    /// What is wrong, without whom it concerns.
    pub fn reason(self) -> String {
        let (what, errno) = match self {
            Self::NoService(errno) => ("unable to change to service directory", Some(errno)),
            Self::NoLog(errno) => ("unable to change directory", Some(errno)),
            Self::NotRunning => ("runsv not running", None),
            Self::BadStatus => ("unable to read supervise/status: bad format", None),
            Self::NoReexec => ("runsv does not know reexec", None),
            Self::Unable(what, errno) => (what, Some(errno)),
        };
        errno.map_or_else(|| what.into(), |errno| format!("{what}: {}", errno_text(errno)))
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
        remarked(status, &Remarks::default(), normally_up)
    }

    fn remarked(status: Status, remarks: &Remarks, normally_up: bool) -> String {
        String::from_utf8(status_text(b"web", &status, remarks, Tai64n::from_unix(1003, 0), normally_up))
            .unwrap()
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
    fn remarks_follow_runits() {
        let run = running();
        let down = Status { pid: None, state: State::Down, want: Want::Down, ..run };
        let finish = Status { state: State::Finish, ..run };
        let none = Remarks::default();
        let failed = Remarks { failed: true, ..none.clone() };
        let all = Remarks {
            last_exit: Some(ExitStatus::exited(1)),
            readiness: Readiness::Ready,
            text: r#"a "b" \ c"#.into(),
            left: 2,
            ..failed.clone()
        };
        for (status, remarks, expected) in [
            (run, &none, "run: web: (pid 42) 3s"),
            (run, &failed, "run: web: (pid 42) 3s"),
            (down, &failed, "down: web: 3s, normally up, failed"),
            (
                down,
                &Remarks { last_exit: Some(ExitStatus::UNKNOWN), ..failed.clone() },
                "down: web: 3s, normally up, failed",
            ),
            (
                down,
                &Remarks { last_exit: Some(ExitStatus::killed(11)), ..failed.clone() },
                "down: web: 3s, normally up, failed (signal 11)",
            ),
            (down, &all, "down: web: 3s, normally up, failed (exit code 1), 2 left"),
            (run, &all, r#"run: web: (pid 42) 3s, ready, "a \"b\" \\ c""#),
            (
                Status { paused: true, ..run },
                &Remarks { readiness: Readiness::Awaited, ..none.clone() },
                "run: web: (pid 42) 3s, paused, not ready",
            ),
            (finish, &all, "finish: web: (pid 42) 3s"),
            (down, &Remarks { left: 1, ..none.clone() }, "down: web: 3s, normally up, 1 left"),
        ] {
            assert_eq!(remarked(status, remarks, true), expected);
        }
    }

    #[test]
    fn names_are_printed_as_they_are() {
        let name = b"\xff a\nb";
        assert_eq!(
            status_text(name, &running(), &Remarks::default(), Tai64n::from_unix(1000, 0), true),
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
            (Trouble::NoReexec, false, "warning: web: runsv does not know reexec\n"),
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
                let text =
                    status_text(b"web", &status, &Remarks::default(), Tai64n::from_unix(seconds, 0), normally_up);
                prop_assert!(!text.contains(&b'\n'));
                let words = String::from_utf8(text).unwrap();
                let seconds = words.split([' ', ',']).find_map(|word| word.strip_suffix('s'));
                prop_assert!(seconds.is_some_and(|seconds| seconds.parse::<u64>().is_ok()));
                prop_assert_eq!(words.contains("(pid "), status.state != State::Down);
            }
        }
    }
}
