//! The stamp in front of a line (`-t`, `-tt`, `-ttt`, and the `format` line of the config).

use svlib::tai64n::Tai64n;
use time::OffsetDateTime;

pub use crate::config::setting::Precision;

/// The bytes that the stamp of an option takes, with the blank after it.
pub const STAMP_LENGTH: usize = 26;

/// What the longest stamp takes: RFC 3339 with nanoseconds and an offset.
pub const LONGEST_STAMP: usize = "YYYY-MM-DDTHH:MM:SS.xxxxxxxxx+HH:MM ".len();

/// The local time at some seconds of Unix time: so many seconds ahead of UTC.
pub type OffsetAt = fn(i64) -> i32;

/// How the time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `-t`: `@` and 24 hexadecimal digits, see tai64n(8).
    Tai64n,
    /// `-tt`: `YYYY-MM-DD_HH:MM:SS.xxxxx`, UTC.
    Calendar,
    /// `-ttt`: `YYYY-MM-DDTHH:MM:SS.xxxxx`, UTC.
    Iso,
    /// `format rfc3339`: `YYYY-MM-DDTHH:MM:SS.xxxxxxZ`, with three, six or nine digits.
    Rfc3339(Precision),
    /// `format rfc3339-local`: the same in local time, with its offset, such as `+01:00`, at the end.
    Rfc3339Local(Precision),
}

/// Writes stamps. The text is kept: most lines share the second, and in a burst even the fraction, with the line before.
pub struct Stamper {
    style: Style,
    offset_at: OffsetAt,
    second: u64,
    /// What the text has after the second: so many of the units that the style counts in.
    fraction: u32,
    text: [u8; LONGEST_STAMP],
    /// So much of the text is the stamp, and the blank.
    length: usize,
}

impl Stamper {
    /// A stamper of one style; `offset_at` knows the local time.
    pub fn new(style: Style, offset_at: OffsetAt) -> Self {
        let (second, text) = (Tai64n::EPOCH.seconds, [b' '; LONGEST_STAMP]);
        let mut stamper = Self { style, offset_at, second, text, length: STAMP_LENGTH, fraction: 0 };
        stamper.write_second(Tai64n::EPOCH);
        stamper.write_fraction(0);
        stamper
    }

    /// The stamp of a time and a blank. Fractions are truncated.
    pub fn stamp(&mut self, time: Tai64n) -> &[u8] {
        if time.seconds != self.second {
            self.write_second(time);
            self.second = time.seconds;
        }
        let fraction = match self.style {
            Style::Tai64n => time.nanos,
            Style::Calendar | Style::Iso => time.nanos / 10_000,
            Style::Rfc3339(precision) | Style::Rfc3339Local(precision) => match precision {
                Precision::Ms => time.nanos / 1_000_000,
                Precision::Us => time.nanos / 1000,
                Precision::Ns => time.nanos,
            },
        };
        if fraction != self.fraction {
            self.write_fraction(fraction);
            self.fraction = fraction;
        }
        &self.text[..self.length]
    }

    fn write_fraction(&mut self, fraction: u32) {
        match self.style {
            Style::Tai64n => write_hexadecimal(&mut self.text[17..25], fraction),
            Style::Calendar | Style::Iso => write_decimal(&mut self.text[20..25], fraction),
            Style::Rfc3339(precision) | Style::Rfc3339Local(precision) => {
                write_decimal(&mut self.text[20..20 + digits(precision)], fraction);
            }
        }
    }

