//! A runsv that speaks and is killed.

use svlib::sys::fd;
use svlib::sys::process::Spawn;

use super::*;

const SERVICE: Identity = Identity { device: 1, inode: 1 };

const KILLED: ExitStatus = ExitStatus::from_raw(9);

/// A keeper and the runsv's end of the socket.
fn opened(keeper: &mut Keeper, poller: &mut Poller) -> OwnedFd {
    keeper.open(SERVICE, poller).unwrap().unwrap()
}

fn say(end: &OwnedFd, request: &Request, descriptors: &[BorrowedFd<'_>]) {
    channel::send(end, &request.encode(), descriptors).unwrap();
}

fn heard(end: &OwnedFd) -> Option<(Answer, Vec<OwnedFd>)> {
    let mut buffer = [0; MESSAGE_LENGTH];
    let (length, descriptors) = channel::receive(end, &mut buffer).ok()?;
    Some((Answer::decode(&buffer[..length])?, descriptors))
}

#[test]
fn what_a_killed_runsv_gave_is_handed_to_its_successor() {
    let (mut keeper, mut poller) = (Keeper::default(), Poller::new().unwrap());
    let (reader, writer) = fd::pipe().unwrap();
    let first = opened(&mut keeper, &mut poller);
    assert!(heard(&first).is_none(), "nothing was left yet");
    let held = vec![Held::Fifo, Held::LogRead, Held::LogWrite];
    say(&first, &Request::Hold(held), &[reader.as_fd(), reader.as_fd(), writer.as_fd()]);
    assert!(!keeper.holds(SERVICE));
    drop((first, reader, writer));
    // Its last words were not read before its end.
    keeper.runsv_ended(SERVICE, KILLED, &mut poller);
    assert!(keeper.holds(SERVICE) && keeper.holds_fifos(SERVICE));

    let second = opened(&mut keeper, &mut poller);
    let (answer, descriptors) = heard(&second).unwrap();
    assert_eq!(answer, Answer::Back(vec![Held::LogRead, Held::LogWrite]));
    fd::write_all(&descriptors[1], b"x").unwrap();
    assert_eq!(fd::read(&descriptors[0], &mut [0; 4]).unwrap(), 1);
    assert!(keeper.holds(SERVICE), "until it says what it wants held");

    // One that could not begin.
    drop(second);
    keeper.runsv_ended(SERVICE, ExitStatus::exited(111), &mut poller);
    assert!(keeper.holds(SERVICE) && !keeper.holds_fifos(SERVICE));

    // One that is done.
    let third = opened(&mut keeper, &mut poller);
    assert_eq!(heard(&third).unwrap().0, Answer::Back(vec![Held::LogRead, Held::LogWrite]));
    say(&third, &Request::Hold(Vec::new()), &[]);
    drop(third);
    keeper.runsv_ended(SERVICE, ExitStatus::exited(0), &mut poller);
    assert!(!keeper.holds(SERVICE));
    assert_eq!(keeper.services().count(), 0);
}

#[test]
fn a_new_hold_replaces_the_old_one() {
    let (mut keeper, mut poller) = (Keeper::default(), Poller::new().unwrap());
    let (reader, writer) = fd::pipe().unwrap();
    let end = opened(&mut keeper, &mut poller);
    say(&end, &Request::Hold(vec![Held::LogWrite]), &[writer.as_fd()]);
    drop(writer);
    assert_eq!(poller.ready(), [Source::Socket(SERVICE)]);
    keeper.read(SERVICE, &mut poller);
    fd::set_nonblocking(&reader, true).unwrap();
    assert!(fd::read(&reader, &mut [0]).is_err(), "the writing end is open here");
    say(&end, &Request::Hold(Vec::new()), &[]);
    keeper.read(SERVICE, &mut poller);
    assert_eq!(fd::read(&reader, &mut [0]).unwrap(), 0);
    drop(end);
    keeper.read(SERVICE, &mut poller);
    assert!(poller.ready().is_empty());
    assert_eq!(keeper.services().count(), 0);
}

#[test]
fn the_end_of_a_child_is_told_before_and_after_it_and_of_others_nothing() {
    let (mut keeper, mut poller) = (Keeper::default(), Poller::new().unwrap());
    let end = opened(&mut keeper, &mut poller);
    let (hold, go) = fd::pipe().unwrap();
    let pid = Spawn::new("/bin/sh").arg("-c").arg("read line; exit 7").stdin(hold.as_fd()).spawn().unwrap();
    let child = process::identify(pid);
    let other = ProcessId { start: child.start + 1, ..child };
    for asked in [other, child] {
        say(&end, &Request::Watch(asked), &[]);
    }
    keeper.read(SERVICE, &mut poller);
    assert_eq!(heard(&end).unwrap().0, Answer::Unknown(other));
    assert!(heard(&end).is_none());
    drop(go);
    let status = loop {
        if let Some(status) = process::reap_one(pid) {
            break status;
        }
        std::thread::yield_now();
    };
    keeper.stranger_ended(child, status);
    assert_eq!(heard(&end).unwrap().0, Answer::Ended(child, ExitStatus::exited(7)));
    say(&end, &Request::Watch(child), &[]);
    keeper.read(SERVICE, &mut poller);
    assert_eq!(heard(&end).unwrap().0, Answer::Ended(child, ExitStatus::exited(7)));
}

#[test]
fn what_is_no_message_is_passed_over() {
    let (mut keeper, mut poller) = (Keeper::default(), Poller::new().unwrap());
    let end = opened(&mut keeper, &mut poller);
    channel::send(&end, b"nonsense", &[]).unwrap();
    say(&end, &Request::Hold(vec![Held::Fifo]), &[]);
    keeper.read(SERVICE, &mut poller);
    assert!(!keeper.holds(SERVICE), "it promised a descriptor and sent none");
    assert!(keeper.complaint().is_some() && keeper.complaint().is_none());
}
