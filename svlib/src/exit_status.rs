//! How a process ended, as wait(2) tells it and as `finish` is told.

/// The low bits of the status word of a process that was stopped and has not ended.
const STOPPED: i32 = 0x7f;

/// The status word of a process that has ended, as wait(2) returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExitStatus(i32);

impl ExitStatus {
    /// What runsv says of a `run` that could not be executed: exit code 111 (runsv(8)).
    pub const NOT_EXECUTED: Self = Self::exited(111);

    /// What is said of a process that ended unseen: neither an exit code nor a signal is known. No process that has ended has
    /// this status word.
    pub const UNKNOWN: Self = Self(STOPPED);

    /// The status word from wait(2). Stopped and continued processes have not ended: their words are not meant here.
    pub const fn from_raw(status: i32) -> Self {
        Self(status)
    }

    /// The status word.
    pub const fn to_raw(self) -> i32 {
        self.0
    }

    /// The status of a process that exited with `code`.
    pub const fn exited(code: u8) -> Self {
        Self((code as i32) << 8)
    }

    /// The status of a process that signal number `signal` ended.
    pub const fn killed(signal: i32) -> Self {
        Self(signal & 0x7f)
    }

    /// Whether the process exited with code 0.
    pub const fn success(self) -> bool {
        self.0 == 0
    }

    /// The exit code, `None` for a process ended by a signal.
    pub const fn code(self) -> Option<i32> {
        if self.0 & 0x7f == 0 { Some((self.0 >> 8) & 0xff) } else { None }
    }

    /// The number of the signal that ended the process, `None` if it exited.
    pub const fn signal(self) -> Option<i32> {
        match self.0 & 0x7f {
            0 | STOPPED => None,
            signal => Some(signal),
        }
    }

    /// The two arguments of `finish` (runsv(8)): the exit code or -1, and the least significant byte of the status word,
    /// which is the signal number, plus 128 where a core was dumped. -1 and 0, which no status word gives, say that it is not
    /// known how `run` ended.
    pub fn finish_arguments(self) -> [String; 2] {
        if self == Self::UNKNOWN {
            return ["-1", "0"].map(String::from);
        }
        [self.code().unwrap_or(-1).to_string(), (self.0 & 0xff).to_string()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finish_is_told_as_the_man_page_says() {
        let table = [
            (ExitStatus::exited(0), ["0", "0"]),
            (ExitStatus::exited(42), ["42", "0"]),
            (ExitStatus::exited(255), ["255", "0"]),
            (ExitStatus::NOT_EXECUTED, ["111", "0"]),
            (ExitStatus::killed(15), ["-1", "15"]),
            (ExitStatus::from_raw(11 | 0x80), ["-1", "139"]),
            (ExitStatus::UNKNOWN, ["-1", "0"]),
        ];
        for (status, arguments) in table {
            assert_eq!(status.finish_arguments(), arguments, "{status:?}");
        }
    }

    #[test]
    fn a_process_either_exited_or_was_killed() {
        for raw in (0..=255).map(|code| code << 8).chain(1..127).chain(129..255) {
            let status = ExitStatus::from_raw(raw);
            assert_ne!(status.code().is_some(), status.signal().is_some(), "{raw:#x}");
            assert_eq!(status.success(), status.code() == Some(0));
        }
    }
}
