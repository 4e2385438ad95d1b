//! Lines that a directory does not get as they came: as JSON, cleaned, or both.

use crate::clean::{self, Clean};
use crate::json::{self, Part};

/// A part of a JSON line holds a character of any length.
const LEAST_LIMIT: usize = 4;

/// What was read of a line.
#[derive(Clone, Copy)]
pub struct Fragment<'a> {
    /// The bytes, without the newline.
    pub text: &'a [u8],
    /// The line begins with them.
    pub first: bool,
    /// The line ends with them.
    pub last: bool,
}

/// Rewrites the lines of one directory.
pub struct Rewriter {
    clean: Option<Clean>,
    /// Makes JSON, of this service: the inside of a JSON string.
    service: Option<Vec<u8>>,
    prefix: Vec<u8>,
    /// So much of a line goes into one JSON object.
    limit: usize,
    line: Line,
    cleaned: Vec<u8>,
}

/// The line that is being read.
#[derive(Debug, Default)]
pub struct Line {
    stamp: Vec<u8>,
    /// The last bytes of it, which are not written yet.
    held: Vec<u8>,
    /// So many parts of it are written.
    parts: u64,
}

impl Rewriter {
    /// A rewriter that makes JSON if it is given the name of a `service`. Objects hold up to `line_limit` bytes.
    pub fn new(clean: Option<Clean>, service: Option<&[u8]>, prefix: Vec<u8>, line_limit: usize) -> Self {
        let service = service.map(|name| {
            let mut text = Vec::new();
            json::append_string(&mut text, name);
            text
        });
        // The prefix is no reason to cut a line.
        let limit = line_limit.max(LEAST_LIMIT).saturating_add(prefix.len());
        Self { clean, service, prefix, limit, line: Line::default(), cleaned: Vec::new() }
    }

    /// Goes on with a line that another rewriter has broken off.
    pub fn go_on(&mut self, line: Line) {
        self.line = line;
    }

    /// Appends to `output` what can be written of a line. `stamp` is its time and a blank, or empty.
    pub fn append(&mut self, output: &mut Vec<u8>, stamp: &[u8], fragment: Fragment<'_>) {
        let Fragment { text, first, last } = fragment;
        if first {
            self.line.parts = 0;
            self.line.held.clear();
            self.line.held.extend_from_slice(&self.prefix);
        }
        if first && self.service.is_none() {
            output.extend_from_slice(stamp);
        }
        if !first && self.service.is_some() && self.line.stamp.is_empty() {
            // Its beginning was written as it came, before the config was read again.
            output.push(b'\n');
        }
        if first || self.line.stamp.is_empty() {
            self.line.stamp.clear();
            self.line.stamp.extend_from_slice(stamp);
        }
        if first && last && self.line.held.is_empty() && text.len() <= self.limit {
            self.append_part(output, text, Part::Whole);
            return;
        }
        let mut held = std::mem::take(&mut self.line.held);
        if self.service.is_some() {
            for some in text.chunks(self.limit) {
                held.extend_from_slice(some);
                // A line of exactly the limit is a whole one.
                while held.len() > self.limit {
                    let cut = clean::whole_characters(&held[..self.limit]);
                    self.line.parts += 1;
                    self.append_part(output, &held[..cut], Part::More(self.line.parts));
                    held.drain(..cut);
                }
            }
        } else {
            held.extend_from_slice(text);
            if !last {
                let cut = clean::whole_characters(&held);
                self.append_part(output, &held[..cut], Part::More(0));
                held.drain(..cut);
            }
        }
        if last {
            let part = if self.line.parts == 0 { Part::Whole } else { Part::Last(self.line.parts + 1) };
            self.append_part(output, &held, part);
            held.clear();
        }
        self.line.held = held;
    }

    /// A line of its own, whole; no other may have begun.
    pub fn message(&mut self, stamp: &[u8], text: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        if self.service.is_none() {
            output.extend_from_slice(stamp);
        }
        self.line.stamp.clear();
        self.line.stamp.extend_from_slice(stamp);
        let text = [&self.prefix, text].concat();
        self.append_part(&mut output, &text, Part::Whole);
        output
    }

