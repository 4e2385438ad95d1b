//! Standard input, of which no byte is let go before it is written.
//!
//! Where standard input is a pipe, what is in it is copied with tee(2) and stays in it until all log directories have
//! written the lines; only then it is taken out. A svlogd that is killed loses no line: the pipe still holds what was not
//! written, and whoever reads from it next, as under runsv, writes it.
//!
//! The guarantee: **every line whose bytes a writer could put into the pipe is written at least once**, whenever and
//! however svlogd ends, as long as somebody holds the reading end and svlogd is started on it again. The lines of one
//! batch, at most half of what the pipe holds and at most 128 KiB, may be there twice, once at the end of the old file
//! that the killed svlogd left, the last of them cut perhaps, and once at the beginning of `current`.
//!
//! It does not hold for
//! - what only the kernel's memory holds when the machine fails;
//! - the beginning of a line that takes more than half of the pipe, and for what of a line longer than `-l` was written
//!   already: its rest counts as a line;
//! - standard input that is no pipe: a file has no reader after this one that goes on where it ended, a socket cannot
//!   be looked into. It is read as far as the buffer goes;
//! - kernels that tell only of what comes into an empty pipe (Linux 5.5 to 5.13), and pipes of fewer than four pages:
//!   these are read plainly too.
//!
//! What is taken out is compared with what was seen. If it is not the same, another process reads from the pipe too: what
//! was got unseen is written, so nothing is lost, and from then on the pipe is read plainly, shared among its readers as
//! pipes are.
//!
//! A pipe that holds the beginning of a line is always readable. Its rest is waited for with an edge-triggered epoll
//! instead, so that svlogd sleeps until more is written.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use svlib::sys::fd;
use svlib::sys::pipe::{self, Arrivals};
use svlib::sys::poll::{self, PollFd, PollFlags};

/// The least that is read at once, if there is so much. Memory of this size comes from the kernel, which provides only
/// what is used of it.
const READ_SIZE: usize = 128 << 10;

/// What a pipe holds by default (pipe(7)): a read of this much means that its writer is waiting.
const PIPE_SIZE: usize = 64 << 10;

/// What the pipe of a busy writer is enlarged to, so that it can go on while `current` is synced.
const BUSY_PIPE_SIZE: usize = 1 << 20;

/// So much is taken out of the pipe, and compared, at once: the processor's nearest cache holds it.
const COMPARED_SIZE: usize = 16 << 10;

/// What [`Input::read`] came upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// More bytes are in the buffer.
    Bytes(usize),
    /// Nothing is there, or nothing new.
    Nothing,
    /// There will be no more.
    End,
    /// Another process took what was seen but not written: the beginning of a line in the buffer is void.
    Rival,
}

/// Standard input, and the buffer that it is read into.
///
/// The buffer begins with a line. Its bytes are first consumed ones, which only the buffer holds, and then those which
/// standard input still holds too.
pub struct Input<Source: AsFd = io::Stdin> {
    source: Source,
    buffer: Vec<u8>,
    filled: usize,
    consumed: usize,
    /// Up to here, pieces were given to the directories.
    taken: usize,
    /// The last look found nothing new behind the beginning of a line.
    is_all_seen: bool,
    /// The newline that a last line lacked was added.
    is_ended: bool,
    view: Option<View>,
    /// What of the buffer is still in standard input, as it is there: only where lines are changed in the buffer.
    original: Option<Vec<u8>>,
    compared: Vec<u8>,
    may_enlarge: bool,
}

/// What is needed to look into a pipe.
struct View {
    copy: (OwnedFd, OwnedFd),
    arrivals: Arrivals,
    capacity: usize,
}

impl View {
    /// `None` if `source` is no pipe, or one that cannot be looked into.
    fn of(source: impl AsFd) -> Option<Self> {
        // The copy has to be full before the pipe is: a line that fills it has to be taken out for its writer to go on.
        let capacity = pipe::capacity(&source).ok()? / 2;
        let copy = fd::pipe().ok()?;
        let is_smaller = pipe::set_capacity(&copy.0, capacity) == Ok(capacity);
        let arrivals = Arrivals::new(&source).ok()?;
        is_smaller.then_some(Self { copy, arrivals, capacity })
    }

