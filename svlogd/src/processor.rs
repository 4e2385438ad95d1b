//! The processor of a log directory (the `!` line): old files are fed through a shell command, one after the other, in
//! the background. What waits for it is on disk: the `.u` files are the queue.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;
use svlib::exit_status::ExitStatus;
use svlib::log_name::{LogName, Packing, Stage};
use svlib::sys::process::Spawn;
use svlib::sys::signal::{self, Signal};

use crate::current::{Failure, failed};
use crate::directory::Directory;
use crate::helper::unless_gone;
use crate::report::{InDirectory, Report};
use crate::seal;

/// With so many files waiting, the one that is being processed among them, `current` is not rotated any more: once it is
/// full, the writer waits for the processor.
pub const WAITING_LIMIT: usize = 10;

/// When svlogd ends, a file is given up, and left to the next svlogd, after so many failures in a row.
const FAILURES_AT_END: u32 = 5;

const FAILED: &str = "processor failed, restart: ";

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// A processor that is running, or what follows it.
pub struct Running {
    pid: Pid,
    file: LogName,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The command runs until it is killed, at this time on the monotonic clock.
    Process { until: Option<Duration> },
    /// It has been killed.
    Die,
    /// A helper brings its output to the disk: the input goes then.
    Sync,
}

impl Running {
    /// Whether it is this process.
    pub fn is(&self, pid: Pid) -> bool {
        self.pid == pid
    }
}

/// The processor of one directory.
pub struct Processor {
    command: Option<Vec<u8>>,
    /// `kill-after`
    timeout: Option<Duration>,
    running: Option<Running>,
    waiting: usize,
    failures: u32,
    retry_at: Option<Duration>,
}

impl Processor {
    /// A processor with a shell command, of which one may be `running` since before the config was read again.
    /// One that runs for longer than `timeout` is killed.
    pub fn new(command: Option<Vec<u8>>, timeout: Option<Duration>, running: Option<Running>) -> Self {
        Self { command, timeout, running, waiting: 0, failures: 0, retry_at: None }
    }

    /// Counts the old files that wait: svlogd may have ended before they were processed.
    pub fn find_waiting(&mut self, names: &[LogName]) {
        if self.command.is_some() {
            self.waiting = names.iter().filter(|name| is_waiting(name)).count();
        }
    }

    /// What rotated files become.
    pub fn stage(&self) -> Stage {
        if self.command.is_some() { Stage::Unprocessed } else { Stage::Saved }
    }

    /// One more file waits.
    pub fn add(&mut self) {
        if self.command.is_some() {
            self.waiting += 1;
        }
    }

    /// Whether there are as many files waiting as there may be.
    pub fn is_full(&self) -> bool {
        self.command.is_some() && self.waiting >= WAITING_LIMIT
    }

    /// Whether at most half as many files wait.
    pub fn is_eased(&self) -> bool {
        self.waiting <= WAITING_LIMIT / 2
    }

    /// Whether a file still has to be processed, so that it must not be removed.
    pub fn needs(&self, file: LogName) -> bool {
        match file.stage {
            Stage::Unprocessed => self.command.is_some() || self.is_processing(file),
            Stage::Temporary => self.is_processing(file),
            Stage::Saved => false,
        }
    }

    /// When to try again after a failure, or to kill what runs for too long, on the monotonic clock.
    pub fn deadline(&self) -> Option<Duration> {
        match &self.running {
            Some(Running { step: Step::Process { until }, .. }) => *until,
            Some(_) => None,
            None => self.retry_at.filter(|_| self.waiting > 0),
        }
    }

    /// Whether there is nothing to wait for when svlogd ends.
    pub fn is_finished(&self) -> bool {
        self.running.is_none()
            && (self.command.is_none() || self.waiting == 0 || self.failures >= FAILURES_AT_END)
    }

    /// Hands over what is running.
    pub fn into_running(self) -> Option<Running> {
        self.running
    }

