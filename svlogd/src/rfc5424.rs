//! Lines as messages of the syslog protocol (RFC 5424), and how these stand one after the other in a stream (RFC 6587).
//!
//! A line is sent as the bytes it is. Nobody knows their encoding, so no byte order mark claims that it is UTF-8. There is
//! no process id, as that of svlogd would mislead, no message id and no structured data: each is `-`.

use std::io::Write;

use svlib::tai64n::Tai64n;
use time::OffsetDateTime;

/// The longest host name and the longest application name that the RFC allows.
const HOST_LIMIT: usize = 255;
const APPLICATION_LIMIT: usize = 48;

/// What a UDP datagram has room for over IPv4; over IPv6 it is a little more.
const DATAGRAM_LIMIT: usize = 65_507;

/// What stands for the rest of a message that is cut.
const DOTS: &[u8] = b"...";

/// What the messages of one sender have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    priority: u32,
    host: String,
    application: String,
}

/// How messages are told from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Each is a UDP datagram, and cut if it is too long for one.
    Datagram,
    /// Its length is before each: octet counting (RFC 6587, 3.4.1).
    Counted,
    /// A newline is after each (RFC 6587, 3.4.2): the text has none.
    Line,
}

impl Framing {
    /// A message with what goes before or after it.
    pub fn frame(self, header: &Header, time: Tai64n, text: &[u8]) -> Vec<u8> {
        let mut message = Vec::new();
        let limit = if self == Self::Datagram { DATAGRAM_LIMIT } else { usize::MAX };
        header.append(&mut message, time, text, limit);
        match self {
            Self::Datagram => message,
            Self::Counted => {
                let mut frame = format!("{} ", message.len()).into_bytes();
                frame.append(&mut message);
                frame
            }
            Self::Line => {
                message.push(b'\n');
                message
            }
        }
    }
}

impl Header {
    /// A header for `facility`, up to 23, and `severity`, up to 7. What the RFC does not allow in a name becomes `_`, what
    /// is too long is cut, and an empty one is `-`.
    pub fn new(facility: u8, severity: u8, host: &[u8], application: &[u8]) -> Self {
        Self {
            priority: u32::from(facility.min(23)) * 8 + u32::from(severity.min(7)),
            host: name(host, HOST_LIMIT),
            application: name(application, APPLICATION_LIMIT),
        }
    }

    /// Appends a message to `message`. The whole has at most `limit` bytes; a longer one is cut, not within a UTF-8
    /// character, and `...` stands for the rest.
    pub fn append(&self, message: &mut Vec<u8>, time: Tai64n, text: &[u8], limit: usize) {
        let begin = message.len();
        // Writing to a vector does not fail.
        let _ = write!(message, "<{}>1 ", self.priority);
        append_time(message, time);
        let _ = write!(message, " {} {} - - - ", self.host, self.application);
        let text_begin = message.len();
        message.extend_from_slice(text);
        if message.len() - begin > limit {
            let end = (begin + limit).saturating_sub(DOTS.len()).max(text_begin);
            message.truncate(character_start(message, text_begin, end));
            message.extend_from_slice(DOTS);
        }
    }
}

/// PRINTUSASCII of the RFC.
fn name(name: &[u8], limit: usize) -> String {
    let printable = |&byte: &u8| if byte.is_ascii_graphic() { char::from(byte) } else { '_' };
    if name.is_empty() { "-".into() } else { name.iter().take(limit).map(printable).collect() }
}

/// TIMESTAMP of the RFC, in UTC with microseconds; `-` for a clock beyond the years it has room for.
fn append_time(message: &mut Vec<u8>, time: Tai64n) {
    let date = OffsetDateTime::from_unix_timestamp(time.unix_seconds()).ok();
    let Some(date) = date.filter(|date| (0..=9999).contains(&date.year())) else {
        return message.push(b'-');
    };
    let micros = (time.nanos / 1000).min(999_999);
    let _ = write!(
        message,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{micros:06}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        date.hour(),
        date.minute(),
        date.second()
    );
}

