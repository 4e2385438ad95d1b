//! `sv`'s first operand and its `-w`: the words of init scripts count as a whole, all others by their first letter.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sv::verb::{Verb, parse_seconds, patience};

const WORDS: [&[u8]; 13] = [
    b"start",
    b"stop",
    b"restart",
    b"try-restart",
    b"reload",
    b"shutdown",
    b"check",
    b"status",
    b"reexec",
    b"force-stop",
    b"force-reload",
    b"force-restart",
    b"force-shutdown",
];

fuzz_target!(|word: &[u8]| {
    for lsb in [false, true] {
        let verb = Verb::parse(word, lsb);
        if WORDS.contains(&word) {
            assert!(verb.is_some());
        } else {
            assert_eq!(verb, word.get(..1).and_then(|letter| Verb::parse(letter, lsb)));
        }
        if let Some(Verb::Control(control)) = verb {
            assert!(!control.commands.is_empty());
            assert!(control.waits || !control.kills, "a KILL comes after a wait");
        }
    }
    let digits: String =
        word.iter().map_while(|&byte| byte.is_ascii_digit().then_some(char::from(byte))).collect();
    let seconds = if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u64::MAX) };
    assert_eq!(parse_seconds(word), seconds);
    assert!(patience(seconds).as_secs() >= seconds.min(u64::MAX / 1000));
});
