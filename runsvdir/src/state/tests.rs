//! Any state survives its text.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn identity() -> impl Strategy<Value = Identity> {
    (any::<u64>(), any::<u64>()).prop_map(|(device, inode)| Identity { device, inode })
}

fn name() -> impl Strategy<Value = OsString> {
    vec(1..=255_u8, 1..20).prop_map(OsString::from_vec)
}

fn time() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_nanos)
}

fn pid() -> impl Strategy<Value = Pid> {
    (1..i32::MAX).prop_map(Pid::from_raw)
}

fn process_id() -> impl Strategy<Value = ProcessId> {
    (pid(), any::<u64>()).prop_map(|(pid, start)| ProcessId { pid, start })
}

fn process() -> impl Strategy<Value = Process> {
    prop_oneof![
        (time(), any::<u32>()).prop_map(|(start_at, occupied)| Process::Waiting { start_at, occupied }),
        Just(Process::Behind),
        time().prop_map(|since| Process::Running { since }),
        (any::<bool>(), name()).prop_map(|(is_back, was)| Process::Leaving { is_back, was }),
    ]
}

fn runsv() -> impl Strategy<Value = Runsv> {
    prop_oneof![pid().prop_map(Runsv::Child), process_id().prop_map(Runsv::Adopted)]
}

fn held() -> impl Strategy<Value = Vec<(Held, RawFd)>> {
    const ALL: [Held; 5] = [Held::LogRead, Held::LogWrite, Held::NotifyRead, Held::NotifySocket, Held::Fifo];
    vec((select(&ALL[..]), 3..i32::MAX), 0..8)
}

prop_compose! {
    fn stop()(
        code: u8,
        (began, limit) in (time(), time()),
        services_killed: bool,
        orphans_ended: bool,
        killed_at in proptest::option::of(time()),
    ) -> Stop {
        Stop { code, began, limit, services_killed, orphans_ended, killed_at }
    }
}

prop_compose! {
    fn state()(
        pid in pid(),
        descriptor_limit: Option<(u64, u64)>,
        log in proptest::option::of((3..i32::MAX, time())),
        stop in proptest::option::of(stop()),
        services in vec((identity(), name(), process()), 0..5),
        runsvs in vec((identity(), runsv()), 0..5),
        sockets in vec((identity(), 3..i32::MAX), 0..5),
        held in vec((identity(), held()), 0..5),
        ended in vec((process_id(), any::<i32>()), 0..5),
        watches in vec((process_id(), identity()), 0..5),
    ) -> State {
        let mut strangers = Strangers::default();
        for (process, status) in ended {
            strangers.ended(process, ExitStatus::from_raw(status));
        }
        for (process, watcher) in watches {
            strangers.watch(process, watcher);
        }
        let services = services.into_iter();
        let services = services.map(|(identity, name, process)| Entry { identity, name, process }).collect();
        State { pid, descriptor_limit, log, stop, services, runsvs, sockets, held, strangers }
    }
}

#[test]
fn a_state_is_lines_of_text() {
    let web = Identity { device: 1, inode: 2 };
    let state = State {
        log: Some((9, Duration::from_nanos(5))),
        services: vec![Entry {
            identity: web,
            name: "a b".into(),
            process: Process::Running { since: Duration::from_nanos(7) },
        }],
        runsvs: vec![(web, Runsv::Child(Pid::from_raw(43)))],
        sockets: vec![(web, 10)],
        held: vec![(web, vec![(Held::LogRead, 11), (Held::LogWrite, 12)])],
        ..State::new(Pid::from_raw(42))
    };
    let text = "version 1\npid 42\nlog 9 5\nservice 1 2 612062 running 7\nchild 1 2 43\nsocket 1 2 10\n\
                held 1 2 Hrw 11 12\nend\n";
    assert_eq!(state.encode(), text);
}

#[test]
fn what_is_no_state_is_told() {
    let whole = State::new(Pid::from_raw(42)).encode();
    let with = |line: &str| whole.replace("end", &format!("{line}\nend"));
    assert!(State::decode(&with("news of later versions")).is_ok());
    for (text, expected) in [
        (String::new(), BadState::Version),
        (whole.replace("version 1", "version 2"), BadState::Version),
        (whole.replace("end\n", ""), BadState::Incomplete),
        (whole.replace("pid 42\n", ""), BadState::Incomplete),
        (with("child 1 2 -1"), BadState::Line(3)),
        (with("held 1 2 Hrw 11"), BadState::Line(3)),
        (with("service 1 2 6 behind"), BadState::Line(3)),
        (with("service 1 2 61 flying"), BadState::Line(3)),
    ] {
        assert_eq!(State::decode(&text), Err(expected), "{text}");
    }
}

proptest! {
    #[test]
    fn states_round_trip(state in state()) {
        prop_assert_eq!(State::decode(&state.encode()), Ok(state));
    }

    #[test]
    fn any_text_is_a_state_or_not(text: String) {
        let _ = State::decode(&text);
        let _ = State::decode(&format!("version 1\npid 1\n{text}\nend\n"));
    }
}
