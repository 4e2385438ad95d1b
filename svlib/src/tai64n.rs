//! TAI64N time stamps: seconds and nanoseconds, and daemontools' external form of them (tai64n(8)).
//!
//! Like runit and daemontools, the offset between TAI and Unix time is the constant ten seconds of 1970; leap seconds
//! are not counted.

use std::time::Duration;

/// The label of 1970-01-01 00:00:00 UTC.
const UNIX_EPOCH: u64 = (1 << 62) + 10;

/// A point in time with nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tai64n {
    /// The TAI64 label: seconds, counted so that 2^62 + 10 is the beginning of 1970 in Unix time.
    pub seconds: u64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanos: u32,
}

impl Tai64n {
    /// The beginning of 1970, Unix time zero.
    pub const EPOCH: Self = Self { seconds: UNIX_EPOCH, nanos: 0 };

    /// A stamp from Unix seconds (negative before 1970) and nanoseconds.
    pub const fn from_unix(seconds: i64, nanos: u32) -> Self {
        Self { seconds: UNIX_EPOCH.wrapping_add_signed(seconds), nanos }
    }

    /// Unix seconds; the sub-second part is in [`nanos`](Self::nanos).
    pub const fn unix_seconds(self) -> i64 {
        self.seconds.wrapping_sub(UNIX_EPOCH).cast_signed()
    }

    /// The time since `earlier`, zero when the clock has been set back.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        let nanos = |stamp: Self| i128::from(stamp.seconds) * 1_000_000_000 + i128::from(stamp.nanos);
        let elapsed = (nanos(self) - nanos(earlier)).max(0);
        Duration::from_nanos(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// The 12 bytes of the binary form, big-endian.
    pub const fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        let (seconds, nanos) = bytes.split_at_mut(8);
        seconds.copy_from_slice(&self.seconds.to_be_bytes());
        nanos.copy_from_slice(&self.nanos.to_be_bytes());
        bytes
    }

    /// The stamp of a binary form. Any bytes are one; a nanosecond part over 999,999,999 is kept as it is.
    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        Self {
            seconds: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            nanos: u32::from_be_bytes([i, j, k, l]),
        }
    }

    /// The external form: `@` and 24 lower-case hexadecimal digits.
    pub fn label(self) -> [u8; 25] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut label = [b'@'; 25];
        for (pair, byte) in label[1..].chunks_exact_mut(2).zip(self.to_bytes()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        label
    }

    /// The stamp of an external form, `None` if `label` is not one. Upper-case digits are understood.
    pub fn parse_label(label: &[u8]) -> Option<Self> {
        let digits: &[u8; 24] = label.strip_prefix(b"@")?.try_into().ok()?;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
        let mut bytes = [0; 12];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
        }
        Some(Self::from_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn label_is_that_of_daemontools() {
        // tai64nlocal(8) of daemontools: 1999-08-23 21:03:43.669250 at UTC-4... the label of its documentation's example.
        let label = b"@4000000037c219bf2ef02e94";
        let stamp = Tai64n::parse_label(label).unwrap();
        assert_eq!(stamp.unix_seconds(), 935_467_455 - 10);
        assert_eq!(stamp.nanos, 787_492_500);
        assert_eq!(&stamp.label(), label);
    }

    #[test]
    fn what_is_not_a_label_is_refused() {
        for text in
            ["", "@", "4000000037c219bf2ef02e94", "@4000000037c219bf2ef02e9", "@4000000037c219bf2ef02e9g"]
        {
            assert_eq!(Tai64n::parse_label(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Tai64n::parse_label(b"@4000000037c219bf2ef02e944"), None);
    }

    #[test]
    fn a_clock_set_back_gives_no_elapsed_time() {
        let (early, late) = (Tai64n::from_unix(5, 999_999_999), Tai64n::from_unix(6, 1));
        assert_eq!(late.saturating_since(early), Duration::from_nanos(2));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn forms_round_trip(seconds: i64, nanos in 0..1_000_000_000_u32) {
            let stamp = Tai64n::from_unix(seconds, nanos);
            prop_assert_eq!(stamp.unix_seconds(), seconds);
            prop_assert_eq!(Tai64n::from_bytes(stamp.to_bytes()), stamp);
            prop_assert_eq!(Tai64n::parse_label(&stamp.label()), Some(stamp));
        }

        #[test]
        fn labels_sort_as_times(a: (u64, u32), b: (u64, u32)) {
            let [a, b] = [a, b].map(|(seconds, nanos)| Tai64n { seconds, nanos });
            prop_assert_eq!(a.cmp(&b), a.label().cmp(&b.label()));
        }

        #[test]
        fn any_bytes_parse_or_not(bytes: Vec<u8>) {
            if let Some(stamp) = Tai64n::parse_label(&bytes) {
                prop_assert!(bytes.eq_ignore_ascii_case(&stamp.label()));
            }
        }
    }
}
