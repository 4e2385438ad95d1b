//! A fresh copy of the sample tree.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::{User, geteuid};

use crate::project;

/// The service that needs root, and the account it drops to.
const NESTED: &str = "user";
const ACCOUNT: &str = "nobody";

/// Copies xtask/services below `scratch` and returns the services directory.
pub(super) fn create(scratch: &Path) -> Result<PathBuf> {
    let services = scratch.join("service");
    copy(&project::root().join("xtask/services"), &services).context("unable to copy the sample tree")?;
    let nested = services.join(NESTED);
    let account = User::from_name(ACCOUNT).ok().flatten().filter(|_| geteuid().is_root());
    if let Some(account) = account {
        // The account must get through to its directory, which it owns.
        fs::set_permissions(scratch, Permissions::from_mode(0o755))
            .context("unable to open the sample tree")?;
        give(&nested.join("service"), &account).context("unable to give a directory to nobody")?;
    } else {
        println!("note: not root, or no account `{ACCOUNT}`: the sample is without the service `{NESTED}`");
        fs::remove_dir_all(nested).context("unable to shorten the sample tree")?;
    }
    Ok(services)
}

/// Copies files with their permissions.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn give(path: &Path, account: &User) -> std::io::Result<()> {
    chown(path, Some(account.uid.as_raw()), Some(account.gid.as_raw()))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), account)?;
        }
    }
    Ok(())
}
