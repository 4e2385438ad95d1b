//! `supervise/status` as `sv` reads it: any bytes are a status or an error, and a status survives being written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use svlib::status::{BadStatus, RECORD_LENGTH, State, Status, Want};

fuzz_target!(|bytes: &[u8]| {
    let status = match Status::decode(bytes) {
        Err(BadStatus::Length(length)) => {
            assert_ne!(length, RECORD_LENGTH);
            return assert_eq!(length, bytes.len());
        }
        Err(BadStatus::State(state)) => return assert!(bytes[19] == state && state > 2),
        Ok(status) => status,
    };
    let record = status.encode();
    assert_eq!(Status::decode(&record), Ok(status));
    // What is not a flag or a pid is as it was.
    assert_eq!((&record[..12], record[19]), (&bytes[..12], bytes[19]));

    let text = status.stat_text();
    let words: Vec<&str> = text.trim_end_matches('\n').split(", ").collect();
    assert_eq!(words[0], ["down", "run", "finish"][usize::from(bytes[19])]);
    assert_eq!(words.contains(&"paused"), status.paused);
    assert_eq!(words.contains(&"got TERM"), status.got_term);
    assert_eq!(words.contains(&"want down"), status.state != State::Down && status.want == Want::Down);
    assert_eq!(status.pid_text().trim_end().parse().ok(), status.pid.map(|pid| pid.as_raw()));
});