    fn write_second(&mut self, time: Tai64n) {
        match self.style {
            Style::Tai64n => self.text[..25].copy_from_slice(&time.label()),
            Style::Calendar => self.write_date(time.unix_seconds(), b'_'),
            Style::Iso => self.write_date(time.unix_seconds(), b'T'),
            Style::Rfc3339(precision) => {
                self.write_date(time.unix_seconds(), b'T');
                self.write_zone(precision, b"Z ");
            }
            Style::Rfc3339Local(precision) => {
                let minutes = (self.offset_at)(time.unix_seconds()).div_euclid(60);
                // The offset has no seconds, so the time has to go by its minutes too.
                self.write_date(time.unix_seconds().saturating_add(i64::from(minutes) * 60), b'T');
                let mut zone = *b"+00:00 ";
                zone[0] = if minutes < 0 { b'-' } else { b'+' };
                write_decimal(&mut zone[1..3], minutes.unsigned_abs() / 60);
                write_decimal(&mut zone[4..6], minutes.unsigned_abs() % 60);
                self.write_zone(precision, &zone);
            }
        }
    }

    fn write_date(&mut self, seconds: i64, separator: u8) {
        // Beyond the year 9999 there is no such stamp: a clock that broken is shown as 1970.
        let date = OffsetDateTime::from_unix_timestamp(seconds)
            .ok()
            .filter(|date| date.year() >= 0)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        self.text[..20].copy_from_slice(b"0000-00-00_00:00:00.");
        self.text[10] = separator;
        write_decimal(&mut self.text[0..4], date.year().unsigned_abs());
        write_decimal(&mut self.text[5..7], u32::from(u8::from(date.month())));
        write_decimal(&mut self.text[8..10], u32::from(date.day()));
        write_decimal(&mut self.text[11..13], u32::from(date.hour()));
        write_decimal(&mut self.text[14..16], u32::from(date.minute()));
        write_decimal(&mut self.text[17..19], u32::from(date.second()));
    }

    fn write_zone(&mut self, precision: Precision, zone: &[u8]) {
        let digits = digits(precision);
        self.length = 20 + digits + zone.len();
        self.text[20 + digits..self.length].copy_from_slice(zone);
    }
}

fn digits(precision: Precision) -> usize {
    match precision {
        Precision::Ms => 3,
        Precision::Us => 6,
        Precision::Ns => 9,
    }
}

/// The lowest digits of `value`, as many as there is room for.
fn write_decimal(digits: &mut [u8], mut value: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789"[(value % 10) as usize];
        value /= 10;
    }
}

