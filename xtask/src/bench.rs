//! `bench`: the benchmarks in tests/benches, on programs linked as they are shipped.

use anyhow::Result;

use crate::{programs, project};

/// Builds the release programs, then runs the benchmarks with `arguments`.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let binaries = programs::build_release()?;
    let mut cargo = project::cargo();
    cargo.args(["bench", "--package", "svkit-tests", "--"]).args(arguments).env("SVKIT_SUBJECT", binaries);
    project::run(&mut cargo)
}
