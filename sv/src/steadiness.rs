//! Whether a service that was started keeps running.
//!
//! runit samples every 420 ms, so a service that dies as soon as it is started mostly looks down to it, and `sv start` fails.
//! Who sees every change also sees the moment in which such a service runs, and must not take it for success. So a process
//! is on trial: it is believed once it waits for something, as a service does that has set itself up, but not in its first
//! moments; not in its first 10 ms as long as it is the interpreter of the `run` script, which also waits for what it starts
//! before it executes the service; and in any case when runit would have found it running.

use std::time::Duration;

use nix::unistd::Pid;
use svlib::moment::Moment;
use svlib::status::{State, Status, Want};
use svlib::tai64n::Tai64n;

/// How long every process is on trial: time enough to refuse an option.
const SHORT_TRIAL: Duration = Duration::from_millis(2);
/// How long a script is on trial: time enough to find that the program is missing.
const SCRIPT_TRIAL: Duration = Duration::from_millis(10);
/// How long a process is on trial at most, and how long if another has died since sv began to look.
const LONG_TRIAL: Duration = Duration::from_millis(420);

/// When a process is to be believed, on the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// From then on if it waits for something and is no script any more.
    pub earliest: Duration,
    /// From then on if it waits for something.
    pub script: Duration,
    /// From then on whatever it does.
    pub latest: Duration,
}

/// What is known of one service's processes.
#[derive(Clone, Copy, Debug)]
pub struct Steadiness {
    /// The process of `run` seen last, and the time it was started at.
    process: Option<(Option<Pid>, Tai64n)>,
    /// When that was, on the monotonic clock.
    since: Duration,
    /// Whether that process was started while the service was looked at.
    is_new: bool,
    /// How long it is on trial at least.
    trial: Duration,
}

impl Steadiness {
    /// Begins with the first status seen. A service that is down though it shall be up has died.
    pub fn new(status: &Status, now: Moment) -> Self {
        let has_died = status.pid.is_none() && status.want == Want::Up;
        Self {
            process: process(status),
            since: started(status, now),
            is_new: false,
            trial: if has_died { LONG_TRIAL } else { SHORT_TRIAL },
        }
    }

    /// Takes note of a status.
    pub fn note(&mut self, status: &Status, now: Moment) -> Trial {
        let process = process(status);
        if process.is_some() && process != self.process {
            if self.is_new {
                self.trial = LONG_TRIAL;
            }
            *self = Self { process, since: started(status, now), is_new: true, ..*self };
        }
        Trial {
            earliest: self.since + self.trial,
            script: self.since + self.trial.max(SCRIPT_TRIAL),
            latest: self.since + LONG_TRIAL,
        }
    }
}

/// What tells one run from another.
fn process(status: &Status) -> Option<(Option<Pid>, Tai64n)> {
    (status.state == State::Run).then_some((status.pid, status.changed))
}

/// The start of a process on the monotonic clock; now, if the wall clock has been set back since.
fn started(status: &Status, now: Moment) -> Duration {
    now.monotonic.saturating_sub(now.wall.saturating_since(status.changed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The time `millis` after boot.
    fn at(millis: u64) -> Moment {
        let since_boot = Duration::from_millis(millis);
        Moment {
            monotonic: since_boot,
            wall: Tai64n::from_unix(
                1_000_000 + i64::try_from(since_boot.as_secs()).unwrap(),
                since_boot.subsec_nanos(),
            ),
        }
    }

    fn run(pid: i32, since: u64) -> Status {
        Status {
            changed: at(since).wall,
            pid: Some(Pid::from_raw(pid)),
            paused: false,
            want: Want::Up,
            got_term: false,
            state: State::Run,
        }
    }

    fn down(want: Want) -> Status {
        Status { pid: None, want, state: State::Down, ..run(1, 500) }
    }

    /// When the process of the last status is believed at the earliest, in milliseconds, the statuses being seen one every 100 ms.
    fn believed(statuses: &[Status]) -> u128 {
        let mut steadiness = Steadiness::new(&statuses[0], at(1000));
        let mut believed = Duration::ZERO;
        for (index, status) in (0..).zip(statuses) {
            believed = steadiness.note(status, at(1000 + 100 * index)).earliest;
        }
        believed.as_millis()
    }

    #[test]
    fn processes_are_believed_after_a_while() {
        let finish = Status { state: State::Finish, ..run(8, 1) };
        for (statuses, expected) in [
            (&[run(7, 1)] as &[Status], 3),
            (&[run(7, 1), run(9, 1050)], 1052),
            (&[run(7, 1), down(Want::Up), run(9, 1150)], 1152),
            (&[run(7, 1), finish, run(9, 1150)], 1152),
            (&[down(Want::Down), run(9, 1050)], 1052),
            (&[down(Want::Up), run(9, 1050)], 1470),
            (&[down(Want::Down), run(9, 1050), run(11, 1150)], 1570),
            (&[down(Want::Down), run(9, 1050), down(Want::Up), run(11, 1250)], 1670),
            (&[run(7, 1), run(9, 1050), run(9, 1050)], 1052),
        ] {
            assert_eq!(believed(statuses), expected, "{statuses:?}");
        }
    }

    #[test]
    fn a_wall_clock_set_back_delays_by_the_trial_only() {
        assert_eq!(believed(&[run(7, 999_999)]), 1002);
    }

    proptest! {
        #[test]
        fn every_process_is_believed_in_time(starts in proptest::collection::vec(0..5000_u64, 1..5), seen in 0..5000_u64) {
            let mut steadiness = Steadiness::new(&run(1, starts[0]), at(seen));
            for start in starts {
                let trial = steadiness.note(&run(1, start), at(seen));
                prop_assert!(trial.earliest <= trial.script && trial.script <= trial.latest);
                prop_assert!(trial.latest <= at(seen).monotonic + LONG_TRIAL);
            }
        }
    }
}
