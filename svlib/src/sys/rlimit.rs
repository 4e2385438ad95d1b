//! Resource limits.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{Context, Result};

/// Sets the soft limit of `resource` to `value`, in setrlimit(2)'s unit for it, or to the hard limit where that is lower
/// or `value` is none. The hard limit stays.
///
/// # Errors
///
/// What getrlimit(2) and setrlimit(2) report.
pub fn set_soft(resource: Resource, value: Option<u64>) -> Result<()> {
    let (_, hard) = getrlimit(resource).during("get resource limit")?;
    let soft = value.map_or(hard, |value| value.min(hard));
    setrlimit(resource, soft, hard).during("set resource limit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_soft_limit_changes_and_never_above_the_hard_one() {
        let resource = Resource::RLIMIT_CORE;
        let (_, hard) = getrlimit(resource).unwrap();
        for (value, soft) in [(Some(0), 0), (None, hard), (Some(0), 0), (Some(u64::MAX), hard)] {
            set_soft(resource, value).unwrap();
            assert_eq!(getrlimit(resource).unwrap(), (soft, hard), "{value:?}");
        }
    }
}
