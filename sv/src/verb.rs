//! The first operand: the word that says what to do (sv(8), COMMANDS).

use std::time::Duration;

use svlib::command::Command;

/// What a word asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Print the status of each service and of its log service.
    Status,
    /// Wait until each service is in the state that was requested of it.
    Check,
    /// Have runsv become the program file that has its name now, while the service runs on, and wait for that.
    Reexec,
    /// Send commands to each service.
    Control(Control),
}

/// Commands to send, and what is to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// The commands, sent in one write, in this order; never empty.
    pub commands: &'static [Command],
    /// Whether to wait for the commands to take effect, even without `-v`.
    pub waits: bool,
    /// Whether a service that does not obey in time is sent KILL.
    pub kills: bool,
}

impl Verb {
    /// The verb that `word` stands for, `None` if it is no command.
    ///
    /// The words of LSB init scripts, and `reexec`, count only as a whole; of any other word only the first letter does. The exception is an
    /// LSB init script's `status`, which must be written out.
    pub fn parse(word: &[u8], lsb: bool) -> Option<Self> {
        Some(match word {
            b"start" => waiting(&[Command::Up]),
            b"stop" => waiting(&[Command::Down]),
            b"restart" => waiting(&[Command::Terminate, Command::Continue, Command::Up]),
            b"try-restart" => waiting(&[Command::Terminate, Command::Continue]),
            b"reload" => waiting(&[Command::Hangup]),
            b"shutdown" => waiting(&[Command::Exit]),
            b"check" => Self::Check,
            b"status" => Self::Status,
            b"reexec" => Self::Reexec,
            b"force-stop" => forced(&[Command::Down]),
            b"force-reload" => forced(&[Command::Terminate, Command::Continue]),
            b"force-restart" => forced(&[Command::Terminate, Command::Continue, Command::Up]),
            b"force-shutdown" => forced(&[Command::Exit]),
            _ => return Self::from_letter(*word.first()?, lsb),
        })
    }

    /// The verb of a word by its first letter.
    fn from_letter(letter: u8, lsb: bool) -> Option<Self> {
        Some(match letter {
            b's' if !lsb => Self::Status,
            b'u' => sending(&[Command::Up]),
            b'd' => sending(&[Command::Down]),
            b'o' => sending(&[Command::Once]),
            b'p' => sending(&[Command::Pause]),
            b'c' => sending(&[Command::Continue]),
            b'h' => sending(&[Command::Hangup]),
            b'a' => sending(&[Command::Alarm]),
            b'i' => sending(&[Command::Interrupt]),
            b'q' => sending(&[Command::Quit]),
            b'1' => sending(&[Command::User1]),
            b'2' => sending(&[Command::User2]),
            b't' => sending(&[Command::Terminate]),
            b'k' => sending(&[Command::Kill]),
            b'x' | b'e' => sending(&[Command::Exit]),
            b'D' => forced(&[Command::Down]),
            b'T' => forced(&[Command::Terminate, Command::Continue]),
            b'X' | b'E' => forced(&[Command::Exit]),
            _ => return None,
        })
    }

    /// Whether a service without a runsv is what was asked for.
    pub fn wants_runsv_gone(self) -> bool {
        matches!(self, Self::Control(Control { commands: [Command::Exit, ..], .. }))
    }
}

/// Commands that are only sent.
const fn sending(commands: &'static [Command]) -> Verb {
    Verb::Control(Control { commands, waits: false, kills: false })
}

/// Commands whose effect is waited for.
const fn waiting(commands: &'static [Command]) -> Verb {
    Verb::Control(Control { commands, waits: true, kills: false })
}

/// Commands whose effect is waited for, and enforced by KILL.
const fn forced(commands: &'static [Command]) -> Verb {
    Verb::Control(Control { commands, waits: true, kills: true })
}