    fn is_full(&self) -> bool {
        let mut fds = [PollFd::new(self.copy.1.as_fd(), PollFlags::POLLOUT)];
        !matches!(poll::wait(&mut fds, Some(Duration::ZERO)), Ok(1..))
    }

    /// Reads from the copy until `bytes` are full.
    fn read(&self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = fd::read(&self.copy.0, bytes)?;
            bytes = &mut bytes[count..];
        }
        Ok(())
    }
}

impl<Source: AsFd> Input<Source> {
    /// Reads `source`, mostly standard input, into a buffer for `buffer_size` bytes and the beginning of a line of
    /// `line_limit`. `None` if there is no memory for it.
    ///
    /// Bytes may be changed in the buffer only if `is_changed`.
    pub fn new(source: Source, buffer_size: usize, line_limit: usize, is_changed: bool) -> Option<Self> {
        let buffer = buffer_size.max(READ_SIZE).checked_add(line_limit).and_then(allocate)?;
        // What other processes read from the same open file, they have to be ready to find empty too: as with runit.
        let _ = fd::set_nonblocking(&source, true);
        let view = View::of(&source);
        let original = is_changed.then(Vec::new);
        let compared = allocate(COMPARED_SIZE)?;
        Some(Self {
            source,
            buffer,
            filled: 0,
            consumed: 0,
            taken: 0,
            is_all_seen: false,
            is_ended: false,
            view,
            original,
            compared,
            may_enlarge: true,
        })
    }

