//! The table of the module's documentation, row by row.

use nix::unistd::Pid;
use svlib::status::Status;
use svlib::tai64n::Tai64n;

use super::pair::{self, Pair};
use super::*;

mod opt_in;

const RUN: Pid = Pid::from_raw(100);
const FINISH: Pid = Pid::from_raw(101);
const SCRIPT: Pid = Pid::from_raw(102);
const TERM: Signal = Signal::SIGTERM;
const CONT: Signal = Signal::SIGCONT;

/// `ms` milliseconds on both clocks.
fn at(ms: u64) -> Moment {
    let monotonic = Duration::from_millis(ms);
    let wall = Tai64n::from_unix(monotonic.as_secs().cast_signed(), monotonic.subsec_nanos());
    Moment { monotonic, wall }
}

/// A machine with a clock of its own, in milliseconds.
struct Bench {
    state: State,
    ms: u64,
}

impl Bench {
    fn new(role: Role, want: Want) -> Self {
        Self { state: State::new(role, want, at(0)), ms: 0 }
    }

    /// A service that has just been started, as process [`RUN`].
    fn running() -> Self {
        let mut bench = Self::new(Role::Service, Want::Up);
        bench.feed(Event::Wake);
        bench.spawned(Program::Control(Command::Up), Outcome::Absent);
        bench.spawned(Program::Run, Outcome::Started(RUN));
        bench
    }

    /// A service that was killed after `ms` milliseconds and whose `finish` runs as process [`FINISH`].
    fn finishing(ms: u64) -> Self {
        let mut bench = Self::running().after(ms);
        bench.feed(Event::Exited(RUN, ExitStatus::killed(9)));
        bench.spawned(Program::Finish(ExitStatus::killed(9)), Outcome::Started(FINISH));
        bench
    }

    /// A service that lived `ms` milliseconds and has no `finish`.
    fn crashed(ms: u64) -> Self {
        let mut bench = Self::running().after(ms);
        bench.feed(Event::Exited(RUN, ExitStatus::exited(1)));
        bench.spawned(Program::Finish(ExitStatus::exited(1)), Outcome::Absent);
        bench
    }

    fn after(mut self, ms: u64) -> Self {
        self.ms += ms;
        self
    }

    /// The actions without what is published.
    fn feed(&mut self, event: Event) -> Vec<Action> {
        let (state, actions) = step(self.state.clone(), event, at(self.ms));
        self.state = state;
        actions.into_iter().filter(|action| !matches!(action, Action::Publish(_))).collect()
    }

    fn spawned(&mut self, program: Program, outcome: Outcome) -> Vec<Action> {
        self.feed(Event::Spawned(program, outcome))
    }

    fn command(&mut self, byte: u8) -> Vec<Action> {
        self.feed(Event::Command(Command::from_byte(byte).unwrap()))
    }

    /// What comes of a command whose scripts end with the codes in `scripts`; `None`: there is no such script.
    fn command_with(&mut self, byte: u8, scripts: &[Option<u8>]) -> Vec<Action> {
        let mut trace = self.command(byte);
        for script in scripts {
            let Some(&Action::Spawn(Program::Control(letter))) = trace.last() else {
                panic!("no script: {trace:?}")
            };
            let program = Program::Control(letter);
            trace.extend(match script {
                None => self.spawned(program, Outcome::Absent),
                Some(code) => {
                    assert_eq!(self.spawned(program, Outcome::Started(SCRIPT)), []);
                    self.feed(Event::Exited(SCRIPT, ExitStatus::exited(*code)))
                }
            });
        }
        trace
    }

    fn stat(&self) -> String {
        self.state.status().stat_text()
    }
}

fn script(byte: u8) -> Action {
    Action::Spawn(Program::Control(Command::from_byte(byte).unwrap()))
}

fn kill(signal: Signal) -> Action {
    Action::Signal(RUN, signal)
}

