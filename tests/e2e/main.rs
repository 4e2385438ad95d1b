//! Ours alone: what svkit decided to do better than runit, and what it makes of bad input.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

mod bad_env;
mod bad_input;
mod bad_log;
mod bad_service;
mod chaos;
mod container;
mod crash_points;
mod crashes;
mod idle;
mod many_services;
mod modern_options;
mod numbered;
mod odd_names;
mod opt_in;
mod readiness;
mod restart_policy;
mod runsv_better;
mod runsv_reexec;
mod runsvdir_takeover;
mod scale;
mod shortage;
mod stopping;
mod story;
mod sv_better;
mod sv_readiness;
mod svlogd_better;
mod svlogd_compress;
mod svlogd_faults;
mod svlogd_forward;
mod svlogd_log_servers;
mod svlogd_rules;
mod svlogd_signals;
mod svlogd_sync;
mod svlogd_trouble;
mod svlogd_unasked;
mod takeover;
mod teller;
mod tree;
mod trees;
mod xtask_run;

use std::process::ExitCode;

use svkit_tests::{Group, Reference, Subject, run};

const GROUPS: &[Group] = &[
    ("bad_env", bad_env::CASES),
    ("bad_input", bad_input::CASES),
    ("bad_log", bad_log::CASES),
    ("bad_service", bad_service::CASES),
    ("chaos", chaos::CASES),
    ("container", container::CASES),
    ("crash_points", crash_points::CASES),
    ("crashes", crashes::CASES),
    ("idle", idle::CASES),
    ("many_services", many_services::CASES),
    ("modern_options", modern_options::CASES),
    ("odd_names", odd_names::CASES),
    ("readiness", readiness::CASES),
    ("restart_policy", restart_policy::CASES),
    ("runsv_better", runsv_better::CASES),
    ("runsv_reexec", runsv_reexec::CASES),
    ("runsvdir_takeover", runsvdir_takeover::CASES),
    ("scale", scale::CASES),
    ("shortage", shortage::CASES),
    ("stopping", stopping::CASES),
    ("story", story::CASES),
    ("sv_better", sv_better::CASES),
    ("sv_readiness", sv_readiness::CASES),
    ("svlogd_better", svlogd_better::CASES),
    ("svlogd_compress", svlogd_compress::CASES),
    ("svlogd_faults", svlogd_faults::CASES),
    ("svlogd_forward", svlogd_forward::CASES),
    ("svlogd_log_servers", svlogd_log_servers::CASES),
    ("svlogd_rules", svlogd_rules::CASES),
    ("svlogd_signals", svlogd_signals::CASES),
    ("svlogd_sync", svlogd_sync::CASES),
    ("svlogd_trouble", svlogd_trouble::CASES),
    ("svlogd_unasked", svlogd_unasked::CASES),
    ("takeover", takeover::CASES),
    ("tree", tree::CASES),
    ("trees", trees::CASES),
    ("xtask_run", xtask_run::CASES),
];

fn main() -> ExitCode {
    // The binary is also a service of its own tests.
    if let Some(code) = chaos::writer::called().or_else(teller::run) {
        return code;
    }
    run(&[(Reference::Found(Subject::ours()), GROUPS)])
}
