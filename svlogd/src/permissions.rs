//! The permissions of a log directory's files (`mode`).

use nix::sys::stat::Mode;

/// The permissions of `current` and of old files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Of a `current` that is written, and of what a processor or compressor writes.
    pub open: Mode,
    /// Of a `current` that was closed cleanly: its owner may execute it.
    pub closed: Mode,
    /// Of old files.
    pub old: Mode,
}

impl Permissions {
    /// runit's, unless there is a `mode`. It holds for each file as it is, but for the mark of a closed `current`.
    pub fn new(mode: Option<u32>) -> Self {
        let Some(mode) = mode.map(Mode::from_bits_truncate) else {
            let [open, closed] = [0o644, 0o744].map(Mode::from_bits_retain);
            return Self { open, closed, old: closed };
        };
        Self { open: mode - Mode::S_IXUSR, closed: mode | Mode::S_IXUSR, old: mode }
    }
}

impl Default for Permissions {
    fn default() -> Self {
        Self::new(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_closed_current_may_be_executed() {
        for mode in [None, Some(0o640), Some(0o600), Some(0o744), Some(0o777)] {
            let permissions = Permissions::new(mode);
            assert!(!permissions.open.contains(Mode::S_IXUSR), "{mode:?}");
            assert!(permissions.closed.contains(Mode::S_IXUSR), "{mode:?}");
        }
    }

    #[test]
    fn old_files_have_what_was_asked_for() {
        assert_eq!(Permissions::default().old.bits(), 0o744);
        assert_eq!(Permissions::new(Some(0o640)).old.bits(), 0o640);
    }
}
