//! How the lines of [`setting`](super::setting)s are read: a word and what follows it, between blanks.
//!
//! None of the words begins with a letter of runit's, so runit skips these lines.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;
use std::time::Duration;

use super::problem::Problem;
use super::setting::{
    Clean, ClockRotation, Compression, CompressionKind, Format, FormatKind, Forward, Period, Precision,
    RateLimit, Server, Transport, Zone,
};

/// The words that lines begin with.
pub const WORDS: [&str; 15] = [
    "keep",
    "drop",
    "alert",
    "quiet",
    "compress",
    "rotate",
    "max-age",
    "max-total",
    "format",
    "mode",
    "limit",
    "forward",
    "fsync",
    "kill-after",
    "clean",
];

/// The port of a syslog server, taken when a `forward` line has none.
const SYSLOG_PORT: u16 = 514;

/// What the address of a UNIX socket has room for (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;

/// What is wrong with a line, and where in it.
pub type Wrong<'a> = (Problem, &'a [u8]);

/// What is wrong with a line that begins with none of [`WORDS`].
pub fn unknown(line: &[u8]) -> Problem {
    if line.starts_with("\u{feff}".as_bytes()) {
        return Problem::ByteOrderMark;
    }
    if line.first().is_some_and(|&byte| is_blank(byte)) {
        return Problem::Indented;
    }
    // All of ours are short.
    let line = &line[..line.len().min(16)];
    let end = line.iter().position(|byte| !byte.is_ascii_alphabetic() && !b"-_".contains(byte));
    let word = String::from_utf8_lossy(&line[..end.unwrap_or(line.len())]).to_ascii_lowercase();
    let is_similar = |known: &&&str| strsim::osa_distance(known, &word.replace('_', "-")) <= 1;
    Problem::Unknown(WORDS.iter().find(is_similar).copied())
}

