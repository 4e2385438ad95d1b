//! Examples, and any history against a model kept the obvious way.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

const A: Identity = Identity { device: 1, inode: 10 };
const B: Identity = Identity { device: 1, inode: 11 };

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn whole(services: &[(Identity, &str)]) -> Sighting {
    let services = services.iter().map(|(identity, name)| (*identity, OsString::from(name))).collect();
    Sighting { services, whole: true, ..Sighting::default() }
}

/// The names started, with pids counted from `first`.
fn start_all(plan: &mut Plan, now: Duration, first: i32) -> Vec<String> {
    let mut names = Vec::new();
    let start = |name: &OsStr| {
        names.push(name.to_str().unwrap().to_owned());
        Ok::<_, ()>(Pid::from_raw(first + i32::try_from(names.len()).unwrap() - 1))
    };
    plan.start_due(now, usize::MAX, start).unwrap();
    names
}

#[test]
fn rename_keeps_the_runsv_and_a_restart_uses_the_new_name() {
    let mut plan = Plan::default();
    assert!(plan.observe(whole(&[(A, "old")]), at(0)).is_empty());
    assert_eq!(start_all(&mut plan, at(0), 7), ["old"]);
    assert!(plan.observe(whole(&[(A, "new")]), at(5000)).is_empty());
    assert!(start_all(&mut plan, at(5000), 8).is_empty());
    assert!(plan.exited(Pid::from_raw(7), at(6000)));
    assert_eq!(start_all(&mut plan, at(6000), 8), ["new"]);
}

#[test]
fn two_names_of_one_directory_are_one_service() {
    let mut plan = Plan::default();
    assert!(plan.observe(whole(&[(A, "one"), (A, "two"), (B, "three")]), at(0)).is_empty());
    assert_eq!(start_all(&mut plan, at(0), 7), ["one", "three"]);
    assert!(plan.observe(whole(&[(A, "two"), (B, "three")]), at(1)).is_empty());
}

#[test]
fn quick_exits_are_paced_and_late_ones_are_not() {
    let mut plan = Plan::default();
    let _ = plan.observe(whole(&[(A, "a")]), at(0));
    start_all(&mut plan, at(100), 7);
    assert!(plan.exited(Pid::from_raw(7), at(200)));
    assert_eq!(plan.next_start(), Some(at(1100)));
    assert!(start_all(&mut plan, at(1099), 8).is_empty());
    assert_eq!(start_all(&mut plan, at(1100), 8), ["a"]);
    assert!(plan.exited(Pid::from_raw(8), at(9000)));
    assert_eq!(plan.next_start(), Some(at(9000)));
}

#[test]
fn a_directory_that_is_back_waits_for_the_runsv_that_leaves() {
    let mut plan = Plan::default();
    let _ = plan.observe(whole(&[(A, "a")]), at(0));
    start_all(&mut plan, at(0), 7);
    assert_eq!(plan.observe(whole(&[]), at(2000)), [Pid::from_raw(7)]);
    assert_eq!(plan.running().count(), 0);
    assert!(plan.observe(whole(&[(A, "again")]), at(3000)).is_empty());
    assert_eq!(plan.next_start(), None);
    assert!(plan.exited(Pid::from_raw(7), at(4000)));
    assert_eq!(start_all(&mut plan, at(4000), 8), ["again"]);
}

#[test]
fn what_an_incomplete_look_does_not_show_is_kept() {
    let mut plan = Plan::default();
    let _ = plan.observe(whole(&[(A, "a"), (B, "b")]), at(0));
    start_all(&mut plan, at(0), 7);
    assert!(plan.observe(Sighting::default(), at(1)).is_empty());
    let mut unsure = whole(&[]);
    unsure.uncertain.insert("a".into());
    assert_eq!(plan.observe(unsure, at(2)), [Pid::from_raw(8)]);
}

#[test]
fn a_failed_start_holds_all_others_for_a_second() {
    let mut plan = Plan::default();
    let _ = plan.observe(whole(&[(A, "a"), (B, "b")]), at(0));
    let mut tries = 0;
    let fail = |_: &OsStr| {
        tries += 1;
        Err("no process")
    };
    assert_eq!(plan.start_due(at(10), usize::MAX, fail), Err("no process"));
    assert_eq!(tries, 1);
    assert_eq!(plan.next_start(), Some(at(1010)));
    assert!(start_all(&mut plan, at(1009), 7).is_empty());
    assert_eq!(start_all(&mut plan, at(1010), 7), ["a", "b"]);
}

#[test]
fn a_batch_is_no_larger_than_its_limit() {
    let mut plan = Plan::default();
    let _ = plan.observe(whole(&[(A, "a"), (B, "b")]), at(0));
    plan.start_due(at(0), 1, |_| Ok::<_, ()>(Pid::from_raw(7))).unwrap();
    assert_eq!(plan.running().count(), 1);
    assert_eq!(plan.next_start(), Some(at(0)));
}

#[test]
fn an_unknown_child_is_none_of_ours() {
    assert!(!Plan::default().exited(Pid::from_raw(7), at(0)));
}

