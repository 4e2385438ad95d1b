//! `install`: what a package holds, under `DESTDIR` and `PREFIX`.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, bail};
use clap_complete::Shell;

use crate::programs::{self, PROGRAMS, Program};
use crate::{completions, man, project};

/// Builds all programs and installs those named in `arguments`, or all; `DESTDIR=…` and `PREFIX=…` among them win over the
/// environment's.
pub(crate) fn install(arguments: &[String]) -> Result<()> {
    let mut destdir = env::var_os("DESTDIR").map(PathBuf::from);
    let mut prefix = env::var_os("PREFIX").map(PathBuf::from);
    let mut chosen = Vec::new();
    for argument in arguments {
        match argument.split_once('=') {
            Some(("DESTDIR", value)) => destdir = Some(value.into()),
            Some(("PREFIX", value)) => prefix = Some(value.into()),
            Some((name, _)) => bail!("unknown variable `{name}`: DESTDIR and PREFIX are known"),
            None => chosen.push(programs::by_name(argument)?),
        }
    }
    if chosen.is_empty() {
        chosen.extend(&PROGRAMS);
    }
    let prefix = prefix.unwrap_or_else(|| "/usr/local".into());
    let place = match destdir {
        Some(destdir) => destdir.join(prefix.strip_prefix("/").unwrap_or(&prefix)),
        None => prefix,
    };

    let binaries = programs::build_release()?;
    for program in chosen {
        install_program(program, &binaries, &place)?;
    }
    Ok(())
}

fn install_program(program: &Program, binaries: &Path, place: &Path) -> Result<()> {
    let name = program.name;
    let binary = binaries.join(name);
    let binary = fs::read(&binary).with_context(|| format!("unable to read {}", binary.display()))?;
    put(&place.join("bin").join(name), &binary, 0o755)?;
    put(&place.join(format!("share/man/man8/{name}.8")), man::render(program)?.as_bytes(), 0o644)?;
    for shell in completions::SHELLS {
        let folder = place.join(match shell {
            Shell::Zsh => "share/zsh/site-functions",
            Shell::Fish => "share/fish/vendor_completions.d",
            _ => "share/bash-completion/completions",
        });
        put(
            &folder.join(completions::file_name(shell, program)),
            &completions::render(shell, program),
            0o644,
        )?;
    }
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        let text =
            fs::read(project::root().join(licence)).with_context(|| format!("unable to read {licence}"))?;
        put(&place.join("share/doc").join(name).join(licence), &text, 0o644)?;
    }
    Ok(())
}

fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    println!("install {}", path.display());
    project::write_file(path, bytes, mode)
}
