//! `test` and `ci`: every check, every test, and what came of them.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{dist, fuzz, man, project};

/// How long each fuzz target runs, in seconds.
const FUZZ_SECONDS: u32 = 10;

/// What the suite is compared with: the package, and a program of it.
const REFERENCES: [(&str, &str); 6] = [
    ("runit", "runsv"),
    ("daemontools", "svstat"),
    ("s6", "s6-svscan"),
    ("rsyslog", "rsyslogd"),
    ("syslog-ng-core", "syslog-ng"),
    ("strace", "strace"),
];

/// Whether this runs on a continuous-integration machine.
pub(crate) fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true" || value == "1")
}

/// Runs everything. `strict`, as in CI: no tool or reference may be missing, and what takes longer runs too.
pub(crate) fn test(strict: bool) -> Result<()> {
    let mut checks = Checks { strict, done: Vec::new() };
    let mut closing_lines = Vec::new();

    checks.check("references", None, || references(strict));
    checks.check("formatting", Some("cargo-fmt"), || {
        project::run(project::cargo().args(["fmt", "--all", "--check"]))
    });
    checks.check("clippy", Some("cargo-clippy"), || {
        project::run(project::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"]))
    });
    checks.check("documentation", None, || {
        let mut cargo = project::cargo();
        cargo.args(["doc", "--workspace", "--no-deps", "--document-private-items"]);
        project::run(cargo.env("RUSTDOCFLAGS", "-Dwarnings"))
    });
    checks.check("man pages", Some("mandoc"), man::lint);
    checks.check("tests", None, || tests(strict, &mut closing_lines));
    if strict {
        checks.check("fuzzing", Some("c++"), || fuzz::fuzz(None, FUZZ_SECONDS));
        checks.check("reproducible release", None, dist::check_reproducible);
    }

    println!();
    closing_lines.iter().for_each(|line| println!("{line}"));
    checks.summary()
}

enum Outcome {
    Passed,
    Failed(anyhow::Error),
    Skipped { missing: &'static str },
}

struct Checks {
    strict: bool,
    done: Vec<(&'static str, Outcome, Duration)>,
}

impl Checks {
    /// Runs one check; without the program it needs, it is left out, or fails when strict.
    fn check(&mut self, name: &'static str, needs: Option<&'static str>, run: impl FnOnce() -> Result<()>) {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = match needs.filter(|program| !project::have(program)) {
            Some(missing) if self.strict => Outcome::Failed(anyhow::anyhow!("`{missing}` is not installed")),
            Some(missing) => Outcome::Skipped { missing },
            None => run().map_or_else(Outcome::Failed, |()| Outcome::Passed),
        };
        if let Outcome::Failed(error) = &outcome {
            println!("{name} failed: {error:#}");
        }
        self.done.push((name, outcome, start.elapsed()));
    }

    fn summary(&self) -> Result<()> {
        println!();
        let mut failed = Vec::new();
        for (name, outcome, time) in &self.done {
            let word = match outcome {
                Outcome::Passed => "ok".to_owned(),
                Outcome::Failed(_) => "FAILED".to_owned(),
                Outcome::Skipped { missing } => format!("skipped: `{missing}` is not installed"),
            };
            println!("{name:<22}{:>7.1} s  {word}", time.as_secs_f32());
            if matches!(outcome, Outcome::Failed(_)) {
                failed.push(*name);
            }
        }
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        println!("everything passed");
        Ok(())
    }
}

/// Says which references are installed.
fn references(required: bool) -> Result<()> {
    let mut missing = Vec::new();
    for (package, program) in REFERENCES {
        match project::find_in_path(program) {
            Some(path) => println!("{package} {}: {}", version(package), path.display()),
            None => {
                println!(
                    "{package}: not found ({program} is not in the PATH); tests against it are left out"
                );
                missing.push(package);
            }
        }
    }
    if required && !missing.is_empty() {
        bail!("not installed: {}", missing.join(", "));
    }
    Ok(())
}

/// The version Debian's package manager names; the programs themselves do not know theirs.
fn version(package: &str) -> String {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${Version}", package]).stderr(Stdio::null());
    match query.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => "(version unknown)".to_owned(),
    }
}

/// Runs the workspace's tests; `closing_lines` gets what the runner says at the end of each of its programs, and what was skipped.
fn tests(strict: bool, closing_lines: &mut Vec<String>) -> Result<()> {
    let (output, input) = std::io::pipe().context("unable to create a pipe")?;
    let mut cargo = project::cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast"]).stdin(Stdio::null());
    cargo.stdout(input.try_clone().context("unable to copy a pipe's end")?).stderr(input);
    if strict {
        cargo.env("SVKIT_REQUIRE_REFERENCES", "1");
    }
    eprintln!("$ {}", project::line(&cargo));
    let mut child = cargo.spawn().context("unable to run cargo test")?;
    // Our own copies of the pipe's end: while they are open, the output has no end.
    drop(cargo);

    let mut running = String::new();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("unable to read what cargo test says")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(name) = runner_name(&line) {
            name.clone_into(&mut running);
        } else if line.starts_with("test result: ") || is_skip(&line) {
            closing_lines.push(format!("{running}: {line}"));
        }
    }
    let status = child.wait().context("unable to wait for cargo test")?;
    if !status.success() {
        bail!("cargo test: {status}");
    }
    if closing_lines.is_empty() {
        bail!("cargo test ran no tests");
    }
    Ok(())
}

/// Whether a line names a case, or the reference of cases, that is left out.
fn is_skip(line: &str) -> bool {
    line.ends_with(": skipped")
}

/// The test program that a line of cargo's announces: its name without the hash that cargo appends.
fn runner_name(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if let Some(documented) = line.strip_prefix("Doc-tests ") {
        return Some(documented);
    }
    let path = line.strip_prefix("Running ")?.rsplit_once('(')?.1.strip_suffix(')')?;
    let file = path.rsplit('/').next()?;
    Some(file.rsplit_once('-').map_or(file, |(name, _hash)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_is_named_without_its_hash() {
        let line = "     Running unittests src/lib.rs (target/debug/deps/svkit_tests-0a1b2c3d)";
        assert_eq!(runner_name(line), Some("svkit_tests"));
        assert_eq!(runner_name("   Doc-tests svlib"), Some("svlib"));
        assert_eq!(runner_name("test result: ok. 1 passed"), None);
    }
}
