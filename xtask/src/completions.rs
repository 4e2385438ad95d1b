//! `completions`: shell completions from the programs' clap definitions.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap_complete::{Shell, generate};

use crate::programs::{PROGRAMS, Program};

/// The shells completions are made for.
pub(crate) const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Writes the completions of every program to `dir`, in a folder a shell.
pub(crate) fn write(dir: &Path) -> Result<()> {
    for shell in SHELLS {
        let folder = dir.join(shell.to_string());
        fs::create_dir_all(&folder).with_context(|| format!("unable to create {}", folder.display()))?;
        for program in &PROGRAMS {
            let path = folder.join(file_name(shell, program));
            fs::write(&path, render(shell, program))
                .with_context(|| format!("unable to write {}", path.display()))?;
        }
    }
    println!("{}", dir.display());
    Ok(())
}

/// The completion script of one program.
pub(crate) fn render(shell: Shell, program: &Program) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut (program.command)(), program.name, &mut script);
    script
}

/// The file name the shell looks for.
pub(crate) fn file_name(shell: Shell, program: &Program) -> String {
    match shell {
        Shell::Zsh => format!("_{}", program.name),
        Shell::Fish => format!("{}.fish", program.name),
        _ => program.name.to_owned(),
    }
}
