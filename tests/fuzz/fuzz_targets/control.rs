//! What is written to `supervise/control`, and everything else that may happen to a service and its log service, in any
//! order: runsv keeps its promises.
//!
//! Every byte of the input is one thing that happens; the letters of commands are themselves.
#![no_main]

use std::collections::VecDeque;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nix::unistd::Pid;
use runsv::machine::pair::{self, Pair};
use runsv::machine::{Action, Event, Outcome, Program, Role, State, THROTTLE};
use svlib::command::Command;
use svlib::exit_status::ExitStatus;
use svlib::moment::Moment;
use svlib::status::{Status, Want};
use svlib::tai64n::Tai64n;

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let mut world = World::new(first);
    world.feed(pair::Event::Wake);
    for &byte in bytes {
        world.happen(byte);
    }
    world.end();
});

/// The system around one runsv. It knows every child there is, and finds fault.
struct World {
    pair: Pair,
    now: Moment,
    /// Asked for, and neither started nor refused yet.
    asked: VecDeque<(Role, Program)>,
    children: Vec<(Pid, Role, Program)>,
    last_pid: i32,
    published: [Option<Status>; 2],
    /// What becomes of a log directory that is looked for.
    log_appears: bool,
    pipe_closed: bool,
    exited: bool,
    /// Whether `u` or `o` came and may not have been acted on yet.
    told_to_start: bool,
    /// When `run` of the service was started, and when it or its `finish` ended.
    started: Option<Duration>,
    ended: Duration,
}

impl World {
    fn new(options: u8) -> Self {
        let now = Moment { monotonic: Duration::from_secs(100), wall: Tai64n::from_unix(1_000_000_000, 0) };
        let want = |bit| if options & bit == 0 { Want::Up } else { Want::Down };
        let service = State::new(Role::Service, want(1), now);
        let log = (options & 2 != 0).then(|| State::new(Role::Log, want(4), now));
        let published = [Some(service.status()), log.as_ref().map(State::status)];
        Self {
            pair: Pair { service, log },
            now,
            asked: VecDeque::new(),
            children: Vec::new(),
            last_pid: 1,
            published,
            log_appears: options & 8 != 0,
            pipe_closed: false,
            exited: false,
            told_to_start: false,
            started: None,
            ended: Duration::ZERO,
        }
    }

    fn happen(&mut self, byte: u8) {
        if let Some(command) = Command::from_byte(byte) {
            assert_eq!(command.byte(), byte);
            self.told_to_start |= matches!(command, Command::Up | Command::Once);
            return self.feed(pair::Event::To(Role::Service, Event::Command(command)));
        }
        match byte {
            0..=0x1f => self.answer(|pid| match byte % 8 {
                0 => Outcome::Absent,
                1 => Outcome::Failed,
                2 => Outcome::NoProcess,
                _ => Outcome::Started(pid),
            }),
            0x20..=0x40 => self.pass(Duration::from_millis(u64::from(byte - 0x1f) * 50)),
            // A command to the log service, in capitals.
            b'A'..=b'Z' => {
                if let Some(command) = Command::from_byte(byte.to_ascii_lowercase()) {
                    self.feed(pair::Event::To(Role::Log, Event::Command(command)));
                }
            }
            0x80.. => {
                self.child_ends(usize::from(byte >> 2), [0, 1 << 8, 9, 100 << 8][usize::from(byte & 3)])
            }
            _ => self.feed(pair::Event::Exited(Pid::from_raw(i32::MAX), ExitStatus::exited(0))),
        }
    }

    fn answer(&mut self, outcome: impl FnOnce(Pid) -> Outcome) {
        let Some((role, program)) = self.asked.pop_front() else { return };
        self.last_pid += 1;
        let outcome = outcome(Pid::from_raw(self.last_pid));
        if (role, program) == (Role::Service, Program::Run) {
            self.started = Some(self.now.monotonic);
        }
        if let Outcome::Started(pid) = outcome {
            self.children.push((pid, role, program));
        } else {
            self.note_end(role, program);
        }
        self.feed(pair::Event::To(role, Event::Spawned(program, outcome)));
    }

    fn child_ends(&mut self, which: usize, status: i32) {
        if self.children.is_empty() {
            return;
        }
        let (pid, role, program) = self.children.swap_remove(which % self.children.len());
        self.note_end(role, program);
        self.feed(pair::Event::Exited(pid, ExitStatus::from_raw(status)));
    }

