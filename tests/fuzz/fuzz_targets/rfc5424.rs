//! Forwarded lines: a receiver by the grammar of RFC 5424, section 6, reads back whatever was sent, one message after the
//! other.
#![no_main]

use std::ops::Range;

use libfuzzer_sys::fuzz_target;
use svlib::tai64n::Tai64n;
use svlogd::rfc5424::{Framing, Header};

/// The years 0 to 9999, in seconds since 1970.
const YEARS: Range<i64> = -62_167_219_200..253_402_300_800;

fuzz_target!(|input: &[u8]| {
    let Some((&[facility, severity, host_length, name_length, ref time @ ..], rest)) =
        input.split_first_chunk::<16>()
    else {
        return;
    };
    let (host, rest) = rest.split_at(usize::from(host_length).min(rest.len()));
    let (name, text) = rest.split_at(usize::from(name_length).min(rest.len()));
    let (seconds, nanos) = time.split_at(8);
    let seconds = i64::from_be_bytes(seconds.try_into().unwrap());
    let nanos = u32::from_be_bytes(nanos.try_into().unwrap());
    // Half of the times are ones that there are.
    let seconds = if seconds % 2 == 0 { seconds } else { seconds >> 25 };
    let (facility, severity) = (facility % 24, severity % 8);
    let header = Header::new(facility, severity, host, name);
    let time = Tai64n::from_unix(seconds, nanos);

    let datagram = Framing::Datagram.frame(&header, time, text);
    assert!(datagram.len() <= 65_507);
    let message = Message::read(&datagram);
    assert_eq!(message.priority, u32::from(facility) * 8 + u32::from(severity));
    let micros = (nanos / 1000).min(999_999);
    assert_eq!(message.time, YEARS.contains(&seconds).then_some((seconds, micros)));
    assert_eq!((message.host, message.name), (&*sent_name(host, 255), &*sent_name(name, 48)));
    match message.text.strip_suffix(b"...") {
        Some(begin) if message.text != text => assert!(text.starts_with(begin) && datagram.len() > 65_500),
        _ => assert_eq!(message.text, text),
    }

    let mut stream = Vec::new();
    for length in [text.len(), 0, text.len() / 2] {
        stream.extend(Framing::Counted.frame(&header, time, &text[..length]));
    }
    let mut rest = &stream[..];
    for length in [text.len(), 0, text.len() / 2] {
        let blank = rest.iter().position(|&byte| byte == b' ').unwrap();
        let (count, after) = (number(&rest[..blank]), &rest[blank + 1..]);
        let (counted, after) = after.split_at(usize::try_from(count).unwrap());
        assert_eq!(Message::read(counted).text, &text[..length]);
        rest = after;
    }
    assert!(rest.is_empty());
});

struct Message<'a> {
    priority: u32,
    /// Seconds since 1970, and microseconds; `None` for the time of a sender without a clock.
    time: Option<(i64, u32)>,
    host: &'a [u8],
    name: &'a [u8],
    text: &'a [u8],
}

impl<'a> Message<'a> {
    fn read(message: &'a [u8]) -> Self {
        let rest = message.strip_prefix(b"<").expect("PRI");
        let end = rest.iter().position(|&byte| byte == b'>').expect("PRI");
        let priority = number(&rest[..end]);
        assert!(priority <= 191);
        let mut fields = rest[end + 1..].splitn(8, |&byte| byte == b' ');
        let mut next = || fields.next().expect("a field");
        assert_eq!(next(), b"1", "VERSION");
        let time = match next() {
            b"-" => None,
            time => Some(timestamp(time)),
        };
        let (host, name) = (next(), next());
        for (field, limit) in [(host, 255), (name, 48)] {
            assert!((1..=limit).contains(&field.len()) && field.iter().all(u8::is_ascii_graphic));
        }
        assert_eq!([next(), next(), next()], [b"-"; 3], "PROCID, MSGID, STRUCTURED-DATA");
        Self { priority, time, host, name, text: next() }
    }
}

/// Without a leading zero, as PRI and MSG-LEN are.
fn number(digits: &[u8]) -> u32 {
    let digits = str::from_utf8(digits).unwrap();
    assert!(digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0')));
    digits.parse().unwrap()
}

/// `YYYY-MM-DDThh:mm:ss.uuuuuuZ`, in seconds since 1970, and microseconds.
fn timestamp(time: &[u8]) -> (i64, u32) {
    let time = str::from_utf8(time).unwrap();
    assert_eq!(time.len(), 27);
    let shape: String = time.chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000000Z");
    let [year, month, day, hour, minute, second] =
        [0..4, 5..7, 8..10, 11..13, 14..16, 17..19].map(|range| time[range].parse::<i64>().unwrap());
    assert!(hour < 24 && minute < 60 && second < 60);
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let index = usize::try_from(month - 1).unwrap();
    assert!((1..=months[index]).contains(&day));
    let leap_days = |year: i64| year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let years = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    let days = years + months[..index].iter().sum::<i64>() + day - 1;
    ((days * 24 + hour) * 3600 + minute * 60 + second, time[20..26].parse().unwrap())
}

/// What a name is sent as.
fn sent_name(name: &[u8], limit: usize) -> Vec<u8> {
    match &name[..name.len().min(limit)] {
        [] => b"-".to_vec(),
        name => name.iter().map(|byte| if byte.is_ascii_graphic() { *byte } else { b'_' }).collect(),
    }
}
