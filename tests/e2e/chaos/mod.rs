//! A tree under a thousand random faults: kills, stops, floods of commands, an operator's edits. Afterwards every
//! guarantee is checked.
//!
//! | Variable | Meaning |
//! |---|---|
//! | `SVKIT_CHAOS_SEED` | the seed of the faults; a test that fails tells which it had |
//! | `SVKIT_CHAOS_FAULTS` | how many; default: 1000 |
//! | `SVKIT_CHAOS_KINDS` | which, as `killrun,flood`, or without which, as `-killrunsv`; default: all |

mod ledger;
mod plan;
mod tree;
pub(crate) mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use svkit_tests::{
    Case, ProcStat, Sandbox, Service, Subject, all_processes, case, descriptors, eventually, is_running,
    note, try_send, within,
};

use plan::{Fault, Kind, Victim, has_log, may_lose_logger, plan};
use tree::{Member, Tree};

pub(crate) use ledger::{Asked, audit};

pub(crate) const CASES: &[Case] = &[
    case!(a_thousand_faults_break_no_guarantee).patient(),
    case!(the_plan_follows_from_the_seed),
    case!(an_audit_finds_what_is_wrong),
];

/// Services at the beginning.
const SERVICES: usize = 32;
/// How long the tree may take to settle.
const SETTLING: Duration = Duration::from_secs(60);
/// A command that came at a bad moment is given again, but not while the last one is being obeyed.
const PATIENCE: Duration = Duration::from_secs(4);

fn a_thousand_faults_break_no_guarantee(subject: &Subject) {
    let seed = variable("SVKIT_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let faults = variable("SVKIT_CHAOS_FAULTS").unwrap_or(1000);
    let kinds = Kind::list(&env::var("SVKIT_CHAOS_KINDS").unwrap_or_default());
    note(&format!("again: SVKIT_CHAOS_SEED={seed} SVKIT_CHAOS_FAULTS={faults}"));
    let sandbox = Sandbox::new(subject);
    let mut tree = Tree::start(&sandbox, SERVICES);
    settle(&mut tree, Commands::Give);
    for (number, step) in plan(seed, faults, SERVICES, &kinds).iter().enumerate() {
        tree.take(step);
        // Told soon, it is easier to tell what it came from.
        if number % 10 == 0 {
            assert_no_shouts(&tree);
        }
    }
    tree.calm();
    settle(&mut tree, Commands::Give);
    assert_no_shouts(&tree);

    // All supervisors at once: what runs goes on, and what is down stays down.
    if kinds.contains(&Kind::KillRunsv) {
        kill_supervisors(&mut tree, false);
    }
    // What the present supervisors have started themselves costs them what it costs fresh ones.
    restart(&mut tree);
    let used = count_descriptors(&tree);
    if kinds.contains(&Kind::KillRunsv) && kinds.contains(&Kind::KillRunsvdir) {
        kill_supervisors(&mut tree, true);
    }
    stop(&mut tree);
    assert_no_shouts(&tree);
    let problems: Vec<String> = tree
        .members
        .iter()
        .flat_map(|member| {
            let (dir, name) = (tree.service(member.id).dir().to_owned(), &member.name);
            let before = if has_log(member.id) { &[] } else { tree.outputs() };
            let found = audit(Asked { name, dir: &dir, before, killed: member.logger_killed });
            let history = if found.is_empty() { String::new() } else { tree.history(member.id) };
            found.into_iter().take(5).map(move |problem| format!("{name}: {problem}\n{history}"))
        })
        .collect();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));

    // The same tree from scratch.
    for member in &tree.members {
        let down = tree.service(member.id).join("down");
        if is_wanted_up(member) { drop(fs::remove_file(down)) } else { fs::write(down, "").unwrap() }
    }
    tree.start_another();
    settle(&mut tree, Commands::Withhold);
    assert_eq!(used, count_descriptors(&tree), "descriptors after the faults, and of fresh supervisors");
    stop(&mut tree);
    assert!(faults < 100 || tree.happened > faults / 2, "{} faults of {faults}", tree.happened);
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}: {text:?}")))
}

/// At the end. A log that came late is taken up at a start of `run`, so these must run.
fn is_wanted_up(member: &Member) -> bool {
    member.id % 6 != 5 || !has_log(member.id)
}