    fn note_end(&mut self, role: Role, program: Program) {
        if role == Role::Service && !matches!(program, Program::Control(_)) {
            self.ended = self.now.monotonic;
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.monotonic += time;
        self.now.wall.seconds += self.now.monotonic.as_secs() % 2;
        if self.pair.deadline().is_some_and(|deadline| deadline <= self.now.monotonic) {
            self.feed(pair::Event::Wake);
            let later = self.pair.deadline();
            assert!(
                later.is_none_or(|later| later > self.now.monotonic),
                "it would be woken again and again"
            );
        }
    }

    fn feed(&mut self, event: pair::Event) {
        let (pair, actions) = pair::step(self.pair.clone(), event, self.now);
        self.pair = pair;
        let mut log_found = false;
        for action in actions {
            assert!(!self.exited, "{action:?} after the exit");
            match action {
                pair::Action::Do(role, action) => self.perform(role, action),
                pair::Action::FindLog => {
                    assert!(self.pair.log.is_none());
                    log_found = std::mem::take(&mut self.log_appears);
                }
                pair::Action::CloseLogPipe => {
                    assert!(!self.pipe_closed && self.pair.log.is_some());
                    assert!(!self.lives(Role::Service), "the service loses its log pipe");
                    self.pipe_closed = true;
                }
                pair::Action::Exit => {
                    assert!(self.children.is_empty() && self.asked.is_empty(), "left: {:?}", self.children);
                    self.exited = true;
                }
            }
        }
        if log_found {
            let log = State::new(Role::Log, Want::Up, self.now);
            self.feed(pair::Event::LogFound(Box::new(log)));
        }
        if !self.pair.service.is_busy() {
            self.told_to_start = false;
        }
    }

    fn perform(&mut self, role: Role, action: Action) {
        match action {
            Action::Publish(status) => {
                assert_ne!(self.published[role as usize], Some(status), "only a change is published");
                self.published[role as usize] = Some(status);
            }
            Action::Spawn(program) => {
                let is_script = |program: Program| matches!(program, Program::Control(_));
                let asked = self.asked.iter().copied();
                let mut live = self.children.iter().map(|&(_, role, program)| (role, program)).chain(asked);
                let rival = live.find(|rival| rival.0 == role && is_script(rival.1) == is_script(program));
                assert_eq!(rival, None, "{program:?} is started beside it");
                assert!(role == Role::Service || program == Program::Run, "a log service has only `run`");
                assert!(role == Role::Log || !self.pipe_closed, "{program:?} without its log pipe");
                if (role, program) == (Role::Service, Program::Run) && !self.told_to_start {
                    self.check_restart();
                }
                self.asked.push_back((role, program));
            }
            Action::Signal(pid, signal) => assert!(
                self.children.contains(&(pid, role, Program::Run)),
                "{signal} to {pid}, which is not the {role:?}"
            ),
            Action::SignalTree(..) | Action::EndTree(..) | Action::TellGivenUp(..) => {
                panic!("without kill-mode and restart")
            }
            Action::Exit => panic!("the exit of one of the two is the pair's to decide"),
        }
    }

    /// What nobody asks for is only started if it is to be up, and not at once if it was up for less than a second.
    fn check_restart(&self) {
        assert_eq!(self.pair.service.status().want, Want::Up);
        let lived = self.started.map(|started| self.ended.saturating_sub(started));
        if lived.is_some_and(|lived| lived < THROTTLE) {
            let down = self.now.monotonic - self.ended;
            assert!(down >= THROTTLE, "up for {lived:?}, and started again after {down:?}");
        }
    }

    fn lives(&self, role: Role) -> bool {
        let asked = self.asked.iter().map(|(role, _)| role);
        self.children.iter().map(|(_, role, _)| role).chain(asked).any(|live| *live == role)
    }

    /// Told to exit, with children that obey, it exits.
    fn end(&mut self) {
        self.feed(pair::Event::To(Role::Service, Event::Command(Command::Exit)));
        let last = self.last_pid;
        while !self.exited {
            // Commands that wait for a script have one or two scripts each.
            assert!(self.last_pid - last < 20_000, "it never exits");
            match (self.asked.is_empty(), self.children.is_empty()) {
                (false, _) => self.answer(Outcome::Started),
                (true, false) => self.child_ends(0, 0),
                (true, true) => self.pass(Duration::from_secs(1)),
            }
        }
    }
}
