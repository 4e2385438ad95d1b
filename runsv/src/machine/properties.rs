//! What holds in whatever order things happen, and whenever the supervisor is killed and replaced.

use nix::unistd::Pid;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use svlib::record::{Phase, ProcessId, Record};
use svlib::status::Status;
use svlib::tai64n::Tai64n;

use super::adopted::Proof;
use super::pair::{self, Pair};
use super::*;
use crate::settings::{Limit, Restart, Settings};

/// One thing the world may do next.
#[derive(Clone, Debug)]
enum Move {
    Command(Command),
    /// One of the programs asked for starts, or not.
    Answer(Answer),
    /// One of the children ends.
    End(usize, i32),
    /// A process that is none of ours ends.
    Stranger,
    Pass(u64),
    Said(Word),
    /// Somebody edits the opt-in files.
    Edit(usize),
    /// kill -9 of the supervisor after so many of the actions that come next, or after all of them but before they are written
    /// down; the next one takes over.
    Crash(usize),
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Started,
    Absent,
    Failed,
    NoProcess,
}

fn any_command() -> impl Strategy<Value = Command> {
    select(&Command::ALL[..])
}

fn any_move() -> impl Strategy<Value = Move> {
    use Answer::{Absent, Failed, NoProcess, Started};
    let answer = select(&[Started, Started, Started, Started, Absent, Absent, Failed, NoProcess][..]);
    prop_oneof![
        4 => any_command().prop_map(Move::Command),
        2 => select(&[Command::Up, Command::Once, Command::Down][..]).prop_map(Move::Command),
        6 => answer.prop_map(Move::Answer),
        3 => (any::<usize>(), select(&[0, 1 << 8, 9][..])).prop_map(|(child, status)| Move::End(child, status)),
        1 => Just(Move::Stranger),
        3 => select(&[1, 300, 999, 1000, 5000][..]).prop_map(Move::Pass),
        1 => select(vec![Word::Ready, Word::Alive, Word::Stopping, Word::Text("x".into())]).prop_map(Move::Said),
        1 => (0..settings().len()).prop_map(Move::Edit),
        1 => (0..5_usize).prop_map(Move::Crash),
    ]
}

/// runit's behaviour, and some of everything else.
fn settings() -> [Settings; 4] {
    let limit = Some(Limit { count: 3, interval: Duration::from_secs(10) });
    let ms = |ms| Some(Duration::from_millis(ms));
    [
        Settings::default(),
        Settings {
            down_signal: Signal::SIGINT,
            timeout_kill: ms(700),
            timeout_finish: ms(500),
            kill_mode: Some(Tree::Group),
            ..Settings::default()
        },
        Settings {
            restart: Some(Restart { jitter: 10, limit, ..Restart::default() }),
            notification_fd: Some(3),
            ..Settings::default()
        },
        Settings {
            restart: Some(Restart { min: Duration::ZERO, ..Restart::default() }),
            notify_socket: true,
            timeout_watchdog: ms(2000),
            kill_mode: Some(Tree::Process),
            ..Settings::default()
        },
    ]
}

/// The world around one machine: it knows the children, and finds fault.
struct World {
    state: State,
    ms: u64,
    /// Programs asked for and not answered yet.
    asked: Vec<Program>,
    children: Vec<(Pid, Program)>,
    last_pid: i32,
    published: Status,
    exited: bool,
    /// Whether `u` or `o` came and may not have been acted on yet.
    told_to_start: bool,
    started: Option<u64>,
    ended: u64,
    signals: Vec<Signal>,
    /// What is in `supervise/record`.
    written: String,
    crash: Option<usize>,
    /// Processes that ended while there was no supervisor that would have seen it.
    unseen: Vec<Pid>,
    /// A restart policy was, or is, in force: runit's second does not count.
    has_policy: bool,
}

impl World {
    fn new(role: Role, want: Want) -> Self {
        let state = State::new(role, want, at(0));
        let published = state.status();
        let written = record(&state);
        Self {
            state,
            written,
            crash: None,
            unseen: Vec::new(),
            has_policy: false,
            ms: 0,
            asked: Vec::new(),
            children: Vec::new(),
            last_pid: 1,
            published,
            exited: false,
            told_to_start: false,
            started: None,
            ended: 0,
            signals: Vec::new(),
        }
    }

