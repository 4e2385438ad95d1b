//! Any bytes as `supervise/record` and as messages between runsv and runsvdir: understood or not, and what is understood is
//! written again as it was meant.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runsv::machine::adopted::Proof;
use runsv::machine::{Role, State};
use svlib::keeper::{Answer, Request};
use svlib::moment::Moment;
use svlib::record::{Record, TEXT_LENGTH};
use svlib::tai64n::Tai64n;

fuzz_target!(|bytes: &[u8]| {
    if let Some(request) = Request::decode(bytes) {
        assert_eq!(Request::decode(&request.encode()), Some(request));
    }
    if let Some(answer) = Answer::decode(bytes) {
        assert_eq!(Answer::decode(&answer.encode()), Some(answer));
    }
    let Ok(record) = Record::decode(bytes) else { return };
    let lines = record.lines();
    let again = Record::decode(lines.as_bytes()).expect("what is written is understood");
    assert!(again.text.len() <= TEXT_LENGTH);
    assert_eq!(again.lines(), lines);
    let now = Moment { monotonic: std::time::Duration::from_secs(1000), wall: Tai64n::EPOCH };
    let state = State::adopted(Role::Service, &record, Proof::Proven, now);
    // What is taken over is left again.
    let left = state.record(|pid| svlib::record::ProcessId { pid, start: 1 });
    assert_eq!((left.want, left.restarts, left.failed), (record.want, record.restarts, record.failed));
});