    /// Starts the processor on the oldest file that waits, or kills it, if it is time for that.
    pub fn tend(&mut self, directory: &Directory, now: Duration, report: &Report) {
        if let Some(running) = &mut self.running
            && let Step::Process { until: Some(until) } = running.step
            && until <= now
        {
            report.warning(&("processor takes too long, restart: ", directory.name()));
            running.step = Step::Die;
            // It leads a process group, and has not been waited for: no other has its number.
            let _ = signal::send(Pid::from_raw(-running.pid.as_raw()), Signal::SIGKILL);
        }
        if self.running.is_some() || self.waiting == 0 || self.retry_at.is_some_and(|retry_at| now < retry_at)
        {
            return;
        }
        let Some(command) = &self.command else { return };
        match start_oldest(command, self.timeout.is_some(), directory, report) {
            Ok((started, waiting)) => {
                let until = self.timeout.and_then(|timeout| now.checked_add(timeout));
                self.running =
                    started.map(|(pid, file)| Running { pid, file, step: Step::Process { until } });
                self.waiting = waiting;
                self.retry_at = None;
            }
            Err(Failure { what, errno }) => {
                report.failure(what, &directory.name(), errno);
                report.warning(&(FAILED, directory.name()));
                self.fail(now);
            }
        }
    }

    /// Whether this process is the command.
    pub fn is_running(&self, pid: Pid) -> bool {
        self.running.as_ref().is_some_and(|running| running.is(pid) && running.step != Step::Sync)
    }

    /// Takes note that a child has ended. `false` if it was not this processor.
    pub fn ended(
        &mut self,
        pid: Pid,
        status: ExitStatus,
        directory: &Directory,
        now: Duration,
        report: &Report,
    ) -> bool {
        let Some(Running { file, step, .. }) = self.running.take_if(|running| running.is(pid)) else {
            return false;
        };
        // One that ended by itself just before it was killed has failed, too: what it had started may have written half.
        let mut succeeded = status.success() && step != Step::Die;
        if succeeded && step != Step::Sync {
            let output = file.at(Stage::Temporary);
            match seal::start_sync(output, directory, report) {
                Ok(pid) => {
                    self.running = Some(Running { pid, file, step: Step::Sync });
                    return true;
                }
                Err(_) => succeeded = said(seal::sync(output, directory), directory, report),
            }
        }
        if succeeded && said(save(file, directory, report), directory, report) {
            self.waiting = self.waiting.saturating_sub(1);
            self.failures = 0;
        } else {
            if step != Step::Die {
                report.warning(&(FAILED, directory.name()));
            }
            remove_output(file, directory);
            self.fail(now);
        }
        true
    }

    fn is_processing(&self, file: LogName) -> bool {
        self.running.as_ref().is_some_and(|running| running.file.time == file.time)
    }

    fn fail(&mut self, now: Duration) {
        let delay = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = now.checked_add(delay);
    }
}

/// Whether all went well; if not, a warning has told.
fn said(result: Result<(), Failure>, directory: &Directory, report: &Report) -> bool {
    if let Err(Failure { what, errno }) = result {
        report.failure(what, &directory.name(), errno);
    }
    result.is_ok()
}

/// Starts `command` on the oldest file that waits, and counts these files.
fn start_oldest(
    command: &[u8],
    new_session: bool,
    directory: &Directory,
    report: &Report,
) -> Result<(Option<(Pid, LogName)>, usize), Failure> {
    let names = directory.old_files().map_err(failed("unable to read directory, want processor"))?;
    let waiting = || names.iter().copied().filter(is_waiting);
    let Some(file) = waiting().min() else { return Ok((None, 0)) };
    report.info(&("processing: ", InDirectory(directory.name(), &file.to_string())));
    let pid = start(command, new_session, file, directory).inspect_err(|_| remove_output(file, directory))?;
    Ok((Some((pid, file)), waiting().count()))
}

fn remove_output(file: LogName, directory: &Directory) {
    // There may be none; one that stays is emptied by the next try.
    let _ = directory.unlink(file.at(Stage::Temporary).to_string());
}