#[test]
fn a_service_wanted_up_is_started_at_once() {
    let mut bench = Bench::new(Role::Service, Want::Up);
    assert_eq!(bench.feed(Event::Wake), [script(b'u')]);
    assert_eq!(bench.spawned(Program::Control(Command::Up), Outcome::Absent), [Action::Spawn(Program::Run)]);
    assert_eq!(bench.spawned(Program::Run, Outcome::Started(RUN)), []);
    assert_eq!(bench.stat(), "run\n");
    assert_eq!(bench.state.deadline(), None);
}

#[test]
fn down_holds_back_the_first_start_only() {
    let mut bench = Bench::new(Role::Service, Want::Down);
    assert_eq!(bench.feed(Event::Wake), []);
    assert_eq!(bench.state.deadline(), None);
    assert_eq!(bench.command(b'u'), [script(b'u')]);
}

#[test]
fn a_log_service_has_no_scripts_and_ignores_x() {
    let mut bench = Bench::new(Role::Log, Want::Up);
    assert_eq!(bench.feed(Event::Wake), [Action::Spawn(Program::Run)]);
    bench.spawned(Program::Run, Outcome::Started(RUN));
    assert_eq!(bench.command(b'x'), []);
    assert_eq!(bench.stat(), "run\n");
    assert_eq!(bench.command(b't'), [kill(TERM)]);
    assert_eq!(bench.command(b'd'), [kill(TERM), kill(CONT)]);
    assert_eq!(bench.stat(), "run, got TERM, want down\n");
    assert_eq!(bench.feed(Event::Exited(RUN, ExitStatus::exited(0))), []);
    assert_eq!(bench.stat(), "down\n");
}

#[test]
fn commands_to_a_running_service() {
    let signals = b"p:19 c:18 h:1 a:14 i:2 q:3 1:10 2:12 t:15 k:9";
    for entry in signals.split(|&byte| byte == b' ') {
        let number: i32 = str::from_utf8(&entry[2..]).unwrap().parse().unwrap();
        let signal = Signal::try_from(number).unwrap();
        let letter = entry[0];
        for scripts in [None, Some(1), Some(111)] {
            assert_eq!(Bench::running().command_with(letter, &[scripts]), [script(letter), kill(signal)]);
        }
        assert_eq!(Bench::running().command_with(letter, &[Some(0)]), [script(letter)]);
    }
    for letter in *b"uo" {
        assert_eq!(Bench::running().command(letter), []);
    }
}

#[test]
fn a_control_script_that_is_killed_has_not_succeeded() {
    let mut bench = Bench::running();
    bench.command(b'h');
    bench.spawned(Program::Control(Command::Hangup), Outcome::Started(SCRIPT));
    assert_eq!(bench.feed(Event::Exited(SCRIPT, ExitStatus::killed(9))), [kill(Signal::SIGHUP)]);
}

#[test]
fn d_and_x_send_term_unless_replaced_then_cont_then_their_script() {
    for (letter, want) in [(b'd', "down"), (b'x', "exit")] {
        for own_script in [None, Some(0), Some(1)] {
            let mut bench = Bench::running();
            let trace = bench.command_with(letter, &[None, own_script]);
            assert_eq!(trace, [script(b't'), kill(TERM), kill(CONT), script(letter)]);
            assert_eq!(bench.stat(), format!("run, got TERM, want {want}\n"));

            let mut bench = Bench::running();
            let trace = bench.command_with(letter, &[Some(0), own_script]);
            assert_eq!(trace, [script(b't'), kill(CONT), script(letter)]);
            assert_eq!(bench.stat(), format!("run, want {want}\n"));
        }
    }
}

#[test]
fn t_to_a_service_run_once_goes_on_as_d() {
    let mut bench = Bench::running();
    bench.command(b'o');
    let trace = bench.command_with(b't', &[None, None]);
    assert_eq!(trace, [script(b't'), kill(TERM), kill(CONT), script(b'd')]);
}

#[test]
fn paused_is_what_was_asked_whatever_the_script_did() {
    for script in [None, Some(0)] {
        let mut bench = Bench::running();
        bench.command_with(b'p', &[script]);
        assert_eq!(bench.stat(), "run, paused\n");
        bench.command_with(b'c', &[script]);
        assert_eq!(bench.stat(), "run\n");
    }
}

