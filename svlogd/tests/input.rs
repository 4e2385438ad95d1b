//! Standard input as svlogd reads it: what is not written is never let go.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use proptest::prelude::*;
use svlib::sys::poll::{self, PollFd, PollFlags};
use svlib::sys::{fd, pipe};
use svlogd::input::{Got, Input, Settled};
use svlogd::split::{Replacement, Splitter};

const LINE_LIMIT: usize = 1000;

const HALF_A_PIPE: usize = 32 << 10;

/// A svlogd with one log directory, in memory.
struct Logger {
    input: Input<OwnedFd>,
    splitter: Splitter,
}

impl Logger {
    fn new(reader: &OwnedFd, line_limit: usize, replacement: Option<Replacement>) -> Self {
        let is_changed = replacement.is_some();
        let input = Input::new(reader.try_clone().unwrap(), 1024, line_limit, is_changed).unwrap();
        assert_eq!(input.obstacle(), None);
        Self { input, splitter: Splitter::new(line_limit, replacement) }
    }

    /// Writes what is ready.
    fn process(&mut self, log: &mut Vec<u8>) {
        let (buffer, mut taken) = self.input.ready();
        while let Some(piece) = self.splitter.next(buffer, taken) {
            taken = piece.with_newline().end;
            log.extend_from_slice(&buffer[piece.with_newline()]);
        }
        self.input.set_taken(taken);
    }

    fn settle(&mut self, log: &mut Vec<u8>) {
        while self.input.settle() == Settled::Shared {
            self.splitter.forget_beginning();
            self.process(log);
        }
    }

    fn read(&mut self, log: &mut Vec<u8>) -> Got {
        let got = self.input.read().unwrap();
        if got == Got::End && (self.splitter.is_mid_line() || self.input.has_beginning()) {
            self.input.end_line();
        }
        self.process(log);
        got
    }

    /// What the event loop does until it would wait.
    fn run(&mut self, log: &mut Vec<u8>) -> Got {
        loop {
            let mut fds = [PollFd::new(self.input.readable(), PollFlags::POLLIN)];
            if poll::wait(&mut fds, Some(Duration::ZERO)).unwrap() == 0 {
                return Got::Nothing;
            }
            let got = self.read(log);
            self.settle(log);
            if got == Got::End {
                return got;
            }
        }
    }
}

fn new_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = fd::pipe().unwrap();
    fd::set_nonblocking(&writer, true).unwrap();
    (reader, writer)
}

fn unread(reader: impl AsFd) -> usize {
    pipe::unread(reader).unwrap()
}

#[test]
fn what_is_not_written_stays_in_the_pipe() {
    let (reader, writer) = new_pipe();
    let (mut logger, mut log) = (Logger::new(&reader, LINE_LIMIT, None), Vec::new());
    fd::write_all(&writer, b"one\ntwo\nthr").unwrap();
    assert_eq!(logger.read(&mut log), Got::Bytes(11));
    assert_eq!((log.as_slice(), unread(&reader)), (&b"one\ntwo\n"[..], 11));
    logger.settle(&mut log);
    assert_eq!((unread(&reader), logger.input.has_beginning()), (3, true));
    assert_eq!(logger.run(&mut log), Got::Nothing);
    fd::write_all(&writer, b"ee\n").unwrap();
    assert_eq!(logger.run(&mut log), Got::Nothing);
    assert_eq!((log.as_slice(), unread(&reader)), (&b"one\ntwo\nthree\n"[..], 0));
}

#[test]
fn the_end_of_a_line_that_was_seen_may_come_with_the_end_of_all() {
    for end in [&b""[..], b"ee", b"ee\n", b"ee\nfour"] {
        let (reader, writer) = new_pipe();
        let (mut logger, mut log) = (Logger::new(&reader, LINE_LIMIT, None), Vec::new());
        fd::write_all(&writer, b"thr").unwrap();
        assert_eq!(logger.run(&mut log), Got::Nothing);
        fd::write_all(&writer, end).unwrap();
        drop(writer);
        assert_eq!(logger.run(&mut log), Got::End);
        let mut expected = [b"thr", end].concat();
        if !expected.ends_with(b"\n") {
            expected.push(b'\n');
        }
        assert_eq!((log, unread(&reader)), (expected, 0));
    }
}

#[test]
fn a_line_that_fills_the_pipe_does_not_stop_its_writer() {
    for line_limit in [LINE_LIMIT, 100_000, 1 << 20] {
        let (reader, writer) = new_pipe();
        let (mut logger, mut log) = (Logger::new(&reader, line_limit, None), Vec::new());
        let text = [&[b'x'; 300_000][..], b"\nnext\n"].concat();
        let mut unwritten = &text[..];
        while !unwritten.is_empty() {
            // In small pieces: what fills a pipe is not their length.
            let written = fd::write(&writer, &unwritten[..unwritten.len().min(97)]).unwrap_or(0);
            unwritten = &unwritten[written..];
            if written == 0 {
                logger.run(&mut log);
            }
        }
        drop(writer);
        assert_eq!(logger.run(&mut log), Got::End);
        assert!(log == text, "{line_limit}");
    }
}

