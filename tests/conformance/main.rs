//! The same cases against svkit and the installed runit.
//!
//! Every case quotes the sentence of runit's man pages it proves, or says which undocumented behaviour it pins down. Where
//! a runit is known to differ, the case carries the reason and must fail there.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test reports by panicking")]

mod chpst_emulation;
mod chpst_identity;
mod chpst_limits;
mod chpst_state;
mod chpst_usage;
mod runsv_control;
mod runsv_exit;
mod runsv_files;
mod runsv_log;
mod runsv_run;
mod runsv_scripts;
mod runsvdir_scan;
mod runsvdir_signals;
mod sv_commands;
mod sv_errors;
mod sv_lsb;
mod sv_status;
mod sv_wait;
mod svlogd_pattern;
mod svlogd_rotate;
mod svlogd_run;
mod svlogd_write;

use std::process::ExitCode;

use svkit_tests::{Group, Reference, run};

const GROUPS: &[Group] = &[
    ("chpst_emulation", chpst_emulation::CASES),
    ("chpst_identity", chpst_identity::CASES),
    ("chpst_limits", chpst_limits::CASES),
    ("chpst_state", chpst_state::CASES),
    ("chpst_usage", chpst_usage::CASES),
    ("runsv_control", runsv_control::CASES),
    ("runsv_exit", runsv_exit::CASES),
    ("runsv_files", runsv_files::CASES),
    ("runsv_log", runsv_log::CASES),
    ("runsv_run", runsv_run::CASES),
    ("runsv_scripts", runsv_scripts::CASES),
    ("runsvdir_scan", runsvdir_scan::CASES),
    ("runsvdir_signals", runsvdir_signals::CASES),
    ("sv_commands", sv_commands::CASES),
    ("sv_errors", sv_errors::CASES),
    ("sv_lsb", sv_lsb::CASES),
    ("sv_status", sv_status::CASES),
    ("sv_wait", sv_wait::CASES),
    ("svlogd_pattern", svlogd_pattern::CASES),
    ("svlogd_rotate", svlogd_rotate::CASES),
    ("svlogd_run", svlogd_run::CASES),
    ("svlogd_write", svlogd_write::CASES),
];

fn main() -> ExitCode {
    let plan: Vec<_> = Reference::from_environment().into_iter().map(|subject| (subject, GROUPS)).collect();
    run(&plan)
}
