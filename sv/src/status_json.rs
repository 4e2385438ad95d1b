//! A status as a JSON object (`--json`).

use nix::unistd::Pid;
use svlib::exit_status::ExitStatus;
use svlib::record::Readiness;
use svlib::status::{State, Want};
use svlib::tai64n::Tai64n;
use time::OffsetDateTime;

use crate::json::Object;
use crate::report::Trouble;
use crate::seen::Seen;

/// The status of a service. What only a record tells is `null` without one. `now` is the current time; `normally_up` is
/// whether runsv starts the service by itself, `None` if that is not known.
pub fn status_object(name: &[u8], seen: &Seen, now: Tai64n, normally_up: Option<bool>) -> Object {
    let (status, record) = (&seen.status, seen.record());
    let up = status.pid.is_some();
    let runs = status.state == State::Run;
    let mut object = Object::new();
    object.text("name", Some(name));
    object.text(
        "state",
        Some(match status.state {
            State::Down => b"down",
            State::Run => b"run",
            State::Finish => b"finish",
        }),
    );
    object.number("pid", status.pid.map(Pid::as_raw));
    object.number("seconds", Some(now.seconds.saturating_sub(status.changed.seconds)));
    object.text("since", rfc3339(status.changed).as_ref().map(String::as_bytes));
    object.text(
        "want",
        // The status calls a wanted exit down.
        Some(match record.map_or(status.want, |record| record.want) {
            Want::Up => b"up",
            Want::Down => b"down",
            Want::Exit => b"exit",
        }),
    );
    object.flag("paused", Some(up && status.paused));
    object.flag("got_term", Some(up && status.got_term));
    object.flag("normally_up", normally_up);
    object.flag(
        "ready",
        match seen.readiness() {
            Readiness::Undeclared => None,
            Readiness::Awaited => Some(false),
            Readiness::Ready => Some(true),
        },
    );
    let words = record.map(|record| record.text.as_bytes());
    object.text("status_text", words.filter(|words| runs && !words.is_empty()));
    object.flag("failed", record.map(|_| seen.has_failed()));
    object.number("restarts", record.map(|record| record.restarts));
    object.object("last_exit", record.and_then(|record| record.last_exit).and_then(exit_object));
    object.number("left", record.map(|record| record.left));
    object.number("supervisor", record.and_then(|record| record.supervisor).map(|runsv| runsv.pid.as_raw()));
    object
}

/// A service whose status is not known.
pub fn trouble_object(name: &[u8], trouble: Trouble) -> Object {
    let mut object = Object::new();
    object.text("name", Some(name));
    object.text("error", Some(trouble.reason().as_bytes()));
    object
}

/// How a process ended; `None` if that is not known.
fn exit_object(exit: ExitStatus) -> Option<Object> {
    let (key, number) = match (exit.code(), exit.signal()) {
        (Some(code), _) => ("code", code),
        (None, Some(signal)) => ("signal", signal),
        (None, None) => return None,
    };
    let mut object = Object::new();
    object.number(key, Some(number));
    Some(object)
}

/// A time in UTC, with nanoseconds (RFC 3339). `None` for one that has no year of four digits.
fn rfc3339(stamp: Tai64n) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp(stamp.unix_seconds()).ok()?;
    let time = time.replace_nanosecond(stamp.nanos).ok()?;
    (0..=9999).contains(&time.year()).then(|| {
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z",
            time.year(),
            u8::from(time.month()),
            time.day(),
            time.hour(),
            time.minute(),
            time.second(),
            time.nanosecond()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use svlib::record::{Phase, ProcessId, Record};
    use svlib::status::Status;

    use crate::seen::Recorded;

    fn running() -> Status {
        Status {
            changed: Tai64n::from_unix(1_134_897_230, 976_189_000),
            pid: Some(Pid::from_raw(42)),
            paused: true,
            want: Want::Up,
            got_term: false,
            state: State::Run,
        }
    }

    fn object(status: Status, record: Option<Record>) -> Value {
        let recorded = record.map_or(Recorded::Nothing, |record| Recorded::Facts(Box::new(record)));
        let now = Tai64n::from_unix(1_134_897_233, 0);
        let text = status_object(b"web", &Seen { status, recorded }, now, Some(true)).finish();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn without_a_record_a_status_is_what_runit_knows() {
        let expected = json!({
            "name": "web", "state": "run", "pid": 42, "seconds": 3, "since": "2005-12-18T09:13:50.976189000Z",
            "want": "up", "paused": true, "got_term": false, "normally_up": true, "ready": null, "status_text": null,
            "failed": null, "restarts": null, "last_exit": null, "left": null, "supervisor": null,
        });
        assert_eq!(object(running(), None), expected);
    }

    #[test]
    fn a_record_tells_the_rest() {
        let process = |pid| ProcessId { pid: Pid::from_raw(pid), start: 1 };
        let record = Record {
            supervisor: Some(process(41)),
            phase: Phase::Run(process(42)),
            readiness: Readiness::Awaited,
            text: "warming \"up\"".into(),
            restarts: 3,
            last_exit: Some(ExitStatus::killed(9)),
            want: Want::Up,
            ..Record::default()
        };
        let value = object(running(), Some(record.clone()));
        for (key, expected) in [
            ("ready", json!(false)),
            ("status_text", json!("warming \"up\"")),
            ("failed", json!(false)),
            ("restarts", json!(3)),
            ("last_exit", json!({"signal": 9})),
            ("left", json!(0)),
            ("supervisor", json!(41)),
        ] {
            assert_eq!(value[key], expected, "{key}");
        }
        let down = Status { pid: None, state: State::Down, want: Want::Down, ..running() };
        let record = Record {
            want: Want::Exit,
            failed: true,
            left: 2,
            last_exit: Some(ExitStatus::exited(111)),
            ..record
        };
        let value = object(down, Some(record));
        for (key, expected) in [
            ("state", json!("down")),
            ("pid", json!(null)),
            ("want", json!("exit")),
            ("paused", json!(false)),
            ("ready", json!(null)),
            ("status_text", json!(null)),
            ("failed", json!(true)),
            ("last_exit", json!({"code": 111})),
            ("left", json!(2)),
        ] {
            assert_eq!(value[key], expected, "{key}");
        }
    }

    #[test]
    fn an_unknown_status_is_an_error() {
        let text = trouble_object(b"a\xff", Trouble::NoService(Errno::ENOENT)).finish();
        let expected = json!({"name": "a\u{fffd}", "error": "unable to change to service directory: file does not exist"});
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
        assert!(
            trouble_object(b"a", Trouble::NotRunning).finish().contains(r#""error":"runsv not running""#)
        );
    }

    #[test]
    fn an_end_that_nobody_saw_is_none() {
        assert!(exit_object(ExitStatus::UNKNOWN).is_none());
    }

    proptest! {
        #[test]
        fn any_status_is_one_line_of_json(bytes in any::<[u8; 20]>(), seconds: u64, normally_up: Option<bool>) {
            if let Ok(status) = Status::decode(&bytes) {
                let seen = Seen { status, recorded: Recorded::Nothing };
                let text = status_object(b"web", &seen, Tai64n { seconds, nanos: 0 }, normally_up).finish();
                prop_assert!(!text.contains('\n'));
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
            }
        }
    }
}
