//! What is seen of a service at one look: its status, and what runsv has recorded beside it.
//!
//! runsv replaces the status and rewrites the record, one after the other, so that a look between the two finds one of
//! before and one of after. And a record may be of a runsv that was killed, where runit's runsv, which leaves it alone, has
//! taken over. So a record counts only if it tells of what the status tells of. Which runsv there is, no status tells: for that any
//! record of one that lives will do.

use nix::unistd::Pid;
use svlib::record::{BadRecord, Phase, ProcessId, Readiness, Record};
use svlib::status::{State, Status, Want};

use crate::report::Remarks;

/// One look at a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What runsv has published.
    pub status: Status,
    /// What runsv has recorded.
    pub recorded: Recorded,
}

/// What a service's record tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Nothing: there is none, it is of no use, or of another runsv.
    Nothing,
    /// Nothing yet but the runsv: it lives, has replaced the status, and is about to rewrite the record, or the reverse.
    Unsettled(Incarnation),
    /// Nothing, perhaps not yet: it is being rewritten, or is damaged.
    Torn,
    /// These facts.
    Facts(Box<Record>),
}

/// A runsv, and how often it has become another program file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incarnation {
    /// Its process.
    pub pid: Pid,
    /// So often.
    pub reexecs: u64,
}

impl Recorded {
    /// What the `bytes` of a record tell beside `status`; `lives` says whether a process is still there.
    pub fn beside(status: &Status, bytes: &[u8], lives: impl FnOnce(ProcessId) -> bool) -> Self {
        match Record::decode(bytes) {
            Ok(record) if agree(status, &record) => Self::Facts(Box::new(record)),
            Ok(Record { supervisor: Some(runsv), reexecs, .. }) if lives(runsv) => {
                Self::Unsettled(Incarnation { pid: runsv.pid, reexecs })
            }
            Ok(_) | Err(BadRecord::Version) => Self::Nothing,
            // A line may be half of an old one and half of a new one.
            Err(BadRecord::Torn | BadRecord::Line(_)) => Self::Torn,
        }
    }
}

impl Seen {
    /// The record, if it tells anything.
    pub fn record(&self) -> Option<&Record> {
        match &self.recorded {
            Recorded::Facts(record) => Some(record),
            Recorded::Nothing | Recorded::Unsettled(_) | Recorded::Torn => None,
        }
    }

    /// Whether nothing runs and nothing is owed.
    pub fn is_down(&self) -> bool {
        self.status.pid.is_none() && self.status.state == State::Down
    }

    /// Whether the process of `run` has said that it is ready.
    pub fn readiness(&self) -> Readiness {
        match self.record() {
            Some(record) if self.status.state == State::Run => record.readiness,
            _ => Readiness::Undeclared,
        }
    }

    /// Whether the service is down because it was given up.
    pub fn has_failed(&self) -> bool {
        self.is_down() && self.record().is_some_and(|record| record.failed)
    }

    /// The runsv.
    pub fn incarnation(&self) -> Option<Incarnation> {
        match &self.recorded {
            Recorded::Facts(record) => {
                Some(Incarnation { pid: record.supervisor?.pid, reexecs: record.reexecs })
            }
            Recorded::Unsettled(runsv) => Some(*runsv),
            Recorded::Nothing | Recorded::Torn => None,
        }
    }

    /// What is to be said after runit's words.
    pub fn remarks(&self) -> Remarks {
        self.record().map_or_else(Remarks::default, |record| Remarks {
            failed: record.failed,
            last_exit: record.last_exit,
            readiness: record.readiness,
            text: record.text.clone(),
            left: record.left,
        })
    }
}

