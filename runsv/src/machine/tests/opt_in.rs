//! What the opt-in files change: restarts, stopping, readiness.

use super::*;
use crate::settings::{Limit, Restart, Settings};

const KILL: Signal = Signal::SIGKILL;
const ABRT: Signal = Signal::SIGABRT;
const GROUP: Tree = Tree::Group;

fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

fn policy() -> Restart {
    Restart { min: ms(2000), max: ms(10_000), reset: ms(30_000), ..Restart::default() }
}

fn limited(count: u32) -> Restart {
    Restart { limit: Some(Limit { count, interval: ms(60_000) }), ..policy() }
}

fn restarting(restart: Restart) -> Settings {
    Settings { restart: Some(restart), ..Settings::default() }
}

fn watched(timeout_kill: Option<Duration>) -> Settings {
    Settings { notify_socket: true, timeout_watchdog: Some(ms(500)), timeout_kill, ..Settings::default() }
}

impl Bench {
    /// A service with these settings that has just been started, as process [`RUN`].
    fn running_with(settings: Settings) -> Self {
        let mut bench = Self::new(Role::Service, Want::Up);
        bench.state = bench.state.with_settings(settings);
        bench.feed(Event::Wake);
        bench.start();
        bench
    }

    /// A start that was begun goes on.
    fn start(&mut self) {
        self.spawned(Program::Control(Command::Up), Outcome::Absent);
        self.spawned(Program::Run, Outcome::Started(RUN));
    }

    /// `run` ends with an exit code, there is no `finish`. Returns what comes of that.
    fn exits(&mut self, code: u8) -> Vec<Action> {
        self.feed(Event::Exited(RUN, ExitStatus::exited(code)));
        self.spawned(Program::Finish(ExitStatus::exited(code)), Outcome::Absent)
    }

    /// `run` ends, and `finish` ends with this exit code.
    fn finishes(&mut self, code: u8) -> Vec<Action> {
        self.feed(Event::Exited(RUN, ExitStatus::exited(1)));
        self.spawned(Program::Finish(ExitStatus::exited(1)), Outcome::Started(FINISH));
        self.feed(Event::Exited(FINISH, ExitStatus::exited(code)))
    }

    /// Waits until something is due, and returns how long that took, in milliseconds, and what was done.
    fn wait(&mut self) -> (u64, Vec<Action>) {
        let due = self.state.deadline().expect("something is due");
        let waited = due.saturating_sub(at(self.ms).monotonic);
        self.ms += u64::try_from(waited.as_millis()).unwrap();
        (u64::try_from(waited.as_millis()).unwrap(), self.feed(Event::Wake))
    }

    fn record(&self) -> svlib::record::Record {
        self.state.record(|pid| svlib::record::ProcessId { pid, start: 1 })
    }
}

#[test]
fn delays_grow_and_a_good_run_ends_that() {
    let mut bench = Bench::running_with(restarting(policy()));
    for expected in [2000, 4000, 8000, 10_000, 10_000] {
        bench.ms += 10;
        assert_eq!(bench.exits(1), []);
        assert_eq!(bench.wait(), (expected, vec![script(b'u')]));
        bench.start();
    }
    bench.ms += 30_000;
    assert_eq!(bench.exits(1), [script(b'u')]);
    bench.start();
    assert_eq!(bench.exits(1), []);
    assert_eq!(bench.wait().0, 2000);
    assert_eq!(bench.record().restarts, 7);
}

#[test]
fn a_run_is_no_better_for_a_long_finish() {
    let mut bench = Bench::running_with(restarting(policy()));
    bench.feed(Event::Exited(RUN, ExitStatus::exited(1)));
    bench.spawned(Program::Finish(ExitStatus::exited(1)), Outcome::Started(FINISH));
    let mut bench = bench.after(40_000);
    assert_eq!(bench.feed(Event::Exited(FINISH, ExitStatus::exited(0))), []);
    assert_eq!(bench.wait().0, 2000);
}

