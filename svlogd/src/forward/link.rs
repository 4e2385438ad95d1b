//! When to connect, to what, and when to give up: the connection to a server without its sockets.
//!
//! ```text
//! Down → Looking → Connecting → Up
//!   ↑______|___________|_________|   a failure; the next try comes later each time
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// A connection that lasted so long was a good one: the next delay is short again.
const GOOD: Duration = Duration::from_secs(10);

/// How long to wait for the addresses of a name, and for each of them to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The state of one connection. Times are on the monotonic clock.
#[derive(Debug)]
pub struct Link {
    state: State,
    /// Where else to connect to if the one that is tried fails, the next one last.
    targets: Vec<Target>,
    failures: u32,
    told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Down { retry_at: Duration },
    Looking { until: Duration },
    Connecting { until: Duration },
    Up { since: Duration },
}

/// What a socket is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A server on the network.
    Address(SocketAddr),
    /// The UNIX socket of the setting.
    Path,
}

/// What has happened.
#[derive(Debug)]
pub enum Event {
    /// Time has passed; there may be something to send.
    Tick {
        /// There is.
        wanted: bool,
    },
    /// The server is at one of these, the best one first.
    Found(Vec<Target>),
    /// There is a connection.
    Connected,
    /// A step failed, or the connection did.
    Failed(Trouble),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Find out where the server is.
    LookUp,
    /// Connect a new socket.
    Connect(Target),
    /// Forget the socket, and say why if it is to be told.
    GiveUp(Trouble, Tell),
}

/// Whether an outage is to be told of: one is told of once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// It is news.
    Yes,
    /// It was told before.
    No,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The system's reason.
    System(Errno),
    /// No name service could be asked.
    NoLookup(Errno),
    /// The name has no address.
    NoAddress,
    /// The server ended the connection in good order.
    Closed,
}

impl Trouble {
    /// The reason, in words.
    pub fn text(self) -> String {
        match self {
            Self::System(errno) => errno.desc().into(),
            Self::NoLookup(errno) => format!("unable to start getent: {}", errno.desc()),
            Self::NoAddress => "no address found for the host name".into(),
            Self::Closed => "connection closed by the server".into(),
        }
    }
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

impl Default for Link {
    fn default() -> Self {
        Self {
            state: State::Down { retry_at: Duration::ZERO },
            targets: Vec::new(),
            failures: 0,
            told: false,
        }
    }
}

impl Link {
    /// What to do after `event`.
    pub fn step(&mut self, event: Event, now: Duration) -> Option<Action> {
        match (event, self.state) {
            (Event::Tick { wanted: true }, State::Down { retry_at }) if retry_at <= now => {
                self.state = State::Looking { until: now.saturating_add(PATIENCE) };
                Some(Action::LookUp)
            }
            (Event::Tick { .. }, State::Looking { until }) if until <= now => {
                Some(self.give_up(Trouble::NoAddress, now))
            }
            (Event::Tick { .. }, State::Connecting { until }) if until <= now => {
                Some(self.connect_next(Errno::ETIMEDOUT.into(), now))
            }
            (Event::Found(mut targets), State::Looking { .. }) => {
                targets.reverse();
                self.targets = targets;
                Some(self.connect_next(Trouble::NoAddress, now))
            }
            (Event::Connected, State::Connecting { .. }) => {
                self.state = State::Up { since: now };
                self.targets.clear();
                None
            }
            (Event::Failed(trouble), State::Connecting { .. }) => Some(self.connect_next(trouble, now)),
            (Event::Failed(trouble), State::Looking { .. } | State::Up { .. }) => {
                Some(self.give_up(trouble, now))
            }
            (Event::Tick { .. } | Event::Found(_) | Event::Connected | Event::Failed(_), _) => None,
        }
    }

    /// When time alone asks for a step; `wanted` is whether there is something to send.
    pub fn deadline(&self, wanted: bool) -> Option<Duration> {
        match self.state {
            State::Down { retry_at } => wanted.then_some(retry_at),
            State::Looking { until } | State::Connecting { until } => Some(until),
            State::Up { .. } => None,
        }
    }

    /// Lets the next try come at once.
    pub fn hurry(&mut self) {
        if let State::Down { retry_at } = &mut self.state {
            *retry_at = Duration::ZERO;
        }
    }

    fn connect_next(&mut self, trouble: Trouble, now: Duration) -> Action {
        match self.targets.pop() {
            Some(target) => {
                self.state = State::Connecting { until: now.saturating_add(PATIENCE) };
                Action::Connect(target)
            }
            None => self.give_up(trouble, now),
        }
    }