#[test]
fn commands_to_a_service_that_is_down() {
    for letter in *b"haiq12tk" {
        let mut bench = Bench::new(Role::Service, Want::Down);
        assert_eq!((bench.command(letter), bench.stat()), (vec![], "down\n".into()), "{letter}");
    }
    let mut bench = Bench::new(Role::Service, Want::Down);
    assert_eq!((bench.command(b'p'), bench.stat()), (vec![], "down, paused\n".into()));
    assert_eq!((bench.command(b'c'), bench.stat()), (vec![], "down\n".into()));
    assert_eq!(bench.command(b'd'), []);
    assert_eq!(bench.command(b'x'), [Action::Exit]);
    assert_eq!(bench.command(b'u'), []);
}

#[test]
fn commands_during_finish_set_only_what_is_wanted() {
    for letter in *b"haiq12tk" {
        let mut bench = Bench::finishing(2000);
        assert_eq!((bench.command(letter), bench.stat()), (vec![], "finish\n".into()), "{letter}");
    }
    for (letter, stat) in [
        (b'u', "finish\n"),
        (b'o', "finish, want down\n"),
        (b'd', "finish, want down\n"),
        (b'p', "finish, paused\n"),
    ] {
        let mut bench = Bench::finishing(2000);
        assert_eq!((bench.command(letter), bench.stat()), (vec![], stat.into()));
    }
    let mut bench = Bench::finishing(2000);
    assert_eq!(bench.command(b'x'), []);
    assert_eq!(bench.stat(), "finish, want exit\n");
    assert_eq!(bench.feed(Event::Exited(FINISH, ExitStatus::exited(0))), [Action::Exit]);
}

#[test]
fn a_killed_service_runs_until_it_is_reaped() {
    let mut bench = Bench::running();
    bench.command_with(b'k', &[None]);
    assert_eq!(bench.stat(), "run\n");
    assert_eq!(bench.command(b'u'), []);
    let killed = ExitStatus::killed(9);
    assert_eq!(bench.feed(Event::Exited(RUN, killed)), [Action::Spawn(Program::Finish(killed))]);
}

#[test]
fn finish_starts_at_once_and_keeps_the_time_of_run() {
    let bench = Bench::finishing(300);
    assert_eq!(bench.stat(), "finish\n");
    let status = bench.state.status();
    assert_eq!((status.changed, status.pid), (at(0).wall, Some(FINISH)));
}

#[test]
fn no_status_tells_of_a_finish_that_is_not_there() {
    let mut bench = Bench::running().after(1500);
    let (state, actions) = step(bench.state, Event::Exited(RUN, ExitStatus::exited(3)), at(bench.ms));
    let finish = Program::Finish(ExitStatus::exited(3));
    assert_eq!(actions, [Action::Spawn(finish)]);
    let (state, actions) = step(state, Event::Spawned(finish, Outcome::Absent), at(bench.ms));
    // Nor of a down that has ended already: it is started again at once.
    assert_eq!(actions, [script(b'u')]);
    bench.state = state;
}

#[test]
fn a_service_that_lived_a_second_is_restarted_at_once() {
    let mut bench = Bench::running().after(1000);
    bench.feed(Event::Exited(RUN, ExitStatus::exited(0)));
    assert_eq!(bench.spawned(Program::Finish(ExitStatus::exited(0)), Outcome::Absent), [script(b'u')]);
    let mut bench = Bench::finishing(400).after(600);
    assert_eq!(bench.feed(Event::Exited(FINISH, ExitStatus::exited(0))), [script(b'u')]);
}

#[test]
fn one_that_did_not_is_restarted_a_second_later() {
    let mut bench = Bench::crashed(999).after(999);
    assert_eq!(bench.state.deadline(), Some(Duration::from_millis(1999)));
    assert_eq!(bench.feed(Event::Wake), []);
    let mut bench = bench.after(1);
    assert_eq!(bench.feed(Event::Wake), [script(b'u')]);
}

