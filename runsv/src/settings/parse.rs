//! The words of the opt-in files: pure.

use std::os::fd::RawFd;
use std::time::Duration;

use nix::sys::signal::Signal;
use svlib::record::Tree;

use super::{Limit, Restart};

/// Beyond this, a number of seconds is no sensible time: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
/// The largest descriptor that a service can be given.
const HIGHEST: RawFd = 1023;

/// `restart`: a setting a line.
pub(super) fn restart(text: &str) -> Result<Restart, String> {
    let mut restart = Restart::default();
    let mut bounds = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: String| format!("line {number}: {what}");
        let (word, value) =
            line.split_once(char::is_whitespace).ok_or_else(|| wrong(format!("`{line}` has no value")))?;
        let value = value.trim();
        if matches!(word, "min" | "max") {
            bounds = number;
        }
        match word {
            "min" => duration(value).map(|value| restart.min = value),
            "max" => duration(value).map(|value| restart.max = value),
            "reset" => duration(value).map(|value| restart.reset = value),
            "factor" => factor(value).map(|value| restart.factor = value),
            "jitter" => percent(value).map(|value| restart.jitter = value),
            "limit" => limit(value).map(|value| restart.limit = Some(value)),
            _ => Err(format!("`{word}` is none of min, max, factor, jitter, reset, limit")),
        }
        .map_err(wrong)?;
    }
    if restart.max < restart.min {
        return Err(format!("line {bounds}: max is less than min"));
    }
    Ok(restart)
}

/// `down-signal`: a name, with or without `SIG`, or a number.
pub(super) fn signal(text: &str) -> Result<Signal, String> {
    let word = word(text)?;
    let by_number = word.parse().ok().and_then(|number: i32| Signal::try_from(number).ok());
    let upper = word.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    by_number.or_else(|| name.parse().ok()).ok_or_else(|| format!("line 1: `{word}` is no signal"))
}

/// A timeout in milliseconds, as in s6; 0 is none.
pub(super) fn milliseconds(text: &str) -> Result<Option<Duration>, String> {
    let word = word(text)?;
    let number: u32 = word.parse().map_err(|_| format!("line 1: `{word}` is no number of milliseconds"))?;
    Ok((number > 0).then(|| Duration::from_millis(number.into())))
}

/// `kill-mode`.
pub(super) fn kill_mode(text: &str) -> Result<Tree, String> {
    match word(text)? {
        "process" => Ok(Tree::Process),
        "group" => Ok(Tree::Group),
        "cgroup" => Ok(Tree::Cgroup),
        other => Err(format!("line 1: `{other}` is none of process, group, cgroup")),
    }
}

/// `notification-fd`: not one of the standard descriptors.
pub(super) fn descriptor(text: &str) -> Result<RawFd, String> {
    let word = word(text)?;
    match word.parse() {
        Ok(number @ 3..=HIGHEST) => Ok(number),
        _ => Err(format!("line 1: `{word}` is no descriptor from 3 to {HIGHEST}")),
    }
}

/// The first line.
fn word(text: &str) -> Result<&str, String> {
    let word = text.lines().next().unwrap_or_default().trim();
    if word.is_empty() { Err("line 1: it is empty".into()) } else { Ok(word) }
}

/// A time such as `500ms`, `1.5s`, `2m`, `1h`; without a unit, seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits =
        text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("`{text}` is no time: `{unit}` is none of ms, s, m, h")),
    };
    let thousandths = thousandths(number).ok_or_else(|| format!("`{text}` is no time"))?;
    let microseconds = thousandths.checked_mul(milliseconds).map(Duration::from_micros);
    microseconds.filter(|time| *time <= LONGEST).ok_or_else(|| format!("`{text}` is too long"))
}

/// From 1 to 1000.
fn factor(text: &str) -> Result<u32, String> {
    let number = thousandths(text).and_then(|number| u32::try_from(number).ok());
    number
        .filter(|number| (1000..=1_000_000).contains(number))
        .ok_or_else(|| format!("`{text}` is no factor from 1 to 1000"))
}

