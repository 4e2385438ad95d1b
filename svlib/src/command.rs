//! The one-byte commands that runsv reads from `supervise/control` (runsv(8), CONTROL).

use nix::sys::signal::Signal;

/// The byte that tells runsv itself to become the program file that has its name now (`sv reexec`). It is no command to the
/// service; runit's runsv ignores it.
pub const REEXEC: u8 = b'R';

/// A command to a supervised service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// `u`: start the service, and restart it whenever it stops.
    Up,
    /// `d`: stop the service with TERM and CONT, and do not restart it.
    Down,
    /// `o`: start the service, do not restart it.
    Once,
    /// `x`: stop the service, then the log service, then runsv itself.
    Exit,
    /// `p`: send STOP.
    Pause,
    /// `c`: send CONT.
    Continue,
    /// `h`: send HUP.
    Hangup,
    /// `a`: send ALRM.
    Alarm,
    /// `i`: send INT.
    Interrupt,
    /// `q`: send QUIT.
    Quit,
    /// `1`: send USR1.
    User1,
    /// `2`: send USR2.
    User2,
    /// `t`: send TERM.
    Terminate,
    /// `k`: send KILL.
    Kill,
}

impl Command {
    /// Every command, in the order of runsv(8).
    pub const ALL: [Self; 14] = [
        Self::Up,
        Self::Down,
        Self::Once,
        Self::Exit,
        Self::Pause,
        Self::Continue,
        Self::Hangup,
        Self::Alarm,
        Self::Interrupt,
        Self::Quit,
        Self::User1,
        Self::User2,
        Self::Terminate,
        Self::Kill,
    ];

    /// The command that `byte` stands for; runsv ignores all other bytes.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            b'u' => Self::Up,
            b'd' => Self::Down,
            b'o' => Self::Once,
            b'x' => Self::Exit,
            b'p' => Self::Pause,
            b'c' => Self::Continue,
            b'h' => Self::Hangup,
            b'a' => Self::Alarm,
            b'i' => Self::Interrupt,
            b'q' => Self::Quit,
            b'1' => Self::User1,
            b'2' => Self::User2,
            b't' => Self::Terminate,
            b'k' => Self::Kill,
            _ => return None,
        })
    }

    /// The byte written to `supervise/control`; also the name of the script in the `control` directory.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Up => b'u',
            Self::Down => b'd',
            Self::Once => b'o',
            Self::Exit => b'x',
            Self::Pause => b'p',
            Self::Continue => b'c',
            Self::Hangup => b'h',
            Self::Alarm => b'a',
            Self::Interrupt => b'i',
            Self::Quit => b'q',
            Self::User1 => b'1',
            Self::User2 => b'2',
            Self::Terminate => b't',
            Self::Kill => b'k',
        }
    }

    /// The signal the service gets, `None` for `u` and `o`, which send none.
    ///
    /// For `d` and `x` it is the first of the two: CONT follows TERM.
    pub const fn signal(self) -> Option<Signal> {
        Some(match self {
            Self::Up | Self::Once => return None,
            Self::Down | Self::Exit | Self::Terminate => Signal::SIGTERM,
            Self::Pause => Signal::SIGSTOP,
            Self::Continue => Signal::SIGCONT,
            Self::Hangup => Signal::SIGHUP,
            Self::Alarm => Signal::SIGALRM,
            Self::Interrupt => Signal::SIGINT,
            Self::Quit => Signal::SIGQUIT,
            Self::User1 => Signal::SIGUSR1,
            Self::User2 => Signal::SIGUSR2,
            Self::Kill => Signal::SIGKILL,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_a_command_or_ignored() {
        let known: Vec<u8> = (0..=u8::MAX).filter(|&byte| Command::from_byte(byte).is_some()).collect();
        let mut listed = Command::ALL.map(Command::byte);
        listed.sort_unstable();
        assert_eq!(known, listed);
        for command in Command::ALL {
            assert_eq!(Command::from_byte(command.byte()), Some(command));
        }
    }

    #[test]
    fn signals_are_those_of_the_man_page() {
        let table = b"d:15 x:15 p:19 c:18 h:1 a:14 i:2 q:3 1:10 2:12 t:15 k:9";
        for entry in table.split(|&byte| byte == b' ') {
            let number: i32 = std::str::from_utf8(&entry[2..]).unwrap().parse().unwrap();
            let signal = Command::from_byte(entry[0]).unwrap().signal().unwrap();
            assert_eq!(signal as i32, number, "{}", char::from(entry[0]));
        }
        assert_eq!(Command::Up.signal(), None);
        assert_eq!(Command::Once.signal(), None);
    }
}
