//! `restart`: how soon a service that ends by itself is started again, and when it is given up.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use svkit_tests::{Case, SLEEP, Sandbox, Service, Subject, case, eventually, holds_for, send};

use crate::opt_in::{key, replace_runsv, wait_key, wait_warning};

pub(crate) const CASES: &[Case] = &[
    case!(delays_grow),
    case!(delays_can_be_short),
    case!(over_the_limit_a_service_has_failed),
    case!(a_failed_service_stays_so_when_runsv_is_killed),
    case!(finish_can_give_a_service_up),
    case!(a_good_run_begins_anew),
    case!(an_end_that_was_asked_for_is_no_failure),
    case!(a_bad_policy_is_runit),
    case!(a_policy_is_read_again),
];

/// Each run fails at once, until the file `good` is there.
const FAILS: &str = "date +%s%N >>events; [ ! -e good ] || exec sleep 1000; exit 1";

/// The times between the runs, as the lines of `events` have them.
fn gaps(service: &Service, count: usize) -> Vec<Duration> {
    let times: Vec<u64> = service.wait_events(count + 1).iter().map(|event| event.parse().unwrap()).collect();
    times.windows(2).map(|pair| Duration::from_nanos(pair[1] - pair[0])).collect()
}

fn delays_grow(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let policy = "# soon, then later\nmin 200ms\nfactor 2\nmax 1s\n";
    let service = sandbox.service("web").run(FAILS).file("restart", policy).supervise();
    let gaps = gaps(&service, 5);
    for (gap, least) in gaps.iter().zip([200, 400, 800, 1000, 1000]) {
        assert!(*gap >= Duration::from_millis(least), "{least} ms: {gaps:?}");
    }
}

/// Where runit waits for a second each time.
fn delays_can_be_short(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(FAILS).file("restart", "min 20ms\nmax 20ms\n").supervise();
    let gaps = gaps(&service, 10);
    assert!(gaps.iter().any(|gap| *gap < Duration::from_secs(1)), "{gaps:?}");
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_millis(20)), "{gaps:?}");
}

/// "over `limit` the service stops as failed", until it is told up.
fn over_the_limit_a_service_has_failed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(FAILS).file("restart", "min 0\nlimit 3/60s\n").supervise();
    for round in 1..=2 {
        wait_key(&service, "failed", Some("yes"));
        service.wait_stat("down");
        assert_eq!((service.status().want, key(&service, "want").as_deref()), (b'd', Some("down")));
        assert_eq!(key(&service, "restarts").as_deref(), Some("3"));
        holds_for(Duration::from_millis(1200), "it stays down", || service.events().len() == round * 4);
        if round == 1 {
            service.command("u");
            service.wait_events(5);
        }
    }
    fs::write(service.join("good"), "").unwrap();
    let output = sandbox.sv(&["up", "web"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    service.wait_run();
    wait_key(&service, "failed", None);
    assert_eq!(key(&service, "restarts"), None);
}

fn a_failed_service_stays_so_when_runsv_is_killed(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let policy = "min 0\nlimit 1/60s\n";
    let mut service = sandbox.service("web").run(FAILS).file("restart", policy).supervise();
    wait_key(&service, "failed", Some("yes"));
    let runsv = replace_runsv(&sandbox, &mut service);
    assert_eq!((key(&service, "failed").as_deref(), service.stat().as_str()), (Some("yes"), "down"));
    assert_eq!(service.status().want, b'd');
    holds_for(Duration::from_millis(1200), "it stays down", || service.events().len() == 2);
    assert_eq!(runsv.stderr(), "");
}

/// "`finish` exiting 125 also means failed": where there is a policy, for others 125 is a code as any.
fn finish_can_give_a_service_up(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = "echo run >>events; exit 1";
    let service = sandbox.service("web").run(run).finish("exit 125").file("restart", "min 0\n").supervise();
    wait_key(&service, "failed", Some("yes"));
    // The record is written before the status.
    eventually("wanted down", || (service.status().want == b'd').then_some(()));
    assert_eq!(service.events().len(), 1);
    fs::remove_file(service.join("restart")).unwrap();
    service.command("u");
    service.wait_events(3);
    assert_eq!(key(&service, "failed"), None);
}

/// After one failure the next delay would be 30 seconds; after a good run it is 300 ms again.
fn a_good_run_begins_anew(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let run = "date +%s%N >>events; if [ $(wc -l <events) = 2 ]; then sleep 1.2; fi; exit 1";
    let policy = "min 300ms\nfactor 100\nmax 60s\nreset 1s\n";
    let service = sandbox.service("web").run(run).file("restart", policy).supervise();
    let gaps = gaps(&service, 3);
    let least = Duration::from_millis(300);
    assert!(gaps[0] >= least && gaps[2] >= least, "{gaps:?}");
    // Now it has failed again, and waits.
    holds_for(Duration::from_millis(1500), "30 seconds", || service.events().len() == 4);
    service.command("u");
    service.wait_events(5);
}

/// The policy's first delay is longer than this test may take.
fn an_end_that_was_asked_for_is_no_failure(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let service = sandbox.service("web").run(SLEEP).file("restart", "min 60s\nlimit 2/60s\n").supervise();
    let mut pid = service.wait_run();
    for command in ["t", "k", "t", "du"] {
        service.command(command);
        pid = service.wait_restart(pid);
    }
    assert_eq!((key(&service, "failed"), key(&service, "backoff")), (None, None));
    send(pid, Signal::SIGKILL);
    service.wait_stat("down");
    assert_eq!(service.status().want, b'u');
    holds_for(Duration::from_millis(1500), "it waits", || service.status().pid == 0);
    service.command("u");
    service.wait_restart(pid);
}

/// It is warned of once, by file and line; the service is started again each second, for ever.
fn a_bad_policy_is_runit(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let policy = "min 0\nlimit 1/1h\nlimit none\n";
    let mut service = sandbox.service("web").run(FAILS).file("restart", policy).supervise();
    let gaps = gaps(&service, 3);
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_secs(1)), "{gaps:?}");
    wait_warning(&mut service, "./restart: line 3: `none` is no limit such as 5/60s\n");
    assert_eq!(key(&service, "failed"), None);
}

/// A change needs no restart of runsv, and what is wrong anew is told anew.
fn a_policy_is_read_again(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut service = sandbox.service("web").run(FAILS).file("restart", "min 1\nmax\n").supervise();
    wait_warning(&mut service, "./restart: line 2: `max` has no value\n");
    fs::write(service.join("restart"), "min 0\nlimit 1/60s\n").unwrap();
    wait_key(&service, "failed", Some("yes"));
    fs::write(service.join("restart"), "min 2s\n\nmax 1s\n").unwrap();
    service.command("u");
    wait_warning(&mut service, "./restart: line 3: max is less than min\n");
    let count = service.events().len();
    service.wait_events(count + 2);
    // Besides, that it was given up.
    assert_eq!(service.runsv().stderr().lines().count(), 3);
    assert!(service.runsv().stderr().contains("warning: ./run exited 1, after 1 restarts: given up "));
}
