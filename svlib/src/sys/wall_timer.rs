//! A deadline on the wall clock that notices when the clock is set.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::fd;
use crate::error::{Context, Result, errno};

/// Far enough, and within what the kernel counts, which is 2^63 nanoseconds.
const LATEST: u64 = 9_000_000_000;

/// A timer (timerfd_create(2)): readable once its time has come, or the clock was set since.
#[derive(Debug)]
pub struct WallTimer {
    timer: TimerFd,
    set_to: Option<i64>,
}

impl WallTimer {
    /// A timer that is not set.
    ///
    /// # Errors
    /// No descriptor or no memory is left.
    pub fn new() -> Result<Self> {
        TimerFd::new(ClockId::CLOCK_REALTIME, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)
            .during("create timer")
            .map(|timer| Self { timer, set_to: None })
    }

    /// Sets the timer to a time in Unix seconds. `false` if it is set to this time already. If not, what the time was
    /// reckoned from is to be looked at again: the clock may have been set in between.
    ///
    /// # Errors
    /// What timerfd_settime(2) reports.
    pub fn set(&mut self, time: i64) -> Result<bool> {
        if self.set_to == Some(time) {
            return Ok(false);
        }
        // Zero would turn the timer off.
        let time_left = Duration::from_secs(u64::try_from(time).unwrap_or_default().clamp(1, LATEST));
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        match self.timer.set(Expiration::OneShot(time_left.into()), flags) {
            // ECANCELED: the clock was set just now; the timer is set nevertheless.
            Ok(()) | Err(Errno::ECANCELED) => self.set_to = Some(time),
            Err(error) => return Err(error).during("set timer"),
        }
        Ok(true)
    }

    /// Whether the time has come or the clock was set. The timer is not set any more then.
    ///
    /// # Errors
    /// What read(2) reports.
    pub fn take(&mut self) -> Result<bool> {
        match fd::read(&self.timer, &mut [0; 8]).map_err(|error| errno(&error)) {
            Err(Errno::EAGAIN) => return Ok(false),
            Ok(_) | Err(Errno::ECANCELED) => {}
            Err(error) => return Err(error).during("read timer"),
        }
        self.set_to = None;
        Ok(true)
    }
}

impl AsFd for WallTimer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;
    use crate::sys::poll::{PollFd, PollFlags, wait};

    #[test]
    fn the_time_comes_once() {
        let mut timer = WallTimer::new().unwrap();
        assert!(!timer.take().unwrap());
        let now = clock::wall().unix_seconds();
        assert!(timer.set(i64::MAX).unwrap());
        assert!(timer.set(now + 3600).unwrap() && !timer.set(now + 3600).unwrap());
        assert!(!timer.take().unwrap());
        timer.set(now + 1).unwrap();
        let ready = wait(&mut [PollFd::new(timer.as_fd(), PollFlags::POLLIN)], Some(Duration::from_secs(20)));
        assert_eq!(ready.unwrap(), 1);
        assert!(clock::wall().unix_seconds() > now);
        assert!(timer.take().unwrap() && !timer.take().unwrap());
    }

    #[test]
    fn a_time_that_is_past_comes_at_once() {
        let mut timer = WallTimer::new().unwrap();
        for time in [-5, 0, 1] {
            timer.set(time).unwrap();
            wait(&mut [PollFd::new(timer.as_fd(), PollFlags::POLLIN)], Some(Duration::from_secs(20)))
                .unwrap();
            assert!(timer.take().unwrap(), "{time}");
        }
    }
}
