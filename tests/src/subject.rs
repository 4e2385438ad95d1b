//! Which programs are under test.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The programs a subject consists of.
pub const PROGRAMS: [&str; 5] = ["runsv", "runsvdir", "sv", "chpst", "svlogd"];

/// Whose programs a subject has, as far as behaviour is known to differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// svkit's.
    Ours,
    /// runit before 2.2: no `chpst -C`, `-t`.
    Runit21,
    /// runit 2.2 and later.
    Runit23,
}

impl Implementation {
    /// Every runit.
    pub const RUNIT: &[Self] = &[Self::Runit21, Self::Runit23];
}

/// Five programs that are tested together.
#[derive(Clone, Debug)]
pub struct Subject {
    name: String,
    implementation: Option<Implementation>,
    programs: BTreeMap<&'static str, PathBuf>,
}

impl Subject {
    /// svkit's own programs, freshly built.
    pub fn ours() -> Self {
        Self::in_dir("ours", Implementation::Ours, &our_bin_dir())
    }

    /// The programs in `dir`, when all five are there. svkit's are told from runit's by `--version`, which runit has not.
    pub fn from_dir(name: &str, dir: &Path) -> Option<Self> {
        let dir = dir.canonicalize().ok()?;
        if !PROGRAMS.iter().all(|program| dir.join(program).is_file()) {
            return None;
        }
        Some(Self::in_dir(name, identify(&dir), &dir))
    }

    /// runit as installed: the directory in `PATH` where `runsv` is.
    pub fn installed_runit() -> Option<Self> {
        let runsv = find_in_path("runsv")?;
        Self::from_dir("runit", runsv.parent()?)
    }

    /// This subject with `program` taken from `other`.
    pub fn with(mut self, program: &str, other: &Self) -> Self {
        let path = other.program(program).to_owned();
        let slot = self.programs.get_mut(program).unwrap_or_else(|| panic!("no such program: {program}"));
        *slot = path;
        self.implementation = None;
        self
    }

    /// This subject under another name.
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// The name it has in the list of tests.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose programs these are; `None` for a mixture.
    pub fn implementation(&self) -> Option<Implementation> {
        self.implementation
    }

    /// True when every program is svkit's.
    pub fn is_ours(&self) -> bool {
        self.implementation == Some(Implementation::Ours)
    }

    /// The path of one of [`PROGRAMS`].
    pub fn program(&self, program: &str) -> &Path {
        self.programs.get(program).unwrap_or_else(|| panic!("no such program: {program}"))
    }

    fn in_dir(name: &str, implementation: Implementation, dir: &Path) -> Self {
        let programs = PROGRAMS.iter().map(|program| (*program, dir.join(program))).collect();
        Self { name: name.to_owned(), implementation: Some(implementation), programs }
    }
}

/// The path of an executable in `PATH`.
pub fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(program)).find(|candidate| candidate.is_file())
}

/// The developer tool, freshly built.
pub fn xtask() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let dir = bin_dir();
        if let Some(cargo) = env::var_os("CARGO") {
            build(cargo, &dir, &["xtask"]);
        }
        dir.join("xtask")
    })
    .clone()
}

fn identify(dir: &Path) -> Implementation {
    // Both print their usage on a wrong option; the usage of chpst tells the versions apart.
    let usage = Command::new(dir.join("chpst")).output().expect("chpst of the subject runs").stderr;
    let version =
        Command::new(dir.join("chpst")).arg("--version").output().expect("chpst of the subject runs");
    if version.status.success() {
        Implementation::Ours
    } else if String::from_utf8_lossy(&usage).contains("[-C pwd]") {
        Implementation::Runit23
    } else {
        Implementation::Runit21
    }
}

/// Where cargo puts our programs: the directory above this test executable's. They are built here, once a run, so that a
/// test never meets a stale program; an executable that is started without cargo takes what is there.
fn our_bin_dir() -> PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = bin_dir();
        if let Some(cargo) = env::var_os("CARGO") {
            build(cargo, &dir, &PROGRAMS);
        }
        for program in PROGRAMS {
            let path = dir.join(program);
            assert!(
                path.is_file(),
                "{} is missing: run `cargo build` in the root of the workspace",
                path.display()
            );
        }
        dir
    })
    .clone()
}

fn bin_dir() -> PathBuf {
    let executable = env::current_exe().expect("the test executable has a path");
    executable.parent().and_then(Path::parent).expect("target/PROFILE/deps").to_owned()
}

fn build(cargo: OsString, dir: &Path, packages: &[&str]) {
    let profile = match dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let target = dir.parent().expect("target/PROFILE");
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--profile", profile, "--target-dir"]).arg(target);
    for package in packages {
        command.args(["--package", package]);
    }
    let status = command.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo starts");
    assert!(status.success(), "what is under test does not build: {command:?}");
}
