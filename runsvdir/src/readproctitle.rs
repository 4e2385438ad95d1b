//! The rolling log, as daemontools' readproctitle keeps it: a text of constant length whose first characters
//! stay, and whose others move left as new ones come in at the end.

/// How many characters at the beginning of the log never change.
pub const LABEL: usize = 5;
/// The shortest log there is.
pub const SHORTEST: usize = LABEL + 2;

/// The text of a rolling log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollingLog {
    text: Vec<u8>,
}

impl RollingLog {
    /// A log that shows `text` at first; none if that is shorter than [`SHORTEST`].
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        (text.len() >= SHORTEST).then(|| Self { text: text.to_vec() })
    }

    /// Moves `bytes` in from the right. NUL bytes are left out, since they end the text where it is shown.
    pub fn push(&mut self, bytes: &[u8]) {
        let window = &mut self.text[LABEL..];
        let newest_first = || bytes.iter().rev().filter(|byte| **byte != 0);
        let fresh = newest_first().take(window.len()).count();
        window.copy_within(fresh.., 0);
        for (place, byte) in window.iter_mut().rev().zip(newest_first()) {
            *place = *byte;
        }
    }

    /// The log as it now reads, as long as it always was.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_scrolls_behind_the_label() {
        let mut log = RollingLog::new(b"log: .......").unwrap();
        log.push(b"abc");
        assert_eq!(log.text(), b"log: ....abc");
        log.push(b"\0d\0\n");
        assert_eq!(log.text(), b"log: ..abcd\n");
        log.push(b"more than there is room for");
        assert_eq!(log.text(), b"log: oom for");
    }

    #[test]
    fn a_log_has_at_least_seven_characters() {
        assert_eq!(RollingLog::new(b"log..."), None);
        assert!(RollingLog::new(b"log....").is_some());
    }

    /// The obvious way: one byte at a time.
    fn push_slowly(text: &mut Vec<u8>, bytes: &[u8]) {
        for byte in bytes.iter().filter(|byte| **byte != 0) {
            text.remove(LABEL);
            text.push(*byte);
        }
    }

    proptest! {
        #[test]
        fn pushes_equal_the_byte_by_byte_ones(
            start in vec(1..=255_u8, SHORTEST..40),
            pushes in vec(vec(0..=255_u8, 0..60), 0..6),
        ) {
            let mut log = RollingLog::new(&start).unwrap();
            let mut slow = start.clone();
            for bytes in &pushes {
                log.push(bytes);
                push_slowly(&mut slow, bytes);
                prop_assert_eq!(log.text(), &slow[..]);
                prop_assert_eq!(log.text().len(), start.len());
                prop_assert_eq!(&log.text()[..LABEL], &start[..LABEL]);
            }
        }
    }
}
