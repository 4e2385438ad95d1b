//! `sv reexec`: this process becomes the program file that has its name now, and goes on with all it holds.
//!
//! What goes along is text: a line for what each descriptor is, then the records of the service and of its log service, as
//! they would be left to another supervisor. Only that the children stay children.

use std::fmt::Write;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use svlib::diag::Diag;
use svlib::moment::Moment;
use svlib::record::{Phase, ProcessId, Record};
use svlib::sys::lock::Lock;
use svlib::sys::pidfd::{Found, Pidfd};
use svlib::sys::{clock, process, reexec};
use svlib::{Context, Result, paths};

use crate::executor::{Executor, Own};
use crate::foreign::Foreign;
use crate::keeper::Keeper;
use crate::machine::adopted::Proof;
use crate::machine::pair::Pair;
use crate::machine::{Role, State};
use crate::notify::{NotifyPipe, NotifySocket};
use crate::publish::Publisher;
use crate::record_file::RecordFile;
use crate::setup::{self, Control, LogPipe, Supervised};

/// The first line: the form of the text.
const FORM: &str = "svkit runsv 1";

/// Begins: has the new program file tested.
pub fn begin(pair: &Pair, executor: &mut Executor) {
    let state = state_text(pair, executor);
    executor.reexec.begin(&state, clock::now().monotonic, &executor.diag);
}

/// Goes on once the new program file has been tested. If it is good, this process becomes it, and this does not return.
pub fn go_on(pair: &Pair, executor: &mut Executor) {
    let state = state_text(pair, executor);
    let tested = mem::take(&mut executor.reexec);
    let kept: Vec<BorrowedFd<'_>> = descriptors(executor).into_iter().map(|(_, fd)| fd).collect();
    tested.go_on(&state, &kept, &executor.diag);
}

/// What this process holds, with its names in the text.
fn descriptors(executor: &Executor) -> Vec<(String, BorrowedFd<'_>)> {
    let mut all = Vec::new();
    for (role, supervised) in [("service", Some(&executor.service)), ("log", executor.log.as_ref())] {
        if let Some(supervised) = supervised {
            all.push((format!("{role}-lock"), supervised.lock.as_fd()));
            all.extend(supervised.record.fd().map(|record| (format!("{role}-record"), record)));
            all.push((format!("{role}-control-read"), supervised.control.read.as_fd()));
            all.push((format!("{role}-control-write"), supervised.control.write.as_fd()));
            all.extend(supervised.ok.as_ref().map(|ok| (format!("{role}-ok"), ok.as_fd())));
        }
    }
    let pipe = executor.pipe.as_ref();
    let others = [
        ("pipe-read", pipe.map(|pipe| pipe.read.as_fd())),
        ("pipe-write", pipe.map(|pipe| pipe.write.as_fd())),
        ("keeper", executor.keeper.as_ref().map(AsFd::as_fd)),
        ("notify-pipe", executor.notify_pipe.as_ref().map(|pipe| pipe.0.as_fd())),
        ("notify-socket", executor.notify_socket.as_ref().map(|socket| socket.socket.as_fd())),
    ];
    all.extend(others.into_iter().filter_map(|(name, fd)| Some((name.to_owned(), fd?))));
    all
}

/// All that the next program file has to know.
fn state_text(pair: &Pair, executor: &mut Executor) -> String {
    let mut text = format!("{FORM}\n");
    for (name, fd) in descriptors(executor) {
        // A string takes all that is written to it.
        let _ = writeln!(text, "{name} {}", fd.as_raw_fd());
    }
    for foreign in &executor.foreign {
        let _ = writeln!(text, "foreign {}", foreign.process());
    }
    for role in Role::BOTH {
        if let Some(state) = pair.get(role) {
            let record = executor.record(state);
            let _ = write!(text, "\n{}", record.lines());
        }
    }
    text
}

/// A text that was understood.
struct Saved {
    descriptors: Vec<(String, RawFd)>,
    foreign: Vec<ProcessId>,
    service: Record,
    log: Option<Record>,
}

