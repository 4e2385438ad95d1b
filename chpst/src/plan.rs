//! What is to be done, in the one order that is safe.
//!
//! The order is chpst's security contract, and runit's: what needs the old identity comes before `-u`, and a lock file
//! is opened with the new one, inside the new root. An account is looked up inside the new root too.

use std::path::PathBuf;

use nix::sys::resource::Resource;

use crate::userspec::UserSpec;

/// The changes asked for, in no order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// `-P`
    pub new_session: bool,
    /// `-e`
    pub environment: Option<EnvironmentDirectory>,
    /// `-/`
    pub root: Option<PathBuf>,
    /// `-C`
    pub directory: Option<PathBuf>,
    /// `-n`
    pub nice: Option<i32>,
    /// `-U`
    pub exported: Option<UserSpec>,
    /// `-u`
    pub identity: Option<UserSpec>,
    /// `-l`, `-L`
    pub lock: Option<LockFile>,
    /// `-0`, `-1`, `-2`
    pub closed: Vec<Stream>,
    /// Limits as they were given; of several for one resource the last counts.
    pub limits: Vec<(Resource, SoftLimit)>,
}

/// A directory that holds environment variables, one a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentDirectory {
    /// The directory.
    pub path: PathBuf,
    /// What to do about a directory in it.
    pub nested: Nested,
}

/// What becomes of a directory inside an environment directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nested {
    /// It is passed over in silence: `-e`.
    Skip,
    /// It is passed over with a warning: `-v -e`.
    Warn,
    /// It is an error: `envdir`.
    Refuse,
}

/// A file to hold locked while the program lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockFile {
    /// The file; it is created if need be.
    pub path: PathBuf,
    /// Whether to wait for another holder.
    pub wait: bool,
    /// Whether failing to get the lock is success, without a word: `setlock -x`.
    pub optional: bool,
}

/// One of the three standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 0.
    Input,
    /// Descriptor 1.
    Output,
    /// Descriptor 2.
    Error,
}

impl Stream {
    /// The three, by descriptor.
    pub const ALL: [Self; 3] = [Self::Input, Self::Output, Self::Error];
}

/// What a soft limit becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoftLimit {
    /// This number of bytes, files, processes or seconds, or the hard limit where that is lower.
    To(u64),
    /// The hard limit.
    Hard,
}

/// One change of the process state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start a session, and a process group in it.
    NewSession,
    /// Set and unset environment variables from a directory.
    ReadEnvironment(EnvironmentDirectory),
    /// Make a directory the root, and go there.
    ChangeRoot(PathBuf),
    /// Go to a directory.
    ChangeDirectory(PathBuf),
    /// Add to the nice value.
    Nice(i32),
    /// Put the ids of a user into the environment.
    ExportIds(UserSpec),
    /// Be a user and nobody else, for good.
    Become(UserSpec),
    /// Lock a file.
    Lock(LockFile),
    /// Close a standard stream.
    Close(Stream),
    /// Set a soft limit.
    Limit(Resource, SoftLimit),
}

/// The resources that have a limit, in the order they are set.
const LIMITS: [Resource; 10] = [
    Resource::RLIMIT_DATA,
    Resource::RLIMIT_STACK,
    Resource::RLIMIT_MEMLOCK,
    Resource::RLIMIT_AS,
    Resource::RLIMIT_NOFILE,
    Resource::RLIMIT_NPROC,
    Resource::RLIMIT_FSIZE,
    Resource::RLIMIT_CORE,
    Resource::RLIMIT_RSS,
    Resource::RLIMIT_CPU,
];

