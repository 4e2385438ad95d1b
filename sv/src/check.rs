//! Whether commands have taken effect, judged by the status that runsv publishes.

use svlib::command::Command;
use svlib::status::{State, Status, Want};

/// What is waited for at one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The effect of commands.
    Effect {
        /// The commands that were sent; all must have taken effect.
        commands: &'static [Command],
        /// The status before they were sent: what tells a new process from the one that was there.
        before: Status,
    },
    /// The state that was requested of the service, up or down.
    Requested,
}

/// How far a service is, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Not there yet.
    Pending,
    /// There, if its `check` program says so.
    IfCheckSucceeds,
    /// There.
    Met,
}

impl Goal {
    /// How far the service is, `now` being its status.
    pub fn judge(self, now: &Status) -> Verdict {
        match self {
            Self::Effect { commands, before } => {
                commands.iter().map(|&command| effect(command, &before, now)).min().unwrap_or(Verdict::Met)
            }
            Self::Requested if now.want == Want::Up => up(now),
            Self::Requested => down(now),
        }
    }
}

/// Whether a service has been asked already for what the first of `commands` asks, so that none is sent.
pub fn is_asked_already(commands: &[Command], now: &Status) -> bool {
    match commands {
        [Command::Up, ..] => now.want == Want::Up,
        // What runs once is to be down afterwards, but has not been told to stop.
        [Command::Down, ..] => now.want != Want::Up && now.got_term,
        _ => false,
    }
}

/// How far the effect of one command is.
fn effect(command: Command, before: &Status, now: &Status) -> Verdict {
    match command {
        Command::Up => up(now),
        Command::Down => down(now),
        Command::Once => met(if now.pid.is_some() { now.want != Want::Up } else { changed(before, now) }),
        // As long as there is a status to look at, runsv has not exited.
        Command::Exit => Verdict::Pending,
        Command::Pause => met(now.pid.is_none() || now.paused),
        Command::Continue => met(now.pid.is_none() || !now.paused),
        Command::Terminate | Command::Kill => restarted(before, now),
        Command::Hangup
        | Command::Alarm
        | Command::Interrupt
        | Command::Quit
        | Command::User1
        | Command::User2 => Verdict::Met,
    }
}

/// Up is when `run` runs and `check` agrees.
fn up(now: &Status) -> Verdict {
    if now.pid.is_some() && now.state == State::Run { Verdict::IfCheckSucceeds } else { Verdict::Pending }
}

/// Down is when nothing runs, and nothing is about to be started: a service between two restarts is not down.
fn down(now: &Status) -> Verdict {
    met(now.pid.is_none() && now.state == State::Down && now.want != Want::Up)
}

/// A service that is to stay down has nothing to restart.
fn restarted(before: &Status, now: &Status) -> Verdict {
    if now.pid.is_none() && now.want != Want::Up {
        Verdict::Met
    } else if now.pid.is_some() && !now.got_term && changed(before, now) {
        Verdict::IfCheckSucceeds
    } else {
        Verdict::Pending
    }
}

/// Whether the service has been started or has stopped since `before`.
///
/// The stamps are compared with each other only, never with this program's clock: a clock that is set, or a start within
/// the same second, misleads nobody.
fn changed(before: &Status, now: &Status) -> bool {
    now.changed != before.changed || (now.state == State::Run && now.pid != before.pid)
}

