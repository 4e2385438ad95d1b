//! From the start of the supervisor of all to every service running.

use std::process::Command;
use std::time::Instant;

use nix::unistd::geteuid;
use svkit_tests::{Disk, Sandbox};

use crate::arrivals::Arrivals;
use crate::contender::{Contender, Who, in_turn};
use crate::figure::{Figure, Goal, Unit};
use crate::settings::Settings;

/// 200 services.
pub(crate) fn measure(settings: &Settings, contenders: &[Contender]) -> Vec<Figure> {
    vec![boot(settings, contenders, settings.amount(200))]
}

/// 1,000 services: as many as runit's runsvdir takes.
pub(crate) fn measure_thousand(settings: &Settings, contenders: &[Contender]) -> Vec<Figure> {
    vec![boot(settings, contenders, settings.amount(1000))]
}

fn boot(settings: &Settings, contenders: &[Contender], services: usize) -> Figure {
    let mut contenders: Vec<_> = contenders
        .iter()
        .filter(|contender| contender.who != Who::Floor)
        .map(|contender| (contender.who, contender))
        .collect();
    let [samples] = in_turn(settings.rounds(), &mut contenders, |contender| [all_up(contender, services)]);
    Figure::new(format!("{services} services: start to all running"), Unit::Seconds, samples)
        .goals(&[Goal::Times(1.0, Who::S6)])
}

/// What starts the supervisors of the services in a directory, which is the last argument.
pub(crate) fn supervisor_of_all(sandbox: &Sandbox, who: Who) -> Command {
    let mut command = sandbox.command(if who == Who::S6 { "s6-svscan" } else { "runsvdir" });
    if who == Who::S6 {
        // As many as it may have to take.
        command.args(["-c", "10000"]);
    }
    command
}

/// Seconds from start to the last service. Each time in a new sandbox: a first start has more to do than the next.
///
/// The service directories are in memory, where it can be had, as they are on machines that keep supervise directories below
/// `/run`. ext4 searches past each inode that was deleted in the last minutes at each new file: what one contender's round has
/// removed would be counted to the next one's.
fn all_up(contender: &Contender, services: usize) -> f64 {
    let sandbox = contender.sandbox();
    let _disk = geteuid().is_root().then(|| Disk::new(&sandbox, "services", 512 << 10));
    let mut arrivals = Arrivals::new(&sandbox);
    for number in 0..services {
        arrivals.service(&sandbox, format!("services/{number}"));
    }
    let mut command = supervisor_of_all(&sandbox, contender.who);
    command.arg(sandbox.services());
    let start = Instant::now();
    let _running = sandbox.start(&mut command);
    for _ in 0..services {
        arrivals.next();
    }
    start.elapsed().as_secs_f64()
}
