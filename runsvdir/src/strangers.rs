//! Children that are nobody's runsv, as orphans are that came to this process: how they ended, and who wants to know. Pure.

use std::collections::{HashMap, VecDeque};

use svlib::exit_status::ExitStatus;
use svlib::record::ProcessId;

use crate::plan::Identity;

/// How many that have ended are remembered, the newest ones: as the first process of a container there may be many.
pub const REMEMBERED: usize = 4096;

/// The strangers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strangers {
    ended: VecDeque<(ProcessId, ExitStatus)>,
    watched: HashMap<ProcessId, Vec<Identity>>,
}

impl Strangers {
    /// How a process ended, if that is remembered.
    #[must_use]
    pub fn status(&self, process: ProcessId) -> Option<ExitStatus> {
        self.ended.iter().rev().find(|(ended, _)| *ended == process).map(|(_, status)| *status)
    }

    /// The runsv of the service wants to know how the process ends.
    pub fn watch(&mut self, process: ProcessId, service: Identity) {
        let watchers = self.watched.entry(process).or_default();
        if !watchers.contains(&service) {
            watchers.push(service);
        }
    }

    /// The process has ended. The answer is who is to be told.
    pub fn ended(&mut self, process: ProcessId, status: ExitStatus) -> Vec<Identity> {
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back((process, status));
        self.watched.remove(&process).unwrap_or_default()
    }

    /// The runsv of the service does not want to know anything any more.
    pub fn unwatch(&mut self, service: Identity) {
        self.watched.retain(|_, watchers| {
            watchers.retain(|watcher| *watcher != service);
            !watchers.is_empty()
        });
    }

    /// All that are remembered, the oldest first.
    pub fn remembered(&self) -> impl Iterator<Item = (ProcessId, ExitStatus)> {
        self.ended.iter().copied()
    }

    /// All that somebody waits for, and who.
    pub fn watches(&self) -> impl Iterator<Item = (ProcessId, Identity)> {
        self.watched
            .iter()
            .flat_map(|(process, watchers)| watchers.iter().map(|watcher| (*process, *watcher)))
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::Pid;

    use super::*;

    const A: Identity = Identity { device: 1, inode: 1 };
    const B: Identity = Identity { device: 1, inode: 2 };

    fn process(pid: i32, start: u64) -> ProcessId {
        ProcessId { pid: Pid::from_raw(pid), start }
    }

    #[test]
    fn an_end_is_told_to_who_asked_and_remembered() {
        let mut strangers = Strangers::default();
        strangers.watch(process(7, 1), A);
        strangers.watch(process(7, 1), A);
        strangers.watch(process(7, 1), B);
        strangers.watch(process(8, 1), B);
        assert!(strangers.ended(process(7, 2), ExitStatus::exited(1)).is_empty(), "another with its number");
        assert_eq!(strangers.ended(process(7, 1), ExitStatus::exited(3)), [A, B]);
        assert_eq!(strangers.status(process(7, 1)), Some(ExitStatus::exited(3)));
        assert_eq!(strangers.status(process(7, 2)), Some(ExitStatus::exited(1)));
        assert_eq!(strangers.status(process(8, 1)), None);
        strangers.unwatch(B);
        assert_eq!(strangers.watches().count(), 0);
        assert!(strangers.ended(process(8, 1), ExitStatus::exited(0)).is_empty());
    }

    #[test]
    fn only_the_newest_are_remembered() {
        let mut strangers = Strangers::default();
        for start in 0..=REMEMBERED as u64 {
            strangers.ended(process(7, start), ExitStatus::exited(0));
        }
        assert_eq!(strangers.remembered().count(), REMEMBERED);
        assert_eq!(strangers.status(process(7, 0)), None);
        assert!(strangers.status(process(7, REMEMBERED as u64)).is_some());
    }
}
