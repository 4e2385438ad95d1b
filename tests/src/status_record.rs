//! The 20 bytes of `supervise/status`, decoded here a second time: the tests must not borrow the code they test.

use std::time::Duration;

/// One `supervise/status` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRecord {
    /// Seconds on runit's TAI scale: Unix time + 2^62 + 10.
    pub tai_seconds: u64,
    /// Nanoseconds of that second.
    pub nanoseconds: u32,
    /// The process, 0 for none.
    pub pid: u32,
    /// Byte 16.
    pub paused: u8,
    /// Byte 17: `u` or `d`.
    pub want: u8,
    /// Byte 18.
    pub got_term: u8,
    /// Byte 19: 0 down, 1 run, 2 finish.
    pub state: u8,
}

impl StatusRecord {
    /// Decodes a record; `None` unless it has exactly 20 bytes.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != 20 {
            return None;
        }
        Some(Self {
            tai_seconds: u64::from_be_bytes(bytes[0..8].try_into().ok()?),
            nanoseconds: u32::from_be_bytes(bytes[8..12].try_into().ok()?),
            pid: u32::from_le_bytes(bytes[12..16].try_into().ok()?),
            paused: bytes[16],
            want: bytes[17],
            got_term: bytes[18],
            state: bytes[19],
        })
    }

    /// Seconds since the Unix epoch.
    pub fn unix_seconds(&self) -> i64 {
        self.tai_seconds.wrapping_sub((1 << 62) + 10).cast_signed()
    }

    /// The time since the Unix epoch.
    pub fn time(&self) -> Duration {
        Duration::new(self.unix_seconds().cast_unsigned(), self.nanoseconds)
    }

    /// True when the record says what this `supervise/stat` says.
    pub fn agrees_with(&self, stat: &str) -> bool {
        let has = |word: &str| stat.split(", ").any(|part| part == word);
        let state = match stat.split(", ").next() {
            Some("run") => 1,
            Some("finish") => 2,
            _ => 0,
        };
        let wants_up = !has("want down") && !has("want exit");
        self.state == state
            && (self.paused == 1) == has("paused")
            && (self.got_term == 1) == has("got TERM")
            // What a service that is down wants is not said.
            && (state == 0 || (self.want == b'u') == wants_up)
    }
}