/// The steps that make `changes`, in order.
pub fn steps(changes: Changes) -> Vec<Step> {
    let Changes { new_session, environment, root, directory, nice, exported, identity, lock, closed, limits } =
        changes;
    let mut steps = Vec::new();
    steps.extend(new_session.then_some(Step::NewSession));
    steps.extend(environment.map(Step::ReadEnvironment));
    steps.extend(root.map(Step::ChangeRoot));
    steps.extend(directory.map(Step::ChangeDirectory));
    steps.extend(nice.map(Step::Nice));
    steps.extend(exported.map(Step::ExportIds));
    steps.extend(identity.map(Step::Become));
    steps.extend(lock.map(Step::Lock));
    steps.extend(Stream::ALL.into_iter().filter(|stream| closed.contains(stream)).map(Step::Close));
    steps.extend(LIMITS.iter().filter_map(|resource| {
        let (resource, limit) = limits.iter().rfind(|(limited, _)| limited == resource)?;
        Some(Step::Limit(*resource, *limit))
    }));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// The place of a step in runit's order: session, envdir, chroot, chdir, nice, -U, -u, lock, closing 0, 1 and 2,
    /// limits.
    fn rank(step: &Step) -> usize {
        match step {
            Step::NewSession => 0,
            Step::ReadEnvironment(_) => 1,
            Step::ChangeRoot(_) => 2,
            Step::ChangeDirectory(_) => 3,
            Step::Nice(_) => 4,
            Step::ExportIds(_) => 5,
            Step::Become(_) => 6,
            Step::Lock(_) => 7,
            Step::Close(stream) => 8 + *stream as usize,
            Step::Limit(resource, _) => 11 + LIMITS.iter().position(|limited| limited == resource).unwrap(),
        }
    }

    /// The changes whose bit is set, in the order of `rank`.
    fn changes(asked: u32) -> Changes {
        let is = |bit: usize| asked & 1 << bit != 0;
        let user = |name: &str| UserSpec::Account(name.into());
        Changes {
            new_session: is(0),
            environment: is(1).then(|| EnvironmentDirectory { path: "env".into(), nested: Nested::Skip }),
            root: is(2).then(|| "root".into()),
            directory: is(3).then(|| "pwd".into()),
            nice: is(4).then_some(1),
            exported: is(5).then(|| user("exported")),
            identity: is(6).then(|| user("identity")),
            lock: is(7).then(|| LockFile { path: "lock".into(), wait: true, optional: false }),
            closed: (0..3).rev().filter(|&n| is(8 + n)).map(|n| Stream::ALL[n]).collect(),
            limits: (0..10).rev().filter(|&n| is(11 + n)).map(|n| (LIMITS[n], SoftLimit::Hard)).collect(),
        }
    }

    proptest! {
        #[test]
        fn every_subset_is_done_completely_once_and_in_order(asked in 0u32..1 << 21) {
            let ranks: Vec<_> = steps(changes(asked)).iter().map(rank).collect();
            let expected: Vec<_> = (0..21).filter(|bit| asked & 1 << bit != 0).collect();
            prop_assert_eq!(ranks, expected);
        }

        #[test]
        fn the_last_limit_of_a_resource_counts(given in prop::collection::vec((0..LIMITS.len(), any::<u64>()), 0..30)) {
            let limits: Vec<_> = given.iter().map(|&(n, value)| (LIMITS[n], SoftLimit::To(value))).collect();
            let steps = steps(Changes { limits: limits.clone(), ..Changes::default() });
            let last: HashMap<_, _> = limits.into_iter().collect();
            prop_assert_eq!(steps.len(), last.len());
            for step in steps {
                let Step::Limit(resource, limit) = step else { panic!("not a limit: {step:?}") };
                prop_assert_eq!(Some(&limit), last.get(&resource));
            }
        }
    }

    #[test]
    fn nothing_asked_is_nothing_done() {
        assert_eq!(steps(Changes::default()), []);
    }

    #[test]
    fn steps_keep_what_they_were_given() {
        let identity = UserSpec::parse(":1:2".as_ref()).unwrap();
        let lock = LockFile { path: "l".into(), wait: false, optional: true };
        let changes = Changes {
            root: Some("/r".into()),
            identity: Some(identity.clone()),
            lock: Some(lock.clone()),
            closed: vec![Stream::Output],
            limits: vec![(Resource::RLIMIT_CPU, SoftLimit::To(7)), (Resource::RLIMIT_AS, SoftLimit::Hard)],
            ..Changes::default()
        };
        assert_eq!(
            steps(changes),
            [
                Step::ChangeRoot("/r".into()),
                Step::Become(identity),
                Step::Lock(lock),
                Step::Close(Stream::Output),
                Step::Limit(Resource::RLIMIT_AS, SoftLimit::Hard),
                Step::Limit(Resource::RLIMIT_CPU, SoftLimit::To(7)),
            ]
        );
    }
}
