//! A line as a JSON object (`format json`), valid whatever the bytes of the line are.
//!
//! ```json
//! {"time":"2005-12-18T09:13:50.976189Z","service":"httpd","message":"GET /"}
//! ```
//!
//! `message` is a string always, so that whoever reads the log needs one rule only; bytes that are not UTF-8 are U+FFFD
//! in it. Such a line, and no other, has `message_base64` too, with the very bytes: replacement alone would lose what was
//! logged, and Base64 alone could not be read or searched.
//!
//! Control characters, those from U+007F to U+009F included, are escaped, though JSON would allow the latter: the file
//! can be looked at on a terminal.
//!
//! A line longer than `-l` becomes several objects, each of about that much at most, as neither svlogd nor its readers
//! can hold a line of any length. They are numbered by `part`, from 1; all but the last have `"more":true`. The cuts are
//! between characters, and the same however the input arrived.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Which part of a line an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// This one, and there are more.
    More(u64),
    /// This one, and no more.
    Last(u64),
}

/// Appends the object of one message to `output`, and a newline. `time` needs no escapes; `service` is the inside of a
/// string, as [`append_string`] makes it.
pub fn append_object(output: &mut Vec<u8>, time: &[u8], service: &[u8], message: &[u8], part: Part) {
    output.extend_from_slice(b"{\"time\":\"");
    output.extend_from_slice(time);
    output.extend_from_slice(b"\",\"service\":\"");
    output.extend_from_slice(service);
    output.extend_from_slice(b"\",\"message\":\"");
    let is_exact = append_string(output, message);
    output.push(b'"');
    if !is_exact {
        output.extend_from_slice(b",\"message_base64\":\"");
        output.extend_from_slice(STANDARD.encode(message).as_bytes());
        output.push(b'"');
    }
    match part {
        Part::Whole => {}
        Part::More(number) => {
            output.extend_from_slice(format!(",\"part\":{number},\"more\":true").as_bytes());
        }
        Part::Last(number) => output.extend_from_slice(format!(",\"part\":{number}").as_bytes()),
    }
    output.extend_from_slice(b"}\n");
}

/// Appends `text` as the inside of a JSON string. `false` if it was not UTF-8 and had to be changed.
pub fn append_string(output: &mut Vec<u8>, text: &[u8]) -> bool {
    // Mostly it is UTF-8, and that is found out much faster for all of it than for a chunk at a time.
    if let Ok(text) = str::from_utf8(text) {
        append_valid(output, text);
        return true;
    }
    let mut is_exact = true;
    for chunk in text.utf8_chunks() {
        append_valid(output, chunk.valid());
        if !chunk.invalid().is_empty() {
            is_exact = false;
            output.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    is_exact
}

fn append_valid(output: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    let mut at = 0;
    while let Some(offset) = bytes[at..].iter().position(|&byte| IS_SPECIAL[usize::from(byte)]) {
        at += offset;
        // U+0080 to U+00BF begin with 0xc2: the first half of them are controls.
        let (length, value) = match bytes[at] {
            0xc2 => (2, bytes[at + 1]),
            byte => (1, byte),
        };
        if value < 0xa0 {
            output.extend_from_slice(&bytes[copied..at]);
            copied = at + length;
            append_escape(output, value);
        }
        at += length;
    }
    output.extend_from_slice(&bytes[copied..]);
}

const IS_SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < b' ' {
        table[byte as usize] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[0x7f] = true;
    table[0xc2] = true;
    table
};

fn append_escape(output: &mut Vec<u8>, value: u8) {
    let short = match value {
        b'"' | b'\\' => value,
        b'\t' => b't',
        b'\n' => b'n',
        b'\r' => b'r',
        _ => {
            output.extend_from_slice(b"\\u00");
            output.extend_from_slice(&[DIGITS[usize::from(value >> 4)], DIGITS[usize::from(value & 15)]]);
            return;
        }
    };
    output.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn object(message: &[u8], part: Part) -> Value {
        let mut service = Vec::new();
        append_string(&mut service, b"a \"b\"");
        let mut output = Vec::new();
        append_object(&mut output, b"2005-12-18T09:13:50Z", &service, message, part);
        assert_eq!(output.iter().position(|&byte| byte == b'\n'), Some(output.len() - 1), "one line");
        assert!(!str::from_utf8(&output).unwrap().trim_end().contains(char::is_control));
        serde_json::from_slice(&output).unwrap()
    }

    #[test]
    fn fields() {
        let mut expected =
            json!({"time": "2005-12-18T09:13:50Z", "service": "a \"b\"", "message": "é\u{1b}\u{9b}\t\\"});
        assert_eq!(object("é\x1b\u{9b}\t\\".as_bytes(), Part::Whole), expected);
        expected["part"] = json!(3);
        assert_eq!(object("é\x1b\u{9b}\t\\".as_bytes(), Part::Last(3)), expected);
        expected["more"] = json!(true);
        assert_eq!(object("é\x1b\u{9b}\t\\".as_bytes(), Part::More(3)), expected);
    }

    #[test]
    fn what_is_not_utf8_is_there_twice() {
        let found = object(b"caf\xe9 \xf0\x9f", Part::Whole);
        assert_eq!((&found["message"], &found["message_base64"]), (&json!("caf� �"), &json!("Y2Fm6SDwnw==")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_back(message in prop::collection::vec(prop_oneof![b' '..=b'~', any::<u8>()], 0..100)) {
            let found = object(&message, Part::Whole);
            prop_assert_eq!(found["message"].as_str().unwrap(), String::from_utf8_lossy(&message));
            match found.get("message_base64") {
                None => prop_assert!(str::from_utf8(&message).is_ok()),
                Some(exact) => prop_assert_eq!(STANDARD.decode(exact.as_str().unwrap()).unwrap(), message),
            }
        }

        #[test]
        fn any_text_is_read_back(message: String) {
            let found = object(message.as_bytes(), Part::Whole);
            prop_assert_eq!(found["message"].as_str().unwrap(), message);
            prop_assert!(found.get("message_base64").is_none());
        }
    }
}