    fn feed(&mut self, event: Event) {
        let (state, actions) = step(self.state.clone(), event, at(self.ms));
        self.state = state;
        self.check(&actions);
        let crash = self.crash.take();
        for action in actions.into_iter().take(crash.unwrap_or(usize::MAX)) {
            self.perform(action);
        }
        if crash.is_some() && !self.exited {
            return self.take_over();
        }
        self.written = record(&self.state);
        if self.asked.is_empty() {
            assert_eq!(self.state.status(), self.published, "what is decided is published");
        }
        if !self.state.is_busy() {
            assert!(self.state.queue.is_empty(), "a command waits for nothing");
            self.told_to_start = false;
        }
    }

    /// Another supervisor goes on, from what is written down. What was asked for has not been executed: it waits at its gate
    /// for a parent that is gone.
    fn take_over(&mut self) {
        let record = Record::decode(self.written.as_bytes()).unwrap();
        let state = State::adopted(self.state.role, &record, Proof::Proven, at(self.ms));
        self.asked.clear();
        // A `run` that could not be executed leaves no trace if that was not written down any more.
        if record.phase == Phase::Down && record.not_before < at(self.ended + 1000).monotonic {
            self.started = None;
        }
        for (pid, program) in &self.children {
            assert!(state.processes().any(|known| known == *pid), "nobody knows of {program:?}");
        }
        let is_gone = |pid: &Pid| !self.children.iter().any(|(child, _)| child == pid);
        self.unseen = state.processes().filter(is_gone).collect();
        self.published = state.status();
        self.state = state.with_settings(self.state.settings.clone());
        self.feed(Event::Wake);
    }

