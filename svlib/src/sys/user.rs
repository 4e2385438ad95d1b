//! Accounts, and becoming one.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid};

use crate::{Context, Error, Result};

/// Who a process is, as far as the kernel's file permissions go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Real, effective and saved user id.
    pub uid: Uid,
    /// Real, effective and saved group id.
    pub gid: Gid,
    /// The whole group list.
    pub groups: Vec<Gid>,
}

/// The ids of the account `name`, or none if there is none of this name.
///
/// # Errors
///
/// The account database could not be asked (getpwnam(3)).
pub fn account(name: &OsStr) -> Result<Option<(Uid, Gid)>> {
    let user = look_up(name, User::from_name).during("get password file entry")?;
    Ok(user.map(|user| (user.uid, user.gid)))
}

/// The id of the group `name`, or none if there is none of this name.
///
/// # Errors
///
/// The group database could not be asked (getgrnam(3)).
pub fn group(name: &OsStr) -> Result<Option<Gid>> {
    let group = look_up(name, Group::from_name).during("get group file entry")?;
    Ok(group.map(|group| group.gid))
}

/// Makes this process `identity` and nobody else: the group list, then real, effective and saved group id, then the same
/// three user ids; then asks the kernel whether it is so. Unless `identity` is root, what replaces the process next has no
/// way back either: it does not inherit the capabilities to change ids.
///
/// # Errors
///
/// What setgroups(2), setresgid(2), setresuid(2) report, EPERM mostly; also EPERM if the process is not as asked after
/// they reported success. It must not go on then.
pub fn assume(identity: &Identity) -> Result<()> {
    let Identity { uid, gid, groups } = identity;
    setgroups(groups).during("setgroups")?;
    setresgid(*gid, *gid, *gid).during("setgid")?;
    setresuid(*uid, *uid, *uid).during("setuid")?;
    if !uid.is_root() {
        disinherit_id_changes().during("drop the capabilities to change ids")?;
    }
    if is(identity).during("ask for the new identity")? {
        Ok(())
    } else {
        Err(Error { operation: "give up the old identity", path: None, errno: Errno::EPERM })
    }
}

fn is(identity: &Identity) -> nix::Result<bool> {
    let uids = getresuid()?;
    let gids = getresgid()?;
    let groups: BTreeSet<_> = getgroups()?.into_iter().map(Gid::as_raw).collect();
    Ok([uids.real, uids.effective, uids.saved] == [identity.uid; 3]
        && [gids.real, gids.effective, gids.saved] == [identity.gid; 3]
        && groups == identity.groups.iter().map(|gid| gid.as_raw()).collect())
}

/// Takes `CAP_SETGID` and `CAP_SETUID` out of the ambient set: the one way a capability gets past an execve(2) by an
/// ordinary user. Leaving root empties that set anyway; an ordinary user with these capabilities takes it along.
fn disinherit_id_changes() -> nix::Result<()> {
    /// From `linux/capability.h`.
    const CAP_SETGID: libc::c_ulong = 6;
    const CAP_SETUID: libc::c_ulong = 7;
    const LOWER: libc::c_ulong = libc::PR_CAP_AMBIENT_LOWER as libc::c_ulong;
    const UNUSED: libc::c_ulong = 0;
    for capability in [CAP_SETGID, CAP_SETUID] {
        // SAFETY: this operation of prctl(2) takes numbers only, as wide as these.
        let result = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, LOWER, capability, UNUSED, UNUSED) };
        match Errno::result(result) {
            // A kernel too old to know the set (before 4.3).
            Ok(_) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Asks a name service. One that has no database, as in a bare chroot, knows nobody; by getpwnam(3), any of these errors
/// may say so.
fn look_up<T>(name: &OsStr, ask: impl FnOnce(&str) -> nix::Result<Option<T>>) -> nix::Result<Option<T>> {
    let Some(name) = name.to_str().filter(|name| !name.is_empty()) else { return Ok(None) };
    match ask(name) {
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(None),
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn root_is_known_and_nonsense_is_not() {
        let root = OsStr::new("root");
        assert_eq!(account(root), Ok(Some((Uid::from_raw(0), Gid::from_raw(0)))));
        assert_eq!(group(root), Ok(Some(Gid::from_raw(0))));
        for name in [&b"no such name"[..], b"", b"root:root", b"\xff", b"a\0b"] {
            let name = OsStr::from_bytes(name);
            assert!(!matches!(account(name), Ok(Some(_))), "{name:?}");
            assert!(!matches!(group(name), Ok(Some(_))), "{name:?}");
        }
    }

    #[test]
    fn this_process_is_itself_and_nobody_else() {
        let this = Identity {
            uid: getresuid().unwrap().real,
            gid: getresgid().unwrap().real,
            groups: getgroups().unwrap(),
        };
        assert_eq!(is(&this), Ok(true));
        let other = Uid::from_raw(this.uid.as_raw() + 1);
        assert_eq!(is(&Identity { uid: other, ..this.clone() }), Ok(false));
        let other = Gid::from_raw(this.gid.as_raw() + 1);
        assert_eq!(is(&Identity { gid: other, ..this.clone() }), Ok(false));
        let groups = [&this.groups[..], &[Gid::from_raw(4_000_000_000)]].concat();
        assert_eq!(is(&Identity { groups, ..this.clone() }), Ok(false));
    }
}
