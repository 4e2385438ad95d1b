//! `dist`: what a release is made of, the same bytes for the same commit.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::archive;
use crate::programs::{self, PROGRAMS};
use crate::project::{self, VERSION};

/// Writes the release of HEAD to `dir`.
pub(crate) fn dist(dir: &Path) -> Result<()> {
    release(&head()?, dir, &project::target_dir().join("dist-build"))?;
    println!("{}", dir.display());
    // Once more at the end, where it is seen: nothing else shows that this is not the release it could be.
    if let Some(why) = programs::why_not_static(&programs::target()?)? {
        eprintln!("warning: {why}");
    }
    Ok(())
}

/// Makes the release twice, built in different places, and compares.
pub(crate) fn check_reproducible() -> Result<()> {
    let place = project::target_dir().join("dist-check");
    let commit = head()?;
    let mut sums = Vec::new();
    for name in ["first", "second"] {
        let dir = place.join(name);
        sums.push(release(&commit, &dir, &dir.join("build"))?);
    }
    fs::remove_dir_all(&place).with_context(|| format!("unable to remove {}", place.display()))?;
    let [first, second] = sums.as_slice() else { bail!("two releases expected") };
    if first != second {
        bail!("the same commit gave different bytes:\n{first}\n{second}");
    }
    println!("the same bytes twice:\n{first}");
    Ok(())
}

/// Writes the release of `commit` to `dir`, building in `work`, and returns the text of SHA256SUMS.
///
/// Binaries are built from the source tarball, not from the checkout: so it is complete, and nothing uncommitted gets
/// into a release.
fn release(commit: &str, dir: &Path, work: &Path) -> Result<String> {
    fs::create_dir_all(dir).with_context(|| format!("unable to create {}", dir.display()))?;
    let stem = format!("svkit-{VERSION}");
    let target = programs::target()?;
    let time = commit_time(commit)?;

    let source =
        project::output(git().args(["archive", "--format=tar", &format!("--prefix={stem}/"), commit]))?;
    let mut files = vec![dir.join(format!("{stem}.tar.gz"))];
    archive::compress(&files[0], &source)?;

    let checkout = unpack(&source, work)?.join(&stem);
    let mut pack = |package: &str, programs: &[&str]| -> Result<()> {
        let name = format!("{package}-{VERSION}-{target}");
        let stage = work.join("stage").join(&name);
        install(&checkout, work, &stage, programs)?;
        let path = dir.join(format!("{name}.tar.gz"));
        archive::write(&path, &name, &stage, time)?;
        files.push(path);
        Ok(())
    };
    pack("svkit", &[])?;
    for program in &PROGRAMS {
        pack(program.name, &[program.name])?;
    }

    let sums = sums(&files)?;
    let path = dir.join("SHA256SUMS");
    fs::write(&path, &sums).with_context(|| format!("unable to write {}", path.display()))?;
    Ok(sums)
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.current_dir(project::root());
    git
}

fn head() -> Result<String> {
    let name = project::output(git().args(["rev-parse", "HEAD"]))?;
    Ok(String::from_utf8_lossy(&name).trim().to_owned())
}

fn commit_time(commit: &str) -> Result<u64> {
    let text = project::output(git().args(["log", "-1", "--format=%ct", commit]))?;
    String::from_utf8_lossy(&text).trim().parse().context("git names no commit time")
}

/// Unpacks the source into `work`. Files get today's time, so that cargo sees them change between commits.
fn unpack<'a>(source: &[u8], work: &'a Path) -> Result<&'a Path> {
    for old in ["stage".to_owned(), format!("svkit-{VERSION}")] {
        let old = work.join(old);
        if old.exists() {
            fs::remove_dir_all(&old).with_context(|| format!("unable to remove {}", old.display()))?;
        }
    }
    let mut source = tar::Archive::new(source);
    source.set_preserve_mtime(false);
    source.unpack(work).with_context(|| format!("unable to unpack into {}", work.display()))?;
    Ok(work)
}

/// Lets the unpacked source install itself, as a packager would.
fn install(checkout: &Path, work: &Path, stage: &Path, programs: &[&str]) -> Result<()> {
    let mut cargo = project::cargo();
    cargo.current_dir(checkout).env("CARGO_TARGET_DIR", work.join("target"));
    cargo.args(["run", "--quiet", "--locked", "--package", "xtask", "--", "install", "PREFIX=/"]);
    cargo.arg(format!("DESTDIR={}", stage.display())).args(programs);
    project::output(&mut cargo)?;
    Ok(())
}

/// The lines sha256sum(1) would print.
fn sums(files: &[PathBuf]) -> Result<String> {
    let mut text = String::new();
    for path in files {
        let bytes = fs::read(path).with_context(|| format!("unable to read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        text.push_str(&format!("{:x}  {name}\n", Sha256::digest(bytes)));
    }
    Ok(text)
}
