//! `sv restart`, `stop` and `start`: from the command to its success.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use svkit_tests::{Running, Sandbox};

use crate::arrivals::Arrivals;
use crate::contender::{Contender, Who, in_turn};
use crate::figure::{Figure, Goal, Unit};
use crate::settings::Settings;

/// A service that has lived this long is restarted at once, by everybody; C's sv also needs a later second.
const LIFE: Duration = Duration::from_millis(1100);

/// A service under its supervisor.
struct Supervised {
    who: Who,
    dir: PathBuf,
    arrivals: Arrivals,
    _supervisor: Running,
    // Last, so that it outlives what runs in it.
    sandbox: Sandbox,
}

/// The three commands people use.
pub(crate) fn measure(settings: &Settings, contenders: &[Contender]) -> Vec<Figure> {
    let mut services: Vec<_> = contenders
        .iter()
        .filter(|contender| contender.who != Who::Floor)
        .map(|contender| (contender.who, Supervised::new(contender)))
        .collect();
    let mut figures = ["restart", "stop", "start"].map(|verb| {
        let samples = services.iter().map(|(who, _)| (*who, Vec::new())).collect();
        let figure = Figure::new(format!("sv {verb}, round trip"), Unit::Milliseconds, samples);
        if verb == "restart" { figure.goals(&[Goal::Usually(0.010)]) } else { figure }
    });
    for _ in 0..settings.rounds() {
        for (verb, figure) in ["restart", "stop", "start"].iter().zip(&mut figures) {
            if *verb != "start" {
                sleep(LIFE);
            }
            let [samples] = in_turn(1, &mut services, |service| [service.command(verb)]);
            for ((_, all), (_, new)) in figure.samples.iter_mut().zip(samples) {
                all.extend(new);
            }
        }
    }
    figures.into()
}

impl Supervised {
    fn new(contender: &Contender) -> Self {
        let sandbox = contender.sandbox();
        let mut arrivals = Arrivals::new(&sandbox);
        let dir = arrivals.service(&sandbox, "services/x");
        let program = if contender.who == Who::S6 { "s6-supervise" } else { "runsv" };
        let supervisor = sandbox.start(sandbox.command(program).arg(&dir));
        arrivals.next();
        Self { who: contender.who, dir, arrivals, _supervisor: supervisor, sandbox }
    }

    /// Seconds that the command takes.
    fn command(&mut self, verb: &str) -> f64 {
        let mut command = self.line(verb);
        let start = Instant::now();
        let status = command.stdout(Stdio::null()).status().expect("it starts");
        let elapsed = start.elapsed().as_secs_f64();
        assert!(status.success(), "{command:?}: {status}");
        if verb != "stop" {
            self.arrivals.next();
        }
        elapsed
    }

    fn line(&self, verb: &str) -> Command {
        if self.who != Who::S6 {
            let mut sv = self.sandbox.command("sv");
            sv.arg(verb).arg(&self.dir);
            return sv;
        }
        let mut svc = self.sandbox.command("s6-svc");
        svc.args(match verb {
            "restart" => ["-wr", "-r"],
            "stop" => ["-wd", "-d"],
            _ => ["-wu", "-u"],
        });
        svc.arg(&self.dir);
        svc
    }
}
