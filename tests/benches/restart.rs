//! How soon a service runs: a new one, and one that has crashed.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use svkit_tests::{Running, Sandbox};

use crate::arrivals::Arrivals;
use crate::contender::{Contender, Who, in_turn};
use crate::figure::{Figure, Goal, Unit};
use crate::settings::Settings;

/// A service that has lived this long is restarted at once.
const LIFE: Duration = Duration::from_millis(1100);

/// A services directory under its supervisor.
struct Tree {
    who: Who,
    arrivals: Arrivals,
    /// The service that crashes.
    pid: i32,
    services: usize,
    _supervisor: Running,
    // Last, so that it outlives what runs in it.
    sandbox: Sandbox,
}

/// A crash to the next start, and a new service directory to its first.
pub(crate) fn measure(settings: &Settings, contenders: &[Contender]) -> Vec<Figure> {
    let mut trees: Vec<_> = contenders
        .iter()
        .filter(|contender| contender.who != Who::Floor)
        .map(|contender| (contender.who, Tree::new(contender)))
        .collect();
    let [crashed] = in_turn(settings.rounds(), &mut trees, |tree| [tree.crash()]);
    let [appeared] = in_turn(settings.rounds(), &mut trees, |tree| [tree.appear()]);
    let figure = |name, samples| Figure::new(name, Unit::Milliseconds, samples);
    vec![
        figure("crash to restarted", crashed).goals(&[Goal::Times(1.0, Who::Runit)]),
        figure("new service directory to running (s6: told by s6-svscanctl)", appeared)
            .goals(&[Goal::Usually(0.050)]),
    ]
}

impl Tree {
    fn new(contender: &Contender) -> Self {
        let sandbox = contender.sandbox();
        let mut arrivals = Arrivals::new(&sandbox);
        arrivals.service(&sandbox, "services/crashing");
        let program = if contender.who == Who::S6 { "s6-svscan" } else { "runsvdir" };
        let supervisor = sandbox.start(sandbox.command(program).arg(sandbox.services()));
        let pid = arrivals.next();
        Self { who: contender.who, arrivals, pid, services: 0, _supervisor: supervisor, sandbox }
    }

    fn crash(&mut self) -> f64 {
        sleep(LIFE);
        let start = Instant::now();
        kill(Pid::from_raw(self.pid), Signal::SIGKILL).expect("the service runs");
        self.pid = self.arrivals.next();
        start.elapsed().as_secs_f64()
    }

    fn appear(&mut self) -> f64 {
        self.services += 1;
        let made = self.arrivals.service(&self.sandbox, format!("made-{}", self.services));
        let start = Instant::now();
        fs::rename(made, self.sandbox.services().join(self.services.to_string()))
            .expect("an ordinary rename");
        if self.who == Who::S6 {
            let told = self.sandbox.command("s6-svscanctl").arg("-a").arg(self.sandbox.services()).status();
            assert!(told.expect("it starts").success());
        }
        self.arrivals.next();
        start.elapsed().as_secs_f64()
    }
}
