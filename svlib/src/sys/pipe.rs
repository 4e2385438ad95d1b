//! Pipes as a reader sees them before it reads: what is in them, and when more has come.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::Signal;
use nix::unistd::getpid;

use super::fd;

/// Copies what is at the front of the pipe `from` to the pipe `to`, at most `length` bytes, and leaves it there (tee(2)).
/// Zero if `from` is empty and nobody can write to it. Never waits.
///
/// # Errors
/// What tee(2) reports: EAGAIN if there is nothing, or no room; EINVAL if one is no pipe.
pub fn tee(from: impl AsFd, to: impl AsFd, length: usize) -> nix::Result<usize> {
    loop {
        match nix::fcntl::tee(&from, &to, length, SpliceFFlags::SPLICE_F_NONBLOCK) {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// How many bytes a pipe can hold (`F_GETPIPE_SZ`).
///
/// # Errors
/// EBADF if it is no pipe.
pub fn capacity(pipe: impl AsFd) -> nix::Result<usize> {
    fcntl(pipe, FcntlArg::F_GETPIPE_SZ).map(|size| usize::try_from(size).unwrap_or_default())
}

/// Makes a pipe hold at least `size` bytes; returns how many (`F_SETPIPE_SZ`).
///
/// # Errors
/// EPERM beyond the limits in pipe(7), EBUSY if more is in it, EBADF if it is no pipe.
pub fn set_capacity(pipe: impl AsFd, size: usize) -> nix::Result<usize> {
    let size = i32::try_from(size).map_err(|_| Errno::EINVAL)?;
    fcntl(pipe, FcntlArg::F_SETPIPE_SZ(size)).map(|size| usize::try_from(size).unwrap_or_default())
}

/// How many bytes can be read (`FIONREAD`).
///
/// # Errors
/// What ioctl(2) reports.
pub fn unread(pipe: impl AsFd) -> nix::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int to the address it is given.
    let result = unsafe { libc::ioctl(pipe.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut count) };
    Errno::result(result).map(|_| usize::try_from(count).unwrap_or_default())
}

/// The signal of [`set_signals`]. Where it is not blocked, it is ignored.
pub const SIGNAL: Signal = Signal::SIGURG;

/// Whether [`SIGNAL`] comes to this process whenever something is written to `pipe` (`O_ASYNC`): also when a writer that
/// has more to write than there is room for begins to wait, amid its write(2). Of that, epoll(7) tells nothing unless the
/// pipe was empty.
///
/// # Errors
/// What fcntl(2) reports.
pub fn set_signals(pipe: impl AsFd, on: bool) -> nix::Result<()> {
    let mut flags = OFlag::from_bits_retain(fcntl(&pipe, FcntlArg::F_GETFL)?);
    if on {
        for (command, value) in [(libc::F_SETOWN, getpid().as_raw()), (F_SETSIG, SIGNAL as libc::c_int)] {
            // SAFETY: both take an int, and touch no memory.
            Errno::result(unsafe { libc::fcntl(pipe.as_fd().as_raw_fd(), command, value) })?;
        }
    }
    flags.set(OFlag::O_ASYNC, on);
    fcntl(&pipe, FcntlArg::F_SETFL(flags)).map(drop)
}

/// Of Linux (`fcntl.h`); the libc crate has none.
const F_SETSIG: libc::c_int = 10;

/// Becomes readable when something is written to a pipe, not while something is in it (epoll(7), edge-triggered).
#[derive(Debug)]
pub struct Arrivals(Epoll);

impl Arrivals {
    /// Watches the reading end `pipe`. What is in it already counts as arriving.
    ///
    /// # Errors
    /// What `epoll_create1(2)` and `epoll_ctl(2)` report. ENOTSUP where the kernel tells only of what comes into an empty
    /// pipe (Linux 5.5 to 5.13).
    pub fn new(pipe: impl AsFd) -> nix::Result<Self> {
        let arrivals = Self::of(pipe)?;
        let (reader, writer) = fd::pipe().map_err(|error| error.errno)?;
        let trial = Self::of(&reader)?;
        for _ in 0..2 {
            fd::write(&writer, b"x").map_err(|_| Errno::EIO)?;
            if !trial.take()? {
                return Err(Errno::ENOTSUP);
            }
        }
        Ok(arrivals)
    }

    /// Whether something has arrived since the last call. From now on it is readable only when more has.
    ///
    /// # Errors
    /// What `epoll_wait(2)` reports.
    pub fn take(&self) -> nix::Result<bool> {
        loop {
            match self.0.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO) {
                Err(Errno::EINTR) => {}
                result => return result.map(|count| count > 0),
            }
        }
    }

    fn of(pipe: impl AsFd) -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(pipe, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
        Ok(Self(epoll))
    }
}

impl AsFd for Arrivals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_at_stays() {
        let (reader, writer) = fd::pipe().unwrap();
        let (copy, to) = fd::pipe().unwrap();
        assert_eq!(tee(&reader, &to, 10), Err(Errno::EAGAIN));
        fd::write_all(&writer, b"abc").unwrap();
        assert_eq!(tee(&reader, &to, 2), Ok(2));
        assert_eq!((unread(&reader), unread(&copy)), (Ok(3), Ok(2)));
        drop(writer);
        assert_eq!(fd::read(&reader, &mut [0; 8]).unwrap(), 3);
        assert_eq!(tee(&reader, &to, 10), Ok(0));
    }

    #[test]
    fn a_size_is_what_was_asked_for() {
        let (reader, _writer) = fd::pipe().unwrap();
        assert_eq!(set_capacity(&reader, 16 << 10), Ok(16 << 10));
        assert_eq!(capacity(&reader), Ok(16 << 10));
        assert_eq!(capacity(std::fs::File::open("/dev/null").unwrap()), Err(Errno::EBADF));
    }

    #[test]
    fn each_arrival_is_told_once() {
        let (reader, writer) = fd::pipe().unwrap();
        let arrivals = Arrivals::new(&reader).unwrap();
        assert_eq!(arrivals.take(), Ok(false));
        for _ in 0..3 {
            fd::write_all(&writer, b"x").unwrap();
            assert_eq!((arrivals.take(), arrivals.take()), (Ok(true), Ok(false)));
        }
        drop(writer);
        assert_eq!((arrivals.take(), arrivals.take()), (Ok(true), Ok(false)));
    }
}