#[test]
fn a_command_is_acted_on_at_once_during_the_throttle() {
    assert_eq!(Bench::crashed(10).command(b'u'), [script(b'u')]);
    assert_eq!(Bench::crashed(10).command(b'o'), [script(b'u')]);
    assert_eq!(Bench::crashed(10).command(b'x'), [Action::Exit]);
    let mut bench = Bench::crashed(10);
    assert_eq!(bench.command(b'd'), []);
    assert_eq!(bench.state.deadline(), None);
}

#[test]
fn finish_is_told_of_a_run_that_cannot_be_started() {
    for outcome in [Outcome::Failed, Outcome::Absent, Outcome::NoProcess] {
        let mut bench = Bench::new(Role::Service, Want::Up);
        bench.feed(Event::Wake);
        bench.spawned(Program::Control(Command::Up), Outcome::Absent);
        let finish = Program::Finish(ExitStatus::NOT_EXECUTED);
        assert_eq!(bench.spawned(Program::Run, outcome), [Action::Spawn(finish)]);
        assert_eq!(bench.spawned(finish, Outcome::Absent), []);
        assert_eq!(bench.state.deadline(), Some(THROTTLE));
    }
}

#[test]
fn finish_is_not_given_up_for_want_of_a_process() {
    let mut bench = Bench::running().after(5000);
    bench.feed(Event::Exited(RUN, ExitStatus::exited(0)));
    let finish = Program::Finish(ExitStatus::exited(0));
    assert_eq!(bench.spawned(finish, Outcome::NoProcess), []);
    assert_eq!(bench.stat(), "finish\n");
    assert_eq!(bench.state.deadline(), Some(Duration::from_secs(6)));
    assert_eq!(bench.command(b'd'), []);
    let mut bench = bench.after(1000);
    assert_eq!(bench.feed(Event::Wake), [Action::Spawn(finish)]);
}

#[test]
fn later_commands_wait_for_a_control_script_in_order() {
    let mut bench = Bench::running();
    assert_eq!(bench.command(b'h'), [script(b'h')]);
    bench.spawned(Program::Control(Command::Hangup), Outcome::Started(SCRIPT));
    assert!(bench.state.is_busy());
    for letter in *b"a1t" {
        assert_eq!(bench.command(letter), []);
    }
    let trace = bench.feed(Event::Exited(SCRIPT, ExitStatus::exited(0)));
    assert_eq!(trace, [script(b'a')]);
    let trace = bench.spawned(Program::Control(Command::Alarm), Outcome::Absent);
    assert_eq!(trace, [kill(Signal::SIGALRM), script(b'1')]);
    let trace = bench.spawned(Program::Control(Command::User1), Outcome::Failed);
    assert_eq!(trace, [kill(Signal::SIGUSR1), script(b't')]);
}

#[test]
fn a_service_that_ends_during_its_control_script_gets_no_signal() {
    let mut bench = Bench::running().after(2000);
    bench.command(b'd');
    bench.spawned(Program::Control(Command::Terminate), Outcome::Started(SCRIPT));
    let status = ExitStatus::exited(0);
    assert_eq!(bench.feed(Event::Exited(RUN, status)), [Action::Spawn(Program::Finish(status))]);
    bench.spawned(Program::Finish(status), Outcome::Absent);
    assert_eq!(bench.feed(Event::Exited(SCRIPT, ExitStatus::exited(1))), [script(b'd')]);
    assert_eq!(bench.stat(), "down\n");
}

#[test]
fn want_and_term_of_one_command_are_published_together_and_before_the_signal() {
    let mut bench = Bench::new(Role::Log, Want::Up);
    bench.feed(Event::Wake);
    bench.spawned(Program::Run, Outcome::Started(RUN));
    let (_, actions) = step(bench.state, Event::Command(Command::Down), at(5));
    assert!(matches!(
        actions[..],
        [
            Action::Publish(Status { got_term: true, want: Want::Down, .. }),
            Action::Signal(..),
            Action::Signal(..)
        ]
    ));
}

/// A pair at time 0, and what it does.
struct PairBench(Pair);