#[test]
fn a_start_that_fails_is_a_failure() {
    let mut bench = Bench::running_with(restarting(limited(2)));
    // Not even if the run before was told to end.
    bench.command_with(b't', &[None]);
    assert_eq!(bench.exits(0), []);
    assert_eq!(bench.wait(), (1000, vec![script(b'u')]));
    for expected in [2000, 4000] {
        bench.spawned(Program::Control(Command::Up), Outcome::Absent);
        bench.spawned(Program::Run, Outcome::Failed);
        assert_eq!(bench.spawned(Program::Finish(ExitStatus::NOT_EXECUTED), Outcome::Absent), []);
        assert_eq!(bench.wait(), (expected, vec![script(b'u')]));
    }
    bench.spawned(Program::Control(Command::Up), Outcome::Absent);
    bench.spawned(Program::Run, Outcome::Failed);
    bench.spawned(Program::Finish(ExitStatus::NOT_EXECUTED), Outcome::Absent);
    assert!(bench.record().failed);
}

#[test]
fn over_the_limit_a_service_has_failed_until_it_is_told_up() {
    for letter in *b"uo" {
        let mut bench = Bench::running_with(restarting(limited(2)));
        for _ in 0..2 {
            bench.exits(1);
            bench.wait();
            bench.start();
        }
        assert_eq!(bench.exits(1), [Action::TellGivenUp(ExitStatus::exited(1), 2)]);
        assert_eq!((bench.state.deadline(), bench.stat()), (None, "down\n".into()));
        let record = bench.record();
        assert_eq!((record.failed, record.want, record.restarts), (true, Want::Down, 2));
        assert_eq!(bench.command(b'd'), []);
        assert!(bench.record().failed, "it is down for that reason");

        assert_eq!(bench.command(letter), [script(b'u')]);
        let record = bench.record();
        assert_eq!((record.failed, record.restarts, record.backoff), (false, 0, Backoff::default()));
        bench.start();
        if letter == b'u' {
            assert_eq!(bench.exits(1), []);
            assert_eq!(bench.wait(), (2000, vec![script(b'u')]), "the policy begins anew");
        }
    }
}

#[test]
fn finish_gives_a_service_up_where_there_is_a_policy() {
    let mut bench = Bench::running_with(restarting(policy()));
    assert_eq!(bench.finishes(125), [Action::TellGivenUp(ExitStatus::exited(1), 0)]);
    assert_eq!((bench.record().failed, bench.state.deadline()), (true, None));
    let mut bench = Bench::running_with(Settings::default());
    assert_eq!(bench.finishes(125), []);
    assert_eq!((bench.record().failed, bench.wait()), (false, (1000, vec![script(b'u')])));
    let mut bench = Bench::running_with(restarting(policy()));
    bench.command_with(b'd', &[None, None]);
    assert_eq!((bench.finishes(125), bench.record().failed), (vec![], false), "it was told to be down");
}

#[test]
fn an_end_that_was_asked_for_is_no_failure() {
    for letter in *b"tk" {
        let mut bench = Bench::running_with(restarting(limited(1)));
        for _ in 0..5 {
            bench.ms += 2000;
            bench.command_with(letter, &[None]);
            assert_eq!(bench.exits(0), [script(b'u')], "{}", char::from(letter));
            bench.start();
        }
        let record = bench.record();
        assert_eq!((record.failed, record.backoff, record.told_to_end), (false, Backoff::default(), false));
    }
    // Nor if a script did it.
    let mut bench = Bench::running_with(restarting(limited(1)));
    bench.ms += 2000;
    bench.command_with(b't', &[Some(0)]);
    assert_eq!(bench.exits(0), [script(b'u')]);
    // But any other signal is the service's own affair.
    let mut bench = Bench::running_with(restarting(policy()));
    bench.ms += 2000;
    bench.command_with(b'i', &[None]);
    assert_eq!(bench.exits(0), []);
}

