//! Standard input, of which nothing is let go before it is written.
//!
//! Where standard input is a pipe, [`Input::read`] looks into it: tee(2) copies what is in it, and leaves it there. The
//! whole lines are given to the log directories, and [`Input::settle`] takes them out of the pipe, in one read(2), once
//! all directories have written them. The beginning of a line stays in the pipe until its rest is there. So whatever a
//! svlogd had in its hands when it was killed, the pipe still has, and the next one that is started on it, as runsv does,
//! begins with a line:
//!
//! **Every line is written at least once**, whenever and however svlogd ends. Twice are only the lines of the one look
//! that it was at, at most half of what the pipe holds, and at most 128 KiB: at the end of the file that the killed one
//! left, where the last of them may be cut, and whole at the beginning of the next file.
//!
//! It cannot hold
//! - where standard input is no pipe (nobody goes on where the reader of a file ended, and a socket is not looked into),
//!   or a pipe of a single page, or of packets (`O_DIRECT`): that is read plainly, as is a pipe that the system does not let svlogd look into;
//! - for a line that does not fit into half of the pipe: what of it was taken out so that its writer could go on is
//!   written at once if it has `-l` bytes, and its rest would count as a line of its own.
//!
//! What is taken out is compared with what was seen. Where it differs, another process reads from the pipe, too. What was
//! got unseen is written then, and from now on the pipe is read plainly, as its readers share it.
//!
//! A pipe with the beginning of a line in it is always readable; for more in it, [`Arrivals`] are waited for, and a signal
//! that tells of a writer with more than there is room for, see [`pipe::set_signals`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use memchr::{memchr, memrchr};
use nix::errno::Errno;
use nix::unistd::geteuid;
use svlib::error::errno;
use svlib::sys::pipe::{self, Arrivals};
use svlib::sys::poll::{self, PollFd, PollFlags};
use svlib::sys::{fd, memory};

/// The least that is read at once, if there is so much. Memory of this size comes from the kernel, which provides only
/// what is used of it.
const READ_SIZE: usize = 128 << 10;

/// What the pipe of a busy writer is enlarged to, so that it can go on while `current` is written.
const BUSY_PIPE_SIZE: usize = 1 << 20;

/// What [`Input::read`] came upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// So many bytes are in the buffer that were not there before.
    Bytes(usize),
    /// Nothing is there, or nothing new.
    Nothing,
    /// There will be no more.
    End,
}

/// What [`Input::settle`] came upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// What was written is out of standard input.
    Well,
    /// Another process took some of it. What came instead is in the buffer, to be taken.
    Shared,
}

/// Standard input, and the buffer that it is read into.
///
/// The buffer has, in this order, what is only there: the beginning of a line that standard input is rid of; and what
/// was seen, but is still in standard input.
pub struct Input<Source: AsFd = io::Stdin> {
    source: Source,
    buffer: Vec<u8>,
    /// So much is only in the buffer.
    held: usize,
    /// So much was seen.
    seen: usize,
    /// Up to here the bytes are to be taken.
    ready: usize,
    /// Up to here they were.
    taken: usize,
    /// `None` where standard input is read plainly: everything is held then.
    view: Option<View>,
    /// Why it is, unless that was told.
    obstacle: Option<Errno>,
    /// What was seen, before it was changed in the buffer; only where it may be.
    original: Option<Vec<u8>>,
    /// What is taken out of the pipe, to be compared.
    out: Vec<u8>,
    is_last_line: bool,
    may_enlarge: bool,
}

/// What is needed to look into a pipe.
struct View {
    copy: (OwnedFd, OwnedFd),
    arrivals: Arrivals,
    capacity: usize,
    /// It is known to be no pipe of packets.
    is_stream: bool,
    /// The last look found nothing new behind the beginning of a line.
    is_all_seen: bool,
    /// A signal tells of what is written.
    is_told: bool,
    is_hung_up: bool,
}

