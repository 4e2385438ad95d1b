//! Bytes into lines, the same whatever the chunks they arrive in.

use std::ops::Range;

use memchr::{memchr, memrchr};

/// A part of the buffer that belongs to one line: mostly a whole line.
///
/// A line of `limit` bytes or more comes as a first piece of exactly `limit` bytes, any number of pieces that are
/// neither first nor last, and a last one, which may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where in the buffer the text is, without the newline.
    pub text: Range<usize>,
    /// The line begins here: this piece decides what happens to all of it.
    pub first: bool,
    /// The line ends here: the byte after the text is its newline.
    pub last: bool,
}

impl Piece {
    /// The text and, if it is here, the newline.
    pub fn with_newline(&self) -> Range<usize> {
        self.text.start..self.text.end + usize::from(self.last)
    }
}

/// Which bytes of a line are overwritten (`-r` and `-R`).
#[derive(Clone)]
pub struct Replacement(Box<[u8; 256]>);

impl Replacement {
    /// Replaces everything but printable ASCII, and the bytes in `also`, `with` a byte.
    pub fn new(with: u8, also: &[u8]) -> Self {
        let mut table = Box::new([with; 256]);
        for byte in b' '..=b'~' {
            table[usize::from(byte)] = byte;
        }
        for &byte in also {
            table[usize::from(byte)] = with;
        }
        Self(table)
    }

    fn apply(&self, text: &mut [u8]) {
        for byte in text {
            *byte = self.0[usize::from(*byte)];
        }
    }
}

/// Finds the lines in a buffer that is filled at its end and emptied at its beginning.
pub struct Splitter {
    limit: usize,
    replacement: Option<Replacement>,
    /// The first piece of a long line has been given out, its newline has not been seen.
    in_long_line: bool,
    /// So many bytes of an unfinished line were looked at, and replaced, already.
    scanned: usize,
}

impl Splitter {
    /// Lines are cut after `limit` bytes (`-l`); only what is before the cut is subject to the replacement.
    pub fn new(limit: usize, replacement: Option<Replacement>) -> Self {
        Self { limit: limit.max(1), replacement, in_long_line: false, scanned: 0 }
    }

    /// The next piece in `buffer` from `at` on. `None` if there are only fewer than `limit` bytes of an unfinished line:
    /// the next call, with more behind them, has to begin with these.
    pub fn next(&mut self, buffer: &mut [u8], at: usize) -> Option<Piece> {
        if self.in_long_line { self.next_of_long_line(buffer, at) } else { self.next_line(buffer, at) }
    }

    /// The whole lines in `buffer` from `at` on, as one range, to be followed by [`next`](Self::next): for those who do
    /// not look at lines. `None` if there is none, a long line has begun, or there is something to replace.
    pub fn next_lines(&mut self, buffer: &[u8], at: usize) -> Option<Range<usize>> {
        if self.in_long_line || self.replacement.is_some() {
            return None;
        }
        let newline = memrchr(b'\n', &buffer[at + self.scanned..])?;
        let lines = at..at + self.scanned + newline + 1;
        self.scanned = 0;
        Some(lines)
    }

    /// Whether the last byte seen was not a newline.
    pub fn is_mid_line(&self) -> bool {
        self.in_long_line || self.scanned > 0
    }

    /// The beginning of a line that was looked at is to be looked at again: it may be another one.
    pub fn forget_beginning(&mut self) {
        self.scanned = 0;
    }

    fn next_line(&mut self, buffer: &mut [u8], at: usize) -> Option<Piece> {
        let available = (buffer.len() - at).min(self.limit);
        let unseen = at + self.scanned..at + available;
        let newline = memchr(b'\n', &buffer[unseen.clone()]).map(|offset| unseen.start + offset);
        let end = newline.unwrap_or(unseen.end);
        if let Some(replacement) = &self.replacement {
            replacement.apply(&mut buffer[unseen.start..end]);
        }
        if newline.is_none() && available < self.limit {
            self.scanned = available;
            return None;
        }
        self.scanned = 0;
        self.in_long_line = newline.is_none();
        Some(Piece { text: at..end, first: true, last: newline.is_some() })
    }