#[derive(Clone, Debug)]
enum Step {
    /// Directory number → number of its name; those not in the whole of it may be uncertain.
    Look {
        present: BTreeMap<u64, u8>,
        uncertain: Vec<u64>,
        whole: bool,
    },
    Exit(prop::sample::Index),
    Start {
        works: bool,
    },
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (btree_map(0..6_u64, 0..3_u8, 0..6), vec(0..6_u64, 0..2), prop::bool::weighted(0.8))
            .prop_map(|(present, uncertain, whole)| Step::Look { present, uncertain, whole }),
        2 => any::<prop::sample::Index>().prop_map(Step::Exit),
        3 => prop::bool::weighted(0.8).prop_map(|works| Step::Start { works }),
        2 => (0..1500_u64).prop_map(Step::Pass),
    ]
}

/// What the plan should believe, kept the obvious way.
#[derive(Default)]
struct Model {
    now: Duration,
    /// The directories that are there, and their names.
    present: BTreeMap<u64, String>,
    /// Every child alive: the directory it was started for, and whether TERM was sent.
    children: BTreeMap<Pid, (u64, bool)>,
    /// When a directory's runsv was last started, until the directory vanishes.
    last_start: BTreeMap<u64, Duration>,
    next_pid: i32,
}

impl Model {
    fn look(&mut self, plan: &mut Plan, present: &BTreeMap<u64, u8>, uncertain: &[u64], whole: bool) {
        let name = |number: u64, variant: u8| format!("{number}-{variant}");
        let unsure: Vec<u64> =
            uncertain.iter().copied().filter(|number| !present.contains_key(number)).collect();
        let sighting = Sighting {
            services: present
                .iter()
                .map(|(n, v)| (Identity { device: 1, inode: *n }, name(*n, *v).into()))
                .collect(),
            uncertain: unsure
                .iter()
                .filter_map(|number| self.present.get(number).map(OsString::from))
                .collect(),
            whole,
        };
        let terminated = plan.observe(sighting, self.now);

        let gone: Vec<u64> = self
            .present
            .keys()
            .copied()
            .filter(|number| whole && !present.contains_key(number) && !unsure.contains(number))
            .collect();
        let mut expected = Vec::new();
        for number in gone {
            self.present.remove(&number);
            self.last_start.remove(&number);
            for (pid, (owner, told)) in &mut self.children {
                if *owner == number && !*told {
                    *told = true;
                    expected.push(*pid);
                }
            }
        }
        self.present.extend(present.iter().map(|(n, v)| (*n, name(*n, *v))));
        let as_set = |pids: Vec<Pid>| pids.into_iter().collect::<BTreeSet<_>>();
        assert_eq!(terminated.len(), expected.len(), "TERM exactly once");
        assert_eq!(as_set(terminated), as_set(expected));
    }

    fn start(&mut self, plan: &mut Plan, works: bool) {
        let now = self.now;
        let mut started = Vec::new();
        let _ = plan.start_due(now, usize::MAX, |name| {
            if !works {
                return Err(());
            }
            self.next_pid += 1;
            started.push((Pid::from_raw(self.next_pid), name.to_str().unwrap().to_owned()));
            Ok(Pid::from_raw(self.next_pid))
        });
        for (pid, name) in started {
            let (number, _) =
                self.present.iter().find(|(_, known)| **known == name).expect("a present name is started");
            assert!(self.children.values().all(|(owner, _)| owner != number), "one runsv a directory");
            if let Some(last) = self.last_start.insert(*number, now) {
                assert!(now >= last + PACE, "at most one start a second");
            }
            self.children.insert(pid, (*number, false));
        }
    }

    fn exit(&mut self, plan: &mut Plan, which: prop::sample::Index) {
        if self.children.is_empty() {
            return;
        }
        let pid = *self.children.keys().nth(which.index(self.children.len())).unwrap();
        self.children.remove(&pid);
        assert!(plan.exited(pid, self.now));
        assert!(!plan.exited(pid, self.now));
    }

    /// Once nothing fails and time passes, every directory present is served, and no other.
    fn settle(&mut self, plan: &mut Plan) {
        while let Some(pid) = self.children.iter().find(|(_, (_, told))| *told).map(|(pid, _)| *pid) {
            self.children.remove(&pid);
            plan.exited(pid, self.now);
        }
        self.now += PACE;
        self.start(plan, true);
        let served: BTreeSet<u64> = self.children.values().map(|(owner, _)| *owner).collect();
        assert_eq!(served, self.present.keys().copied().collect());
        assert_eq!(plan.running().collect::<BTreeSet<_>>(), self.children.keys().copied().collect());
        assert_eq!(plan.next_start(), None);
    }
}

proptest! {
    #[test]
    fn any_history_agrees_with_the_model(steps in vec(step(), 0..60)) {
        let (mut plan, mut model) = (Plan::default(), Model::default());
        for step in steps {
            match step {
                Step::Look { present, uncertain, whole } => {
                    model.look(&mut plan, &present, &uncertain, whole);
                }
                Step::Exit(which) => model.exit(&mut plan, which),
                Step::Start { works } => model.start(&mut plan, works),
                Step::Pass(time) => model.now += at(time),
            }
        }
        model.settle(&mut plan);
    }
}