impl View {
    /// # Errors
    /// EBADF if `source` is no pipe. Others if it cannot be looked into.
    fn of(source: impl AsFd) -> nix::Result<Self> {
        // The writer needs the other half to go on meanwhile; and the copy has to be full before the pipe is.
        let half = pipe::capacity(&source)? / 2;
        let copy = fd::pipe().map_err(|error| error.errno)?;
        // One that is smaller, as it is for a user who has too many, serves as well.
        let capacity =
            pipe::set_capacity(&copy.0, half.min(READ_SIZE)).or_else(|_| pipe::capacity(&copy.0))?;
        if capacity > half {
            return Err(Errno::EMSGSIZE);
        }
        let arrivals = Arrivals::new(&source)?;
        Ok(Self {
            copy,
            arrivals,
            capacity,
            is_stream: false,
            is_all_seen: false,
            is_told: false,
            is_hung_up: false,
        })
    }

    /// Fills `buffer` with what is at the front of `source`, of which the first `seen` bytes are no news.
    fn look(&mut self, source: impl AsFd, buffer: &mut [u8], seen: usize) -> nix::Result<(usize, Sight)> {
        let was_hung_up = std::mem::take(&mut self.is_hung_up);
        self.is_all_seen = false;
        if seen > 0 {
            // Before the look: what comes after it is an arrival.
            self.arrivals.take()?;
        }
        let count = match pipe::tee(&source, &self.copy.1, buffer.len()) {
            Ok(0) => return Ok((0, Sight::End)),
            Err(Errno::EAGAIN) => return Ok((0, Sight::Nothing)),
            result => result?,
        };
        let is_news = count > seen;
        let mut is_full = count == buffer.len();
        if !is_news {
            let mut ends = [
                PollFd::new(source.as_fd(), PollFlags::empty()),
                PollFd::new(self.copy.1.as_fd(), PollFlags::POLLOUT),
            ];
            poll::wait(&mut ends, Some(Duration::ZERO)).map_err(|error| errno(&error))?;
            self.is_hung_up = poll::is_ready(&ends[0]);
            is_full |= !poll::is_ready(&ends[1]);
        }
        self.take_copy(&mut buffer[..count])?;
        let is_smaller = !is_news && self.fit(&source)?;
        let sight = if is_news {
            Sight::News
        } else if self.is_hung_up && was_hung_up {
            // It had hung up before this look, so nothing was written since.
            Sight::End
        } else if is_full {
            Sight::Full
        } else {
            Sight::Nothing
        };
        let is_all_seen = sight == Sight::Nothing && !self.is_hung_up && !is_smaller;
        // What came before the signal was asked for is seen by one more look.
        self.is_all_seen = is_all_seen && self.is_told;
        if is_all_seen != self.is_told {
            pipe::set_signals(&source, is_all_seen)?;
            self.is_told = is_all_seen;
        }
        Ok((count, sight))
    }

    /// Fills `buffer` from the copy.
    fn take_copy(&mut self, buffer: &mut [u8]) -> nix::Result<()> {
        let read = |buffer: &mut [u8]| fd::read(&self.copy.0, buffer).map_err(|error| errno(&error));
        let tried = usize::from(!self.is_stream && buffer.len() > 1);
        let (most, last) = buffer.split_at_mut(buffer.len() - tried);
        // Of a packet (O_DIRECT, pipe(2)), what is not read at once is gone: no line can be taken out of it. Several are
        // read one by one.
        if read(most)? < most.len() || (!last.is_empty() && pipe::unread(&self.copy.0)? == 0) {
            return Err(Errno::ENOTSUP);
        }
        if !last.is_empty() {
            read(last)?;
            self.is_stream = true;
        }
        Ok(())
    }

    /// Keeps the copy at half of a pipe that was made smaller. Whether it was.
    fn fit(&mut self, source: impl AsFd) -> nix::Result<bool> {
        let half = pipe::capacity(source)? / 2;
        if self.capacity <= half {
            return Ok(false);
        }
        self.capacity = pipe::set_capacity(&self.copy.0, half)?;
        if self.capacity > half { Err(Errno::EMSGSIZE) } else { Ok(true) }
    }
}

