//! What it costs to start a program through chpst.

use std::process::Command;
use std::time::Instant;

use svkit_tests::Sandbox;

use crate::contender::{Contender, Who, in_turn};
use crate::figure::{Figure, Unit};
use crate::settings::Settings;

/// Programs started in a row for one sample.
const STARTS: usize = 400;

/// `chpst -P -o 100 true`.
pub(crate) fn measure(settings: &Settings, contenders: &[Contender]) -> Vec<Figure> {
    let starts = settings.amount(STARTS);
    let mut contenders: Vec<_> =
        contenders.iter().map(|contender| (contender.who, start(contender))).collect();
    let [samples] = in_turn(settings.rounds(), &mut contenders, |(_sandbox, command)| {
        let start = Instant::now();
        for _ in 0..starts {
            assert!(command.status().expect("it starts").success(), "{command:?}");
        }
        [start.elapsed().as_secs_f64() / starts as f64]
    });
    vec![Figure::new("chpst -P -o 100 true (floor: true)", Unit::Milliseconds, samples)]
}

fn start(contender: &Contender) -> (Sandbox, Command) {
    let sandbox = contender.sandbox();
    let line: &[&str] = match contender.who {
        Who::Svkit | Who::Runit => &["chpst", "-P", "-o", "100", "true"],
        Who::S6 => &["s6-setsid", "s6-softlimit", "-o", "100", "true"],
        Who::Floor => &["true"],
    };
    let mut command = sandbox.command(line[0]);
    command.args(&line[1..]);
    (sandbox, command)
}
