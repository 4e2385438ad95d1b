//! The five programs, and how their release binaries are linked.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::project;

/// One of the suite's programs; its package, library and binary share the name.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// The clap definition that `--help`, the man page and the completions come from.
    pub(crate) command: fn() -> clap::Command,
    /// Whether it looks accounts up: name services are loaded at run time, which a static binary cannot do.
    looks_up_accounts: bool,
}

/// All programs, in the order of the documentation.
pub(crate) const PROGRAMS: [Program; 5] = [
    Program { name: "runsv", command: runsv::cli::command, looks_up_accounts: false },
    Program { name: "runsvdir", command: runsvdir::cli::command, looks_up_accounts: false },
    Program { name: "sv", command: sv::cli::command, looks_up_accounts: false },
    Program { name: "chpst", command: chpst::cli::command, looks_up_accounts: true },
    Program { name: "svlogd", command: svlogd::cli::command, looks_up_accounts: false },
];

/// The program called `name`.
pub(crate) fn by_name(name: &str) -> Result<&'static Program> {
    let Some(program) = PROGRAMS.iter().find(|program| program.name == name) else {
        bail!("`{name}` is not a program of svkit");
    };
    Ok(program)
}

/// Builds the release binaries and returns the directory they are in.
///
/// Always all of them: which features the shared dependencies get, and so the bytes of a binary, depends on what is
/// built together.
/// Where a static C library is installed, programs that look no accounts up become static and position dependent:
/// they need no relocation at start, so fewer of their pages become private memory of each process.
pub(crate) fn build_release() -> Result<PathBuf> {
    let target = target()?;
    let (dynamic, fixed): (Vec<_>, Vec<_>) = PROGRAMS.iter().partition(|program| program.looks_up_accounts);
    let mut flags: &[_] = &["-Ctarget-feature=+crt-static", "-Crelocation-model=static"];
    if let Some(why) = why_not_static(&target)? {
        eprintln!("note: {why}");
        flags = &[];
    }
    let place = project::target_dir().join("programs");
    build(&fixed, &target, flags, &place)?;
    build(&dynamic, &target, &[], &place)?;
    Ok(place)
}

/// Why no program will be static, if that is so.
pub(crate) fn why_not_static(target: &str) -> Result<Option<String>> {
    let why = || format!("no static C library (libc.a) for {target}: all programs are linked dynamically");
    Ok((!can_link_statically(target)?).then(why))
}

/// The target triple: `CARGO_BUILD_TARGET`, or this machine's.
pub(crate) fn target() -> Result<String> {
    match env::var("CARGO_BUILD_TARGET") {
        Ok(target) => Ok(target),
        Err(_) => host(),
    }
}

fn host() -> Result<String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = String::from_utf8(project::output(Command::new(rustc).arg("-vV"))?)?;
    let host =
        text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    Ok(host.to_owned())
}

fn can_link_statically(target: &str) -> Result<bool> {
    if target.contains("-musl") {
        return Ok(true);
    }
    if !target.contains("-gnu") || target != host()? || !project::have("cc") {
        return Ok(false);
    }
    // The compiler repeats the bare name when it has no such file.
    let path = project::output(Command::new("cc").arg("-print-file-name=libc.a"))?;
    Ok(Path::new(String::from_utf8_lossy(&path).trim()).is_absolute())
}

/// Builds `programs` with `flags` and puts them into `place`.
fn build(programs: &[&Program], target: &str, flags: &[&str], place: &Path) -> Result<()> {
    // A target directory for each set of flags: cargo builds everything again when they change.
    let target_dir = project::target_dir().join(if flags.is_empty() { "dynamic" } else { "static" });
    let mut cargo = project::cargo();
    // The target is named even when it is the host: flags then leave build scripts and procedural macros alone.
    cargo.args(["build", "--release", "--locked", "--target", target, "--target-dir"]).arg(&target_dir);
    for program in programs {
        cargo.args(["--package", program.name]);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rust_flags(flags)?);
    project::run(&mut cargo)?;

    for program in programs {
        let binary = target_dir.join(target).join("release").join(program.name);
        let bytes = fs::read(&binary).with_context(|| format!("unable to read {}", binary.display()))?;
        project::write_file(&place.join(program.name), &bytes, 0o755)?;
    }
    Ok(())
}

/// The caller's flags and ours, as cargo wants them: separated by the ASCII unit separator.
fn rust_flags(ours: &[&str]) -> Result<String> {
    let mut flags: Vec<String> = match (env::var("CARGO_ENCODED_RUSTFLAGS"), env::var("RUSTFLAGS")) {
        (Ok(encoded), _) => encoded.split('\x1f').map(str::to_owned).collect(),
        (_, Ok(plain)) => plain.split_whitespace().map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    flags.retain(|flag| !flag.is_empty());
    flags.extend(ours.iter().map(|&flag| flag.to_owned()));
    // Where it was built must not be seen in what was built.
    let root = fs::canonicalize(project::root()).context("unable to resolve the checkout")?;
    flags.push(format!("--remap-path-prefix={}=/svkit", root.display()));
    if let Some(home) = cargo_home() {
        flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
    }
    Ok(flags.join("\x1f"))
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")))
}