/// What there is in a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// More than was seen before.
    News,
    /// Nothing new.
    Nothing,
    /// Nothing new, and nothing will come before something is taken out.
    Full,
    /// Nothing new, and nobody can write.
    End,
}

impl<Source: AsFd> Input<Source> {
    /// Reads `source`, mostly standard input, into a buffer for `buffer_size` bytes and the beginning of a line of
    /// `line_limit`. `None` if there is no memory for it. Bytes may be changed in the buffer only if `is_changed`.
    pub fn new(source: Source, buffer_size: usize, line_limit: usize, is_changed: bool) -> Option<Self> {
        let size = buffer_size.max(READ_SIZE).checked_add(line_limit)?;
        // What other processes read from the same open file, they have to be ready to find empty too: as with runit.
        let _ = fd::set_nonblocking(&source, true);
        let (view, obstacle) = match View::of(&source) {
            Ok(view) => (Some(view), None),
            Err(errno) => (None, (errno != Errno::EBADF).then_some(errno)),
        };
        Some(Self {
            source,
            buffer: allocate(size)?,
            held: 0,
            seen: 0,
            ready: 0,
            taken: 0,
            view,
            obstacle,
            original: is_changed.then(Vec::new),
            out: allocate(READ_SIZE)?,
            is_last_line: false,
            may_enlarge: geteuid().is_root(),
        })
    }

    /// Why standard input is read plainly, although it is a pipe, unless that was taken.
    pub fn obstacle(&self) -> Option<Errno> {
        self.obstacle
    }

    /// Why standard input is read plainly, although it is a pipe; once.
    pub fn take_obstacle(&mut self) -> Option<Errno> {
        self.obstacle.take()
    }

    /// Something was written to standard input: a [`pipe::SIGNAL`] has come.
    pub fn look_again(&mut self) {
        if let Some(view) = &mut self.view {
            view.is_all_seen = false;
        }
    }

