//! One test case: a function, what it needs, and where a reference is known to differ.

use std::time::Duration;

use crate::eventually::DEADLINE;
use crate::subject::{Implementation, Subject};

/// A test function over a subject, with what the runner must know about it. Made with [`case!`](crate::case!).
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub(crate) name: &'static str,
    pub(crate) test: fn(&Subject),
    pub(crate) root: bool,
    pub(crate) ipv6: bool,
    pub(crate) alone: bool,
    pub(crate) deadline: Duration,
    pub(crate) programs: &'static [&'static str],
    pub(crate) differences: &'static [Implementation],
    pub(crate) reason: &'static str,
}

impl Case {
    /// A case that runs anywhere.
    pub const fn new(name: &'static str, test: fn(&Subject)) -> Self {
        Self {
            name,
            test,
            root: false,
            ipv6: false,
            alone: false,
            deadline: DEADLINE,
            programs: &[],
            differences: &[],
            reason: "",
        }
    }

    /// Needs uid 0; skipped, and said so, for others, unless the suite is to fail then.
    pub const fn root(mut self) -> Self {
        self.root = true;
        self
    }

    /// Needs the address `::1`. Where the machine has none, it gets a network of its own, for which it takes root; where
    /// that cannot be had either, it is skipped, and said so.
    pub const fn ipv6(mut self) -> Self {
        self.ipv6 = true;
        self
    }

    /// Waits longer than others before it gives up: there is much to do.
    pub const fn patient(mut self) -> Self {
        self.deadline = Duration::from_secs(120);
        self
    }

    /// Runs while no other case does: it takes all that the machine has, for longer than others can wait.
    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Needs these programs of a reference package in `PATH`.
    pub const fn needs(mut self, programs: &'static [&'static str]) -> Self {
        self.programs = programs;
        self
    }

    /// These implementations are known not to behave so: there the case must fail, and the suite fails when it passes.
    pub const fn differs(mut self, implementations: &'static [Implementation], reason: &'static str) -> Self {
        self.differences = implementations;
        self.reason = reason;
        self
    }

    /// Why `subject` is expected to fail, if it is.
    pub(crate) fn difference(&self, subject: &Subject) -> Option<&'static str> {
        let implementation = subject.implementation()?;
        self.differences.contains(&implementation).then_some(self.reason)
    }
}

/// A [`Case`] named as its function.
#[macro_export]
macro_rules! case {
    ($test:ident) => {
        $crate::Case::new(stringify!($test), $test)
    };
}