    fn check(&self, actions: &[Action]) {
        assert!(!self.exited || actions.is_empty(), "nothing comes after the exit: {actions:?}");
        let rest = match actions {
            [Action::Publish(_), rest @ ..] => rest,
            actions => actions,
        };
        assert!(!rest.iter().any(|action| matches!(action, Action::Publish(_))), "{actions:?}");
        // A supervisor that takes over may find that both `finish` and a control script are owed.
        let spawned = |scripts: bool| {
            let is_one = |action: &&Action| match action {
                Action::Spawn(program) => matches!(program, Program::Control(_)) == scripts,
                _ => false,
            };
            actions.iter().filter(is_one).count()
        };
        assert!(spawned(true) <= 1 && spawned(false) <= 1, "{actions:?}");
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Publish(status) => {
                assert_ne!(status, self.published, "only a change is published");
                self.published = status;
            }
            Action::Spawn(program) => {
                let is_script = |program: &Program| matches!(program, Program::Control(_));
                let live = self.children.iter().map(|(_, program)| program).chain(&self.asked);
                let rivals = live.filter(|other| is_script(other) == is_script(&program)).count();
                assert_eq!(rivals, 0, "{program:?} besides {:?} {:?}", self.asked, self.children);
                if program == Program::Run {
                    self.check_throttle();
                }
                self.asked.push(program);
            }
            Action::Signal(pid, signal) | Action::SignalTree(pid, _, signal) => {
                let child = self.children.iter().find(|(child, _)| *child == pid);
                let is_allowed = match child {
                    Some((_, Program::Run)) => true,
                    Some((_, Program::Finish(_))) => signal == Signal::SIGKILL,
                    Some((_, Program::Control(_))) => false,
                    // It is held by a descriptor, which nobody else can be meant by.
                    None => self.unseen.contains(&pid),
                };
                assert!(is_allowed, "{signal} to {child:?}");
                self.signals.push(signal);
            }
            Action::TellGivenUp(..) => assert!(self.state.failed && self.state.want == Want::Down),
            Action::EndTree(pid, _) => {
                assert!(!self.children.iter().any(|(child, _)| *child == pid), "it runs");
            }
            Action::Exit => {
                assert!(self.children.is_empty() && self.asked.is_empty(), "exit leaves {:?}", self.children);
                self.exited = true;
            }
        }
    }

    fn check_throttle(&self) {
        if let Some(started) = self.started
            && self.ended - started < 1000
            && !self.told_to_start
            && !self.has_policy
        {
            assert!(self.ms >= self.ended + 1000, "restarted {} ms after the end", self.ms - self.ended);
        }
    }

    fn take(&mut self, step: &Move) {
        match *step {
            Move::Command(command) => {
                self.told_to_start |= matches!(command, Command::Up | Command::Once);
                self.feed(Event::Command(command));
            }
            Move::Answer(answer) if !self.asked.is_empty() => self.answer(answer),
            Move::End(child, status) if !self.children.is_empty() => {
                let (pid, program) = self.children.swap_remove(child % self.children.len());
                if !matches!(program, Program::Control(_)) {
                    self.ended = self.ms;
                }
                self.feed(Event::Exited(pid, ExitStatus::from_raw(status)));
            }
            Move::Answer(_) | Move::End(..) => {
                // runsvdir tells what it has seen.
                if let Some(pid) = self.unseen.pop() {
                    self.ended = self.ms;
                    self.feed(Event::Exited(pid, ExitStatus::UNKNOWN));
                }
            }
            Move::Said(ref word) => self.feed(Event::Said(word.clone())),
            Move::Edit(number) => {
                let settings = settings()[number].clone();
                self.has_policy |= settings.restart.is_some();
                self.state = self.state.clone().with_settings(settings);
            }
            Move::Crash(after) => {
                if !self.exited {
                    self.crash = Some(after);
                }
            }
            Move::Stranger => self.feed(Event::Exited(Pid::from_raw(i32::MAX), ExitStatus::exited(0))),
            Move::Pass(ms) => {
                self.ms += ms;
                if self.state.deadline().is_some_and(|deadline| deadline <= at(self.ms).monotonic) {
                    self.feed(Event::Wake);
                    let later = self.state.deadline();
                    assert!(later.is_none_or(|later| later > at(self.ms).monotonic), "woken for nothing");
                }
            }
        }
    }

    fn answer(&mut self, answer: Answer) {
        let program = self.asked.remove(0);
        if program == Program::Run {
            // A start that fails is not written down if the supervisor is killed now: the next one tries it at once.
            let is_known = matches!(answer, Answer::Started) || self.crash.is_none();
            self.started = is_known.then_some(self.ms);
        }
        let outcome = match answer {
            Answer::Started => {
                self.last_pid += 1;
                let pid = Pid::from_raw(self.last_pid);
                // It is written down before it does anything.
                self.written = record(&self.state.clone().executed(program, pid, at(self.ms)));
                self.children.push((pid, program));
                Outcome::Started(pid)
            }
            Answer::Absent => Outcome::Absent,
            Answer::Failed => Outcome::Failed,
            Answer::NoProcess => Outcome::NoProcess,
        };
        if !matches!(outcome, Outcome::Started(_)) && !matches!(program, Program::Control(_)) {
            self.ended = self.ms;
        }
        self.feed(Event::Spawned(program, outcome));
    }

    /// Answers and ends all there is, as long as the process does not have to be ended by somebody.
    fn settle(&mut self, script_status: i32) {
        while !self.asked.is_empty()
            || self.children.iter().any(|(_, program)| matches!(program, Program::Control(_)))
        {
            self.take(&Move::Answer(Answer::Started));
            if let Some(script) =
                self.children.iter().position(|(_, program)| matches!(program, Program::Control(_)))
            {
                let (pid, _) = self.children.remove(script);
                self.feed(Event::Exited(pid, ExitStatus::from_raw(script_status)));
            }
        }
    }
}

fn record(state: &State) -> String {
    state.record(|pid| ProcessId { pid, start: 1 }).lines()
}

fn at(ms: u64) -> Moment {
    let monotonic = Duration::from_millis(ms);
    let wall = Tai64n::from_unix(monotonic.as_secs().cast_signed(), monotonic.subsec_nanos());
    Moment { monotonic, wall }
}

