//! The limit on descriptors: high here, where each service takes some, and unchanged for what is started.

use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit as far as it goes: to the hard one, and as root to what the kernel allows a process
/// (`/proc/sys/fs/nr_open`). The answer is the limits there were, the soft and the hard one, if they are others now.
pub fn raise_descriptors() -> Option<(u64, u64)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let text = fs::read_to_string("/proc/sys/fs/nr_open").unwrap_or_default();
    let most = text.trim_end().parse().unwrap_or(hard).max(hard);
    let raise = |limit| limit != soft && setrlimit(Resource::RLIMIT_NOFILE, limit, limit.max(hard)).is_ok();
    (raise(most) || raise(hard)).then_some((soft, hard))
}
