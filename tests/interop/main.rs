//! svkit beside its relatives: our programs with runit's, daemontools' and s6's, in both directions.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test reports by panicking")]

mod daemontools;
mod logs;
mod runit;
mod s6;

use std::process::ExitCode;

use svkit_tests::{Group, Reference, Subject, run};

/// The programs that each side of the matrix takes from us; the others are runit's.
const MIXTURES: [(&str, &[&str]); 5] = [
    ("our_sv", &["sv"]),
    ("our_runsv", &["runsv"]),
    ("our_runsvdir", &["runsvdir"]),
    ("our_svlogd", &["svlogd"]),
    ("our_supervisors", &["runsv", "runsvdir", "svlogd"]),
];

fn main() -> ExitCode {
    let ours = Subject::ours();
    let mixtures: Vec<_> = MIXTURES.map(|(name, programs)| mixture(name, programs, &ours)).into();
    let matrix: &[Group] = &[("runit", runit::CASES)];
    let alone: &[Group] = &[("daemontools", daemontools::CASES), ("s6", s6::CASES), ("logs", logs::CASES)];
    let mut plan: Vec<_> = mixtures.into_iter().map(|mixture| (mixture, matrix)).collect();
    plan.push((Reference::Found(ours), alone));
    run(&plan)
}

fn mixture(name: &str, programs: &[&str], ours: &Subject) -> Reference {
    match Reference::installed_runit() {
        Reference::Found(runit) => {
            let mixed = programs.iter().fold(runit, |subject, program| subject.with(program, ours));
            Reference::Found(mixed.named(name))
        }
        missing @ Reference::Missing(_) => missing,
    }
}