/// The rest of a line, of which the next word is taken.
pub struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    /// Takes the word that a line begins with, empty after a blank; what comes after it remains.
    pub fn split(line: &'a [u8]) -> (&'a [u8], Self) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (first, rest) = line.split_at(line.iter().position(|&byte| is_blank(byte)).unwrap_or(line.len()));
        (first, Self(rest))
    }

    /// What remains, from the next character that is not a blank.
    ///
    /// # Errors
    /// Nothing remains.
    pub fn text(mut self, what: &'static str) -> Result<&'a [u8], Wrong<'a>> {
        self.skip_blanks();
        if self.0.is_empty() { Err((Problem::Expected(what), self.0)) } else { Ok(self.0) }
    }

    /// `compress`
    pub fn compression(mut self) -> Result<Compression, Wrong<'a>> {
        let (kind, levels, expected) = self.one_of(
            "gzip or zstd",
            &[
                ("gzip", (CompressionKind::Gzip, 1..=9, "a level between 1 and 9")),
                ("zstd", (CompressionKind::Zstd, 1..=19, "a level between 1 and 19")),
            ],
        )?;
        let level = self.optional(|word| match parse(word) {
            Some(level) if levels.contains(&level) => Ok(level),
            _ => Err((Problem::Expected(expected), word)),
        })?;
        self.end(Compression { kind, level })
    }

    /// `rotate`
    pub fn clock_rotation(mut self) -> Result<ClockRotation, Wrong<'a>> {
        let period = self.one_of(
            "hourly, daily or weekly",
            &[("hourly", Period::Hourly), ("daily", Period::Daily), ("weekly", Period::Weekly)],
        )?;
        let mut rotation = ClockRotation { period, hour: 0, minute: 0, zone: Zone::Utc };
        let mut word = self.next();
        if word.contains(&b':') {
            let time = time_of_day(word).filter(|&(hour, _)| period != Period::Hourly || hour == 0);
            let expected = if period == Period::Hourly { "00:MM" } else { "HH:MM" };
            (rotation.hour, rotation.minute) = time.ok_or((Problem::Expected(expected), word))?;
            word = self.next();
        }
        rotation.zone = match word {
            b"" | b"utc" => Zone::Utc,
            b"local" => Zone::Local,
            _ => return Err((Problem::Expected("HH:MM, utc or local"), word)),
        };
        self.end(rotation)
    }

    /// `max-age`, `kill-after` and `fsync`: `10`, `10s`, `5m`, `12h`, `30d`, `4w`.
    pub fn duration(mut self) -> Result<Duration, Wrong<'a>> {
        let expected = "a time like 30, 30s, 5m, 12h, 7d or 4w";
        let units = [(b's', 1), (b'm', 60), (b'h', 3600), (b'd', 86_400), (b'w', 604_800)];
        let seconds = self.required(expected, |word| with_unit(word, &units))?;
        self.end(Duration::from_secs(seconds))
    }

    /// `max-total`: `10`, `64k`, `10m`, `2g`, in bytes.
    pub fn size(mut self) -> Result<u64, Wrong<'a>> {
        let units = [(b'k', 1 << 10), (b'm', 1 << 20), (b'g', 1 << 30)];
        let bytes = self.required("a size like 1000, 64k, 10m or 2g", |word| with_unit(word, &units))?;
        self.end(bytes)
    }

    /// `format`
    pub fn format(mut self) -> Result<Format, Wrong<'a>> {
        let kind = self.one_of(
            "rfc3339, rfc3339-local, tai64n, json or none",
            &[
                ("rfc3339", FormatKind::Rfc3339),
                ("rfc3339-local", FormatKind::Rfc3339Local),
                ("tai64n", FormatKind::Tai64n),
                ("json", FormatKind::Json),
                ("none", FormatKind::None),
            ],
        )?;
        let precision = self.optional(|word| match (kind, word) {
            (FormatKind::None, _) => Err((Problem::Extra, word)),
            (_, b"ns") => Ok(Precision::Ns),
            (FormatKind::Tai64n, _) => Err((Problem::Expected("nothing or ns"), word)),
            (_, b"ms") => Ok(Precision::Ms),
            (_, b"us") => Ok(Precision::Us),
            _ => Err((Problem::Expected("ms, us or ns"), word)),
        })?;
        self.end(Format { kind, precision: precision.unwrap_or_default() })
    }

    /// `mode`: octal.
    pub fn mode(mut self) -> Result<u32, Wrong<'a>> {
        let mode = self.required("an octal mode like 0640, with 0600 at least", |word| {
            let digits = word.iter().all(|digit| (b'0'..=b'7').contains(digit));
            let mode = u32::from_str_radix(str::from_utf8(word).ok()?, 8).ok()?;
            // Its owner appends to it, and reads it to process it.
            (digits && mode <= 0o777 && mode & 0o600 == 0o600).then_some(mode)
        })?;
        self.end(mode)
    }

    /// `limit`
    pub fn limit(mut self) -> Result<RateLimit, Wrong<'a>> {
        let per_second = self.required("a number of lines like 1000/s", |word| {
            word.strip_suffix(b"/s").and_then(parse).filter(|&number| number > 0)
        })?;
        let burst = self.optional(|word| match word {
            b"burst" => Ok(()),
            _ => Err((Problem::Expected("burst"), word)),
        })?;
        let burst = match burst {
            None => per_second,
            Some(()) => {
                self.required("a number of lines", |word| parse(word).filter(|&number| number > 0))?
            }
        };
        self.end(RateLimit { per_second, burst })
    }

    /// `clean`
    pub fn clean(mut self) -> Result<Clean, Wrong<'a>> {
        let clean =
            self.one_of("escape or replace", &[("escape", Clean::Escape), ("replace", Clean::Replace)])?;
        self.end(clean)
    }

    /// `forward`
    pub fn forward(mut self) -> Result<Forward, Wrong<'a>> {
        let transport = transport(self.next())?;
        let mut forward = Forward { transport, facility: 3, severity: 6, tag: None };
        let mut word = self.next();
        if let Some((facility, severity)) = priority(word)? {
            (forward.facility, forward.severity) = (facility, severity);
            word = self.next();
        }
        if !word.is_empty() {
            let tag = str::from_utf8(word).ok().filter(|tag| tag.len() <= 48 && is_graphic(tag));
            let tag =
                tag.ok_or((Problem::Expected("a tag of at most 48 printable ASCII characters"), word))?;
            forward.tag = Some(tag.into());
        }
        self.end(forward)
    }

    /// The next word, empty at the end.
    fn next(&mut self) -> &'a [u8] {
        self.skip_blanks();
        let end = self.0.iter().position(|&byte| is_blank(byte)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word
    }

    fn skip_blanks(&mut self) {
        let blanks = self.0.iter().take_while(|&&byte| is_blank(byte)).count();
        self.0 = &self.0[blanks..];
    }

    fn one_of<T: Clone>(&mut self, what: &'static str, words: &[(&str, T)]) -> Result<T, Wrong<'a>> {
        self.required(what, |word| {
            words.iter().find(|(name, _)| name.as_bytes() == word).map(|(_, value)| value.clone())
        })
    }

    fn required<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&'a [u8]) -> Option<T>,
    ) -> Result<T, Wrong<'a>> {
        let word = self.next();
        read(word).ok_or((Problem::Expected(what), word))
    }

    fn optional<T>(
        &mut self,
        read: impl FnOnce(&'a [u8]) -> Result<T, Wrong<'a>>,
    ) -> Result<Option<T>, Wrong<'a>> {
        let word = self.next();
        if word.is_empty() { Ok(None) } else { read(word).map(Some) }
    }

    /// `value`, if nothing else comes.
    fn end<T>(mut self, value: T) -> Result<T, Wrong<'a>> {
        let word = self.next();
        if word.is_empty() { Ok(value) } else { Err((Problem::Extra, word)) }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_graphic(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A number of ASCII digits only.
fn parse<T: FromStr>(digits: &[u8]) -> Option<T> {
    let digits = str::from_utf8(digits).ok()?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// A number and, perhaps, one of the units.
fn with_unit(word: &[u8], units: &[(u8, u64)]) -> Option<u64> {
    let unit = units.iter().find(|(name, _)| word.last() == Some(name));
    let (digits, factor) = unit.map_or((word, 1), |&(_, factor)| (&word[..word.len() - 1], factor));
    parse::<u64>(digits)?.checked_mul(factor)
}

/// `HH:MM`
fn time_of_day(word: &[u8]) -> Option<(u8, u8)> {
    let &[h1, h2, b':', m1, m2] = word else { return None };
    let (hour, minute) = (parse(&[h1, h2])?, parse(&[m1, m2])?);
    (hour < 24 && minute < 60).then_some((hour, minute))
}

/// `syslog+udp://HOST[:PORT]`, `syslog+tcp://HOST[:PORT]` or `syslog+unix:///PATH`
fn transport(word: &[u8]) -> Result<Transport, Wrong<'_>> {
    if let Some(path) = word.strip_prefix(b"syslog+unix://") {
        return if path.starts_with(b"/") && !path.contains(&0) && path.len() <= LONGEST_SOCKET_PATH {
            Ok(Transport::Unix(OsStr::from_bytes(path).into()))
        } else {
            Err((Problem::Expected("the absolute path of a socket, up to 107 bytes"), path))
        };
    }
    if let Some(address) = word.strip_prefix(b"syslog+udp://") {
        return server(address).map(Transport::Udp);
    }
    match word.strip_prefix(b"syslog+tcp://") {
        Some(address) => server(address).map(Transport::Tcp),
        None => Err((Problem::Expected("syslog+udp://, syslog+tcp:// or syslog+unix://"), word)),
    }
}

/// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`
fn server(address: &[u8]) -> Result<Server, Wrong<'_>> {
    let wrong_host = (Problem::Expected("a host name, an IPv4 address or an [IPv6] address"), address);
    let text = str::from_utf8(address).map_err(|_| wrong_host.clone())?;
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(|| wrong_host.clone())?;
            host.parse::<Ipv6Addr>().map_err(|_| wrong_host.clone())?;
            (host, port)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            // A name that begins with a hyphen would be an option of what looks it up.
            let is_host = host.starts_with(|first: char| first != '-') && host.bytes().all(is_name);
            let is_number = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            if host.len() > 253 || !is_host || is_number && host.parse::<Ipv4Addr>().is_err() {
                return Err(wrong_host);
            }
            (host, port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => Some(SYSLOG_PORT),
        None => None,
        Some(digits) => parse(digits.as_bytes()).filter(|&port| port != 0),
    };
    let port = port.ok_or((Problem::Expected("a port between 1 and 65535 after the host"), address))?;
    Ok(Server { host: host.into(), port })
}

