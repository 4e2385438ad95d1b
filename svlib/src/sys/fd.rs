//! File descriptors. All that are made here are closed on exec.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd;

use crate::error::{Context, Result};
use crate::sys::{poll, startup};

/// So many numbers are kept for what is open for a moment only.
const LOW_NUMBERS: RawFd = 64;

/// A pipe: its reading end, its writing end (pipe2(2)).
///
/// # Errors
/// No descriptor or no memory is left.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    unistd::pipe2(OFlag::O_CLOEXEC).during("create pipe")
}

/// Reads once, again after an interruption (read(2)). Zero is end of file.
///
/// # Errors
/// What read(2) reports; [`io::ErrorKind::WouldBlock`] where a non-blocking descriptor has nothing.
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    uninterrupted(|| unistd::read(&fd, buffer))
}

/// Reads once from what does not wait by itself, and waits for it to become readable.
///
/// # Errors
/// What read(2) and ppoll(2) report.
pub fn read_waiting(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match read(&fd, buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll::wait(&mut [poll::PollFd::new(fd.as_fd(), poll::PollFlags::POLLIN)], None)?;
            }
            result => return result,
        }
    }
}

/// Writes once, again after an interruption; possibly less than all of `bytes` (write(2)).
///
/// # Errors
/// What write(2) reports.
pub fn write(fd: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    uninterrupted(|| unistd::write(&fd, bytes))
}

/// Writes all of `bytes` to a blocking descriptor.
///
/// # Errors
/// What write(2) reports; some bytes may have been written before.
pub fn write_all(fd: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(&fd, bytes)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => bytes = &bytes[written..],
        }
    }
    Ok(())
}

/// Makes reads and writes of the open file fail rather than wait, or wait again (`O_NONBLOCK`).
///
/// It is the open file that changes, also for other processes that share it.
///
/// # Errors
/// What fcntl(2) reports.
pub fn set_nonblocking(fd: impl AsFd, nonblocking: bool) -> Result<()> {
    let flags = fcntl(&fd, FcntlArg::F_GETFL).during("get file status flags")?;
    let mut flags = OFlag::from_bits_retain(flags);
    flags.set(OFlag::O_NONBLOCK, nonblocking);
    fcntl(&fd, FcntlArg::F_SETFL(flags)).during("set file status flags").map(drop)
}

/// Moves a descriptor that is kept for long above the low numbers and the inherited ones, which makes children cheap
/// ([`Spawn`](crate::sys::process::Spawn::spawn)). Where the limit on descriptors allows no high number, it stays.
#[must_use]
pub fn lift(fd: OwnedFd) -> OwnedFd {
    let lowest = startup::highest_inherited().map_or(LOW_NUMBERS, |inherited| LOW_NUMBERS.max(inherited + 1));
    match fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(lowest)) {
        // SAFETY: the kernel has just made it, for us.
        Ok(number) => unsafe { OwnedFd::from_raw_fd(number) },
        Err(_) => fd,
    }
}

fn uninterrupted(mut call: impl FnMut() -> nix::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn bytes_go_through_a_pipe() {
        let (reader, writer) = pipe().unwrap();
        write_all(&writer, b"abc").unwrap();
        drop(writer);
        let mut buffer = [0; 8];
        assert_eq!(read(&reader, &mut buffer).unwrap(), 3);
        assert_eq!(&buffer[..3], b"abc");
        assert_eq!(read(&reader, &mut buffer).unwrap(), 0);
    }

    #[test]
    fn a_lifted_descriptor_is_the_same_file_under_a_high_number() {
        let (reader, writer) = pipe().unwrap();
        let writer = lift(writer);
        assert!(writer.as_raw_fd() >= LOW_NUMBERS);
        write_all(writer, b"abc").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(read(&reader, &mut buffer).unwrap(), 3);
        assert_eq!(read(&reader, &mut buffer).unwrap(), 0, "the other number is closed");
    }

    #[test]
    fn an_empty_nonblocking_pipe_would_block() {
        let (reader, _writer) = pipe().unwrap();
        set_nonblocking(&reader, true).unwrap();
        assert_eq!(read(&reader, &mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
