//! runsvdir: changes that are seen at once.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use svkit_tests::{Case, SLEEP, Sandbox, Service, Subject, case, eventually};

pub(crate) const CASES: &[Case] = &[
    case!(a_new_service_is_seen_at_once),
    case!(a_directory_behind_a_link_is_seen_at_once),
    case!(a_retargeted_link_is_seen_at_once),
    case!(a_retargeted_services_directory_is_seen_at_once),
];

/// How often a change is made at most.
const ROUNDS: usize = 8;

/// Makes a change in the middle of the five seconds in which a program that looks every five seconds does not look. One
/// that is seen within two tells: the machine may be busy, but not always.
fn assert_seen_at_once(mut change: impl FnMut(usize) -> Service) {
    let seen_at_once = (0..ROUNDS).any(|round| {
        sleep(Duration::from_millis(2500));
        let start = Instant::now();
        change(round).wait_run();
        start.elapsed() < Duration::from_secs(2)
    });
    assert!(seen_at_once, "not once in {ROUNDS} times");
}

/// A runsvdir that has looked: its first service is up.
fn settled(sandbox: &Sandbox, directory: &str) -> svkit_tests::Running {
    let first = sandbox.service_at(Path::new(directory).join("first")).run(SLEEP).build();
    let runsvdir = sandbox.start(sandbox.command("runsvdir").arg(directory));
    first.wait_run();
    runsvdir
}

fn a_new_service_is_seen_at_once(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let _runsvdir = settled(&sandbox, "services");
    assert_seen_at_once(|round| {
        let service = sandbox.service_at(format!("sv/{round}")).run(SLEEP).build();
        symlink(service.dir(), sandbox.services().join(round.to_string())).unwrap();
        service
    });
    assert_seen_at_once(|round| {
        let ready = sandbox.service_at(format!("made/{round}")).run(SLEEP).build();
        let there = sandbox.services().join(format!("moved-{round}"));
        fs::rename(ready.dir(), &there).unwrap();
        Service::at(there)
    });
    assert_seen_at_once(|round| sandbox.service(format!("in-place-{round}")).run(SLEEP).build());
}

/// The link is there first, what it points to comes later, and is replaced.
fn a_directory_behind_a_link_is_seen_at_once(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("sv");
    let _runsvdir = settled(&sandbox, "services");
    for round in 0..ROUNDS {
        symlink(format!("../sv/{round}"), sandbox.services().join(format!("link-{round}"))).unwrap();
    }
    assert_seen_at_once(|round| sandbox.service_at(format!("sv/{round}")).run(SLEEP).build());
    let replaced = Service::at(sandbox.join("old-0"));
    fs::rename(sandbox.join("sv/0"), replaced.dir()).unwrap();
    sandbox.service_at("sv/0").run(SLEEP).build().wait_run();
    eventually("the old one ends", || (!replaced.is_ok()).then_some(()));
}

/// As a release is switched: `current` points to another version.
fn a_retargeted_link_is_seen_at_once(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let version = |number: usize| sandbox.service_at(format!("versions/{number}/web")).run(SLEEP).build();
    let switch = |number: usize| {
        symlink(format!("versions/{number}"), sandbox.join("next")).unwrap();
        fs::rename(sandbox.join("next"), sandbox.join("current")).unwrap();
    };
    let mut last = version(ROUNDS);
    switch(ROUNDS);
    symlink("../current/web", sandbox.services().join("web")).unwrap();
    let _runsvdir = settled(&sandbox, "services");
    last.wait_run();
    assert_seen_at_once(|round| {
        let service = version(round);
        switch(round);
        let before = std::mem::replace(&mut last, service.clone());
        eventually("the version before ends", || (!before.is_ok()).then_some(()));
        service
    });
}

/// The services directory itself is such a link.
fn a_retargeted_services_directory_is_seen_at_once(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let switch = |number: usize| {
        symlink(format!("trees/{number}"), sandbox.join("next")).unwrap();
        fs::rename(sandbox.join("next"), sandbox.join("current")).unwrap();
    };
    sandbox.mkdir(format!("trees/{ROUNDS}"));
    switch(ROUNDS);
    let _runsvdir = settled(&sandbox, "current");
    assert_seen_at_once(|round| {
        let service = sandbox.service_at(format!("trees/{round}/web")).run(SLEEP).build();
        switch(round);
        service
    });
    let first = Service::at(sandbox.join(format!("trees/{ROUNDS}/first")));
    eventually("what is no longer there ends", || (!first.is_ok()).then_some(()));
}