/// Whether services are told what is wanted of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commands {
    Give,
    Withhold,
}

/// Waits until all is as it is wanted.
fn settle(tree: &mut Tree<'_>, commands: Commands) {
    let mut given: BTreeMap<usize, Instant> = BTreeMap::new();
    let mut problems = Vec::new();
    let settled = within(SETTLING, || {
        // A look is dear, and the tree has more to do with the processors.
        sleep(Duration::from_millis(20));
        problems = unsettled(tree);
        for (id, _) in &problems {
            let Some(member) = id.and_then(|id| tree.members.get(id)) else { continue };
            let is_due = given.get(&member.id).is_none_or(|given| given.elapsed() > PATIENCE);
            if commands == Commands::Give && is_due {
                command(member, &tree.service(member.id));
                given.insert(member.id, Instant::now());
            }
        }
        problems.is_empty()
    });
    if !settled {
        // Where there are, they tell more.
        assert_no_shouts(tree);
        let told: Vec<String> = problems
            .iter()
            .map(|(id, problem)| {
                let state = id.map(|id| describe(tree, id)).unwrap_or_default();
                format!("{problem}\n{state}")
            })
            .take(10)
            .collect();
        panic!("{} do not settle:\n{}", problems.len(), told.join("\n"));
    }
}

fn command(member: &Member, service: &Service) {
    let log = service.log();
    let is_log_missing = log.dir().is_dir() && !log.is_ok();
    service.try_command(match (is_wanted_up(member), is_log_missing) {
        (true, false) => b"cu",
        (true, true) => b"cut",
        (false, _) => b"cd",
    });
    log.try_command(b"cu");
}

/// What is not as it is wanted, by service.
fn unsettled(tree: &Tree<'_>) -> Vec<(Option<usize>, String)> {
    let mut expected = BTreeSet::from([tree.runsvdir.pid()]);
    let mut problems = Vec::new();
    for member in &tree.members {
        match processes(member, &tree.service(member.id)) {
            Ok(processes) => expected.extend(processes),
            Err(problem) => problems.push((Some(member.id), problem)),
        }
    }
    // A look at all processes is dear.
    if problems.is_empty() {
        let there: BTreeSet<u32> = tree.sandbox.processes().into_iter().collect();
        problems.extend(there.difference(&expected).map(|pid| (None, format!("left over: {}", told(*pid)))));
        problems.extend(expected.difference(&there).map(|pid| (None, format!("missing: {}", told(*pid)))));
        let zombies = all_processes().into_iter().filter(|pid| {
            ProcStat::of(*pid).is_some_and(|stat| stat.state == 'Z' && expected.contains(&stat.parent))
        });
        problems.extend(zombies.map(|pid| (None, format!("zombie: {}", told(pid)))));
    }
    problems
}

/// The processes of a service that is as it is wanted.
fn processes(member: &Member, service: &Service) -> Result<Vec<u32>, String> {
    let Some(runsv) = service.supervisor() else { return Err("no runsv".to_owned()) };
    // It is done with all that it was told, or what it does now is not what it will do.
    let is_idle = ProcStat::of(runsv).is_some_and(|stat| stat.state == 'S');
    if !is_idle || service.has_unread_commands() || service.log().has_unread_commands() {
        return Err("commands wait".to_owned());
    }
    let mut processes = vec![runsv];
    let running = svkit_tests::lock_holder(&service.join(writer::LOCK));
    if is_wanted_up(member) {
        let Some(running) = running else { return Err("does not run".to_owned()) };
        let status = service.try_status();
        if service.stat() != "run" || status.is_none_or(|status| status.pid != running) {
            return Err(format!("{:?}, {status:?}, but {running} runs", service.stat()));
        }
        processes.push(running);
    } else if let Some(running) = running {
        return Err(format!("{running} runs"));
    } else if service.stat() != "down" {
        return Err(format!("{:?}, though nothing runs", service.stat()));
    } else if service.try_status().is_none_or(|status| status.want != b'd') {
        return Err("down for a moment".to_owned());
    }
    let log = service.log();
    if log.dir().is_dir() {
        let pid = log.try_status().map_or(0, |status| status.pid);
        if log.stat() != "run" || !is_running(pid) {
            return Err(format!("log: {:?}, {pid}", log.stat()));
        }
        processes.push(pid);
    }
    Ok(processes)
}