/// Whether a status and a record are of the same moment, as far as it matters here.
fn agree(status: &Status, record: &Record) -> bool {
    let same_process = match record.phase {
        Phase::Run(process) if status.state == State::Run => status.pid == Some(process.pid),
        // A process that may or may not be the service's: runsv publishes none.
        Phase::Run(process) => process.start == 0 && status.pid.is_none(),
        Phase::Finish(process) => status.state == State::Finish && status.pid == Some(process.pid),
        Phase::Down | Phase::Ended => status.pid.is_none(),
    };
    let same_want = (status.want == Want::Up) == (record.want == Want::Up);
    same_process && same_want && status.changed == record.changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use svlib::tai64n::Tai64n;

    const RUNSV: ProcessId = ProcessId { pid: Pid::from_raw(41), start: 7 };

    fn process(pid: i32) -> ProcessId {
        ProcessId { pid: Pid::from_raw(pid), start: 8 }
    }

    fn running() -> Status {
        Status {
            changed: Tai64n::from_unix(1000, 5),
            pid: Some(Pid::from_raw(42)),
            paused: false,
            want: Want::Up,
            got_term: false,
            state: State::Run,
        }
    }

    fn record() -> Record {
        Record {
            supervisor: Some(RUNSV),
            phase: Phase::Run(process(42)),
            want: Want::Up,
            changed: Tai64n::from_unix(1000, 5),
            ..Record::default()
        }
    }

    /// `facts`, `unsettled` or `nothing`.
    fn told(status: &Status, record: &Record, runsv_lives: bool) -> &'static str {
        let bytes = Record::file(&record.lines(), 1);
        match Recorded::beside(status, &bytes, |runsv| runsv == RUNSV && runsv_lives) {
            Recorded::Facts(found) => {
                assert_eq!(*found, *record);
                "facts"
            }
            Recorded::Unsettled(runsv) => {
                assert_eq!(runsv, Incarnation { pid: RUNSV.pid, reexecs: record.reexecs });
                "unsettled"
            }
            Recorded::Torn => "torn",
            Recorded::Nothing => "nothing",
        }
    }

    #[test]
    fn a_record_counts_beside_the_status_of_its_moment() {
        let (run, record) = (running(), record());
        let down = Status { pid: None, state: State::Down, ..run };
        let finish = Status { pid: Some(Pid::from_raw(43)), state: State::Finish, ..run };
        for (status, other, agrees) in [
            (run, record.clone(), true),
            (run, Record { phase: Phase::Run(process(43)), ..record.clone() }, false),
            (run, Record { phase: Phase::Finish(process(42)), ..record.clone() }, false),
            (run, Record { phase: Phase::Down, ..record.clone() }, false),
            (run, Record { want: Want::Down, ..record.clone() }, false),
            (run, Record { changed: Tai64n::from_unix(1000, 6), ..record.clone() }, false),
            (run, Record { reexecs: 3, phase: Phase::Down, ..record.clone() }, false),
            (run, Record { paused: true, readiness: Readiness::Ready, ..record.clone() }, true),
            (down, record.clone(), false),
            (
                down,
                Record { phase: Phase::Run(ProcessId { start: 0, ..process(42) }), ..record.clone() },
                true,
            ),
            (down, Record { phase: Phase::Down, ..record.clone() }, true),
            (down, Record { phase: Phase::Ended, ..record.clone() }, true),
            (Status { want: Want::Down, ..down }, Record { phase: Phase::Down, ..record.clone() }, false),
            (
                Status { want: Want::Down, ..down },
                Record { phase: Phase::Down, want: Want::Exit, ..record.clone() },
                true,
            ),
            (finish, Record { phase: Phase::Finish(process(43)), ..record.clone() }, true),
            (finish, Record { phase: Phase::Run(process(43)), ..record.clone() }, false),
        ] {
            assert_eq!(told(&status, &other, true), if agrees { "facts" } else { "unsettled" }, "{other:?}");
            assert_eq!(told(&status, &other, false), if agrees { "facts" } else { "nothing" }, "{other:?}");
        }
        let ended = Record { supervisor: None, phase: Phase::Down, ..record };
        assert_eq!(told(&run, &ended, true), "nothing");
    }

    #[test]
    fn what_is_being_written_is_told_from_what_is_of_no_use() {
        let whole = Record::file(&record().lines(), 1);
        let text = String::from_utf8(whole).unwrap();
        for (text, expected) in [
            (text.replace("end=1", "end=2"), Recorded::Torn),
            (text.replace("want=up", "want=down=up"), Recorded::Torn),
            (String::new(), Recorded::Torn),
            (text.replace("version=1", "version=2"), Recorded::Nothing),
        ] {
            assert_eq!(Recorded::beside(&running(), text.as_bytes(), |_| true), expected, "{text}");
        }
    }

    #[test]
    fn facts_are_those_of_what_runs() {
        let seen = |status, record| Seen { status, recorded: Recorded::Facts(Box::new(record)) };
        let (run, record) = (running(), Record { readiness: Readiness::Ready, failed: true, ..record() });
        let down = Status { pid: None, state: State::Down, ..run };
        let finish = Status { state: State::Finish, ..run };
        assert_eq!(seen(run, record.clone()).readiness(), Readiness::Ready);
        assert_eq!(seen(finish, record.clone()).readiness(), Readiness::Undeclared);
        assert!(seen(down, record.clone()).has_failed() && !seen(run, record.clone()).has_failed());
        let incarnation = Incarnation { pid: RUNSV.pid, reexecs: 3 };
        assert_eq!(seen(run, Record { reexecs: 3, ..record }).incarnation(), Some(incarnation));
        for (recorded, runsv) in [
            (Recorded::Nothing, None),
            (Recorded::Unsettled(incarnation), Some(incarnation)),
            (Recorded::Torn, None),
        ] {
            let seen = Seen { status: run, recorded };
            assert_eq!((seen.readiness(), seen.incarnation()), (Readiness::Undeclared, runsv));
            assert_eq!(seen.remarks(), Remarks::default());
        }
    }
}
