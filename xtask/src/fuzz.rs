//! `fuzz`: builds the targets of tests/fuzz with libFuzzer and runs them.
//!
//! Stable rustc has all it takes: the sanitizer-coverage pass is one of LLVM's, and libfuzzer-sys brings the runtime.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{programs, project};

/// What cargo-fuzz passes, less the sanitizers that need nightly.
const FLAGS: [&str; 8] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions=on",
    "--cfg=fuzzing",
];

/// Runs `target`, or every target, for `seconds` each.
pub(crate) fn fuzz(target: Option<&str>, seconds: u32) -> Result<()> {
    let known = targets()?;
    let chosen = match target {
        None => known,
        Some(name) if known.iter().any(|known| known == name) => vec![name.to_owned()],
        Some(name) => bail!("no fuzz target `{name}`; there are: {}", known.join(", ")),
    };
    let binaries = build()?;
    for name in chosen {
        run(&name, &binaries, seconds).with_context(|| format!("fuzz target {name}"))?;
    }
    Ok(())
}

fn folder() -> PathBuf {
    project::root().join("tests/fuzz")
}

/// The names of the targets: the files in `fuzz_targets/`.
fn targets() -> Result<Vec<String>> {
    let dir = folder().join("fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("unable to list {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

fn build() -> Result<PathBuf> {
    let triple = programs::target()?;
    let target_dir = project::target_dir().join("fuzz");
    let mut cargo = project::cargo();
    // With --target, the flags leave build scripts alone.
    cargo.args(["build", "--release", "--manifest-path"]).arg(folder().join("Cargo.toml"));
    cargo.args(["--target", &triple, "--target-dir"]).arg(&target_dir);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    project::run(&mut cargo)?;
    Ok(target_dir.join(triple).join("release"))
}

fn run(name: &str, binaries: &std::path::Path, seconds: u32) -> Result<()> {
    let corpus = folder().join("corpus").join(name);
    let artifacts = folder().join("artifacts").join(name);
    for dir in [&corpus, &artifacts] {
        fs::create_dir_all(dir).with_context(|| format!("unable to create {}", dir.display()))?;
    }
    let mut fuzzer = Command::new(binaries.join(name));
    fuzzer
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()));
    let seeds = folder().join("seeds");
    let dictionary = seeds.join(name).with_extension("dict");
    if dictionary.exists() {
        fuzzer.arg(format!("-dict={}", dictionary.display()));
    }
    // New inputs go to the first directory; the others are only read.
    fuzzer.args(["-timeout=10", "-print_final_stats=1", "-verbosity=0"]).arg(&corpus).arg(seeds.join(name));
    project::run(&mut fuzzer)
}