    /// What becomes readable when there is something to [`read`](Self::read).
    pub fn readable(&self) -> BorrowedFd<'_> {
        match &self.view {
            Some(view) if view.is_all_seen => view.arrivals.as_fd(),
            _ => self.source.as_fd(),
        }
    }

    /// Reads what is there. Everything before must have been [settled](Self::settle).
    ///
    /// # Errors
    /// What read(2) reports.
    pub fn read(&mut self) -> io::Result<Got> {
        // The last byte is kept for the newline of an unfinished last line.
        let end = self.buffer.len() - 1;
        let Some(view) = &mut self.view else { return self.read_plainly(end) };
        let end = end.min(self.held + READ_SIZE);
        let (count, sight) = match view.look(&self.source, &mut self.buffer[self.held..end], self.seen) {
            Ok(sight) => sight,
            Err(errno) => {
                // The beginning of a line that was seen is read again.
                self.leave_view();
                self.obstacle = Some(errno);
                return self.read_plainly(end);
            }
        };
        let is_much = count >= view.capacity;
        let news = count.saturating_sub(std::mem::replace(&mut self.seen, count));
        let bytes = &self.buffer[self.held..self.held + count];
        if let Some(original) = &mut self.original {
            original.clear();
            original.extend_from_slice(bytes);
        }
        match sight {
            Sight::End => return Ok(Got::End),
            Sight::Nothing => return Ok(Got::Nothing),
            Sight::Full => self.ready = self.held + count,
            Sight::News => {
                let find = if self.is_last_line { memchr } else { memrchr };
                let line_end = find(b'\n', bytes).map_or(0, |newline| newline + 1);
                self.ready = self.held + line_end;
                if self.is_last_line && line_end > 0 {
                    self.seen = line_end;
                }
            }
        }
        if is_much {
            self.enlarge();
        }
        Ok(Got::Bytes(news))
    }

    /// From now on, nothing is taken beyond the end of a line.
    pub fn read_last_line(&mut self) {
        self.is_last_line = true;
    }

    /// Whether the beginning of a line was seen that is not ready yet.
    pub fn has_beginning(&self) -> bool {
        self.held + self.seen > self.ready
    }

    /// Makes a whole line of the beginning of one.
    pub fn end_line(&mut self) {
        let end = self.held + self.seen;
        self.buffer[end] = b'\n';
        self.ready = end + 1;
    }

    /// The buffer up to where it is ready to be taken, and where it was taken up to. Whole lines, if possible.
    pub fn ready(&mut self) -> (&mut [u8], usize) {
        (&mut self.buffer[..self.ready], self.taken)
    }

    /// Everything before `taken` was given to the directories.
    pub fn set_taken(&mut self, taken: usize) {
        self.taken = taken;
    }

    /// Lets go of what was taken, now that it is written.
    pub fn settle(&mut self) -> Settled {
        let end = self.held + self.seen;
        let ready = self.ready.min(end);
        if ready > self.held && !self.take_out(ready - self.held) {
            return Settled::Shared;
        }
        let taken = self.taken.min(ready);
        self.buffer.copy_within(taken..end, 0);
        // What was ready and is not taken is a line that fills the pipe: its writer could not go on.
        self.held = ready - taken;
        self.seen = end - ready;
        self.ready = self.held;
        self.taken = 0;
        Settled::Well
    }

    /// Gives back the memory of a busy time.
    pub fn release(&mut self) {
        memory::release(&mut self.buffer[self.held + self.seen..]);
        memory::release(&mut self.out);
        if let Some(original) = &mut self.original {
            original.shrink_to_fit();
        }
    }

    fn read_plainly(&mut self, end: usize) -> io::Result<Got> {
        let end = if self.is_last_line { self.held + 1 } else { end };
        match fd::read(&self.source, &mut self.buffer[self.held..end]) {
            Ok(0) => Ok(Got::End),
            Ok(count) => {
                self.held += count;
                self.ready = self.held;
                Ok(Got::Bytes(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Got::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Takes the first `length` bytes that were seen out of the pipe: at once, so that a line begins the next look of
    /// whoever looks next. `false` if it is something else that came.
    fn take_out(&mut self, length: usize) -> bool {
        let out = &mut self.out[..length];
        let count = fd::read(&self.source, &mut *out).unwrap_or(0);
        let seen = match &mut self.original {
            Some(original) => &original[..length],
            None => &self.buffer[self.held..self.held + length],
        };
        if *out == *seen && count == length {
            if let Some(original) = &mut self.original {
                original.drain(..length);
            }
            return true;
        }
        // Of what was seen, the lines are written, and the beginning of one is void.
        let held = self.taken..self.held.max(self.taken);
        self.buffer.copy_within(held.clone(), 0);
        self.held = held.len() + count;
        self.buffer[held.len()..self.held].copy_from_slice(&self.out[..count]);
        self.taken = 0;
        self.leave_view();
        false
    }

    fn leave_view(&mut self) {
        if self.view.take().is_some_and(|view| view.is_told) {
            let _ = pipe::set_signals(&self.source, false);
        }
        self.original = None;
        self.seen = 0;
        self.ready = self.held;
    }

    /// There may be a limit: all goes well without, if not as fast.
    fn enlarge(&mut self) {
        // Of other users, all pipes together are limited (pipe(7)): theirs are not ours to use up.
        if std::mem::take(&mut self.may_enlarge)
            && let Some(view) = &mut self.view
            && pipe::set_capacity(&self.source, BUSY_PIPE_SIZE).is_ok()
            && let Ok(capacity) = pipe::set_capacity(&view.copy.0, READ_SIZE)
        {
            view.capacity = capacity;
        }
    }
}

/// Zeroed memory, which the kernel provides as it is used; `None` if there is not so much.
fn allocate(size: usize) -> Option<Vec<u8>> {
    Vec::<u8>::new().try_reserve_exact(size).ok()?;
    let mut bytes = vec![0; size];
    // The allocator has written zeros where it had used the memory before.
    memory::release(&mut bytes);
    Some(bytes)
}
