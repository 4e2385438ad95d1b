//! What the kernel tells of any process in one line (proc(5), `/proc/PID/stat`).

use std::fs::File;
use std::io::{self, Read};

use nix::unistd::Pid;

/// Far longer than the line can be, which comes in one piece.
const LONGEST: usize = 1024;

/// The line of a process, ended or not, as long as it has not been reaped. A field that is not there is None.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    line: [u8; LONGEST],
    length: usize,
}

impl Stat {
    /// The line of `pid`; None if there is no such process, or no `/proc`.
    pub fn of(pid: Pid) -> Option<Self> {
        Self::read(pid).ok()
    }

    /// As [`of`](Self::of), with the reason why not.
    pub(super) fn read(pid: Pid) -> io::Result<Self> {
        let mut line = [0; LONGEST];
        let length = File::open(format!("/proc/{pid}/stat"))?.read(&mut line)?;
        Ok(Self { line, length })
    }

    /// Field 3: `R`, `S`, `D`, `Z` (ended, and not reaped), and others.
    pub fn state(&self) -> Option<u8> {
        state(&self.line[..self.length])
    }

    /// Whether the process has not ended.
    pub fn is_alive(&self) -> bool {
        self.state().is_some_and(|state| !matches!(state, b'Z' | b'X'))
    }

    /// Field 4: the parent.
    pub fn parent(&self) -> Option<Pid> {
        self.number(4).map(Pid::from_raw)
    }

    /// Field 5: the process group.
    pub fn group(&self) -> Option<Pid> {
        self.number(5).map(Pid::from_raw)
    }

    /// Field 6: the session.
    pub fn session(&self) -> Option<Pid> {
        self.number(6).map(Pid::from_raw)
    }

    /// Field 22: when it was started, in clock ticks since the boot.
    pub fn start(&self) -> Option<u64> {
        self.number(22)
    }

    fn number<T: std::str::FromStr>(&self, number: usize) -> Option<T> {
        std::str::from_utf8(field(&self.line[..self.length], number)?).ok()?.parse().ok()
    }
}

/// The state in a line.
pub fn state(line: &[u8]) -> Option<u8> {
    field(line, 3)?.first().copied()
}

/// Field `number` of a line, from 3 on: the second, the program's name in parentheses, may hold anything.
fn field(line: &[u8], number: usize) -> Option<&[u8]> {
    let end = line.iter().rposition(|&byte| byte == b')')?;
    let mut fields = line[end + 1..].split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    fields.nth(number.checked_sub(3)?)
}

#[cfg(test)]
mod tests {
    use nix::unistd::{getpgrp, getpid, getppid, getsid};

    use super::*;

    fn stat(text: &str) -> Stat {
        let mut line = [0; LONGEST];
        line[..text.len()].copy_from_slice(text.as_bytes());
        Stat { line, length: text.len() }
    }

    #[test]
    fn fields_are_found_behind_any_name() {
        let rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21\n";
        for name in ["sh", "a b", ") S 1", ""] {
            let stat = stat(&format!("7 ({name}){rest}"));
            assert_eq!((stat.state(), stat.start()), (Some(b'S'), Some(4711)), "{name}");
            assert_eq!((stat.parent(), stat.session()), (Some(Pid::from_raw(1)), Some(Pid::from_raw(3))));
        }
        for text in ["", "7 (sh", "7 (sh) S 1 2", "7 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x"] {
            assert_eq!(stat(text).start(), None, "{text}");
        }
        for (text, is_alive) in
            [("7 (sh) R 1", true), ("7 (sh) Z 1", false), ("7 (Z) S 1", true), ("7 (sh)", false)]
        {
            assert_eq!(stat(text).is_alive(), is_alive, "{text}");
        }
    }

    #[test]
    fn this_process_is_told_as_it_is() {
        let stat = Stat::of(getpid()).unwrap();
        assert!(stat.is_alive());
        assert_eq!(stat.parent(), Some(getppid()));
        assert_eq!(stat.group(), Some(getpgrp()));
        assert_eq!(stat.session(), getsid(None).ok());
        assert!(Stat::of(Pid::from_raw(i32::MAX)).is_none());
    }
}