    fn next_of_long_line(&mut self, buffer: &[u8], at: usize) -> Option<Piece> {
        let newline = memchr(b'\n', &buffer[at..]).map(|offset| at + offset);
        if newline.is_none() && at == buffer.len() {
            return None;
        }
        self.in_long_line = newline.is_none();
        Some(Piece { text: at..newline.unwrap_or(buffer.len()), first: false, last: newline.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A line as the directories see it: what is matched, what follows, whether its newline came.
    #[derive(Clone, Debug, Default, PartialEq)]
    struct Line {
        head: Vec<u8>,
        rest: Vec<u8>,
        ended: bool,
    }

    /// Feeds the chunks as the event loop does; returns the lines and what is held back.
    fn split(splitter: &mut Splitter, chunks: &[&[u8]]) -> (Vec<Line>, Vec<u8>) {
        let mut lines: Vec<Line> = Vec::new();
        let mut buffer = Vec::new();
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            let mut at = 0;
            while let Some(piece) = splitter.next(&mut buffer, at) {
                let text = &buffer[piece.text.clone()];
                if piece.first {
                    lines.push(Line { head: text.to_vec(), ..Line::default() });
                } else {
                    lines.last_mut().unwrap().rest.extend_from_slice(text);
                }
                lines.last_mut().unwrap().ended = piece.last;
                assert_eq!(
                    piece.last,
                    buffer.get(piece.text.end) == Some(&b'\n') && piece.with_newline().end > piece.text.end
                );
                at = piece.with_newline().end;
            }
            buffer.drain(..at);
        }
        (lines, buffer)
    }

    /// The same, said plainly.
    fn obvious(limit: usize, with: Option<u8>, input: &[u8]) -> (Vec<Line>, Vec<u8>) {
        let mut held = Vec::new();
        let mut lines = Vec::new();
        for text in input.split_inclusive(|&byte| byte == b'\n') {
            let ended = text.ends_with(b"\n");
            let text = &text[..text.len() - usize::from(ended)];
            let mut head = text[..text.len().min(limit)].to_vec();
            for byte in &mut head {
                if let Some(with) = with
                    && !(b' '..=b'~').contains(byte)
                {
                    *byte = with;
                }
            }
            if ended || head.len() == limit {
                lines.push(Line { rest: text[head.len()..].to_vec(), head, ended });
            } else {
                held = head;
            }
        }
        (lines, held)
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_a_long_one() {
        let mut splitter = Splitter::new(3, None);
        let mut buffer = *b"abc\nab\n";
        assert_eq!(splitter.next(&mut buffer, 0), Some(Piece { text: 0..3, first: true, last: false }));
        assert_eq!(splitter.next(&mut buffer, 3), Some(Piece { text: 3..3, first: false, last: true }));
        assert_eq!(splitter.next(&mut buffer, 4), Some(Piece { text: 4..6, first: true, last: true }));
        assert_eq!(splitter.next(&mut buffer, 7), None);
        assert!(!splitter.is_mid_line());
    }

    #[test]
    fn replaces_what_is_not_printable_and_the_set() {
        let mut splitter = Splitter::new(6, Some(Replacement::new(b'_', b"xyz")));
        let (lines, _) = split(&mut splitter, &[b"a\tx\xc3~ z\t\nok\n"]);
        assert_eq!(lines[0].head, b"a___~ ");
        assert_eq!(lines[0].rest, b"z\t", "the rest of a long line stays as it is");
        assert_eq!(lines[1].head, b"ok");
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(
            input in prop::collection::vec(prop_oneof![Just(b'\n'), b'a'..b'd', any::<u8>()], 0..200),
            cuts in prop::collection::vec(0_usize..200, 0..12),
            limit in 1_usize..20,
            with in prop::option::of(b'!'..b'~'),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
            cuts.extend([0, input.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
            let mut splitter = Splitter::new(limit, with.map(|with| Replacement::new(with, b"")));
            let result = split(&mut splitter, &chunks);
            prop_assert_eq!(splitter.is_mid_line(), !input.is_empty() && !input.ends_with(b"\n"));
            prop_assert_eq!(result, obvious(limit, with, &input));
        }

        #[test]
        fn lines_taken_at_once_are_the_same_bytes(
            chunks in prop::collection::vec("[ab\n]{0,8}", 0..12),
            limit in 1_usize..8,
        ) {
            let [mut one, mut many] = [(); 2].map(|()| Splitter::new(limit, None));
            let [mut from_one, mut from_many] = [(); 2].map(|()| Vec::new());
            let [mut singly, mut at_once] = [(); 2].map(|()| Vec::new());
            for chunk in &chunks {
                from_one.extend_from_slice(chunk.as_bytes());
                from_many.extend_from_slice(chunk.as_bytes());
                let mut at = 0;
                while let Some(piece) = one.next(&mut from_one, at) {
                    at = piece.with_newline().end;
                }
                singly.extend(from_one.drain(..at));

                let mut at = 0;
                if let Some(lines) = many.next_lines(&from_many, at) {
                    prop_assert_eq!((lines.start, from_many[lines.end - 1]), (at, b'\n'));
                    at = lines.end;
                }
                while let Some(piece) = many.next(&mut from_many, at) {
                    prop_assert_eq!(piece.text.start, at);
                    at = piece.with_newline().end;
                }
                at_once.extend(from_many.drain(..at));
                prop_assert_eq!((&at_once, &from_many), (&singly, &from_one));
                prop_assert_eq!(many.is_mid_line(), one.is_mid_line());
            }
        }

        #[test]
        fn nothing_is_lost(input: Vec<u8>, limit in 1_usize..50) {
            let (lines, held) = split(&mut Splitter::new(limit, None), &[&input]);
            let mut output = Vec::new();
            for line in lines {
                output.extend(line.head);
                output.extend(line.rest);
                output.extend(line.ended.then_some(b'\n'));
            }
            output.extend(held);
            prop_assert_eq!(output, input);
        }
    }
}
