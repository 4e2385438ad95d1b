//! What happens to the tree, in which order: pure, a function of the seed.

use fastrand::Rng;

/// What a fault is, and how often of a hundred times.
const WEIGHTS: [(Kind, u32); 13] = [
    (Kind::KillRun, 13),
    (Kind::KillLogger, 9),
    (Kind::KillRunsv, 15),
    (Kind::KillRunsvdir, 4),
    (Kind::Stop, 13),
    (Kind::Flood, 14),
    (Kind::Sv, 12),
    (Kind::Rename, 6),
    (Kind::Remove, 5),
    (Kind::Down, 3),
    (Kind::Replace, 3),
    (Kind::AddLog, 2),
    (Kind::Add, 1),
];
/// More are not added.
const MOST_SERVICES: usize = 44;
const VERBS: [&str; 5] = ["up", "down", "restart", "once", "restart"];

/// A kind of fault, by the name that `SVKIT_CHAOS_KINDS` has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    KillRun,
    KillLogger,
    KillRunsv,
    KillRunsvdir,
    Stop,
    Flood,
    Sv,
    Rename,
    Remove,
    Down,
    Replace,
    AddLog,
    Add,
}

impl Kind {
    /// The kinds in a comma-separated list; a name with a minus before it is left out of all of them.
    pub(crate) fn list(text: &str) -> Vec<Self> {
        let all = WEIGHTS.iter().map(|(kind, _)| *kind);
        let names: Vec<String> = text.split(',').map(str::to_lowercase).collect();
        let named = |kind: &Self| format!("{kind:?}").to_lowercase();
        for name in names.iter().map(|name| name.trim_start_matches('-')).filter(|name| !name.is_empty()) {
            assert!(all.clone().any(|kind| named(&kind) == name), "no such kind of fault: {name}");
        }
        let only = names.iter().any(|name| !name.is_empty() && !name.starts_with('-'));
        all.filter(|kind| {
            let name = named(kind);
            if only { names.contains(&name) } else { !names.contains(&format!("-{name}")) }
        })
        .collect()
    }
}

/// A process. Services are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Run(usize),
    Logger(usize),
    Runsv(usize),
    Runsvdir,
}

/// Something bad, or merely unexpected. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// KILL. A new runsvdir is started at once.
    Kill(Victim),
    /// STOP, and CONT later.
    Stop(Victim, u64),
    /// Bytes into a control fifo, of the log service or the service.
    Flood { service: usize, log: bool, bytes: Vec<u8> },
    /// `sv VERB SERVICE`, beside all that follows.
    Sv(usize, &'static str),
    /// Its entry in the services directory gets another name.
    Rename(usize),
    /// The entry goes, and comes back later.
    Remove(usize, u64),
    /// `down` is made, or removed.
    Down(usize),
    /// `run` is replaced by rename(2).
    Replace(usize),
    /// A service without a log gets one.
    AddLog(usize),
    /// A new service.
    Add,
}

impl Fault {
    /// The service that it happens to, if it is one.
    pub(crate) fn service(&self) -> Option<usize> {
        match *self {
            Self::Kill(victim) | Self::Stop(victim, _) => match victim {
                Victim::Run(service) | Victim::Logger(service) | Victim::Runsv(service) => Some(service),
                Victim::Runsvdir => None,
            },
            Self::Flood { service, .. }
            | Self::Sv(service, _)
            | Self::Rename(service)
            | Self::Remove(service, _)
            | Self::Down(service)
            | Self::Replace(service)
            | Self::AddLog(service) => Some(service),
            Self::Add => None,
        }
    }
}

/// A fault and the pause before it, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) pause: u64,
    pub(crate) fault: Fault,
}

/// Whether a service has a log from the beginning.
pub(crate) fn has_log(service: usize) -> bool {
    service % 5 != 4
}

/// Whether the log service of a service may be killed: after that lines may be there twice, and the others prove that
/// they are not without it.
pub(crate) fn may_lose_logger(service: usize) -> bool {
    service.is_multiple_of(3)
}

/// So many faults for a tree that begins with so many services.
pub(crate) fn plan(seed: u64, faults: usize, mut services: usize, kinds: &[Kind]) -> Vec<Step> {
    assert!(!kinds.is_empty(), "no kind of fault is left");
    let mut rng = Rng::with_seed(seed);
    let mut steps = Vec::with_capacity(faults);
    while steps.len() < faults {
        let kind = kind(&mut rng, kinds);
        let service = rng.usize(..services);
        let killable = service - service % 3;
        debug_assert!(may_lose_logger(killable));
        let fault = match kind {
            Kind::KillRun => Fault::Kill(Victim::Run(service)),
            Kind::KillLogger => Fault::Kill(Victim::Logger(killable)),
            Kind::KillRunsv => Fault::Kill(Victim::Runsv(service)),
            Kind::KillRunsvdir => Fault::Kill(Victim::Runsvdir),
            Kind::Stop => {
                let victim = match rng.u32(..10) {
                    0..3 => Victim::Run(service),
                    3..6 => Victim::Logger(service),
                    6..9 => Victim::Runsv(service),
                    _ => Victim::Runsvdir,
                };
                Fault::Stop(victim, rng.u64(20..600))
            }
            Kind::Flood => {
                let log = rng.u32(..4) == 0;
                let service = if log { killable } else { service };
                Fault::Flood { service, log, bytes: flood(&mut rng, log) }
            }
            Kind::Sv => Fault::Sv(service, VERBS[rng.usize(..VERBS.len())]),
            Kind::Rename => Fault::Rename(service),
            Kind::Remove => Fault::Remove(service, rng.u64(..900)),
            Kind::Down => Fault::Down(service),
            Kind::Replace => Fault::Replace(service),
            Kind::AddLog => Fault::AddLog(service - service % 5 + 4),
            Kind::Add => Fault::Add,
        };
        match fault {
            Fault::AddLog(service) if service >= services => continue,
            Fault::Add if services == MOST_SERVICES => continue,
            Fault::Add => services += 1,
            _ => {}
        }
        steps.push(Step { pause: rng.u64(10..90), fault });
    }
    steps
}

fn kind(rng: &mut Rng, kinds: &[Kind]) -> Kind {
    let weights = || WEIGHTS.iter().filter(|(kind, _)| kinds.contains(kind));
    let sum: u32 = weights().map(|(_, weight)| weight).sum();
    let mut left = rng.u32(..sum);
    for (kind, weight) in weights() {
        match left.checked_sub(*weight) {
            Some(rest) => left = rest,
            None => return *kind,
        }
    }
    unreachable!("less than the sum of the weights is left")
}

/// Any bytes but `x`, with the commands more often than others, and at the end what is wanted. A log service is wanted
/// up: a service whose pipe is full would wait for it.
fn flood(rng: &mut Rng, log: bool) -> Vec<u8> {
    let any = |rng: &mut Rng| match rng.bool() {
        true => *b"udopchaitkq12w".get(rng.usize(..14)).unwrap_or(&b'u'),
        false => rng.u8(..),
    };
    let length = rng.usize(100..600);
    let mut bytes: Vec<u8> = (0..length).map(|_| any(rng)).filter(|byte| *byte != b'x').collect();
    // What was paused goes on.
    bytes.push(b'c');
    bytes.push(if log || rng.u32(..4) > 0 { b'u' } else { b'd' });
    bytes
}