/// `end`, or up to three bytes before it, where a UTF-8 character would be cut in two.
fn character_start(bytes: &[u8], begin: usize, end: usize) -> usize {
    let is_continuation = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    (begin.max(end.saturating_sub(3))..=end).rev().find(|&at| !is_continuation(at)).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(header: &Header, time: Tai64n, text: &[u8], limit: usize) -> Vec<u8> {
        let mut message = Vec::new();
        header.append(&mut message, time, text, limit);
        message
    }

    #[test]
    fn a_message() {
        let header = Header::new(3, 6, b"mail.example.org", b"qmail");
        let time = Tai64n::from_unix(1_134_897_230, 976_189_999);
        let expected = "<30>1 2005-12-18T09:13:50.976189Z mail.example.org qmail - - - status: local 0/10";
        let text = b"status: local 0/10";
        assert_eq!(message(&header, time, text, 1000), expected.as_bytes());
        for (framing, expected) in [
            (Framing::Datagram, expected.to_owned()),
            (Framing::Counted, format!("{} {expected}", expected.len())),
            (Framing::Line, format!("{expected}\n")),
        ] {
            assert_eq!(framing.frame(&header, time, text), expected.as_bytes());
        }
        assert_eq!(Framing::Datagram.frame(&header, time, &[b'x'; 70_000]).len(), DATAGRAM_LIMIT);
    }

    #[test]
    fn names_are_what_the_grammar_allows() {
        let header = Header::new(23, 7, b"", "a b\u{e9}\n".as_bytes());
        assert_eq!(
            message(&header, Tai64n::EPOCH, b"", 1000),
            b"<191>1 1970-01-01T00:00:00.000000Z - a_b___ - - - "
        );
        let long = Header::new(0, 0, &[b'h'; 300], &[b'a'; 300]);
        assert_eq!((long.host.len(), long.application.len()), (255, 48));
    }

    #[test]
    fn a_cut_does_not_split_a_character() {
        let header = Header::new(3, 6, b"h", b"a");
        let text = "\u{e4}".repeat(100);
        let head = message(&header, Tai64n::EPOCH, b"", 1000).len();
        for limit in head + 10..head + 14 {
            let cut = String::from_utf8(message(&header, Tai64n::EPOCH, text.as_bytes(), limit)).unwrap();
            assert!(cut.len() <= limit && cut.len() + 2 > limit && cut.ends_with("\u{e4}..."), "{cut}");
        }
    }

    #[test]
    fn a_broken_clock_has_no_time() {
        for seconds in [i64::MIN, -100_000_000_000_000, i64::MAX] {
            let time = Tai64n::from_unix(seconds, u32::MAX);
            assert!(message(&Header::new(1, 1, b"h", b"a"), time, b"", 99).starts_with(b"<9>1 - h a - - - "));
        }
    }

    /// The priority, then time, host and application, then the text.
    type Parsed = (u32, [Vec<u8>; 3], Vec<u8>);

    /// A receiver by the grammar in section 6 of the RFC.
    fn parse(message: &[u8]) -> Option<Parsed> {
        let mut fields = message.splitn(7, |&byte| byte == b' ');
        let first = fields.next()?.strip_prefix(b"<")?.strip_suffix(b">1")?;
        let priority: u32 = str::from_utf8(first).ok()?.parse().ok()?;
        let names: Vec<Vec<u8>> = fields.by_ref().take(3).map(<[u8]>::to_vec).collect();
        let limits = [27, 255, 48];
        let graphic = |name: &Vec<u8>| !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
        if names.len() != 3 || !names.iter().all(graphic) {
            return None;
        }
        if names.iter().zip(limits).any(|(name, limit)| name.len() > limit) {
            return None;
        }
        for _ in 0..2 {
            if fields.next()? != b"-" {
                return None;
            }
        }
        let text = fields.next()?.strip_prefix(b"- ")?.to_vec();
        Some((priority, names.try_into().ok()?, text))
    }

    proptest! {
        #[test]
        fn what_is_sent_is_read_back(
            facility in 0..24_u8, severity in 0..8_u8, host in any::<Vec<u8>>(), application in any::<Vec<u8>>(),
            seconds in any::<i64>(), nanos in any::<u32>(), text in any::<Vec<u8>>(),
        ) {
            let header = Header::new(facility, severity, &host, &application);
            let sent = message(&header, Tai64n::from_unix(seconds, nanos), &text, usize::MAX);
            let (priority, [time, read_host, read_application], read) = parse(&sent).unwrap();
            prop_assert_eq!(priority, u32::from(facility) * 8 + u32::from(severity));
            prop_assert!(time == b"-" || time.len() == 27 && time.ends_with(b"Z"));
            prop_assert_eq!(read_host, header.host.as_bytes());
            prop_assert_eq!(read_application, header.application.as_bytes());
            prop_assert_eq!(&read, &text);
        }

        #[test]
        fn a_limit_is_kept(text in any::<Vec<u8>>(), extra in 3..200_usize) {
            let header = Header::new(3, 6, b"h", b"a");
            let head = message(&header, Tai64n::EPOCH, b"", usize::MAX).len();
            let sent = message(&header, Tai64n::EPOCH, &text, head + extra);
            prop_assert!(sent.len() <= head + extra);
            prop_assert!(parse(&sent).is_some());
            let whole = message(&header, Tai64n::EPOCH, &text, usize::MAX);
            prop_assert_eq!(&sent[..], if text.len() <= extra { &whole[..] } else { &sent[..] });
            prop_assert!(text.len() <= extra || sent.ends_with(DOTS));
        }

        #[test]
        fn counted_messages_are_told_apart(texts in prop::collection::vec(any::<Vec<u8>>(), 0..5)) {
            let mut stream = Vec::new();
            for text in &texts {
                stream.append(&mut Framing::Counted.frame(&Header::new(3, 6, b"h", b"a"), Tai64n::EPOCH, text));
            }
            let mut rest = &stream[..];
            let mut read = Vec::new();
            while !rest.is_empty() {
                let blank = rest.iter().position(|&byte| byte == b' ').unwrap();
                let length: usize = str::from_utf8(&rest[..blank]).unwrap().parse().unwrap();
                read.push(parse(&rest[blank + 1..][..length]).unwrap().2);
                rest = &rest[blank + 1 + length..];
            }
            prop_assert_eq!(read, texts);
        }
    }
}
