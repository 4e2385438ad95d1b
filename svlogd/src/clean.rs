//! Lines without control characters, in UTF-8 (the `clean` line of the config).
//!
//! What reads a log is mostly a terminal, and what writes to a log is partly whoever talks to the service: without this,
//! an escape sequence in a request moves the operator's cursor. `-r` and `-R` make everything ASCII; here text in any
//! language stays as it is, and only these go:
//!
//! - control characters, U+0000 to U+001F except the tab, U+007F, and U+0080 to U+009F;
//! - bytes that are not UTF-8: alone, 0x9b begins an escape sequence in an 8-bit terminal.
//!
//! The output is UTF-8 whatever the input. It is meant for eyes: it cannot be turned back, as a backslash stays one.

pub use crate::config::setting::Clean;

const REPLACEMENT: &str = "\u{fffd}";

/// Appends `text` in its clean form to `output`.
pub fn append(output: &mut Vec<u8>, text: &[u8], how: Clean) {
    for chunk in text.utf8_chunks() {
        append_valid(output, chunk.valid(), how);
        match how {
            Clean::Escape => chunk.invalid().iter().for_each(|&byte| append_escape(output, b'x', byte)),
            // As many as Unicode recommends: one for each beginning of a character that breaks off.
            Clean::Replace if !chunk.invalid().is_empty() => {
                output.extend_from_slice(REPLACEMENT.as_bytes());
            }
            Clean::Replace => {}
        }
    }
}

/// How many of the bytes are whole: what follows is the beginning of a character, whose rest may come.
pub fn whole_characters(bytes: &[u8]) -> usize {
    for length in 1..=bytes.len().min(3) {
        let start = bytes.len() - length;
        match bytes[start] {
            0x80..0xc0 => {}
            0xc0.. => {
                let tail = str::from_utf8(&bytes[start..]);
                let breaks_off =
                    tail.is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none());
                return if breaks_off { start } else { bytes.len() };
            }
            _ => break,
        }
    }
    bytes.len()
}

fn append_valid(output: &mut Vec<u8>, text: &str, how: Clean) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    let mut at = 0;
    while let Some(offset) = bytes[at..].iter().position(|&byte| is_suspect(byte)) {
        at += offset;
        // U+0080 to U+00BF begin with 0xc2: the first half of them are controls.
        let (length, marker, value) = match bytes[at] {
            0xc2 => (2, b'u', bytes[at + 1]),
            byte => (1, b'x', byte),
        };
        if value < 0xa0 {
            output.extend_from_slice(&bytes[copied..at]);
            copied = at + length;
            match how {
                Clean::Escape => append_escape(output, marker, value),
                Clean::Replace => output.extend_from_slice(REPLACEMENT.as_bytes()),
            }
        }
        at += length;
    }
    output.extend_from_slice(&bytes[copied..]);
}

fn is_suspect(byte: u8) -> bool {
    byte < b' ' && byte != b'\t' || byte == 0x7f || byte == 0xc2
}

/// `\xNN` for a byte, `\u00NN` for a character that takes more than one.
fn append_escape(output: &mut Vec<u8>, marker: u8, value: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    output.extend_from_slice(&[b'\\', marker]);
    if marker == b'u' {
        output.extend_from_slice(b"00");
    }
    output.extend_from_slice(&[DIGITS[usize::from(value >> 4)], DIGITS[usize::from(value & 15)]]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clean(text: &[u8], how: Clean) -> String {
        let mut output = Vec::new();
        append(&mut output, text, how);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn what_terminals_act_on_is_gone() {
        for (text, escaped, replaced) in [
            (&b"plain \\ text\t"[..], "plain \\ text\t", "plain \\ text\t"),
            ("naïve 日本 £\u{a0}🦀".as_bytes(), "naïve 日本 £\u{a0}🦀", "naïve 日本 £\u{a0}🦀"),
            (b"\x1b[2J\x07\r", "\\x1b[2J\\x07\\x0d", "�[2J��"),
            (b"\0\x7f", "\\x00\\x7f", "��"),
            ("\u{9b}31m".as_bytes(), "\\u009b31m", "�31m"),
            (b"\x9b31m", "\\x9b31m", "�31m"),
            (b"a\xe6\x97", "a\\xe6\\x97", "a�"),
            (b"\xff\xfe", "\\xff\\xfe", "��"),
        ] {
            assert_eq!(clean(text, Clean::Escape), escaped);
            assert_eq!(clean(text, Clean::Replace), replaced);
        }
    }

    #[test]
    fn a_character_that_breaks_off_is_not_whole() {
        for (text, whole) in [
            (&b""[..], 0),
            (b"ab", 2),
            ("a日".as_bytes(), 4),
            (b"a\xe6", 1),
            (b"a\xe6\x97", 1),
            (b"\xf0\x9f\xa6", 0),
            ("🦀".as_bytes(), 4),
            (b"a\xff", 2),
            (b"a\x80\x80\x80\x80", 5),
            (b"\xe6\x97\xe6", 2),
            (b"\xe0\x80", 2),
        ] {
            assert_eq!(whole_characters(text), whole, "{text:?}");
        }
    }

    fn dirty() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            any::<char>().prop_map(|char| char.to_string().into_bytes()),
            (0_u8..=0xff).prop_map(|byte| vec![byte]),
            (0_u32..0xc0).prop_map(|code| char::from_u32(code).unwrap().to_string().into_bytes()),
        ];
        prop::collection::vec(part, 0..30).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn no_control_character_is_left(text in dirty()) {
            for how in [Clean::Escape, Clean::Replace] {
                let cleaned = clean(&text, how);
                prop_assert!(!cleaned.contains(|char: char| char.is_control() && char != '\t'), "{cleaned:?}");
                prop_assert_eq!(clean(cleaned.as_bytes(), how), cleaned.clone(), "once is enough");
            }
        }

        #[test]
        fn what_is_harmless_stays(text in "\\PC*") {
            prop_assert_eq!(clean(text.as_bytes(), Clean::Escape), text.clone());
            prop_assert_eq!(clean(text.as_bytes(), Clean::Replace), text);
        }

        #[test]
        fn cuts_between_characters_make_no_difference(text in dirty(), at: prop::sample::Index) {
            let cut = whole_characters(&text[..at.index(text.len() + 1)]);
            for how in [Clean::Escape, Clean::Replace] {
                prop_assert_eq!(clean(&text[..cut], how) + &clean(&text[cut..], how), clean(&text, how));
            }
        }
    }
}
