//! Publishing the status of a process: `supervise/pid`, `supervise/stat` and `supervise/status`.

use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::Pid;
use svlib::diag::Diag;
use svlib::status::Status;
use svlib::{Result, atomic, paths};

use crate::machine::Role;
use crate::setup;

/// How long a file system that refuses to be written to is left alone.
const RETRY: Duration = Duration::from_secs(1);
const MODE: u32 = 0o644;

/// Where one process' status is published. A failure delays only this: supervision goes on, and so do the attempts.
#[derive(Debug)]
pub struct Publisher {
    pid_path: PathBuf,
    stat_path: PathBuf,
    status_path: PathBuf,
    /// What `supervise/pid` holds; unknown at the beginning.
    pid_written: Option<Option<Pid>>,
    /// What was published last.
    published: Option<Status>,
    failed: Option<Failed>,
}

/// A status that could not be published.
#[derive(Debug)]
struct Failed {
    status: Status,
    retry: Duration,
}

impl Publisher {
    /// A publisher for the process `role`.
    pub fn new(role: Role) -> Self {
        let [pid_path, stat_path, status_path] =
            [paths::PID, paths::STAT, paths::STATUS].map(|name| setup::path(role, name));
        Self { pid_path, stat_path, status_path, pid_written: None, published: None, failed: None }
    }

    /// Publishes `status`; `now` is on the monotonic clock. The first of a row of failures is warned of.
    pub fn publish(&mut self, status: Status, now: Duration, diag: &Diag) {
        if self.published == Some(status) {
            return;
        }
        match self.write(status) {
            Ok(()) => {
                self.published = Some(status);
                self.failed = None;
            }
            Err(error) => {
                if self.failed.is_none() {
                    diag.warning(&error);
                }
                self.published = None;
                self.failed = Some(Failed { status, retry: now + RETRY });
            }
        }
    }

    /// When [`retry`](Self::retry) is due, on the monotonic clock.
    pub fn deadline(&self) -> Option<Duration> {
        self.failed.as_ref().map(|failed| failed.retry)
    }

    /// Tries again what failed, if that is due.
    pub fn retry(&mut self, now: Duration, diag: &Diag) {
        if let Some(failed) = &self.failed
            && failed.retry <= now
        {
            self.publish(failed.status, now, diag);
        }
    }

    /// The record comes last: who waits for it finds the texts written.
    fn write(&mut self, status: Status) -> Result<()> {
        if self.pid_written != Some(status.pid) {
            atomic::write(&self.pid_path, status.pid_text().as_bytes(), MODE)?;
            self.pid_written = Some(status.pid);
        }
        atomic::write(&self.stat_path, status.stat_text().as_bytes(), MODE)?;
        atomic::write(&self.status_path, &status.encode(), MODE)
    }
}