/// `facility.severity`; `None` for what is none, a tag perhaps.
fn priority(word: &[u8]) -> Result<Option<(u8, u8)>, Wrong<'_>> {
    const FACILITIES: [&[u8]; 24] = [
        b"kern",
        b"user",
        b"mail",
        b"daemon",
        b"auth",
        b"syslog",
        b"lpr",
        b"news",
        b"uucp",
        b"cron",
        b"authpriv",
        b"ftp",
        b"ntp",
        b"audit",
        b"alert",
        b"clock",
        b"local0",
        b"local1",
        b"local2",
        b"local3",
        b"local4",
        b"local5",
        b"local6",
        b"local7",
    ];
    const SEVERITIES: [&[u8]; 8] =
        [b"emerg", b"alert", b"crit", b"err", b"warning", b"notice", b"info", b"debug"];
    let index = |names: &[&[u8]], word: &[u8]| names.iter().position(|&name| name == word).map(|at| at as u8);
    let Some(dot) = word.iter().position(|&byte| byte == b'.') else { return Ok(None) };
    match (index(&FACILITIES, &word[..dot]), index(&SEVERITIES, &word[dot + 1..])) {
        (Some(facility), Some(severity)) => Ok(Some((facility, severity))),
        (None, None) => Ok(None),
        // Half of it is no accident.
        (None, Some(_)) => Err((Problem::Expected("a facility like daemon or local0"), &word[..dot])),
        (Some(_), None) => Err((Problem::Expected("a severity like info or err"), &word[dot + 1..])),
    }
}
