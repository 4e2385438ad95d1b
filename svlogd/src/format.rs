//! The stamp in front of a line (`-t`, `-tt`, `-ttt`).

use svlib::tai64n::Tai64n;
use time::OffsetDateTime;

/// The bytes a stamp takes, with the blank after it.
pub const STAMP_LENGTH: usize = 26;

/// How the time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `-t`: `@` and 24 hexadecimal digits, see tai64n(8).
    Tai64n,
    /// `-tt`: `YYYY-MM-DD_HH:MM:SS.xxxxx`, UTC.
    Calendar,
    /// `-ttt`: `YYYY-MM-DDTHH:MM:SS.xxxxx`, UTC.
    Iso,
}

/// Writes stamps; the text of the second is kept, as most lines share it with the line before.
pub struct Stamper {
    style: Style,
    second: u64,
    text: [u8; STAMP_LENGTH],
}

impl Stamper {
    /// A stamper of one style.
    pub fn new(style: Style) -> Self {
        let mut stamper = Self { style, second: Tai64n::EPOCH.seconds, text: [b' '; STAMP_LENGTH] };
        stamper.write_second(Tai64n::EPOCH);
        stamper
    }

    /// The stamp of a time and a blank. Fractions are truncated.
    pub fn stamp(&mut self, time: Tai64n) -> &[u8; STAMP_LENGTH] {
        if time.seconds != self.second {
            self.write_second(time);
            self.second = time.seconds;
        }
        match self.style {
            Style::Tai64n => write_hexadecimal(&mut self.text[17..25], time.nanos),
            Style::Calendar | Style::Iso => write_decimal(&mut self.text[20..25], time.nanos / 10_000),
        }
        &self.text
    }

    fn write_second(&mut self, time: Tai64n) {
        let separator = match self.style {
            Style::Tai64n => {
                self.text[..25].copy_from_slice(&time.label());
                return;
            }
            Style::Calendar => b'_',
            Style::Iso => b'T',
        };
        // Beyond the year 9999 there is no such stamp: a clock that broken is shown as 1970.
        let date =
            OffsetDateTime::from_unix_timestamp(time.unix_seconds()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        self.text[..25].copy_from_slice(b"0000-00-00_00:00:00.00000");
        self.text[10] = separator;
        write_decimal(&mut self.text[0..4], date.year().unsigned_abs());
        write_decimal(&mut self.text[5..7], u32::from(u8::from(date.month())));
        write_decimal(&mut self.text[8..10], u32::from(date.day()));
        write_decimal(&mut self.text[11..13], u32::from(date.hour()));
        write_decimal(&mut self.text[14..16], u32::from(date.minute()));
        write_decimal(&mut self.text[17..19], u32::from(date.second()));
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

    fn stamp(style: Style, seconds: i64, nanos: u32) -> String {
        String::from_utf8(Stamper::new(style).stamp(Tai64n::from_unix(seconds, nanos)).to_vec()).unwrap()
    }

    #[test]
    fn the_three_styles() {
        // 2005-12-18 09:13:50 UTC, the time in the man page.
        let seconds = 1_134_897_230;
        assert_eq!(stamp(Style::Tai64n, seconds, 976_189_999), "@4000000043a528583a2f7a2f ");
        assert_eq!(stamp(Style::Calendar, seconds, 976_189_999), "2005-12-18_09:13:50.97618 ");
        assert_eq!(stamp(Style::Iso, seconds, 976_189_999), "2005-12-18T09:13:50.97618 ");
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
            for style in [Style::Tai64n, Style::Calendar, Style::Iso] {
                assert_eq!(stamp(style, seconds, u32::MAX).len(), STAMP_LENGTH);
            }
        }
    }

    proptest! {
        #[test]
        fn a_kept_second_makes_no_difference(times in prop::collection::vec((0_i64..100, 0..1_000_000_000_u32), 1..20)) {
            for style in [Style::Tai64n, Style::Calendar, Style::Iso] {
                let mut stamper = Stamper::new(style);
                for &(seconds, nanos) in &times {
                    let kept = *stamper.stamp(Tai64n::from_unix(seconds, nanos));
                    prop_assert_eq!(kept, *Stamper::new(style).stamp(Tai64n::from_unix(seconds, nanos)));
                }
            }
        }

        #[test]
        fn stamps_sort_as_times(a in (0_i64..200_000_000_000, 0..1_000_000_000_u32), b in (0_i64..200_000_000_000, 0..1_000_000_000_u32)) {
            for style in [Style::Tai64n, Style::Calendar, Style::Iso] {
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