/// The seconds in the argument of `-w` or the value of `SVWAIT`: its leading digits, as runit reads them. Without any it is 0.
pub fn parse_seconds(text: &[u8]) -> u64 {
    text.iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |seconds: u64, digit| seconds.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

/// How long to wait when told to wait `seconds`.
///
/// runit looks every 420 ms, and gives up at the first look later than `seconds`. A service that made it by that look was in
/// time, even with `-w 0`; so it is here.
pub fn patience(seconds: u64) -> Duration {
    const LOOK_MILLIS: u64 = 420;
    let looks = seconds.saturating_mul(1000) / LOOK_MILLIS + 1;
    Duration::from_millis(looks.saturating_mul(LOOK_MILLIS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The verb as one line: the bytes to send, `w` if it waits, `k` if it kills.
    fn told(word: &[u8], lsb: bool) -> String {
        match Verb::parse(word, lsb) {
            None => "usage".into(),
            Some(Verb::Status) => "status".into(),
            Some(Verb::Check) => "check".into(),
            Some(Verb::Reexec) => "reexec".into(),
            Some(Verb::Control(Control { commands, waits, kills })) => {
                let mut text: String = commands.iter().map(|command| char::from(command.byte())).collect();
                text += if waits { " w" } else { "" };
                text + if kills { "k" } else { "" }
            }
        }
    }

    #[test]
    fn words() {
        for (word, verb) in [
            ("up", "u"),
            ("u", "u"),
            ("upwards", "u"),
            ("down", "d"),
            ("d", "d"),
            ("once", "o"),
            ("pause", "p"),
            ("cont", "c"),
            ("checks", "c"),
            ("hup", "h"),
            ("alarm", "a"),
            ("interrupt", "i"),
            ("quit", "q"),
            ("1", "1"),
            ("2", "2"),
            ("term", "t"),
            ("try", "t"),
            ("kill", "k"),
            ("exit", "x"),
            ("x", "x"),
            ("status", "status"),
            ("s", "status"),
            ("starts", "status"),
            ("sto", "status"),
            ("check", "check"),
            ("start", "u w"),
            ("stop", "d w"),
            ("restart", "tcu w"),
            ("try-restart", "tc w"),
            ("reload", "h w"),
            ("shutdown", "x w"),
            ("force-stop", "d wk"),
            ("force-reload", "tc wk"),
            ("force-restart", "tcu wk"),
            ("force-shutdown", "x wk"),
            ("D", "d wk"),
            ("Down", "d wk"),
            ("T", "tc wk"),
            ("X", "x wk"),
            ("E", "x wk"),
            ("", "usage"),
            ("r", "usage"),
            ("restar", "usage"),
            ("reexec", "reexec"),
            ("reexe", "usage"),
            ("reexecs", "usage"),
            ("f", "usage"),
            ("force", "usage"),
            ("force-stopp", "usage"),
            ("3", "usage"),
            ("S", "usage"),
            ("-", "usage"),
        ] {
            assert_eq!(told(word.as_bytes(), false), verb, "{word}");
        }
    }

    #[test]
    fn an_init_scripts_status_is_written_out() {
        for (word, verb) in
            [("status", "status"), ("s", "usage"), ("starts", "usage"), ("start", "u w"), ("u", "u")]
        {
            assert_eq!(told(word.as_bytes(), true), verb, "{word}");
        }
    }

    #[test]
    fn seconds_are_leading_digits() {
        for (text, seconds) in
            [("", 0), ("7", 7), ("007x", 7), ("1.5", 1), ("-1", 0), ("+1", 0), (" 1", 0), ("x", 0)]
        {
            assert_eq!(parse_seconds(text.as_bytes()), seconds, "{text:?}");
        }
        assert_eq!(parse_seconds(&[b'9'; 40]), u64::MAX);
    }

    #[test]
    fn patience_lasts_until_runits_next_look() {
        for (seconds, millis) in [(0, 420), (1, 1260), (7, 7140), (21, 21_420)] {
            assert_eq!(patience(seconds), Duration::from_millis(millis));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_verb_or_usage(word: Vec<u8>, lsb: bool) {
            if let Some(Verb::Control(control)) = Verb::parse(&word, lsb) {
                prop_assert!(!control.commands.is_empty());
                prop_assert!(control.waits || !control.kills);
            }
        }

        #[test]
        fn only_the_first_letter_of_a_plain_word_counts(letter: u8, rest: Vec<u8>) {
            let no_lsb_word = [&[letter], rest.as_slice(), b"!"].concat();
            prop_assert_eq!(Verb::parse(&no_lsb_word, false), Verb::parse(&[letter], false));
        }

        #[test]
        fn patience_exceeds_the_seconds_by_at_most_a_look(seconds in 0..1_000_000_000_u64) {
            let beyond = patience(seconds) - Duration::from_secs(seconds);
            prop_assert!(!beyond.is_zero() && beyond <= Duration::from_millis(420));
        }

        #[test]
        fn any_text_has_seconds(text: Vec<u8>) {
            let digits: String = text.iter().map_while(|&byte| byte.is_ascii_digit().then(|| char::from(byte))).collect();
            prop_assert_eq!(parse_seconds(&text), digits.parse().unwrap_or(if digits.is_empty() { 0 } else { u64::MAX }));
            patience(parse_seconds(&text));
        }
    }
}
