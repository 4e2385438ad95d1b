//! Changes this process step by step. The first step that fails is the last, and nothing is run. Errors say
//! what could not be done in runit's words.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::chroot;

use nix::errno::Errno;
use nix::unistd::{close, setsid};
use svlib::diag::Diag;
use svlib::sys::lock::Lock;
use svlib::sys::user::{self, Identity};
use svlib::sys::{priority, rlimit};
use svlib::{Context, Error, Result};

use crate::envdir;
use crate::failure::Failure;
use crate::plan::{EnvironmentDirectory, LockFile, Nested, SoftLimit, Step, Stream};
use crate::userspec::UserSpec;

/// What the program gets besides the state of this process.
#[derive(Debug)]
pub struct Prepared {
    /// Its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The lock, held by a descriptor that the program inherits. Dropping it would unlock the file.
    lock: Option<Lock>,
}

impl Prepared {
    /// Begins with this environment.
    pub fn new(environment: Vec<(OsString, OsString)>) -> Self {
        Self { environment, lock: None }
    }

    /// Performs the steps in order.
    ///
    /// # Errors
    ///
    /// The first failure; what was done before it stays done.
    pub fn apply(&mut self, steps: Vec<Step>, diag: &Diag) -> std::result::Result<(), Failure> {
        steps.into_iter().try_for_each(|step| self.perform(step, diag))
    }

    fn perform(&mut self, step: Step, diag: &Diag) -> std::result::Result<(), Failure> {
        match step {
            Step::NewSession => new_session()?,
            Step::ReadEnvironment(directory) => self.read_environment(&directory, diag)?,
            Step::ChangeRoot(root) => {
                env::set_current_dir(&root).on("change directory:", &root)?;
                chroot(".").on("change root directory:", &root)?;
            }
            Step::ChangeDirectory(path) => env::set_current_dir(&path).on("change directory:", &path)?,
            Step::Nice(increment) => priority::nice(increment)?,
            Step::ExportIds(spec) => {
                let identity = identity(&spec)?;
                self.set("GID", Some(identity.gid.to_string().into()));
                self.set("UID", Some(identity.uid.to_string().into()));
            }
            Step::Become(spec) => user::assume(&identity(&spec)?)?,
            Step::Lock(file) => self.lock(&file)?,
            Step::Close(stream) => close_stream(stream)?,
            Step::Limit(resource, SoftLimit::To(value)) => rlimit::set_soft(resource, Some(value))?,
            Step::Limit(resource, SoftLimit::Hard) => rlimit::set_soft(resource, None)?,
        }
        Ok(())
    }

    fn read_environment(&mut self, directory: &EnvironmentDirectory, diag: &Diag) -> Result<()> {
        let variables = envdir::read(&directory.path)?;
        for path in variables.nested {
            let error = Error { operation: "read", path: Some(path), errno: Errno::EISDIR };
            match directory.nested {
                Nested::Skip => {}
                Nested::Warn => diag.warning(&error),
                Nested::Refuse => return Err(error),
            }
        }
        for (name, value) in variables.changes {
            self.set(name, value);
        }
        Ok(())
    }

    /// Sets or unsets a variable.
    fn set(&mut self, name: impl AsRef<OsStr>, value: Option<OsString>) {
        let name = name.as_ref();
        self.environment.retain(|(other, _)| other != name);
        self.environment.extend(value.map(|value| (name.to_owned(), value)));
    }

    fn lock(&mut self, file: &LockFile) -> std::result::Result<(), Failure> {
        match lock(file) {
            Ok(lock) => self.lock = Some(lock),
            Err(_) if file.optional => return Err(Failure::LockedOut),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn new_session() -> Result<()> {
    match setsid() {
        // A process group leader cannot start a session, and has its own group already: what `-P` is for.
        Ok(_) | Err(Errno::EPERM) => Ok(()),
        Err(errno) => Err(errno).during("start a session"),
    }
}

fn close_stream(stream: Stream) -> Result<()> {
    match stream {
        Stream::Input => close(0).during("close stdin"),
        Stream::Output => close(1).during("close stdout"),
        Stream::Error => close(2).during("close stderr"),
    }
}

/// Takes the lock for the program that this process becomes.
fn lock(file: &LockFile) -> Result<Lock> {
    let path = &file.path;
    let lock = if file.wait {
        Lock::exclusive(path)
    } else {
        Lock::try_exclusive(path).and_then(|lock| lock.ok_or(Errno::EWOULDBLOCK).on("lock", path))
    };
    let in_words_of_runit = |operation| if operation == "lock" { "lock:" } else { "open lock:" };
    let lock = lock.map_err(|error| Error { operation: in_words_of_runit(error.operation), ..error })?;
    lock.inherit()?;
    Ok(lock)
}

/// Looks a user up.
fn identity(spec: &UserSpec) -> std::result::Result<Identity, Failure> {
    let unknown = || Failure::Unknown(spec.clone());
    match spec {
        UserSpec::Ids(identity) => Ok(identity.clone()),
        UserSpec::Account(user) => account(user)?.ok_or_else(unknown),
        UserSpec::Names { user, groups } => {
            let mut identity = account(user)?.ok_or_else(unknown)?;
            let groups = groups.iter().map(|group| user::group(group)?.ok_or_else(unknown));
            let groups = groups.collect::<std::result::Result<Vec<_>, Failure>>()?;
            if let Some(&gid) = groups.first() {
                identity = Identity { gid, groups, ..identity };
            }
            Ok(identity)
        }
    }
}

/// An account with the one group that is its own.
fn account(name: &OsStr) -> Result<Option<Identity>> {
    let ids = user::account(name)?;
    Ok(ids.map(|(uid, gid)| Identity { uid, gid, groups: vec![gid] }))
}
