//! How many lines were lost, and when that is told of: soon after the first one, and not too often.

use std::time::Duration;

/// A loss is told of so long after it began, with what came to it.
const DELAY: Duration = Duration::from_secs(1);

/// How often losses are told of at most.
const PACE: Duration = Duration::from_secs(10);

/// Lines that were lost and are to be told of. Times are on the monotonic clock.
#[derive(Debug, Default)]
pub struct Losses {
    untold: u64,
    due: Duration,
}

impl Losses {
    /// Counts `lines` that are lost now.
    pub fn add(&mut self, lines: u64, now: Duration) {
        if self.untold == 0 {
            self.due = self.due.max(now.saturating_add(DELAY));
        }
        self.untold = self.untold.saturating_add(lines);
    }

    /// When there is something to tell.
    pub fn due(&self) -> Option<Duration> {
        (self.untold > 0).then_some(self.due)
    }

    /// What is to be told until `time`.
    pub fn take(&mut self, time: Duration) -> Option<u64> {
        self.due().filter(|&due| due <= time)?;
        self.due = self.due.saturating_add(PACE);
        Some(std::mem::take(&mut self.untold))
    }

    /// There will be no more: what there is is told of at once.
    pub fn hurry(&mut self) {
        self.due = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1000);

    #[test]
    fn a_loss_is_told_of_once_and_not_too_often() {
        let mut losses = Losses::default();
        assert_eq!((losses.due(), losses.take(Duration::MAX)), (None, None));
        losses.add(1, START);
        losses.add(2, START + DELAY / 2);
        assert_eq!((losses.due(), losses.take(START)), (Some(START + DELAY), None));
        assert_eq!((losses.take(START + DELAY), losses.due()), (Some(3), None));
        losses.add(1, START + DELAY);
        assert_eq!(losses.due(), Some(START + DELAY + PACE));
        losses.hurry();
        assert_eq!(losses.take(START + DELAY), Some(1));
    }
}