fn is_waiting(name: &LogName) -> bool {
    name.stage == Stage::Unprocessed && name.packing == Packing::Plain
}

/// runit's contract: the file on descriptor 0, its successor on 1, `state` on 4, `newstate` on 5.
fn start(command: &[u8], new_session: bool, file: LogName, directory: &Directory) -> Result<Pid, Failure> {
    let input =
        directory.open_read(file.to_string()).map_err(failed("unable to open input for processor"))?;
    let output = directory
        .open_truncate(file.at(Stage::Temporary).to_string())
        .map_err(failed("unable to open output for processor"))?;
    let state = match directory.open_read("state") {
        Err(Errno::ENOENT) => directory.open_truncate("state").and_then(|_| directory.open_read("state")),
        result => result,
    }
    .map_err(failed("unable to open state for processor"))?;
    // A processor whose svlogd was killed may still write to the one that is there.
    let newstate = unless_gone(directory.unlink("newstate"))
        .and_then(|_| directory.open_truncate("newstate"))
        .map_err(failed("unable to open newstate for processor"))?;
    // The signals' descriptor, the directory and its lock are open, so that these four are above 5, and none of them
    // is overwritten before it is duplicated.
    let shell = Spawn::new("/bin/sh");
    let shell = if new_session { shell.new_session() } else { shell };
    shell
        .argument_zero("sh")
        .arg("-c")
        .arg(OsStr::from_bytes(command))
        .dir_fd(directory.as_fd())
        .stdin(input.as_fd())
        .stdout(output.as_fd())
        .fd(4, state.as_fd())
        .fd(5, newstate.as_fd())
        .spawn()
        .map_err(|error| failed("unable to run processor")(error.errno))
}

/// Puts the output of a processor that succeeded in the place of its input.
fn save(file: LogName, directory: &Directory, report: &Report) -> Result<(), Failure> {
    let [output, saved] = [Stage::Temporary, Stage::Saved].map(|stage| file.at(stage).to_string());
    directory.rename(&output, &saved).map_err(failed("unable to rename processed"))?;
    if let Err(errno) = directory.unlink(file.to_string()) {
        report.failure("unable to unlink", &InDirectory(directory.name(), &file.to_string()), errno);
    }
    if let Err(errno) = directory.rename("newstate", "state") {
        report.failure("unable to rename state", &directory.name(), errno);
    }
    report.info(&("processed: ", InDirectory(directory.name(), &saved)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use svlib::tai64n::Tai64n;

    #[test]
    fn one_that_failed_waits_longer_each_time() {
        let mut processor = Processor::new(Some(b"false".to_vec()), None, None);
        processor.add();
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        for failures in 1..=12 {
            processor.fail(now);
            assert_eq!(processor.is_finished(), failures >= 5, "given up, if svlogd is to end");
            let next = processor.deadline().unwrap();
            pauses.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
    }

    #[test]
    fn one_that_took_too_long_has_failed_however_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path().as_os_str()).unwrap();
        let file = LogName::new(Tai64n { seconds: 1 << 62, nanos: 0 }, Stage::Unprocessed);
        for name in [file, file.at(Stage::Temporary)] {
            fs::write(dir.path().join(name.to_string()), "line\n").unwrap();
        }
        let pid = Pid::from_raw(i32::MAX);
        let running = Running { pid, file, step: Step::Process { until: Some(Duration::ZERO) } };
        let mut processor = Processor::new(Some(b"cat".to_vec()), Some(Duration::ZERO), Some(running));
        processor.add();
        let report = Report::new(false);
        let now = Duration::from_secs(1);
        processor.tend(&directory, now, &report);
        assert!(processor.ended(pid, ExitStatus::exited(0), &directory, now, &report));
        assert_eq!(processor.deadline(), Some(now + FIRST_RETRY));
        assert_eq!(directory.old_files().unwrap(), [file]);
    }
}