/// runsv(8) read as a program that waits for each of its scripts: what is sent to a running service.
fn signals_by_the_manual(commands: &[Command], script_status: i32) -> (Vec<Signal>, Status) {
    let mut signals = Vec::new();
    let mut world = World::new(Role::Service, Want::Up);
    world.feed(Event::Wake);
    world.settle(0);
    let mut status = world.state.status();
    for &command in commands {
        match command {
            Command::Up => status.want = Want::Up,
            Command::Down | Command::Once => status.want = Want::Down,
            Command::Exit => status.want = Want::Exit,
            Command::Pause => status.paused = true,
            Command::Continue => status.paused = false,
            _ => {}
        }
        if script_status != 0
            && let Some(signal) = command.signal()
        {
            signals.push(signal);
            status.got_term |= signal == Signal::SIGTERM;
        }
        if matches!(command, Command::Down | Command::Exit)
            || (command == Command::Terminate && status.want != Want::Up)
        {
            signals.push(Signal::SIGCONT);
        }
    }
    (signals, status)
}

/// The world around a pair: every program starts at once, and children end when told.
struct PairWorld {
    pair: Pair,
    ms: u64,
    children: Vec<Pid>,
    last_pid: i32,
    closed: usize,
    exits: usize,
    log_signals: usize,
    /// What is in the two records: the supervisor may be killed after each time they are written.
    written: [String; 2],
}

impl PairWorld {
    fn new(log: bool) -> Self {
        let log = log.then(|| State::new(Role::Log, Want::Up, at(0)));
        let pair = Pair { service: State::new(Role::Service, Want::Up, at(0)), log };
        let written = [String::new(), String::new()];
        Self { pair, ms: 0, children: Vec::new(), last_pid: 1, closed: 0, exits: 0, log_signals: 0, written }
    }

    /// Whoever would come next knows of every child.
    fn write(&mut self, role: Role, state: &State) {
        self.written[usize::from(role == Role::Log)] = record(state);
        for pid in &self.children {
            // Behind the name of the line, or the letter of a control script.
            let is_known = |lines: &String| {
                lines.contains(&format!("={pid} 1\n")) || lines.contains(&format!(" {pid} 1\n"))
            };
            assert!(self.written.iter().any(is_known), "nobody knows of {pid}");
        }
    }

    fn write_down(&mut self, roles: impl Iterator<Item = Role>) {
        for role in roles {
            if let Some(state) = self.pair.get(role).cloned() {
                self.write(role, &state);
            }
        }
    }

    fn feed(&mut self, event: pair::Event, log_appears: bool) {
        let mut events = std::collections::VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let (pair, actions) = pair::step(self.pair.clone(), event, at(self.ms));
            self.pair = pair;
            if !actions.iter().any(pair::Action::is_signal) {
                self.write_down(pair::writable(events.iter()));
            }
            for action in actions {
                assert_eq!(self.exits, 0, "{action:?} after the exit");
                match action {
                    pair::Action::Do(role, Action::Spawn(program)) => {
                        assert!(role == Role::Log || self.closed == 0, "{program:?} without its log pipe");
                        self.last_pid += 1;
                        let pid = Pid::from_raw(self.last_pid);
                        self.children.push(pid);
                        let state = self.pair.get(role).unwrap().clone();
                        self.write(role, &state.executed(program, pid, at(self.ms)));
                        events
                            .push_back(pair::Event::To(role, Event::Spawned(program, Outcome::Started(pid))));
                    }
                    pair::Action::Do(Role::Log, Action::Signal(..)) => self.log_signals += 1,
                    pair::Action::Do(_, action) => assert_ne!(action, Action::Exit),
                    pair::Action::FindLog if log_appears => {
                        let log = State::new(Role::Log, Want::Up, at(self.ms));
                        events.push_back(pair::Event::LogFound(Box::new(log)));
                    }
                    pair::Action::FindLog => {}
                    pair::Action::CloseLogPipe => {
                        assert!(self.pair.log.is_some());
                        self.closed += 1;
                    }
                    pair::Action::Exit => self.exits += 1,
                }
            }
        }
        self.write_down(Role::BOTH.into_iter());
    }
}