    /// What becomes readable when there is something to [`read`](Self::read).
    pub fn readable(&self) -> BorrowedFd<'_> {
        match &self.view {
            Some(view) if self.is_all_seen => view.arrivals.as_fd(),
            _ => self.source.as_fd(),
        }
    }

    /// Adds at most `most` bytes to the buffer. Everything taken must have been [settled](Self::settle).
    ///
    /// # Errors
    /// What read(2) reports.
    pub fn read(&mut self, most: usize) -> io::Result<Got> {
        // The last byte is kept for the newline of an unfinished last line.
        let room = most.min(self.buffer.len() - 1 - self.filled);
        let Some(view) = &self.view else { return self.read_plainly(room) };
        let seen = self.filled - self.consumed;
        self.is_all_seen = false;
        if seen > 0 {
            view.arrivals.take()?;
        }
        let count = match pipe::tee(&self.source, &view.copy.1, seen + room) {
            Ok(0) if seen == 0 => return Ok(Got::End),
            Err(Errno::EAGAIN) if seen == 0 => return Ok(Got::Nothing),
            Ok(count) => count,
            Err(Errno::EAGAIN) => 0,
            // No memory perhaps.
            Err(_) => return Ok(self.take_out(seen).err().unwrap_or_else(|| self.leave_view())),
        };
        if count < seen {
            return Ok(self.yield_to_rival(&[]));
        }
        let is_full = count == seen && view.is_full();
        let mut skipped = 0;
        while skipped < seen {
            let part = &mut self.compared[..COMPARED_SIZE.min(seen - skipped)];
            view.read(part)?;
            skipped += part.len();
        }
        let end = self.filled + count - seen;
        view.read(&mut self.buffer[self.filled..end])?;
        if count > seen {
            let new = self.filled..end;
            if let Some(original) = &mut self.original {
                original.extend_from_slice(&self.buffer[new]);
            }
            self.filled = end;
            if count >= view.capacity {
                self.enlarge();
            }
            return Ok(Got::Bytes(count - seen));
        }
        if is_full {
            // The line takes so much of the pipe that its writer may wait.
            return Ok(self.take_out(seen).err().unwrap_or(Got::Nothing));
        }
        // In this order: who writes and then closes must not be missed.
        let is_hung_up = self.is_hung_up();
        self.is_all_seen = seen > 0;
        Ok(if is_hung_up && pipe::unread(&self.source)? == seen { Got::End } else { Got::Nothing })
    }

    /// The buffer, and where in it the bytes begin that were not taken.
    pub fn untaken(&mut self) -> (&mut [u8], usize) {
        (&mut self.buffer[..self.filled], self.taken)
    }

    /// Everything before `taken` was given to the directories.
    pub fn set_taken(&mut self, taken: usize) {
        self.taken = taken;
    }

    /// Adds the newline that the line in the buffer lacks.
    pub fn end_line(&mut self) {
        self.buffer[self.filled] = b'\n';
        self.filled += 1;
        self.is_ended = true;
        if self.view.is_none() {
            self.consumed = self.filled;
        }
    }

    /// Lets go of what was taken, now that it is written. [`Got::Rival`] if something else came: it is in the buffer.
    pub fn settle(&mut self) -> Got {
        let taken = std::mem::take(&mut self.taken);
        let end = taken.min(self.filled - usize::from(self.is_ended));
        if end > self.consumed
            && let Err(rival) = self.take_out_before(end, taken)
        {
            return rival;
        }
        self.buffer.copy_within(taken..self.filled, 0);
        self.filled -= taken;
        self.consumed = self.consumed.saturating_sub(taken);
        if taken > 0 {
            self.is_ended = false;
        }
        Got::Nothing
    }

    /// Whether something that was taken waits to be settled.
    pub fn is_owing(&self) -> bool {
        self.taken > 0
    }

    fn read_plainly(&mut self, room: usize) -> io::Result<Got> {
        let end = self.filled + room;
        match fd::read(&self.source, &mut self.buffer[self.filled..end]) {
            Ok(0) => Ok(Got::End),
            Ok(count) => {
                self.filled += count;
                self.consumed = self.filled;
                if count >= PIPE_SIZE {
                    self.enlarge();
                }
                Ok(Got::Bytes(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Got::Nothing),
            Err(error) => Err(error),
        }
    }

    /// It may be no pipe, or there may be a limit: all goes well without, if not as fast.
    fn enlarge(&mut self) {
        if std::mem::take(&mut self.may_enlarge)
            && pipe::set_capacity(&self.source, BUSY_PIPE_SIZE).is_ok()
            && let Some(view) = &mut self.view
            && let Ok(capacity) = pipe::set_capacity(&view.copy.0, READ_SIZE)
        {
            view.capacity = capacity;
        }
    }

    /// Takes `count` bytes that were seen out of the pipe.
    fn take_out(&mut self, count: usize) -> Result<(), Got> {
        self.take_out_before(self.consumed + count, 0)
    }

    /// Takes what the buffer has before `end` out of the pipe. What comes instead replaces what is not `taken`.
    fn take_out_before(&mut self, end: usize, taken: usize) -> Result<(), Got> {
        let begin = self.consumed;
        while self.consumed < end {
            let length = COMPARED_SIZE.min(end - self.consumed);
            let count = fd::read(&self.source, &mut self.compared[..length]).unwrap_or(0);
            let next = self.consumed..self.consumed + count;
            let expected = match &self.original {
                Some(original) => &original[next.start - begin..next.end - begin],
                None => &self.buffer[next.clone()],
            };
            if count == 0 || self.compared[..count] != *expected {
                let stray = self.compared[..count].to_vec();
                self.taken = taken;
                return Err(self.yield_to_rival(&stray));
            }
            self.consumed = next.end;
        }
        if let Some(original) = &mut self.original {
            original.drain(..end - begin);
        }
        Ok(())
    }

    /// What was seen is no longer there; `stray` came in its place. What was consumed before and not taken stays.
    fn yield_to_rival(&mut self, stray: &[u8]) -> Got {
        self.view = None;
        self.is_all_seen = false;
        self.original = None;
        let taken = std::mem::take(&mut self.taken);
        let kept = taken..self.consumed.max(taken);
        self.filled = kept.len();
        self.buffer.copy_within(kept, 0);
        let end = self.filled + stray.len();
        self.buffer[self.filled..end].copy_from_slice(stray);
        self.filled = end;
        self.consumed = end;
        self.is_ended = false;
        Got::Rival
    }

    fn leave_view(&mut self) -> Got {
        self.view = None;
        self.original = None;
        Got::Nothing
    }

    fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(self.source.as_fd(), PollFlags::empty())];
        matches!(poll::wait(&mut fds, Some(Duration::ZERO)), Ok(1..))
    }
}

/// Zeroed memory, which the kernel provides as it is used; `None` if there is not so much.
fn allocate(size: usize) -> Option<Vec<u8>> {
    Vec::<u8>::new().try_reserve_exact(size).ok()?;
    Some(vec![0; size])
}
