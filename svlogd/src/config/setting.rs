//! The settings that runit's svlogd does not have.

use std::ffi::OsString;

/// `compress`: rotated files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Into what.
    pub kind: CompressionKind,
    /// How hard it tries: 1 to 9 with gzip, 1 to 19 with zstd.
    pub level: Option<i32>,
}

/// A compressed format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionKind {
    /// `.gz`
    Gzip,
    /// `.zst`
    Zstd,
}

/// `rotate`: rotation on the wall clock, if `current` is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockRotation {
    /// How often.
    pub period: Period,
    /// The hour of the day, up to 23; 0 for an hourly one.
    pub hour: u8,
    /// The minute of the hour, up to 59.
    pub minute: u8,
    /// Whose clock.
    pub zone: Zone,
}

/// How often the wall clock rotates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Each hour.
    Hourly,
    /// Each day.
    Daily,
    /// Each Monday.
    Weekly,
}

/// Whose clock is on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// The world's.
    Utc,
    /// The machine's.
    Local,
}

/// `format`: the form of lines, in place of `-t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The form.
    pub kind: FormatKind,
    /// How exact its time is; TAI64N always has nanoseconds.
    pub precision: Precision,
}

/// A form of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatKind {
    /// RFC 3339 in UTC, a blank, the line.
    Rfc3339,
    /// RFC 3339 with the local offset, a blank, the line.
    Rfc3339Local,
    /// A TAI64N label, a blank, the line.
    Tai64n,
    /// A JSON object.
    Json,
    /// The line.
    None,
}

/// The unit of the last digit of a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Milliseconds.
    Ms,
    /// Microseconds.
    #[default]
    Us,
    /// Nanoseconds.
    Ns,
}

/// `limit`: a token bucket for lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// So many lines a second in the long run, at least one.
    pub per_second: u32,
    /// So many at once after silence, at least one; a second's worth unless it is given.
    pub burst: u32,
}

/// `clean`: what becomes of control characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clean {
    /// They are written as an escape.
    Escape,
    /// They are replaced.
    Replace,
}

/// `forward`: selected lines go to a syslog server too, as RFC 5424 has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Where the server is.
    pub transport: Transport,
    /// The facility, up to 23; 3, daemon, unless it is given.
    pub facility: u8,
    /// The severity, up to 7; 6, info, unless it is given.
    pub severity: u8,
    /// The APP-NAME: 1 to 48 printable ASCII characters, no blank.
    pub tag: Option<String>,
}

/// The way to a syslog server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A datagram each.
    Udp(Server),
    /// A stream with octet counting.
    Tcp(Server),
    /// A UNIX socket.
    Unix(OsString),
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// A host name, or an IPv4 or IPv6 address without brackets.
    pub host: String,
    /// The port, not zero.
    pub port: u16,
}