#[test]
fn a_pipe_that_is_made_smaller_does_not_stop_its_writer() {
    for size in [4096, 8192, 16 << 10, 32 << 10] {
        let (reader, writer) = new_pipe();
        let (mut logger, mut log) = (Logger::new(&reader, LINE_LIMIT, None), Vec::new());
        let text = [&[b'x'; 100_000][..], b"\nnext\n"].concat();
        let mut unwritten = &text[fd::write(&writer, &text[..97]).unwrap()..];
        logger.run(&mut log);
        assert_eq!(pipe::set_capacity(&writer, size), Ok(size));
        while !unwritten.is_empty() {
            let Ok(written) = fd::write(&writer, &unwritten[..unwritten.len().min(97)]) else {
                let before = unread(&reader);
                logger.run(&mut log);
                assert!(unread(&reader) < before, "{size}: {before} bytes stay");
                continue;
            };
            unwritten = &unwritten[written..];
        }
        drop(writer);
        assert_eq!(logger.run(&mut log), Got::End);
        assert!(log == text, "{size}");
    }
}

#[test]
fn a_pipe_of_packets_is_read_plainly() {
    for packets in
        [&["one\n", "two\nthr", "ee\n"][..], &["one\ntwo\nth", "ree\n"], &["o", "ne\ntwo\nthree\n"]]
    {
        for runs in [true, false] {
            let (reader, writer) = new_pipe();
            fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK | OFlag::O_DIRECT)).unwrap();
            let (mut logger, mut log) = (Logger::new(&reader, LINE_LIMIT, None), Vec::new());
            for packet in packets {
                fd::write_all(&writer, packet.as_bytes()).unwrap();
                if runs {
                    logger.run(&mut log);
                }
            }
            drop(writer);
            assert_eq!(logger.run(&mut log), Got::End);
            assert_eq!(String::from_utf8(log).unwrap(), "one\ntwo\nthree\n", "{packets:?} {runs}");
            assert_eq!(logger.input.take_obstacle(), Some(Errno::ENOTSUP));
        }
    }
}

#[test]
fn after_the_last_line_nothing_is_taken() {
    for plainly in [false, true] {
        let (reader, writer) = new_pipe();
        if plainly {
            pipe::set_capacity(&reader, 4096).unwrap();
        }
        let input = Input::new(reader.try_clone().unwrap(), 1024, LINE_LIMIT, false).unwrap();
        assert_eq!(input.obstacle().is_some(), plainly);
        let mut logger = Logger { input, splitter: Splitter::new(LINE_LIMIT, None) };
        let mut log = Vec::new();
        fd::write_all(&writer, b"one\ntw").unwrap();
        logger.run(&mut log);
        logger.input.read_last_line();
        fd::write_all(&writer, b"o\nthree\nfour\n").unwrap();
        while logger.splitter.is_mid_line() || logger.input.has_beginning() {
            logger.read(&mut log);
            logger.settle(&mut log);
            if log.ends_with(b"two\n") {
                break;
            }
        }
        assert_eq!((log.as_slice(), unread(&reader)), (&b"one\ntwo\n"[..], 11));
    }
}

#[test]
fn another_reader_gets_its_share_and_nothing_is_lost() {
    for replacement in [None, Some(Replacement::new(b'_', b"w"))] {
        let (reader, writer) = new_pipe();
        let (mut logger, mut log) = (Logger::new(&reader, LINE_LIMIT, replacement.clone()), Vec::new());
        fd::write_all(&writer, b"one\ntwo\nbeg").unwrap();
        logger.read(&mut log);
        let mut share = [0; 4];
        fd::read(&reader, &mut share).unwrap();
        fd::write_all(&writer, b"un\nfour\n").unwrap();
        logger.settle(&mut log);
        logger.run(&mut log);
        let two = if replacement.is_some() { "t_o" } else { "two" };
        assert_eq!(share, *b"one\n");
        assert_eq!(String::from_utf8(log).unwrap(), format!("one\n{two}\n{two}\nbegun\nfour\n"));
    }
}

/// A pipe that turns into a socket, which tee(2) does not take.
struct Turning(OwnedFd, OwnedFd, Cell<bool>);

impl AsFd for Turning {
    fn as_fd(&self) -> BorrowedFd<'_> {
        if self.2.get() { self.1.as_fd() } else { self.0.as_fd() }
    }
}

