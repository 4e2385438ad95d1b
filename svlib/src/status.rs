//! The status of a service as runsv publishes it: the 20-byte record `supervise/status`, and the texts `supervise/stat`
//! and `supervise/pid`.
//!
//! The first 18 bytes are the record of daemontools' supervise; svstat(8) reads them.
//!
//! | bytes | content |
//! |---|---|
//! | 0–11 | TAI64N time of the last change between run and down, big-endian |
//! | 12–15 | process id, little-endian; 0 for none |
//! | 16 | 1 if paused |
//! | 17 | `u` if wanted up, `d` if wanted down |
//! | 18 | 1 if TERM was sent |
//! | 19 | 0 down, 1 run, 2 finish |

use std::fmt;

use nix::unistd::Pid;

use crate::tai64n::Tai64n;

/// The length of the record, in bytes.
pub const RECORD_LENGTH: usize = 20;

/// What runs of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing.
    Down,
    /// The run script.
    Run,
    /// The finish script.
    Finish,
}

/// What the service was told to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Want {
    /// Up: it is restarted when it stops.
    Up,
    /// Down, or up once: it is not restarted.
    Down,
    /// Down, and then runsv shall exit. In the record it reads as [`Down`](Self::Down).
    Exit,
}

/// One status of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// When the service last changed between run and down; finish keeps the time of run.
    pub changed: Tai64n,
    /// The process id of the run or finish script.
    pub pid: Option<Pid>,
    /// Whether STOP was sent last, and no CONT.
    pub paused: bool,
    /// What the service was told to be.
    pub want: Want,
    /// Whether TERM was sent to the process.
    pub got_term: bool,
    /// What runs.
    pub state: State,
}

/// Why bytes are not a status record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadStatus {
    /// It has this many bytes instead of [`RECORD_LENGTH`].
    Length(usize),
    /// Byte 19 has this value, which is no state.
    State(u8),
}

impl fmt::Display for BadStatus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(out, "{length} bytes instead of {RECORD_LENGTH}"),
            Self::State(byte) => write!(out, "unknown state {byte}"),
        }
    }
}

impl std::error::Error for BadStatus {}

impl Status {
    /// The record for `supervise/status`.
    pub fn encode(&self) -> [u8; RECORD_LENGTH] {
        let mut record = [0; RECORD_LENGTH];
        record[..12].copy_from_slice(&self.changed.to_bytes());
        record[12..16].copy_from_slice(&self.pid.map_or(0, Pid::as_raw).to_le_bytes());
        record[16] = u8::from(self.paused);
        record[17] = if self.want == Want::Up { b'u' } else { b'd' };
        record[18] = u8::from(self.got_term);
        record[19] = match self.state {
            State::Down => 0,
            State::Run => 1,
            State::Finish => 2,
        };
        record
    }

    /// The status in a record. As in runit, any want but `u` is down, and any flag but 0 is set.
    ///
    /// # Errors
    /// [`BadStatus`] for a wrong length or an unknown state. A process id below 1 is none.
    pub fn decode(record: &[u8]) -> Result<Self, BadStatus> {
        let record: &[u8; RECORD_LENGTH] = record.try_into().map_err(|_| BadStatus::Length(record.len()))?;
        let [stamp @ .., p0, p1, p2, p3, paused, want, got_term, state] = record;
        let pid = i32::from_le_bytes([*p0, *p1, *p2, *p3]);
        Ok(Self {
            changed: Tai64n::from_bytes(*stamp),
            pid: (pid > 0).then(|| Pid::from_raw(pid)),
            paused: *paused != 0,
            want: if *want == b'u' { Want::Up } else { Want::Down },
            got_term: *got_term != 0,
            state: match state {
                0 => State::Down,
                1 => State::Run,
                2 => State::Finish,
                &byte => return Err(BadStatus::State(byte)),
            },
        })
    }

    /// The line for `supervise/stat`.
    pub fn stat_text(&self) -> String {
        let mut text = String::from(match self.state {
            State::Down => "down",
            State::Run => "run",
            State::Finish => "finish",
        });
        if self.paused {
            text += ", paused";
        }
        if self.got_term {
            text += ", got TERM";
        }
        if self.state != State::Down {
            text += match self.want {
                Want::Up => "",
                Want::Down => ", want down",
                Want::Exit => ", want exit",
            };
        }
        text + "\n"
    }

    /// The line for `supervise/pid`; empty without a process.
    pub fn pid_text(&self) -> String {
        self.pid.map_or_else(String::new, |pid| format!("{pid}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_status() -> impl Strategy<Value = Status> {
        let state = prop_oneof![Just(State::Down), Just(State::Run), Just(State::Finish)];
        let want = prop_oneof![Just(Want::Up), Just(Want::Down), Just(Want::Exit)];
        let pid = proptest::option::of((1..i32::MAX).prop_map(Pid::from_raw));
        (any::<(i64, u32, bool, bool)>(), pid, want, state).prop_map(
            |((seconds, nanos, paused, got_term), pid, want, state)| Status {
                changed: Tai64n::from_unix(seconds, nanos),
                pid,
                paused,
                want,
                got_term,
                state,
            },
        )
    }

    #[test]
    fn record_is_runits() {
        let status = Status {
            changed: Tai64n::from_unix(0x1234_5678, 0x0a0b_0c0d),
            pid: Some(Pid::from_raw(0x0102_0304)),
            paused: true,
            want: Want::Up,
            got_term: true,
            state: State::Run,
        };
        let record = b"\x40\0\0\0\x12\x34\x56\x82\x0a\x0b\x0c\x0d\x04\x03\x02\x01\x01u\x01\x01";
        assert_eq!(&status.encode(), record);
        assert_eq!(status.stat_text(), "run, paused, got TERM\n");
        assert_eq!(status.pid_text(), "16909060\n");
    }

    #[test]
    fn wants_are_told_only_while_something_runs() {
        let mut status = Status::decode(&[0; RECORD_LENGTH]).unwrap();
        status.want = Want::Exit;
        assert_eq!((status.stat_text(), status.pid_text()), ("down\n".into(), String::new()));
        status.state = State::Finish;
        assert_eq!(status.stat_text(), "finish, want exit\n");
        status.want = Want::Down;
        assert_eq!(status.stat_text(), "finish, want down\n");
    }

    #[test]
    fn other_lengths_are_no_record() {
        for length in [0, 18, 19, 21] {
            assert_eq!(Status::decode(&vec![0; length]), Err(BadStatus::Length(length)));
        }
    }

    proptest! {
        #[test]
        fn records_round_trip(status in any_status()) {
            let want = if status.want == Want::Exit { Want::Down } else { status.want };
            prop_assert_eq!(Status::decode(&status.encode()), Ok(Status { want, ..status }));
        }

        #[test]
        fn any_bytes_decode_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            match Status::decode(&bytes) {
                Ok(status) => prop_assert_eq!(Status::decode(&status.encode()), Ok(status)),
                Err(BadStatus::Length(length)) => prop_assert!(length != RECORD_LENGTH),
                Err(BadStatus::State(byte)) => prop_assert!(byte > 2 && bytes[19] == byte),
            }
        }
    }
}