fn told(pid: u32) -> String {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let place = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    let command = read("cmdline").replace('\0', " ");
    format!("{pid} {:?} {command:?} in {} {:?}", read("comm"), place.display(), ProcStat::of(pid))
}

fn describe(tree: &Tree<'_>, id: usize) -> String {
    let service = tree.service(id);
    let state = |service: &Service| {
        let processes = [service.supervisor(), service.try_status().map(|status| status.pid)];
        let processes: Vec<String> = processes.into_iter().flatten().map(told).collect();
        let record = service.read("supervise/record");
        let record = record.trim_end().replace('\n', ", ");
        format!("{:?}, record: {record}\n{}\n", service.stat(), processes.join("\n"))
    };
    let dir = service.dir().display();
    format!("{dir}: {}log: {}{}\n", state(&service), state(&service.log()), tree.history(id))
}

/// No second copy, no broken pipe.
fn assert_no_shouts(tree: &Tree<'_>) {
    let shouts: Vec<String> = tree
        .members
        .iter()
        .map(|member| (member.id, tree.service(member.id).read("errors")))
        .filter(|(_, errors)| !errors.is_empty())
        .map(|(id, errors)| format!("{errors}{}", describe(tree, id)))
        .collect();
    assert!(shouts.is_empty(), "{} services complain:\n{}", shouts.len(), shouts.join("\n"));
}

/// The processes of the services and of their logs.
fn running(tree: &Tree<'_>) -> BTreeMap<String, u32> {
    let pid = |service: &Service| service.try_status().map_or(0, |status| status.pid);
    let services = tree.members.iter().map(|member| (member, tree.service(member.id)));
    let pids = services.flat_map(|(member, service)| {
        [(member.name.clone(), pid(&service)), (format!("{}/log", member.name), pid(&service.log()))]
    });
    pids.collect()
}

fn kill_supervisors(tree: &mut Tree<'_>, runsvdir_too: bool) {
    let supervisor = |member: &Member| tree.service(member.id).supervisor();
    let supervisors: Vec<u32> = tree.members.iter().filter_map(supervisor).collect();
    // The pipe of a service that is down has nobody at its other end, unless runsvdir holds it: its log service sees the
    // end of it, and is another one afterwards.
    let is_held =
        |runsv| !runsvdir_too && ProcStat::of(runsv).map(|stat| stat.parent) == Some(tree.runsvdir.pid());
    let is_let_go = |member: &&Member| !is_wanted_up(member) && !supervisor(member).is_some_and(is_held);
    let let_go: Vec<String> =
        tree.members.iter().filter(is_let_go).map(|member| format!("{}/log", member.name)).collect();
    let kept = |tree: &Tree<'_>| {
        let mut pids = running(tree);
        pids.retain(|name, _| !let_go.contains(name));
        pids
    };
    let before = kept(tree);
    tree.tell(None, &format!("killed all runsv, runsvdir too: {runsvdir_too}"));
    if runsvdir_too {
        tree.kill_runsvdir(&supervisors);
    } else {
        supervisors.iter().for_each(|pid| try_send(*pid, Signal::SIGKILL));
    }
    let is_gone = || !supervisors.iter().any(|pid| is_running(*pid));
    eventually("all are dead", || is_gone().then_some(()));
    settle(tree, Commands::Withhold);
    assert_eq!(before, kept(tree), "processes before and after all supervisors were killed");
}

/// Restarts all services and logs.
fn restart(tree: &mut Tree<'_>) {
    let before = running(tree);
    for member in &tree.members {
        let service = tree.service(member.id);
        for one in [service.log(), service] {
            if one.stat() == "run" {
                eventually("a command is taken", || one.try_command(b"t").then_some(()));
            }
        }
    }
    tree.tell(None, "restarted all");
    eventually("all are other processes", || {
        let after = running(tree);
        before.iter().all(|(name, pid)| *pid == 0 || after[name] != *pid).then_some(())
    });
    settle(tree, Commands::Withhold);
}

/// How many descriptors each supervisor holds.
fn count_descriptors(tree: &Tree<'_>) -> BTreeMap<String, Option<usize>> {
    let members = tree.members.iter().map(|member| {
        let runsv = tree.service(member.id).supervisor();
        (member.name.clone(), runsv.and_then(descriptors))
    });
    let runsvdir = ("runsvdir".to_owned(), descriptors(tree.runsvdir.pid()));
    members.chain([runsvdir]).collect()
}

