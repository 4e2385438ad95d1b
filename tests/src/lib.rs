//! The harness of svkit's conformance, interoperation, fault and benchmark suites.
//!
//! A test is a plain function over a [`Subject`]: five programs, ours or a reference's, or a mixture. It makes a
//! [`Sandbox`], lays service directories out in it, starts programs, and looks at what an operator would see: text, exit
//! codes, files. Every process of a sandbox is gone when the sandbox is, also when the test panics.
//!
//! | Variable | Meaning |
//! |---|---|
//! | `SVKIT_SUBJECT` | `ours`, `runit`, or a directory that holds the five programs; default: ours and the installed runit |
//! | `SVKIT_REQUIRE_REFERENCES` | `1`: a reference that is not installed, or root that is missing, fails the suite instead of being skipped |
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a harness reports by panicking: the runner turns it into a failed test"
)]

mod case;
mod disk;
mod eventually;
mod network;
mod normalize;
mod proc;
mod process;
mod reaper;
mod sandbox;
mod service_dir;
mod status_record;
mod subject;
mod suite;

pub use case::Case;
pub use disk::{Disk, keep_mounts_private};
pub use eventually::{eventually, holds_for, within};
pub use normalize::{mask_pids_and_seconds, mask_stamps};
pub use proc::{ProcStat, all_processes, descriptors, lock_holder, parent, session, voluntary_switches};
pub use process::{Output, Running, complete, is_running, kill_and_wait, send, try_send, wait_end};
pub use reaper::Reaper;
pub use sandbox::{Sandbox, install, write_script};
pub use service_dir::{SLEEP, Service, ServiceBuilder, Supervised};
pub use status_record::StatusRecord;
pub use subject::{Implementation, PROGRAMS, Subject, find_in_path, xtask};
pub use suite::{Group, Reference, note, run};
