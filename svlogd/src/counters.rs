//! What svlogd has counted since it began, told on USR1.

use std::cell::Cell;
use std::fmt;

/// A number that grows, wherever in the program there is something to count.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// Counts `count` more.
    pub fn add(&self, count: u64) {
        self.0.set(self.0.get().wrapping_add(count));
    }

    /// The sum.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Sums over all log directories: a line counts once for each directory that it is put to.
#[derive(Debug, Default)]
pub struct Counters {
    /// Lines that came in; once each.
    pub lines: Counter,
    /// Bytes that came in; once each.
    pub bytes: Counter,
    /// Lines that a directory took.
    pub selected: Counter,
    /// Lines that a directory's rules deselected.
    pub dropped: Counter,
    /// Lines above a directory's rate limit.
    pub suppressed: Counter,
    /// Times that `current` became an old file.
    pub rotated: Counter,
    /// Old files that were compressed.
    pub compressed: Counter,
    /// Lines that were sent to a log server; once more each time that one is sent again.
    pub forwarded: Counter,
    /// Lines that were to be sent to a log server and were lost on the way there, as far as that is known.
    pub lost: Counter,
}

impl Counters {
    /// `NAME=NUMBER` for each, in a fixed order; the last is `queue`, the lines that now wait to be sent.
    pub fn line(&self, queue: usize) -> String {
        let fields = [
            ("lines", &self.lines),
            ("bytes", &self.bytes),
            ("selected", &self.selected),
            ("dropped", &self.dropped),
            ("suppressed", &self.suppressed),
            ("rotated", &self.rotated),
            ("compressed", &self.compressed),
            ("forwarded", &self.forwarded),
            ("lost", &self.lost),
        ];
        let told = |(name, counter): &(_, &Counter)| format!("{name}={counter} ");
        fields.iter().map(told).collect::<String>() + &format!("queue={queue}")
    }
}

impl fmt::Display for Counter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_told_under_its_name() {
        let counters = Counters::default();
        counters.lines.add(1);
        counters.bytes.add(2);
        counters.selected.add(3);
        counters.dropped.add(4);
        counters.suppressed.add(5);
        counters.rotated.add(6);
        counters.compressed.add(7);
        counters.forwarded.add(7);
        counters.forwarded.add(1);
        counters.lost.add(9);
        assert_eq!(
            counters.line(10),
            "lines=1 bytes=2 selected=3 dropped=4 suppressed=5 rotated=6 compressed=7 forwarded=8 lost=9 queue=10"
        );
    }
}
