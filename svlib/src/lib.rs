//! What the programs of svkit share.
//!
//! The pure modules (no system call, no clock, no environment) know runit's formats: [`command`], [`status`], [`tai64n`],
//! [`exit_status`], [`moment`], [`paths`], [`pattern`], [`log_name`];
//! [`record`] and [`keeper`] are svkit's own. [`error`], [`diag`], [`cli`] and [`atomic`] are how every program reports,
//! parses and publishes. [`sys`] is the only place in svkit that may use `unsafe`.

pub mod atomic;
pub mod cli;
pub mod command;
pub mod diag;
pub mod error;
pub mod exit_status;
pub mod keeper;
pub mod log_name;
pub mod moment;
pub mod paths;
pub mod pattern;
pub mod record;
pub mod status;
#[expect(unsafe_code, reason = "the one place where system calls are wrapped")]
pub mod sys;
pub mod tai64n;

pub use error::{Context, Error, Result};
