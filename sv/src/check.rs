//! Whether commands have taken effect, judged by the status that runsv publishes.

use svlib::command::Command;
use svlib::record::Readiness;
use svlib::status::{State, Status, Want};

use crate::seen::{Incarnation, Seen};

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
    /// Another program file in the place of this runsv's, which keeps its process.
    Reexec(Incarnation),
}

/// How far a service is, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Not there, and it will not get there.
    Hopeless,
    /// Not there yet.
    Pending,
    /// It runs, but has not said yet that it is ready.
    Unready,
    /// There, if its `check` program says so.
    IfCheckSucceeds,
    /// There.
    Met,
}

impl Goal {
    /// How far the service is, by one look at it. `was_wanted_up` says that an earlier look found it wanted up.
    pub fn judge(self, now: &Seen, was_wanted_up: bool) -> Verdict {
        match self {
            Self::Effect { commands, before } => {
                let effects = commands.iter().map(|&command| effect(command, &before, now, was_wanted_up));
                effects.min().unwrap_or(Verdict::Met)
            }
            Self::Requested if now.has_failed() => Verdict::Hopeless,
            Self::Requested if now.status.want == Want::Up => up(now),
            Self::Requested => down(&now.status),
            Self::Reexec(before) => met(now
                .incarnation()
                .is_some_and(|runsv| runsv.pid == before.pid && runsv.reexecs > before.reexecs)),
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
fn effect(command: Command, before: &Status, now: &Seen, was_wanted_up: bool) -> Verdict {
    let status = &now.status;
    match command {
        Command::Up if is_given_up(before, now, was_wanted_up) => Verdict::Hopeless,
        Command::Up => up(now),
        Command::Down => down(status),
        Command::Once => once(before, now),
        // As long as there is a status to look at, runsv has not exited.
        Command::Exit => Verdict::Pending,
        Command::Pause => met(status.pid.is_none() || status.paused),
        Command::Continue => met(status.pid.is_none() || !status.paused),
        Command::Terminate | Command::Kill => restarted(before, now),
        Command::Hangup
        | Command::Alarm
        | Command::Interrupt
        | Command::Quit
        | Command::User1
        | Command::User2 => Verdict::Met,
    }
}

/// Up is when `run` runs and is available.
fn up(now: &Seen) -> Verdict {
    if now.status.pid.is_some() && now.status.state == State::Run { available(now) } else { Verdict::Pending }
}

/// A service that says when it is ready is available then; of any other, `check` knows.
fn available(now: &Seen) -> Verdict {
    match now.readiness() {
        Readiness::Undeclared => Verdict::IfCheckSucceeds,
        Readiness::Awaited => Verdict::Unready,
        Readiness::Ready => Verdict::Met,
    }
}

/// Down is when nothing runs, and nothing is about to be started: a service between two restarts is not down.
fn down(now: &Status) -> Verdict {
    met(now.pid.is_none() && now.state == State::Down && now.want != Want::Up)
}

/// What runs once may have ended already.
fn once(before: &Status, now: &Seen) -> Verdict {
    if now.status.pid.is_none() {
        met(changed(before, &now.status))
    } else if now.status.want == Want::Up {
        Verdict::Pending
    } else if now.readiness() == Readiness::Awaited {
        Verdict::Unready
    } else {
        Verdict::Met
    }
}

/// A service that is to stay down has nothing to restart, unless it is down because its restart has failed.
fn restarted(before: &Status, now: &Seen) -> Verdict {
    let status = &now.status;
    if now.has_failed() && changed(before, status) {
        Verdict::Hopeless
    } else if status.pid.is_none() && status.want != Want::Up {
        Verdict::Met
    } else if status.pid.is_some() && !status.got_term && changed(before, status) {
        available(now)
    } else {
        Verdict::Pending
    }
}

/// Whether a service that was to come up is to stay down: it was given up, or commanded down. One that is wanted down
/// because the command to start it has not arrived yet must not be taken for it. Without a record nothing is said, and sv
/// waits as runit does.
fn is_given_up(before: &Status, now: &Seen, was_wanted_up: bool) -> bool {
    now.record().is_some()
        && now.is_down()
        && now.status.want != Want::Up
        && (was_wanted_up || (now.has_failed() && changed(before, &now.status)))
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
    use svlib::record::{ProcessId, Record};
    use svlib::tai64n::Tai64n;

    use crate::seen::Recorded;

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

    /// A look that finds `text`, a status; of its flags, `r` (ready), `a` (readiness awaited), `f` (failed) and `n` (nothing of
    /// these) are of a record.
    fn seen(text: &str) -> Seen {
        let flags = text.rsplit(' ').next().unwrap();
        let record = Record {
            readiness: match (flags.contains('r'), flags.contains('a')) {
                (true, _) => Readiness::Ready,
                (_, true) => Readiness::Awaited,
                _ => Readiness::Undeclared,
            },
            failed: flags.contains('f'),
            ..Record::default()
        };
        let is_recorded = flags.contains(['r', 'a', 'f', 'n']);
        let recorded = if is_recorded { Recorded::Facts(Box::new(record)) } else { Recorded::Nothing };
        Seen { status: status(text), recorded }
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
            assert_eq!(goal.judge(&seen(now), false), verdict, "{bytes}: {before} -> {now}");
        }
    }

    #[test]
    fn readiness_takes_the_place_of_check() {
        use Verdict::{IfCheckSucceeds, Met, Pending, Unready};
        for (bytes, before, now, verdict) in [
            ("u", "down 0 1 -", "run 7 2 ua", Unready),
            ("u", "down 0 1 -", "run 7 2 ur", Met),
            ("u", "down 0 1 -", "run 7 2 un", IfCheckSucceeds),
            ("u", "down 0 1 -", "finish 8 1 ur", Pending),
            ("t", "run 7 1 u", "run 7 1 ur", Pending),
            ("t", "run 7 1 u", "run 7 1 utr", Pending),
            ("t", "run 7 1 u", "run 9 2 ua", Unready),
            ("t", "run 7 1 u", "run 9 2 ur", Met),
            ("tc", "run 7 1 u", "run 9 2 ua", Unready),
            ("tcu", "run 7 1 u", "run 7 1 ur", Pending),
            ("tcu", "run 7 1 u", "run 9 2 ua", Unready),
            ("tcu", "run 7 1 u", "run 9 2 ur", Met),
            ("o", "down 0 1 -", "run 7 2 a", Unready),
            ("o", "down 0 1 -", "run 7 2 r", Met),
            ("o", "down 0 1 -", "run 7 2 n", Met),
            ("o", "run 7 1 u", "run 7 1 ur", Pending),
            ("o", "down 0 1 -", "down 0 2 n", Met),
            ("d", "run 7 1 u", "run 7 1 r", Pending),
            ("p", "run 7 1 u", "run 7 1 upa", Met),
        ] {
            let goal = Goal::Effect { commands: commands(bytes), before: status(before) };
            assert_eq!(goal.judge(&seen(now), false), verdict, "{bytes}: {before} -> {now}");
        }
    }

    #[test]
    fn what_will_not_come_is_not_waited_for() {
        use Verdict::{Hopeless, Met, Pending};
        for (bytes, before, now, was_wanted_up, verdict) in [
            // The command may not have arrived yet.
            ("u", "down 0 1 -", "down 0 1 n", false, Pending),
            ("u", "down 0 1 -", "down 0 1 f", false, Pending),
            ("u", "run 7 1 -", "down 0 2 n", false, Pending),
            // It has, and was in vain.
            ("u", "down 0 1 -", "down 0 2 f", false, Hopeless),
            ("u", "down 0 1 -", "down 0 2 n", true, Hopeless),
            ("u", "run 7 1 u", "down 0 1 f", true, Hopeless),
            ("u", "run 7 1 u", "down 0 2 uf", true, Pending),
            ("u", "run 7 1 u", "finish 8 1 f", true, Pending),
            ("tcu", "run 7 1 u", "down 0 2 f", true, Hopeless),
            ("tcu", "run 7 1 u", "down 0 2 n", true, Hopeless),
            ("tc", "run 7 1 u", "down 0 2 f", true, Hopeless),
            ("tc", "run 7 1 u", "down 0 2 n", true, Met),
            ("tc", "down 0 1 -", "down 0 1 f", false, Met),
            ("d", "run 7 1 u", "down 0 2 f", true, Met),
            // Without a record it is as with runit.
            ("u", "down 0 1 u", "down 0 2 -", true, Pending),
            ("tcu", "run 7 1 u", "down 0 2 -", true, Pending),
        ] {
            let goal = Goal::Effect { commands: commands(bytes), before: status(before) };
            assert_eq!(goal.judge(&seen(now), was_wanted_up), verdict, "{bytes}: {before} -> {now}");
        }
    }

    #[test]
    fn a_runsv_is_another_program_when_it_has_counted_it() {
        let runsv = |pid, reexecs| Incarnation { pid: Pid::from_raw(pid), reexecs };
        for (pid, reexecs, verdict) in
            [(41, 1, Verdict::Pending), (41, 2, Verdict::Met), (43, 2, Verdict::Pending)]
        {
            let supervisor = Some(ProcessId { pid: Pid::from_raw(pid), start: 1 });
            let recorded = Recorded::Facts(Box::new(Record { supervisor, reexecs, ..Record::default() }));
            let now = Seen { recorded, ..seen("run 7 1 u") };
            assert_eq!(Goal::Reexec(runsv(41, 1)).judge(&now, true), verdict, "{pid} {reexecs}");
        }
        assert_eq!(Goal::Reexec(runsv(41, 1)).judge(&seen("run 7 1 u"), true), Verdict::Pending);
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
            ("run 7 1 ua", Verdict::Unready),
            ("run 7 1 ur", Verdict::Met),
            ("run 7 1 un", Verdict::IfCheckSucceeds),
            ("down 0 1 f", Verdict::Hopeless),
            ("down 0 1 n", Verdict::Met),
        ] {
            assert_eq!(Goal::Requested.judge(&seen(now), false), verdict, "{now}");
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

    fn any_seen() -> impl Strategy<Value = Seen> {
        let readiness =
            prop_oneof![Just(Readiness::Undeclared), Just(Readiness::Awaited), Just(Readiness::Ready)];
        (any_status(), proptest::option::of((any::<bool>(), readiness))).prop_map(|(status, facts)| Seen {
            status,
            recorded: facts.map_or(Recorded::Nothing, |(failed, readiness)| {
                Recorded::Facts(Box::new(Record { failed, readiness, ..Record::default() }))
            }),
        })
    }

    proptest! {
        #[test]
        fn more_commands_are_never_done_sooner(before in any_status(), now in any_seen(), from in 0..14_usize, to in 0..=14_usize) {
            prop_assume!(from < to);
            let judge = |commands| Goal::Effect { commands, before }.judge(&now, false);
            prop_assert!(judge(&ALL[from..to]) <= judge(&ALL[from + 1..to]));
        }

        #[test]
        fn an_unchanged_process_has_not_restarted(before in any_status(), now in any_seen()) {
            prop_assume!(before.pid.is_some());
            let status = Status { pid: before.pid, changed: before.changed, ..now.status };
            let now = Seen { status, ..now };
            for bytes in ["t", "k", "tc", "tcu"] {
                let goal = Goal::Effect { commands: commands(bytes), before };
                prop_assert_eq!(goal.judge(&now, false), Verdict::Pending);
            }
        }

        #[test]
        fn a_service_that_runs_is_not_down_and_the_reverse(before in any_status(), now in any_seen()) {
            let judge = |bytes| Goal::Effect { commands: commands(bytes), before }.judge(&now, false);
            prop_assert!(judge("u") <= Verdict::Pending || judge("d") == Verdict::Pending);
            prop_assert_eq!(judge("x"), Verdict::Pending);
        }

        #[test]
        fn without_a_record_nothing_is_hopeless_or_unready(before in any_status(), status in any_status(), up: bool) {
            let now = Seen { status, recorded: Recorded::Nothing };
            for command in ALL.chunks(1) {
                let verdict = Goal::Effect { commands: command, before }.judge(&now, up);
                prop_assert!(!matches!(verdict, Verdict::Hopeless | Verdict::Unready), "{command:?} {verdict:?}");
            }
        }
    }
}
