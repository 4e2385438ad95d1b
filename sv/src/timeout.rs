//! How long a service may take to become ready: the file `timeout-ready`.

use std::time::Duration;

/// The name of the file in the service directory.
pub const FILE: &str = "timeout-ready";

/// How much of the file is read, in bytes; more is no number of use.
pub const LENGTH: usize = 64;

/// What holds without the file.
pub const DEFAULT: Duration = Duration::from_secs(60);

/// The time in the file: milliseconds, a decimal number, with blanks and newlines around it at most. As in runsv's files of
/// this kind, 0 is no limit. `None` if it is something else.
pub fn parse(text: &[u8]) -> Option<Duration> {
    let digits = text.trim_ascii();
    // The standard library would take a sign.
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let millis: u64 = str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if millis == 0 { Duration::MAX } else { Duration::from_millis(millis) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_is_a_number_of_milliseconds() {
        for (text, millis) in [
            ("90000\n", Some(90_000)),
            (" 007 \n\n", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("\n", None),
            ("+1", None),
            ("-1", None),
            ("1.5", None),
            ("60s", None),
            ("1\n2\n", None),
        ] {
            assert_eq!(parse(text.as_bytes()), millis.map(Duration::from_millis), "{text:?}");
        }
        assert_eq!(parse(b"\xff1"), None);
        assert_eq!(parse(b"0\n"), Some(Duration::MAX));
    }

    proptest! {
        #[test]
        fn every_number_is_understood(millis in 1..=u64::MAX, any: Vec<u8>) {
            prop_assert_eq!(parse(format!("{millis}\n").as_bytes()), Some(Duration::from_millis(millis)));
            let _ = parse(&any);
        }
    }
}