impl PairBench {
    fn new(log: Option<Want>) -> Self {
        let log = log.map(|want| State::new(Role::Log, want, at(0)));
        Self(Pair { service: State::new(Role::Service, Want::Up, at(0)), log })
    }

    fn feed(&mut self, event: pair::Event) -> Vec<pair::Action> {
        let (pair, actions) = pair::step(self.0.clone(), event, at(0));
        self.0 = pair;
        let published = |action: &pair::Action| matches!(action, pair::Action::Do(_, Action::Publish(_)));
        actions.into_iter().filter(|action| !published(action)).collect()
    }

    fn spawned(&mut self, role: Role, program: Program, outcome: Outcome) -> Vec<pair::Action> {
        self.feed(pair::Event::To(role, Event::Spawned(program, outcome)))
    }

    fn start(&mut self) {
        self.feed(pair::Event::Wake);
        self.spawned(Role::Log, Program::Run, Outcome::Started(FINISH));
        self.spawned(Role::Service, Program::Control(Command::Up), Outcome::Absent);
        self.spawned(Role::Service, Program::Run, Outcome::Started(RUN));
    }

    /// The service is told to exit, and does.
    fn exit(&mut self) -> Vec<pair::Action> {
        self.feed(pair::Event::To(Role::Service, Event::Command(Command::Exit)));
        self.spawned(Role::Service, Program::Control(Command::Terminate), Outcome::Absent);
        self.spawned(Role::Service, Program::Control(Command::Exit), Outcome::Absent);
        self.feed(pair::Event::Exited(RUN, ExitStatus::killed(15)));
        self.spawned(Role::Service, Program::Finish(ExitStatus::killed(15)), Outcome::Absent)
    }
}

fn log_run() -> pair::Action {
    pair::Action::Do(Role::Log, Action::Spawn(Program::Run))
}

#[test]
fn x_closes_the_log_pipe_and_waits_for_the_log_service() {
    let mut pair = PairBench::new(Some(Want::Up));
    pair.start();
    assert_eq!(pair.exit(), [pair::Action::CloseLogPipe]);
    assert_eq!(pair.feed(pair::Event::To(Role::Service, Event::Command(Command::Up))), []);
    assert_eq!(pair.feed(pair::Event::To(Role::Log, Event::Command(Command::Up))), []);
    assert_eq!(pair.feed(pair::Event::Exited(FINISH, ExitStatus::exited(0))), [pair::Action::Exit]);
}

#[test]
fn x_exits_at_once_without_a_log_service_or_with_one_that_is_down() {
    let mut pair = PairBench::new(None);
    pair.start();
    assert_eq!(pair.exit(), [pair::Action::Exit]);
    let mut pair = PairBench::new(Some(Want::Down));
    pair.start();
    assert_eq!(pair.exit(), [pair::Action::Exit]);
}

#[test]
fn a_log_service_that_waits_for_its_restart_is_started_to_read_the_rest() {
    let mut pair = PairBench::new(Some(Want::Up));
    pair.start();
    assert_eq!(pair.feed(pair::Event::Exited(FINISH, ExitStatus::exited(1))), []);
    assert_eq!(pair.exit(), [log_run(), pair::Action::CloseLogPipe]);
    assert_eq!(pair.spawned(Role::Log, Program::Run, Outcome::Failed), [pair::Action::Exit]);
}

#[test]
fn a_log_service_that_appears_is_looked_for_at_each_start_of_run() {
    let mut pair = PairBench::new(None);
    pair.feed(pair::Event::Wake);
    let actions = pair.spawned(Role::Service, Program::Control(Command::Up), Outcome::Absent);
    let run = pair::Action::Do(Role::Service, Action::Spawn(Program::Run));
    assert_eq!(actions, [pair::Action::FindLog, run]);
    assert_eq!(
        pair.feed(pair::Event::LogFound(Box::new(State::new(Role::Log, Want::Up, at(0))))),
        [log_run()]
    );
    assert_eq!(pair.feed(pair::Event::LogFound(Box::new(State::new(Role::Log, Want::Up, at(0))))), []);
}
