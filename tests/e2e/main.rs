//! Ours alone: what svkit decided to do better than runit, and what it makes of bad input.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

mod bad_input;
mod crashes;
mod modern_options;
mod runsv_better;
mod sv_better;
mod svlogd_better;
mod tree;

use std::process::ExitCode;

use svkit_tests::{Group, Reference, Subject, run};

const GROUPS: &[Group] = &[
    ("bad_input", bad_input::CASES),
    ("crashes", crashes::CASES),
    ("modern_options", modern_options::CASES),
    ("runsv_better", runsv_better::CASES),
    ("sv_better", sv_better::CASES),
    ("svlogd_better", svlogd_better::CASES),
    ("tree", tree::CASES),
];

fn main() -> ExitCode {
    run(&[(Reference::Found(Subject::ours()), GROUPS)])
}
