//! Reaps, as init does, the processes whose parent was killed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::process::Running;

/// How often it looks. There is no event for a thread that must leave the children of other tests alone.
const PACE: Duration = Duration::from_millis(2);

/// The test executable is a subreaper, so orphans of a test become its children; a thread reaps those that are in the
/// process group of a [`Running`]. Start that one with `process_group(0)`. It is itself left to its owner.
#[derive(Debug)]
pub struct Reaper {
    leaders: Arc<Mutex<Vec<Pid>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reaper {
    /// One with nothing to do yet.
    #[expect(clippy::new_without_default, reason = "a thread is nobody's default")]
    pub fn new() -> Self {
        let leaders = Arc::new(Mutex::new(Vec::new()));
        let end = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (leaders, end) = (Arc::clone(&leaders), Arc::clone(&end));
            move || {
                while !end.load(Ordering::Relaxed) {
                    for leader in &*leaders.lock().unwrap_or_else(PoisonError::into_inner) {
                        reap(*leader);
                    }
                    thread::sleep(PACE);
                }
            }
        });
        Self { leaders, end, thread: Some(thread) }
    }

    /// Reaps what `leader` leaves behind.
    pub fn watch(&self, leader: &Running) {
        let mut leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        leaders.push(Pid::from_raw(leader.pid().cast_signed()));
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to report.
            let _ = thread.join();
        }
    }
}

fn reap(leader: Pid) {
    let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
    loop {
        let look = waitid(Id::PGid(leader), ended | WaitPidFlag::WNOWAIT);
        match look.ok().filter(|status| *status != WaitStatus::StillAlive).and_then(|status| status.pid()) {
            // While its owner has not waited for it, nothing behind it is seen.
            Some(pid) if pid == leader => return,
            Some(pid) => drop(waitid(Id::Pid(pid), ended)),
            None => return,
        }
    }
}