/// A verdict that does not depend on `check`.
fn met(condition: bool) -> Verdict {
    if condition { Verdict::Met } else { Verdict::Pending }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::Pid;
    use proptest::prelude::*;
    use svlib::tai64n::Tai64n;

    /// A status written as `STATE PID SECONDS FLAGS`: state `down`, `run` or `finish`; pid 0 for none; flags `u` (want up),
    /// `p` (paused), `t` (got TERM).
    fn status(text: &str) -> Status {
        let [state, pid, seconds, flags] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
        let pid: i32 = pid.parse().unwrap();
        Status {
            changed: Tai64n::from_unix(seconds.parse().unwrap(), 0),
            pid: (pid > 0).then(|| Pid::from_raw(pid)),
            paused: flags.contains('p'),
            want: if flags.contains('u') { Want::Up } else { Want::Down },
            got_term: flags.contains('t'),
            state: match state {
                "down" => State::Down,
                "run" => State::Run,
                "finish" => State::Finish,
                _ => panic!("{text}"),
            },
        }
    }

    static ALL: [Command; 14] = Command::ALL;

    fn commands(bytes: &str) -> &'static [Command] {
        match bytes {
            "tcu" => &[Command::Terminate, Command::Continue, Command::Up],
            "tc" => &[Command::Terminate, Command::Continue],
            _ => ALL.chunks(1).find(|one| one[0].byte() == bytes.as_bytes()[0]).unwrap(),
        }
    }

    #[test]
    fn effects() {
        use Verdict::{IfCheckSucceeds, Met, Pending};
        for (bytes, before, now, verdict) in [
            ("u", "down 0 1 -", "down 0 1 u", Pending),
            ("u", "down 0 1 -", "run 7 2 u", IfCheckSucceeds),
            ("u", "run 7 1 u", "finish 8 1 u", Pending),
            ("d", "run 7 1 u", "run 7 1 t", Pending),
            ("d", "run 7 1 u", "finish 8 1 -", Pending),
            ("d", "run 7 1 u", "down 0 2 -", Met),
            ("d", "down 0 1 u", "down 0 1 u", Pending),
            ("t", "run 7 1 u", "run 7 1 u", Pending),
            ("t", "run 7 1 u", "run 7 1 ut", Pending),
            ("t", "run 7 1 u", "finish 8 1 u", Pending),
            ("t", "run 7 1 u", "down 0 2 u", Pending),
            ("t", "run 7 1 u", "run 9 2 u", IfCheckSucceeds),
            ("t", "run 7 1 u", "run 9 1 u", IfCheckSucceeds),
            ("t", "run 7 1 u", "run 7 2 u", IfCheckSucceeds),
            ("t", "run 7 1 -", "down 0 2 -", Met),
            ("t", "down 0 1 -", "down 0 1 -", Met),
            ("k", "run 7 1 u", "run 7 1 u", Pending),
            ("k", "run 7 1 u", "run 9 2 u", IfCheckSucceeds),
            ("o", "down 0 1 -", "down 0 1 -", Pending),
            ("o", "down 0 1 -", "run 7 2 -", Met),
            ("o", "down 0 1 -", "down 0 2 -", Met),
            ("o", "run 7 1 u", "run 7 1 u", Pending),
            ("o", "run 7 1 u", "run 7 1 -", Met),
            ("p", "run 7 1 u", "run 7 1 u", Pending),
            ("p", "run 7 1 u", "run 7 1 up", Met),
            ("p", "down 0 1 -", "down 0 1 -", Met),
            ("c", "run 7 1 up", "run 7 1 up", Pending),
            ("c", "run 7 1 up", "run 7 1 u", Met),
            ("x", "run 7 1 u", "down 0 2 -", Pending),
            ("h", "run 7 1 u", "run 7 1 u", Met),
            ("1", "down 0 1 -", "down 0 1 -", Met),
            ("tc", "down 0 1 -", "down 0 1 -", Met),
            ("tcu", "down 0 1 -", "down 0 1 -", Pending),
            ("tcu", "down 0 1 -", "run 7 2 u", IfCheckSucceeds),
            ("tcu", "run 7 1 u", "run 7 1 u", Pending),
            ("tcu", "run 7 1 up", "run 9 2 u", IfCheckSucceeds),
            ("tcu", "run 7 1 u", "finish 9 2 u", Pending),
        ] {
            let goal = Goal::Effect { commands: commands(bytes), before: status(before) };
            assert_eq!(goal.judge(&status(now)), verdict, "{bytes}: {before} -> {now}");
        }
    }

    #[test]
    fn what_is_asked_already_is_not_sent() {
        for (bytes, now, asked) in [
            ("u", "run 7 1 u", true),
            ("u", "down 0 1 u", true),
            ("u", "run 7 1 -", false),
            ("d", "run 7 1 u", false),
            ("d", "run 7 1 -", false),
            ("d", "run 7 1 t", true),
            ("d", "down 0 1 -", false),
            ("tcu", "run 7 1 u", false),
            ("x", "down 0 1 -", false),
        ] {
            assert_eq!(is_asked_already(commands(bytes), &status(now)), asked, "{bytes}: {now}");
        }
    }

    #[test]
    fn the_requested_state_is_the_wanted_one() {
        for (now, verdict) in [
            ("run 7 1 u", Verdict::IfCheckSucceeds),
            ("down 0 1 u", Verdict::Pending),
            ("down 0 1 -", Verdict::Met),
            ("run 7 1 -", Verdict::Pending),
        ] {
            assert_eq!(Goal::Requested.judge(&status(now)), verdict, "{now}");
        }
    }

    fn any_status() -> impl Strategy<Value = Status> {
        let state = prop_oneof![Just(State::Down), Just(State::Run), Just(State::Finish)];
        let want = prop_oneof![Just(Want::Up), Just(Want::Down)];
        (0..3_i64, proptest::option::of(1..4), any::<(bool, bool)>(), want, state).prop_map(
            |(seconds, pid, (paused, got_term), want, state)| Status {
                changed: Tai64n::from_unix(seconds, 0),
                pid: pid.map(Pid::from_raw),
                paused,
                want,
                got_term,
                state,
            },
        )
    }

    proptest! {
        #[test]
        fn more_commands_are_never_done_sooner(before in any_status(), now in any_status(), from in 0..14_usize, to in 0..=14_usize) {
            prop_assume!(from < to);
            let judge = |commands| Goal::Effect { commands, before }.judge(&now);
            prop_assert!(judge(&ALL[from..to]) <= judge(&ALL[from + 1..to]));
        }

        #[test]
        fn an_unchanged_process_has_not_restarted(before in any_status(), now in any_status()) {
            prop_assume!(before.pid.is_some());
            let now = Status { pid: before.pid, changed: before.changed, ..now };
            for bytes in ["t", "k", "tc", "tcu"] {
                let goal = Goal::Effect { commands: commands(bytes), before };
                prop_assert_eq!(goal.judge(&now), Verdict::Pending);
            }
        }

        #[test]
        fn a_service_that_runs_is_not_down_and_the_reverse(before in any_status(), now in any_status()) {
            let judge = |bytes| Goal::Effect { commands: commands(bytes), before }.judge(&now);
            prop_assert!(judge("u") == Verdict::Pending || judge("d") == Verdict::Pending);
            prop_assert_eq!(judge("x"), Verdict::Pending);
        }
    }
}
