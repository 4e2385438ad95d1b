//! The program `check` of a service: asked whether a service that runs is available, again and again until it is.

use std::fs;
use std::io;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;
use svlib::error::errno;
use svlib::exit_status::ExitStatus;
use svlib::paths;
use svlib::status::Status;
use svlib::sys::process::Spawn;

use crate::client::Service;
use crate::console::Console;

/// The pause after the first run for a process. It doubles with every run, up to [`MAX_PAUSE`]: a service that is available
/// soon is noticed soon, and one that takes long is not asked more often than by runit.
const MIN_PAUSE: Duration = Duration::from_millis(20);
/// runit's pause.
const MAX_PAUSE: Duration = Duration::from_millis(420);

/// One service's `check`. Times are on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub enum CheckScript {
    /// It has not been started.
    NotAsked,
    /// It runs, on behalf of the process in `subject`.
    Running {
        /// The process of `check` itself.
        child: Pid,
        /// The service's status when it was started.
        subject: Status,
        /// The pause to make after it.
        pause: Duration,
    },
    /// It has answered for the process in `subject`.
    Answered {
        /// What it said.
        available: bool,
        /// The service's status when it was started.
        subject: Status,
        /// When it ended.
        at: Duration,
        /// The pause to make after that.
        pause: Duration,
    },
}

impl CheckScript {
    /// Whether the service's process in `status` is known to be available.
    pub fn has_confirmed(&self, status: &Status) -> bool {
        matches!(self, Self::Answered { available: true, subject, .. } if same_process(subject, status))
    }

    /// When to start it for `status`: at once for a process it has not been asked about.
    pub fn due(&self, status: &Status) -> Duration {
        match self {
            Self::Answered { subject, at, pause, .. } if same_process(subject, status) => *at + *pause,
            _ => Duration::ZERO,
        }
    }

    /// Whether it has answered at `time` or later.
    pub fn answered_since(&self, time: Duration) -> bool {
        matches!(self, Self::Answered { at, .. } if *at >= time)
    }

    /// Starts it. As in runit, a service is available if it has no `check`, or one that cannot be executed.
    pub fn start(&mut self, service: &Service, status: &Status, now: Duration, console: &Console) {
        let subject = *status;
        let pause = match self {
            Self::Answered { subject, pause, .. } if same_process(subject, status) => {
                (*pause * 2).min(MAX_PAUSE)
            }
            _ => MIN_PAUSE,
        };
        let path = service.path(paths::CHECK);
        let answer = |available| Self::Answered { available, subject, at: now, pause };
        *self = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => answer(true),
            Err(error) => {
                console.warning(&("unable to stat ", path, ": ", errno(&error).desc()));
                answer(false)
            }
            Ok(_) => match Spawn::new("./check").dir(service.directory()).close_stdout().spawn() {
                Ok(child) => Self::Running { child, subject, pause },
                Err(error) => {
                    console.warning(&("unable to run ", path, ": ", error.errno.desc()));
                    answer(!is_temporary(error.errno))
                }
            },
        };
    }

    /// Takes note that the process `pid` has ended, if it is this one.
    pub fn reaped(&mut self, pid: Pid, status: ExitStatus, now: Duration) {
        if let Self::Running { child, subject, pause } = *self
            && child == pid
        {
            // As in runit, only an exit code other than 0 says no: a death by a signal does not.
            let available = status.code().is_none_or(|code| code == 0);
            *self = Self::Answered { available, subject, at: now, pause };
        }
    }
}

/// Whether a process could not be started for want of something that may be there next time.
fn is_temporary(errno: Errno) -> bool {
    matches!(errno, Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE)
}

/// Whether two statuses are of the same process.
fn same_process(one: &Status, other: &Status) -> bool {
    (one.pid, one.changed) == (other.pid, other.changed)
}