/// `10%`.
fn percent(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
    number.filter(|number| *number <= 100).ok_or_else(|| format!("`{text}` is no percentage from 0% to 100%"))
}

/// `5/60s`.
fn limit(text: &str) -> Result<Limit, String> {
    let wrong = || format!("`{text}` is no limit such as 5/60s");
    let (count, interval) = text.split_once('/').ok_or_else(wrong)?;
    let count = count.trim().parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?;
    let interval = duration(interval.trim())?;
    if interval.is_zero() { Err(wrong()) } else { Ok(Limit { count, interval }) }
}

/// A decimal number with at most three digits behind its point, times a thousand.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > 3 {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<3}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn times() {
        for (text, expected) in
            [("500ms", 500), ("1s", 1000), ("1", 1000), ("1.5s", 1500), ("0", 0), ("2m", 120_000)]
        {
            assert_eq!(duration(text), Ok(ms(expected)), "{text}");
        }
        assert_eq!(duration("1h"), Ok(ms(3_600_000)));
        for text in
            ["", "s", "1d", "1 s", "-1s", "1.s", ".5s", "1.2345s", "99999999999999999999s", "9999999h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_restart_policy() {
        let text = "# slow\nmin 100ms\nmax  10s\nfactor 1.5\njitter 10%\n\nreset 1m\nlimit 5/60s\n";
        let limit = Some(Limit { count: 5, interval: ms(60_000) });
        let restart =
            Restart { min: ms(100), max: ms(10_000), factor: 1500, jitter: 10, reset: ms(60_000), limit };
        assert_eq!(super::restart(text), Ok(restart));
        assert_eq!(super::restart(""), Ok(Restart::default()));
    }

    #[test]
    fn a_wrong_policy_names_the_line() {
        for (text, expected) in [
            ("min 1s\nmx 2s\n", "line 2: `mx` is none of min, max, factor, jitter, reset, limit"),
            ("min\n", "line 1: `min` has no value"),
            ("\nmin soon", "line 2: `soon` is no time: `soon` is none of ms, s, m, h"),
            ("factor 0.5", "line 1: `0.5` is no factor from 1 to 1000"),
            ("jitter 10", "line 1: `10` is no percentage from 0% to 100%"),
            ("limit 5", "line 1: `5` is no limit such as 5/60s"),
            ("limit 0/1s", "line 1: `0/1s` is no limit such as 5/60s"),
            ("limit 1/0s", "line 1: `1/0s` is no limit such as 5/60s"),
            ("min 2m", "line 1: max is less than min"),
            ("min 2s\nfactor 3\nmax 1s\n", "line 3: max is less than min"),
        ] {
            assert_eq!(restart(text), Err(expected.into()));
        }
    }

    #[test]
    fn signals() {
        for text in ["SIGINT", "INT", "int\n", " 2 \nmore"] {
            assert_eq!(signal(text), Ok(Signal::SIGINT), "{text}");
        }
        for text in ["", "SIG", "0", "65", "-2", "INTERRUPT"] {
            assert!(signal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn other_files() {
        assert_eq!(milliseconds("1500\n"), Ok(Some(ms(1500))));
        assert_eq!(milliseconds("0"), Ok(None));
        assert!(milliseconds("1s").is_err() && milliseconds("").is_err() && milliseconds("-1").is_err());
        assert_eq!(kill_mode("cgroup\n"), Ok(Tree::Cgroup));
        assert!(kill_mode("all").is_err());
        assert_eq!(descriptor("3\n"), Ok(3));
        assert!(descriptor("2").is_err() && descriptor("1024").is_err() && descriptor("x").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_understood_or_not(text: String) {
            let _ = (restart(&text), signal(&text), milliseconds(&text), kill_mode(&text), descriptor(&text));
            let _ = restart(&format!("min {text}\nlimit 1/{text}"));
        }
    }
}