fn write_hexadecimal(digits: &mut [u8], mut value: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value % 16) as usize];
        value /= 16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// India's, until the middle of the hour 1000; then New York's winter time.
    fn offset_at(seconds: i64) -> i32 {
        if seconds < 1000 * 3600 + 1800 { 19_800 } else { -18_000 }
    }

    const STYLES: [Style; 6] = [
        Style::Tai64n,
        Style::Calendar,
        Style::Iso,
        Style::Rfc3339(Precision::Ms),
        Style::Rfc3339(Precision::Ns),
        Style::Rfc3339Local(Precision::Us),
    ];

    fn stamp(style: Style, seconds: i64, nanos: u32) -> String {
        String::from_utf8(Stamper::new(style, offset_at).stamp(Tai64n::from_unix(seconds, nanos)).to_vec())
            .unwrap()
    }

    #[test]
    fn the_three_styles() {
        // 2005-12-18 09:13:50 UTC, the time in the man page.
        let seconds = 1_134_897_230;
        assert_eq!(stamp(Style::Tai64n, seconds, 976_189_999), "@4000000043a528583a2f7a2f ");
        assert_eq!(stamp(Style::Calendar, seconds, 976_189_999), "2005-12-18_09:13:50.97618 ");
        assert_eq!(stamp(Style::Iso, seconds, 976_189_999), "2005-12-18T09:13:50.97618 ");
    }

    #[test]
    fn the_precision_is_in_digits() {
        let seconds = 1_134_897_230;
        for (precision, utc, local) in [
            (Precision::Ms, "2005-12-18T09:13:50.006Z ", "2005-12-18T04:13:50.006-05:00 "),
            (Precision::Us, "2005-12-18T09:13:50.006189Z ", "2005-12-18T04:13:50.006189-05:00 "),
            (Precision::Ns, "2005-12-18T09:13:50.006189999Z ", "2005-12-18T04:13:50.006189999-05:00 "),
        ] {
            assert_eq!(stamp(Style::Rfc3339(precision), seconds, 6_189_999), utc);
            assert_eq!(stamp(Style::Rfc3339Local(precision), seconds, 6_189_999), local);
        }
    }

    #[test]
    fn the_offset_is_that_of_the_second() {
        let mut stamper = Stamper::new(Style::Rfc3339Local(Precision::Ms), offset_at);
        let mut stamp =
            |seconds| str::from_utf8(stamper.stamp(Tai64n::from_unix(seconds, 0))).unwrap().to_owned();
        assert_eq!(stamp(0), "1970-01-01T05:30:00.000+05:30 ");
        assert_eq!(stamp(1000 * 3600 + 1799), "1970-02-11T21:59:59.000+05:30 ");
        assert_eq!(stamp(1000 * 3600 + 1800), "1970-02-11T11:30:00.000-05:00 ");
        // Amsterdam, before 1937: 19 minutes and 32 seconds.
        for (offset, stamp) in
            [(1172, "1970-01-01T00:19:00.000+00:19 "), (-1172, "1969-12-31T23:40:00.000-00:20 ")]
        {
            let offset_at: OffsetAt = if offset > 0 { |_| 1172 } else { |_| -1172 };
            let mut stamper = Stamper::new(Style::Rfc3339Local(Precision::Ms), offset_at);
            assert_eq!(stamper.stamp(Tai64n::EPOCH), stamp.as_bytes());
        }
    }

    fn tai64n(seconds: i64, nanos: u32) -> String {
        format!("@{:016x}{nanos:08x} ", (1_i64 << 62) + 10 + seconds)
    }

    #[test]
    fn a_leap_day_and_the_end_of_a_year() {
        assert_eq!(stamp(Style::Iso, 951_782_400, 0), "2000-02-29T00:00:00.00000 ");
        assert_eq!(stamp(Style::Iso, 1_735_689_599, 999_999_999), "2024-12-31T23:59:59.99999 ");
    }

    #[test]
    fn a_broken_clock_is_no_reason_to_stop() {
        for seconds in [i64::MIN, -1, i64::MAX] {
            for style in STYLES {
                assert_eq!(stamp(style, seconds, u32::MAX).len(), stamp(style, 0, 0).len());
            }
        }
    }

    proptest! {
        #[test]
        fn a_kept_text_makes_no_difference(
            times in prop::collection::vec((0_i64..3, prop_oneof![0..20_000_u32, 0..1_000_000_000_u32]), 1..20),
        ) {
            for style in STYLES {
                let mut stamper = Stamper::new(style, offset_at);
                for &(seconds, nanos) in &times {
                    let kept = stamper.stamp(Tai64n::from_unix(seconds, nanos)).to_vec();
                    prop_assert_eq!(kept, Stamper::new(style, offset_at).stamp(Tai64n::from_unix(seconds, nanos)).to_vec());
                }
            }
        }

        #[test]
        fn stamps_sort_as_times(a in (0_i64..200_000_000_000, 0..1_000_000_000_u32), b in (0_i64..200_000_000_000, 0..1_000_000_000_u32)) {
            for style in STYLES.into_iter().filter(|style| !matches!(style, Style::Rfc3339Local(..))) {
                if a < b {
                    prop_assert!(stamp(style, a.0, a.1) <= stamp(style, b.0, b.1));
                }
            }
        }

        #[test]
        fn tai64n_is_the_label(seconds in 0_i64..1 << 40, nanos in 0..1_000_000_000_u32) {
            prop_assert_eq!(stamp(Style::Tai64n, seconds, nanos), tai64n(seconds, nanos));
        }
    }
}