#[test]
fn down_signal_takes_the_place_of_term() {
    let settings = || Settings { down_signal: Signal::SIGINT, ..Settings::default() };
    for letter in *b"dx" {
        let mut bench = Bench::running_with(settings());
        let trace = bench.command_with(letter, &[None, None]);
        assert_eq!(trace, [script(b't'), kill(Signal::SIGINT), kill(CONT), script(letter)]);
        assert!(bench.stat().starts_with("run, got TERM, want "), "as who reads it knows it");
    }
    let mut bench = Bench::running_with(settings());
    assert_eq!(bench.command_with(b't', &[None]), [script(b't'), kill(Signal::SIGINT)]);
    assert_eq!(bench.command_with(b't', &[Some(0)]), [script(b't')]);
}

#[test]
fn kill_follows_the_down_signal() {
    let settings = || Settings { timeout_kill: Some(ms(700)), ..Settings::default() };
    for (letter, scripts) in [(b'd', 2), (b'x', 2), (b't', 1)] {
        let mut bench = Bench::running_with(settings());
        bench.command_with(letter, &vec![None; scripts]);
        let mut bench = bench.after(300);
        bench.command_with(letter, &vec![None; scripts]);
        assert_eq!(bench.wait(), (400, vec![kill(KILL)]), "a second command does not put it off");
        assert_eq!(bench.state.deadline(), None, "once");
    }
    // Its script may have done what the signal does.
    let mut bench = Bench::running_with(settings());
    bench.command_with(b't', &[Some(0)]);
    assert_eq!(bench.wait(), (700, vec![kill(KILL)]));
    for letter in *b"pciq12hao" {
        let mut bench = Bench::running_with(settings());
        bench.command(letter);
        if letter != b'o' {
            bench.spawned(Program::Control(Command::from_byte(letter).unwrap()), Outcome::Absent);
        }
        assert_eq!(bench.state.deadline(), None, "{}", char::from(letter));
    }
    let mut bench = Bench::running_with(settings());
    bench.command_with(b'd', &[None, None]);
    bench.exits(0);
    assert_eq!(bench.state.deadline(), None, "it has ended");
}

#[test]
fn finish_is_killed_after_its_time() {
    let settings = Settings { timeout_finish: Some(ms(300)), ..Settings::default() };
    let mut bench = Bench::running_with(settings);
    bench.feed(Event::Exited(RUN, ExitStatus::exited(0)));
    bench.spawned(Program::Finish(ExitStatus::exited(0)), Outcome::Started(FINISH));
    assert_eq!(bench.wait(), (300, vec![Action::Signal(FINISH, KILL)]));
    assert_eq!(bench.state.deadline(), None);
    assert_eq!(bench.feed(Event::Exited(FINISH, ExitStatus::killed(9))), []);
    assert_eq!(bench.wait(), (1000, vec![script(b'u')]));
}

#[test]
fn a_tree_gets_the_signals_that_end_it_and_no_others() {
    for tree in [GROUP, Tree::Cgroup] {
        let all = |signal| Action::SignalTree(RUN, tree, signal);
        let settings =
            || Settings { kill_mode: Some(tree), timeout_kill: Some(ms(500)), ..Settings::default() };
        let mut bench = Bench::running_with(settings());
        let trace = bench.command_with(b'd', &[None, None]);
        assert_eq!(trace, [script(b't'), all(TERM), all(CONT), script(b'd')]);
        assert_eq!(bench.wait(), (500, vec![all(KILL)]));
        let mut bench = Bench::running_with(settings());
        assert_eq!(bench.command_with(b'k', &[None]), [script(b'k'), all(KILL)]);
        for (letter, signal) in [(b'p', Signal::SIGSTOP), (b'c', CONT), (b'h', Signal::SIGHUP)] {
            assert_eq!(bench.command_with(letter, &[None]), [script(letter), kill(signal)]);
        }
        // What it was started as counts.
        bench.state = bench.state.with_settings(Settings::default());
        assert_eq!(bench.command_with(b't', &[None]), [script(b't'), all(TERM)]);
    }
}