impl Saved {
    /// None if it is not understood.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split("\n\n");
        let mut lines = parts.next()?.lines();
        if lines.next()? != FORM {
            return None;
        }
        let (mut descriptors, mut foreign) = (Vec::new(), Vec::new());
        for line in lines {
            match line.split_once(' ')? {
                ("foreign", process) => foreign.push(process.parse().ok()?),
                (name, number) => descriptors.push((name.to_owned(), number.parse().ok()?)),
            }
        }
        let service = Record::decode(parts.next()?.as_bytes()).ok()?;
        let log = parts.next().map(|part| Record::decode(part.as_bytes())).transpose().ok()?;
        let saved = Self { descriptors, foreign, service, log };
        let has_all = |role: &str| {
            let names = ["lock", "control-read", "control-write"];
            names.iter().all(|name| saved.number(&format!("{role}-{name}")).is_some())
        };
        (has_all("service") && (saved.log.is_none() || has_all("log"))).then_some(saved)
    }

    fn number(&self, name: &str) -> Option<RawFd> {
        self.descriptors.iter().find(|(other, _)| other == name).map(|(_, number)| *number)
    }

    fn take(&self, name: &str) -> Option<OwnedFd> {
        reexec::take_over(self.number(name)?)
    }

    fn supervised(&self, role: Role) -> Result<Supervised> {
        let take = |name: &str| {
            let role = if role == Role::Service { "service" } else { "log" };
            self.take(&format!("{role}-{name}")).ok_or(Errno::EBADF).during("take over a descriptor")
        };
        Ok(Supervised {
            control: Control { read: take("control-read")?, write: take("control-write")? },
            publisher: Publisher::new(role),
            record: RecordFile::inherited(&setup::path(role, paths::RECORD), take("record").ok()),
            ok: take("ok").ok(),
            lock: Lock::inherited(take("lock")?)?,
        })
    }
}

/// What the program file before this one in the same process left; None if there was none.
///
/// # Errors
/// It is not understood, which the self-test should have shown.
#[inline(never)] // Its frame would lie on the stack for as long as the service is supervised.
pub fn restore(now: Moment, diag: &Diag) -> Result<Option<(Pair, Box<Executor>)>> {
    let Some(text) = reexec::saved() else { return Ok(None) };
    let saved =
        Saved::parse(&text?).ok_or(Errno::EINVAL).during("understand the state of the former program")?;
    let state = |role, record: &Record| State::adopted(role, record, proof(record), now);
    let pair = Pair {
        service: state(Role::Service, &saved.service),
        log: saved.log.as_ref().map(|record| state(Role::Log, record)),
    };
    let keeper = saved.take("keeper").map(Keeper::new);
    let mut foreign = Vec::new();
    for process in &saved.foreign {
        let pidfd = match Pidfd::find(*process).during("look for a process that was taken over")? {
            Found::Alive(pidfd) | Found::Unproven(pidfd) => Some(pidfd),
            Found::Gone => None,
        };
        foreign.push(Foreign::new(*process, pidfd, keeper.as_ref()));
    }
    let ends = saved.take("pipe-read").zip(saved.take("pipe-write"));
    let socket = saved.take("notify-socket");
    let own = Own {
        boot: saved.service.boot.clone(),
        process: process::own_identity(),
        reexecs: saved.service.reexecs + 1,
    };
    let mut executor = Box::new(Executor {
        log: saved.log.as_ref().map(|_| saved.supervised(Role::Log)).transpose()?,
        pipe: ends.map(|(read, write)| LogPipe { read, write }),
        keeper,
        foreign,
        notify_pipe: saved.take("notify-pipe").map(NotifyPipe),
        notify_socket: socket
            .map(|socket| NotifySocket { name: saved.service.notify_socket.clone(), socket }),
        ..Executor::new(diag, own, saved.supervised(Role::Service)?)
    });
    // What the former program could not publish, or have held, is not known here.
    executor.publish(&pair, now);
    executor.hold(now.monotonic);
    Ok(Some((pair, executor)))
}

/// A child is known. What could not be proven of another process before cannot be proven now.
fn proof(record: &Record) -> Proof {
    match record.phase {
        Phase::Run(process) if process.start == 0 && !process::is_child(process.pid) => Proof::Unproven,
        _ => Proof::Proven,
    }
}

/// Whether the state that a running runsv would hand over is understood: the self-test.
///
/// # Errors
/// There is none, or it is not understood.
pub fn self_test() -> Result<()> {
    let text = reexec::saved().ok_or(Errno::ENOENT).during("find a state to test with")??;
    Saved::parse(&text).map(drop).ok_or(Errno::EINVAL).during("understand the state")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_understood_or_not() {
        let descriptors = "service-lock 3\nservice-record 4\nservice-control-read 5\nservice-control-write 6\nservice-ok 7\n";
        let record = Record { restarts: 3, ..Record::default() };
        let text = format!("{FORM}\n{descriptors}keeper 9\nforeign 41 7\n\n{}", record.lines());
        let saved = Saved::parse(&text).unwrap();
        assert_eq!((saved.number("service-ok"), saved.number("keeper")), (Some(7), Some(9)));
        assert_eq!((saved.foreign.len(), saved.log.is_none()), (1, true));
        assert_eq!(saved.service, record);
        let with_log = format!("{text}\n{}", record.lines());
        assert!(Saved::parse(&with_log).is_none(), "the log's descriptors are missing");
        let logs = descriptors.replace("service", "log");
        let with_log = with_log.replace("keeper", &format!("{logs}keeper"));
        assert!(Saved::parse(&with_log).unwrap().log.is_some());
        for wrong in
            [text.replace("runsv 1", "runsv 2"), text.replace("version=1", "version=9"), String::new()]
        {
            assert!(Saved::parse(&wrong).is_none(), "{wrong}");
        }
    }
}
