//! svlogd's standard input into lines: however the bytes are cut into chunks, the lines are the same, and no byte is lost.
#![no_main]

use libfuzzer_sys::fuzz_target;
use svlogd::split::{Replacement, Splitter};

/// A line: what filters see, what follows it, and whether its newline came.
#[derive(Debug, Default, PartialEq)]
struct Line {
    head: Vec<u8>,
    rest: Vec<u8>,
    ended: bool,
}

fuzz_target!(|input: &[u8]| {
    let [limit, replacement, cuts, text @ ..] = input else { return };
    let limit = usize::from(*limit % 64) + 1;
    let with = (*replacement % 2 == 1).then_some(*replacement);
    let splitter = || Splitter::new(limit, with.map(|with| Replacement::new(with, b"xyz")));

    let (whole, held) = split(splitter(), [text]);
    for line in &whole {
        assert!(line.head.len() <= limit && !line.head.contains(&b'\n') && !line.rest.contains(&b'\n'));
        assert!(line.rest.is_empty() || line.head.len() == limit);
    }
    assert!(held.len() < limit);
    assert_eq!((&whole, &held), (&split(splitter(), chunks(text, *cuts)).0, &held));
    assert_eq!((whole, held), split(splitter(), text.chunks(1)));

    let (plain, held) = split(Splitter::new(limit, None), chunks(text, *cuts));
    let joined =
        plain.iter().flat_map(|line| [&line.head[..], &line.rest, if line.ended { b"\n" } else { b"" }]);
    assert_eq!(joined.chain([&held[..]]).collect::<Vec<_>>().concat(), text);
});

/// `text` cut at places that depend on `seed` and the text itself.
fn chunks(text: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let length = usize::from((rest.first()?.wrapping_mul(167) ^ seed) % 32 + 1).min(rest.len());
        let (chunk, after) = rest.split_at(length);
        rest = after;
        Some(chunk)
    })
}

/// Feeds chunks as the event loop does. The second half of the result is what is held back for want of a newline.
fn split<'a>(mut splitter: Splitter, chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Line>, Vec<u8>) {
    let mut lines: Vec<Line> = Vec::new();
    let mut buffer = Vec::new();
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        let mut at = 0;
        while let Some(piece) = splitter.next(&mut buffer, at) {
            let text = &buffer[piece.text.clone()];
            match lines.last_mut() {
                Some(line) if !piece.first => line.rest.extend_from_slice(text),
                last => {
                    assert!(piece.first && last.is_none_or(|line| line.ended), "{piece:?} is out of order");
                    lines.push(Line { head: text.to_vec(), ..Line::default() });
                }
            }
            if let Some(line) = lines.last_mut() {
                line.ended = piece.last;
            }
            at = piece.with_newline().end;
        }
        buffer.drain(..at);
    }
    assert_eq!(splitter.is_mid_line(), !buffer.is_empty() || lines.last().is_some_and(|line| !line.ended));
    (lines, buffer)
}