/// HUP: all end, and nothing is left.
fn stop(tree: &mut Tree<'_>) {
    tree.tell(None, "the end");
    tree.runsvdir.signal(Signal::SIGHUP);
    assert_eq!(tree.runsvdir.wait().code, Some(111));
    let mut left = Vec::new();
    let is_empty = within(SETTLING, || {
        left = tree.sandbox.processes();
        left.is_empty()
    });
    let left: Vec<String> = left.into_iter().map(told).collect();
    let ids = tree.members.iter().map(|member| member.id);
    let alive: Vec<String> =
        ids.filter(|id| tree.service(*id).supervisor().is_some()).map(|id| describe(tree, id)).collect();
    assert!(is_empty, "left over: {left:#?}\n{}", alive.join("\n"));
}

fn the_plan_follows_from_the_seed(_: &Subject) {
    let kinds = Kind::list("");
    let steps = plan(7, 1000, SERVICES, &kinds);
    assert_eq!(steps, plan(7, 1000, SERVICES, &kinds));
    assert_ne!(steps, plan(8, 1000, SERVICES, &kinds));
    assert_eq!(steps.len(), 1000);
    assert_eq!(steps[..500], plan(7, 500, SERVICES, &kinds));
    let has = |is: fn(&Fault) -> bool| steps.iter().any(|step| is(&step.fault));
    assert!(has(|fault| matches!(fault, Fault::Kill(Victim::Runsvdir))));
    assert!(has(|fault| matches!(fault, Fault::Add)) && has(|fault| matches!(fault, Fault::AddLog(_))));
    for step in &steps {
        match &step.fault {
            Fault::Kill(Victim::Logger(service)) | Fault::Flood { service, log: true, .. } => {
                assert!(may_lose_logger(*service));
            }
            Fault::AddLog(service) => assert!(!has_log(*service)),
            _ => {}
        }
        if let Fault::Flood { bytes, .. } = &step.fault {
            assert!(!bytes.contains(&b'x') && matches!(bytes.last(), Some(b'u' | b'd')));
        }
    }
    let few = Kind::list("killrun,flood");
    assert_eq!(few, [Kind::KillRun, Kind::Flood]);
    assert!(plan(7, 50, 3, &few).iter().all(|step| {
        matches!(step.fault, Fault::Kill(Victim::Run(0..3)) | Fault::Flood { service: 0..3, .. })
    }));
    assert!(!Kind::list("-add").contains(&Kind::Add) && Kind::list("-add").contains(&Kind::Sv));
}

/// The test of the test.
fn an_audit_finds_what_is_wrong(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let main = sandbox.mkdir("web/log/main");
    let dir = sandbox.join("web");
    fs::write(dir.join("done"), "5\n").unwrap();
    let found = |old: &str, current: &str, killed: bool| {
        fs::write(main.join("@400000000000000000000001.u"), old).unwrap();
        fs::write(main.join("current"), current).unwrap();
        audit(Asked { name: "web", dir: Path::new(&dir), before: &[], killed }).len()
    };
    let [old, current] = ["web a 1\nweb a 2\n", "web a 3\nweb b 4\nweb b 5\n"];
    assert_eq!(found(old, current, false), 0);
    // The first of two runs was killed before it had written down what it wrote.
    assert_eq!(found(old, "web a 3\nweb b 3\nweb b 4\nweb b 5\nweb b 6\n", false), 0);
    assert_eq!(found(old, "web a 3\nweb b 5\n", false), 1, "one is lost");
    assert_eq!(found("web a 2\nweb a 1\n", current, false), 2, "out of order");
    let twice = "web a 2\nweb a 3\nweb b 4\nweb b 5\n";
    assert_eq!(found(old, twice, false), 1, "one is there twice");
    assert_eq!(found(old, twice, true), 0, "as may be after a kill");
    assert_eq!(found("web a 1\nweb a 2\nweb a ", current, false), 1, "one is cut");
    assert_eq!(found("web a 1\nweb a 2\nweb a ", current, true), 0, "as may be after a kill");
    assert_eq!(found(old, "web a 3\nweb b 4\nother b 5\n", false), 2, "another's");
}