    fn give_up(&mut self, trouble: Trouble, now: Duration) -> Action {
        if let State::Up { since } = self.state
            && since.saturating_add(GOOD) <= now
        {
            self.failures = 0;
            self.told = false;
        }
        let delay = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Down { retry_at: now.saturating_add(delay) };
        let tell = if std::mem::replace(&mut self.told, true) { Tell::No } else { Tell::Yes };
        Action::GiveUp(trouble, tell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Duration = Duration::from_secs(1000);
    const WANTED: Event = Event::Tick { wanted: true };
    const REFUSED: Trouble = Trouble::System(Errno::ECONNREFUSED);

    fn target(port: u16) -> Target {
        Target::Address(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// A link that is up since `now`.
    fn up(link: &mut Link, now: Duration) {
        assert_eq!(link.step(WANTED, now), Some(Action::LookUp));
        assert_eq!(link.step(Event::Found(vec![target(1)]), now), Some(Action::Connect(target(1))));
        assert_eq!(link.step(Event::Connected, now), None);
    }

    #[test]
    fn nothing_is_done_for_nothing() {
        let mut link = Link::default();
        assert_eq!((link.step(Event::Tick { wanted: false }, START), link.deadline(false)), (None, None));
        up(&mut link, START);
        assert_eq!((link.step(WANTED, START * 2), link.deadline(true)), (None, None));
    }

    #[test]
    fn all_addresses_are_tried_in_order() {
        let mut link = Link::default();
        link.step(WANTED, START);
        let found = Event::Found([1, 2, 3].map(target).to_vec());
        assert_eq!(link.step(found, START), Some(Action::Connect(target(1))));
        assert_eq!(link.step(Event::Failed(REFUSED), START), Some(Action::Connect(target(2))));
        assert_eq!(link.deadline(true), Some(START + PATIENCE));
        assert_eq!(link.step(WANTED, START + PATIENCE), Some(Action::Connect(target(3))));
        let end = START + PATIENCE * 2;
        assert_eq!(link.step(WANTED, end), Some(Action::GiveUp(Errno::ETIMEDOUT.into(), Tell::Yes)));
        assert_eq!((link.deadline(true), link.deadline(false)), (Some(end + FIRST_RETRY), None));
    }

    #[test]
    fn a_name_without_address_is_looked_up_again() {
        let mut link = Link::default();
        for (answer, now) in [(Event::Found(Vec::new()), START), (WANTED, START + PATIENCE)] {
            assert_eq!(link.step(WANTED, START), Some(Action::LookUp));
            assert!(matches!(link.step(answer, now), Some(Action::GiveUp(Trouble::NoAddress, _))));
            assert_eq!(link.step(WANTED, now), None, "not at once");
            link.hurry();
        }
        assert_eq!(link.step(WANTED, START), Some(Action::LookUp));
    }

    #[test]
    fn the_delay_grows_and_an_outage_is_told_of_once() {
        let mut link = Link::default();
        let (mut now, mut delays) = (START, Vec::new());
        for round in 0..12 {
            up(&mut link, now);
            let tell = if round == 0 { Tell::Yes } else { Tell::No };
            let closed = Event::Failed(Trouble::Closed);
            assert_eq!(link.step(closed, now), Some(Action::GiveUp(Trouble::Closed, tell)));
            let due = link.deadline(true).unwrap();
            assert_eq!(link.step(WANTED, due - Duration::from_nanos(1)), None);
            delays.push((due - now).as_millis());
            now = due;
        }
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);
        up(&mut link, now);
        let later = now + GOOD;
        assert!(matches!(link.step(Event::Failed(REFUSED), later), Some(Action::GiveUp(_, Tell::Yes))));
        assert_eq!(link.deadline(true), Some(later + FIRST_RETRY), "it was a good connection");
    }

    proptest! {
        /// Whatever happens, it neither gets stuck nor goes round and round.
        #[test]
        fn it_always_tries_again_and_never_too_often(events in prop::collection::vec((0..4_u8, 0..40_000_u64), 0..60)) {
            let mut link = Link::default();
            let mut now = START;
            let (mut lookups, mut longest) = (0, Duration::ZERO);
            for (event, millis) in events {
                now += Duration::from_millis(millis);
                let event = match event {
                    0 => WANTED,
                    1 => Event::Found(vec![target(1)]),
                    2 => Event::Connected,
                    _ => Event::Failed(REFUSED),
                };
                lookups += u32::from(link.step(event, now) == Some(Action::LookUp));
                if let Some(due) = link.deadline(true) {
                    longest = longest.max(due.saturating_sub(now));
                }
            }
            prop_assert!(longest <= LONGEST_RETRY);
            let most = (now - START).as_millis() / FIRST_RETRY.as_millis() + 1;
            prop_assert!(u128::from(lookups) <= most);
        }
    }
}