#[test]
fn what_run_left_is_ended_before_all_else() {
    for tree in [Tree::Process, GROUP, Tree::Cgroup] {
        let mut bench = Bench::running_with(Settings { kill_mode: Some(tree), ..Settings::default() });
        let status = ExitStatus::exited(1);
        let finish = Action::Spawn(Program::Finish(status));
        assert_eq!(bench.feed(Event::Exited(RUN, status)), [Action::EndTree(RUN, tree), finish]);
        bench.feed(Event::Left(2));
        bench.spawned(Program::Finish(status), Outcome::Absent);
        assert_eq!(bench.record().left, 2);
        bench.wait();
        bench.start();
        assert_eq!(bench.record().left, 0);
    }
    let mut bench = Bench::running_with(Settings::default());
    let status = ExitStatus::exited(1);
    assert_eq!(bench.feed(Event::Exited(RUN, status)), [Action::Spawn(Program::Finish(status))]);
}

#[test]
fn each_run_has_to_say_that_it_is_ready() {
    for settings in [
        Settings { notification_fd: Some(3), ..Settings::default() },
        Settings { notify_socket: true, ..Settings::default() },
    ] {
        let mut bench = Bench::running_with(settings).after(2000);
        assert_eq!(bench.record().readiness, Readiness::Awaited);
        assert_eq!(bench.feed(Event::Said(Word::Ready)), []);
        bench.feed(Event::Said(Word::Text("at work".into())));
        assert_eq!((bench.record().readiness, bench.record().text.as_str()), (Readiness::Ready, "at work"));
        bench.feed(Event::Said(Word::Stopping));
        assert_eq!(bench.record().readiness, Readiness::Awaited);
        bench.feed(Event::Said(Word::Ready));
        bench.exits(1);
        assert_eq!((bench.record().readiness, bench.record().text.as_str()), (Readiness::Undeclared, ""));
        bench.feed(Event::Said(Word::Ready));
        assert_eq!(bench.record().readiness, Readiness::Undeclared, "nothing runs");
        bench.start();
        assert_eq!(bench.record().readiness, Readiness::Awaited);
    }
    assert_eq!(Bench::running_with(Settings::default()).record().readiness, Readiness::Undeclared);
}

#[test]
fn a_service_that_falls_silent_is_aborted_then_killed() {
    for (timeout_kill, expected) in [(None, 10_000), (Some(ms(300)), 300)] {
        for word in [Word::Ready, Word::Alive] {
            let mut bench = Bench::running_with(watched(timeout_kill)).after(5000);
            assert_eq!(bench.state.deadline(), None, "it has not spoken yet");
            bench.feed(Event::Said(word));
            let mut bench = bench.after(400);
            bench.feed(Event::Said(Word::Text("no sign of life".into())));
            assert_eq!(bench.state.deadline(), Some(ms(5500)));
            bench.feed(Event::Said(Word::Alive));
            assert_eq!(bench.wait(), (500, vec![kill(ABRT)]));
            assert_eq!(bench.wait(), (expected, vec![kill(KILL)]));
            assert_eq!(bench.state.deadline(), None);
            assert!(!bench.record().told_to_end, "it is a failure");
        }
    }
}

#[test]
fn silence_of_one_that_cannot_speak_means_nothing() {
    let mut bench = Bench::running_with(watched(None));
    bench.feed(Event::Said(Word::Alive));
    bench.command_with(b'p', &[None]);
    let mut bench = bench.after(60_000);
    assert_eq!((bench.state.deadline(), bench.feed(Event::Wake)), (None, vec![]));
    bench.command_with(b'c', &[None]);
    assert_eq!(bench.wait(), (500, vec![kill(ABRT)]), "from now on it can");

    for (letter, scripts) in [(b'd', 2), (b't', 1), (b'k', 1)] {
        let mut bench = Bench::running_with(watched(None));
        bench.feed(Event::Said(Word::Alive));
        bench.command_with(letter, &vec![None; scripts]);
        bench.feed(Event::Said(Word::Alive));
        assert_eq!(bench.state.deadline(), None, "it is busy with ending");
    }
}