    /// Appends what is held of a line that has not ended, and returns what its rest is to [`go_on`](Self::go_on) with.
    pub fn break_off(mut self, output: &mut Vec<u8>) -> Line {
        let held = std::mem::take(&mut self.line.held);
        if !held.is_empty() {
            self.line.parts += 1;
            self.append_part(output, &held, Part::More(self.line.parts));
        }
        if self.service.is_some() { self.line } else { Line::default() }
    }

    fn append_part(&mut self, output: &mut Vec<u8>, text: &[u8], part: Part) {
        let Some(service) = &self.service else {
            match self.clean {
                Some(how) => clean::append(output, text, how),
                None => output.extend_from_slice(text),
            }
            if !matches!(part, Part::More(_)) {
                output.push(b'\n');
            }
            return;
        };
        let message = match self.clean {
            Some(how) => {
                self.cleaned.clear();
                clean::append(&mut self.cleaned, text, how);
                &self.cleaned
            }
            None => text,
        };
        json::append_object(output, self.line.stamp.trim_ascii_end(), service, message, part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use serde_json::Value;

    const STAMP: &[u8] = b"1970-01-01T00:00:00.000Z ";

    /// What is written of a line that comes in these pieces.
    fn rewrite(rewriter: &mut Rewriter, pieces: &[&[u8]]) -> Vec<u8> {
        let mut output = Vec::new();
        for (index, text) in pieces.iter().enumerate() {
            let fragment = Fragment { text, first: index == 0, last: index + 1 == pieces.len() };
            rewriter.append(&mut output, STAMP, fragment);
        }
        output
    }

    fn to_json(clean: Option<Clean>, prefix: &str, limit: usize) -> Rewriter {
        Rewriter::new(clean, Some(b"web"), prefix.into(), limit)
    }

    #[test]
    fn a_line_is_an_object() {
        let mut rewriter = to_json(None, "app: ", 10);
        let expected = r#"{"time":"1970-01-01T00:00:00.000Z","service":"web","message":"app: ten bytes."}"#;
        for pieces in [&[&b"ten bytes."[..]][..], &[b"ten bytes.", b""]] {
            assert_eq!(rewrite(&mut rewriter, pieces), [expected.as_bytes(), b"\n"].concat());
        }
    }

    #[test]
    fn a_cleaned_line_keeps_its_stamp() {
        let mut rewriter = Rewriter::new(Some(Clean::Escape), None, b"app: ".to_vec(), 10);
        let output = rewrite(&mut rewriter, &[b"\x1b[31m \xe6", b"\x97", b"\xa5 \xe6\x97"]);
        let expected = "1970-01-01T00:00:00.000Z app: \\x1b[31m 日 \\xe6\\x97\n";
        assert_eq!(String::from_utf8(output).unwrap(), expected);
        assert_eq!(rewrite(&mut rewriter, &[b"next"]), b"1970-01-01T00:00:00.000Z app: next\n");
    }

    #[test]
    fn a_line_that_is_broken_off_goes_on() {
        let mut output = Vec::new();
        let mut rewriter = to_json(None, "", 10);
        rewriter.append(&mut output, STAMP, Fragment { text: b"0123456789abcde", first: true, last: false });
        let line = rewriter.break_off(&mut output);
        let mut rewriter = to_json(None, "ignored", 10);
        rewriter.go_on(line);
        rewriter.append(&mut output, b"later ", Fragment { text: b"end", first: false, last: true });
        let expected = r#"
{"time":"1970-01-01T00:00:00.000Z","service":"web","message":"0123456789","part":1,"more":true}
{"time":"1970-01-01T00:00:00.000Z","service":"web","message":"abcde","part":2,"more":true}
{"time":"1970-01-01T00:00:00.000Z","service":"web","message":"end","part":3}
"#;
        assert_eq!(format!("\n{}", String::from_utf8(output).unwrap()), expected);
    }

    #[test]
    fn an_object_is_a_line_of_its_own_even_if_the_line_did_not_begin_as_one() {
        let mut output = b"plain ".to_vec();
        let mut rewriter = Rewriter::new(Some(Clean::Escape), None, Vec::new(), 10);
        rewriter.append(&mut output, STAMP, Fragment { text: b"begin\xe6", first: true, last: false });
        let line = rewriter.break_off(&mut output);
        let mut rewriter = to_json(None, "ignored", 10);
        rewriter.go_on(line);
        for (text, last) in [(&b"mid"[..], false), (b"end", true)] {
            rewriter.append(&mut output, STAMP, Fragment { text, first: false, last });
        }
        rewriter.append(&mut output, STAMP, Fragment { text: b"next", first: true, last: true });
        let expected = r#"plain 1970-01-01T00:00:00.000Z begin\xe6
{"time":"1970-01-01T00:00:00.000Z","service":"web","message":"midend"}
{"time":"1970-01-01T00:00:00.000Z","service":"web","message":"ignorednext"}
"#;
        assert_eq!(String::from_utf8(output).unwrap(), expected);
    }

    /// Text, and what is none, cut anywhere.
    fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let text = prop_oneof![
            "\\PC{0,40}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..80),
            prop::collection::vec(prop_oneof![Just("日"), Just("\u{9b}"), Just("a")], 0..20)
                .prop_map(|parts| parts.concat().into_bytes()),
        ];
        (text, prop::collection::vec(any::<prop::sample::Index>(), 0..6)).prop_map(|(text, cuts)| {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            cuts.windows(2).map(|pair| text[pair[0]..pair[1]].to_vec()).collect()
        })
    }

    proptest! {
        #[test]
        fn parts_make_the_line_whatever_the_pieces(pieces in pieces(), limit in 1_usize..20, prefix in "[é(]{0,2}") {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let text = pieces.concat();
            let mut rewriter = to_json(None, &prefix, limit);
            let output = rewrite(&mut rewriter, &pieces);
            prop_assert_eq!(&output, &rewrite(&mut rewriter, &[&text]));
            let objects: Vec<Value> =
                str::from_utf8(&output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let mut bytes = Vec::new();
            for (index, object) in objects.iter().enumerate() {
                let message = object["message"].as_str().unwrap();
                let exact = object.get("message_base64").map(|exact| STANDARD.decode(exact.as_str().unwrap()).unwrap());
                let part = exact.unwrap_or_else(|| message.as_bytes().to_vec());
                prop_assert!(part.len() <= limit.max(LEAST_LIMIT) + prefix.len());
                prop_assert_eq!(object.get("message_base64").is_some(), str::from_utf8(&part).is_err());
                bytes.extend(part);
                prop_assert_eq!(object.get("more").is_some(), index + 1 < objects.len());
                prop_assert_eq!(object.get("part").and_then(Value::as_u64), (objects.len() > 1).then_some(index as u64 + 1));
            }
            prop_assert_eq!(&bytes, &[prefix.as_bytes(), &text].concat());
            // Characters are whole: only what was none before needs more than a string.
            prop_assert!(str::from_utf8(&text).is_err() || objects.iter().all(|object| object.get("message_base64").is_none()));
        }

        #[test]
        fn a_cleaned_line_is_the_same_whatever_the_pieces(pieces in pieces(), limit in 1_usize..20, prefix in "[é\u{1b}]{0,2}") {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            for how in [Clean::Escape, Clean::Replace] {
                let mut rewriter = Rewriter::new(Some(how), None, prefix.clone().into_bytes(), limit);
                let mut expected = STAMP.to_vec();
                clean::append(&mut expected, &[prefix.as_bytes(), &pieces.concat()].concat(), how);
                expected.push(b'\n');
                prop_assert_eq!(rewrite(&mut rewriter, &pieces), expected);
            }
        }
    }
}
