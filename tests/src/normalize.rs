//! Masks what differs from run to run: pids, seconds, stamps.

use std::sync::LazyLock;

use regex::Regex;

static PID: LazyLock<Regex> = LazyLock::new(|| regex(r"\(pid [0-9]+\)"));
static SECONDS: LazyLock<Regex> = LazyLock::new(|| regex(r"(?-u:\b)[0-9]+s(?-u:\b)"));
static TAI64N: LazyLock<Regex> = LazyLock::new(|| regex(r"@[0-9a-f]{24}"));
static CALENDAR: LazyLock<Regex> =
    LazyLock::new(|| regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([_T])[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{5}"));

/// `(pid 42) 7s` becomes `(pid PID) Ns`.
pub fn mask_pids_and_seconds(text: &str) -> String {
    let text = PID.replace_all(text, "(pid PID)");
    SECONDS.replace_all(&text, "Ns").into_owned()
}

/// A TAI64N label becomes `@STAMP`, a calendar stamp with five digits `DATE_TIME` or `DATETTIME`.
pub fn mask_stamps(text: &str) -> String {
    let text = TAI64N.replace_all(text, "@STAMP");
    CALENDAR.replace_all(&text, "DATE${1}TIME").into_owned()
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern compiles")
}