#[test]
fn what_cannot_be_looked_into_any_more_is_read_plainly_and_told_of_once() {
    let (reader, _writer) = new_pipe();
    let (socket, mut end) = UnixStream::pair().unwrap();
    socket.set_nonblocking(true).unwrap();
    let source = Rc::new(Turning(reader, socket.into(), Cell::new(false)));
    let mut input = Input::new(Rc::clone(&source), 1024, LINE_LIMIT, false).unwrap();
    assert_eq!((input.read().unwrap(), input.take_obstacle()), (Got::Nothing, None));
    source.2.set(true);
    end.write_all(b"one\n").unwrap();
    assert_eq!(input.read().unwrap(), Got::Bytes(4));
    assert_eq!((input.take_obstacle(), input.take_obstacle()), (Some(Errno::EINVAL), None));
    assert_eq!(input.ready().0, b"one\n");
}

#[test]
fn a_file_is_read_plainly() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"one\ntwo").unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let (mut logger, mut log) = (Logger::new(&file.into(), LINE_LIMIT, None), Vec::new());
    assert_eq!(logger.run(&mut log), Got::End);
    assert_eq!(log, b"one\ntwo\n");
}

/// What may happen to a svlogd on a pipe.
#[derive(Clone, Debug)]
enum Event {
    /// So many bytes more are written to the pipe.
    Write(usize),
    /// It does what it can.
    Run,
    /// It is killed when it has seen something, but written nothing.
    KillBeforeWriting,
    /// It is killed when it has written so many bytes of what it had seen.
    KillInWriting(usize),
    /// It is killed when it has written something, but not let go of it.
    KillBeforeSettling,
    /// It is killed while it waits.
    Kill,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1_usize..9000).prop_map(Event::Write),
        3 => Just(Event::Run),
        1 => Just(Event::KillBeforeWriting),
        1 => (0_usize..9000).prop_map(Event::KillInWriting),
        1 => Just(Event::KillBeforeSettling),
        1 => Just(Event::Kill),
    ]
}

/// Lines with their number.
fn numbered(lengths: &[usize]) -> Vec<Vec<u8>> {
    let line = |(number, &length)| format!("{number:04} {}\n", "x".repeat(length)).into_bytes();
    lengths.iter().enumerate().map(line).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Each life of svlogd leaves a file. Its lines are the input's, whole but for the last of a killed one, and go on
    /// from where the one before it had let go.
    #[test]
    fn every_line_is_written_at_least_once_and_in_order(
        lengths in prop::collection::vec(0_usize..3000, 1..60),
        events in prop::collection::vec(event(), 0..40),
    ) {
        let lines = numbered(&lengths);
        let text = lines.concat();
        let (reader, writer) = new_pipe();
        let mut unwritten = &text[..];
        let (mut logger, mut files) = (Logger::new(&reader, LINE_LIMIT, None), vec![Vec::new()]);
        for event in events {
            let log = files.last_mut().unwrap();
            match event {
                Event::Write(count) => {
                    let written = fd::write(&writer, &unwritten[..count.min(unwritten.len())]).unwrap_or(0);
                    unwritten = &unwritten[written..];
                    continue;
                }
                Event::Run => {
                    logger.run(log);
                    continue;
                }
                Event::Kill => {}
                Event::KillBeforeWriting => drop(logger.input.read().unwrap()),
                Event::KillInWriting(count) => {
                    let length = log.len();
                    logger.read(log);
                    log.truncate(log.len().min(length + count));
                }
                Event::KillBeforeSettling => {
                    logger.read(log);
                }
            }
            logger = Logger::new(&reader, LINE_LIMIT, None);
            files.push(Vec::new());
        }
        let log = files.last_mut().unwrap();
        while !unwritten.is_empty() {
            logger.run(log);
            let written = fd::write(&writer, unwritten).unwrap_or(0);
            unwritten = &unwritten[written..];
        }
        drop(writer);
        prop_assert_eq!(logger.run(log), Got::End);

        let mut next = 0;
        for file in &files {
            let mut twice = 0;
            for line in file.split_inclusive(|&byte| byte == b'\n') {
                let Some(number) = std::str::from_utf8(line).unwrap().get(..4) else { continue };
                let number: usize = number.parse().unwrap();
                let whole = &lines[number];
                prop_assert!(line == whole || (!line.ends_with(b"\n") && whole.starts_with(line)));
                // None is left out, and within a file none comes again.
                prop_assert!(number <= next);
                if number < next {
                    twice += line.len();
                }
                if line == whole {
                    next = next.max(number + 1);
                }
            }
            prop_assert!(twice <= HALF_A_PIPE);
        }
        prop_assert_eq!(next, lengths.len());
    }
}

#[test]
fn the_rest_is_for_the_next_reader() {
    let (reader, writer) = new_pipe();
    let (mut logger, mut log) = (Logger::new(&reader, LINE_LIMIT, None), Vec::new());
    fd::write_all(&writer, b"one\nbegin").unwrap();
    logger.run(&mut log);
    drop((logger, writer));
    let mut rest = String::new();
    fd::set_nonblocking(&reader, false).unwrap();
    File::from(reader).read_to_string(&mut rest).unwrap();
    assert_eq!((log.as_slice(), rest.as_str()), (&b"one\n"[..], "begin"));
}