/// Numbers that look random (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 20).unwrap() % sides
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())].clone()
    }

    fn next_move(&mut self) -> Move {
        use Answer::{Absent, Failed, NoProcess, Started};
        match self.roll(24) {
            0..=3 => Move::Command(self.pick(&Command::ALL)),
            4..=5 => Move::Command(self.pick(&[Command::Up, Command::Once, Command::Down])),
            6..=11 => {
                Move::Answer(self.pick(&[Started, Started, Started, Started, Absent, Failed, NoProcess]))
            }
            12..=14 => Move::End(self.roll(8), self.pick(&[0, 1 << 8, 125 << 8, 9])),
            15..=18 => Move::Pass(self.pick(&[1, 300, 999, 1000, 5000])),
            19..=20 => Move::Said(self.pick(&[Word::Ready, Word::Alive, Word::Stopping])),
            21 => Move::Edit(self.roll(settings().len())),
            22 => Move::Crash(self.roll(5)),
            _ => Move::Stranger,
        }
    }
}

/// How many events there are in all.
const EVENTS: usize = 2_000_000;
/// How many happen to one service.
const LIFE: usize = 400;

/// Years of supervision under virtual time: the same rules, in orders that no list of cases has. The seed of a life that
/// breaks one is in its message.
#[test]
fn millions_of_events_break_no_rule() {
    for life in 0..EVENTS / LIFE {
        let seed = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(life as u64 + 1);
        let lived = std::panic::catch_unwind(|| {
            let mut dice = Dice(seed);
            let role = dice.pick(&[Role::Service, Role::Service, Role::Log]);
            let mut world = World::new(role, dice.pick(&[Want::Up, Want::Down]));
            world.feed(Event::Wake);
            for _ in 0..LIFE {
                let step = dice.next_move();
                world.take(&step);
            }
        });
        assert!(lived.is_ok(), "life {life}, seed {seed:#x}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// At most one live child, signals only to it, one publication a change, one exit, the throttle, no lost command.
    #[test]
    fn no_order_of_events_breaks_a_rule(
        log: bool,
        up: bool,
        moves in vec(any_move(), 0..120),
    ) {
        let role = if log { Role::Log } else { Role::Service };
        let mut world = World::new(role, if up { Want::Up } else { Want::Down });
        world.feed(Event::Wake);
        for step in &moves {
            world.take(step);
        }
    }

    /// However commands and control scripts overlap, the service gets what the manual says, in order.
    #[test]
    fn commands_that_wait_are_the_same_as_commands_that_do_not(
        commands in vec(any_command(), 0..30),
        replaced: bool,
        together: bool,
    ) {
        let script_status = if replaced { 0 } else { 1 << 8 };
        let mut world = World::new(Role::Service, Want::Up);
        world.feed(Event::Wake);
        world.settle(0);
        for &command in &commands {
            world.take(&Move::Command(command));
            if !together {
                world.settle(script_status);
            }
        }
        world.settle(script_status);
        let (signals, status) = signals_by_the_manual(&commands, script_status);
        prop_assert_eq!(world.signals, signals);
        prop_assert_eq!(world.published, status);
    }

    /// `x` always leads to one exit once the children end, after the log pipe was closed, and the log gets no signal.
    #[test]
    fn a_pair_told_to_exit_exits_once(
        log: bool,
        log_appears: bool,
        commands in vec((any_command(), any::<Index>(), any::<bool>()), 0..40),
    ) {
        let mut world = PairWorld::new(log);
        world.feed(pair::Event::Wake, false);
        for (command, child, ends) in commands {
            world.feed(pair::Event::To(Role::Service, Event::Command(command)), log_appears);
            if ends && !world.children.is_empty() {
                let pid = world.children.swap_remove(child.index(world.children.len()));
                world.feed(pair::Event::Exited(pid, ExitStatus::exited(0)), log_appears);
            }
            world.ms += 100;
        }
        world.feed(pair::Event::To(Role::Service, Event::Command(Command::Exit)), log_appears);
        while !world.children.is_empty() {
            prop_assert!(world.last_pid < 1000, "it goes on for ever");
            let pid = world.children.remove(0);
            world.feed(pair::Event::Exited(pid, ExitStatus::exited(0)), log_appears);
        }
        prop_assert_eq!(world.exits, 1);
        prop_assert!(world.closed <= usize::from(world.pair.log.is_some()));
        prop_assert_eq!(world.log_signals, 0);
    }
}
