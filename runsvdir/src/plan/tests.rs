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

/// The names started.
fn start_all(plan: &mut Plan, now: Duration) -> Vec<String> {
    let mut names = Vec::new();
    let start = |_: Identity, name: &OsStr| {
        names.push(name.to_str().unwrap().to_owned());
        Ok::<_, ()>(Outcome::Running)
    };
    plan.start_due(now, usize::MAX, start).unwrap();
    names
}

/// Lets all starts find another's runsv.
fn find_occupied(plan: &mut Plan, now: Duration) {
    plan.start_due(now, usize::MAX, |_, _| Ok::<_, ()>(Outcome::Occupied)).unwrap();
}

#[test]
fn rename_keeps_the_runsv_and_a_restart_uses_the_new_name() {
    let mut plan = Plan::default();
    assert!(plan.observe(whole(&[(A, "old")]), at(0)).is_empty());
    assert_eq!(start_all(&mut plan, at(0)), ["old"]);
    assert!(plan.observe(whole(&[(A, "new")]), at(5000)).is_empty());
    assert!(start_all(&mut plan, at(5000)).is_empty());
    plan.exited(A, at(6000));
    assert_eq!(start_all(&mut plan, at(6000)), ["new"]);
}

#[test]
fn two_names_of_one_directory_are_one_service() {
    let mut plan = Plan::default();
    assert!(plan.observe(whole(&[(A, "one"), (A, "two"), (B, "three")]), at(0)).is_empty());
    assert_eq!(start_all(&mut plan, at(0)), ["one", "three"]);
    assert!(plan.observe(whole(&[(A, "two"), (B, "three")]), at(1)).is_empty());
}

#[test]
fn quick_exits_are_paced_and_late_ones_are_not() {
    let mut plan = Plan::default();
    let _ = plan.observe(whole(&[(A, "a")]), at(0));
    start_all(&mut plan, at(100));
    plan.exited(A, at(200));
    assert_eq!(plan.next_start(), Some(at(1100)));
    assert!(start_all(&mut plan, at(1099)).is_empty());
    assert_eq!(start_all(&mut plan, at(1100)), ["a"]);
    plan.exited(A, at(9000));
    assert_eq!(plan.next_start(), Some(at(9000)));
}

#[test]
fn a_directory_that_is_back_waits_for_the_runsv_that_leaves() {
    let mut plan = Plan::default();
    let _ = plan.observe(whole(&[(A, "a")]), at(0));
    start_all(&mut plan, at(0));
    assert_eq!(plan.observe(whole(&[]), at(2000)), [A]);
    assert_eq!(plan.running().count(), 0);
    assert_eq!(plan.leaving().collect::<Vec<_>>(), [(A, OsStr::new("a"))]);
    assert!(plan.observe(whole(&[(A, "again")]), at(3000)).is_empty());
    assert_eq!(plan.next_start(), None);
    plan.exited(A, at(4000));
    assert_eq!(start_all(&mut plan, at(4000)), ["again"]);
    assert_eq!(plan.leaving().count(), 0);
}

#[test]
fn one_that_is_back_and_vanishes_again_is_told_again() {
    let mut plan = Plan::default();
    let _ = plan.observe(whole(&[(A, "a")]), at(0));
    start_all(&mut plan, at(0));
    assert_eq!(plan.observe(whole(&[]), at(1000)), [A]);
    assert!(plan.observe(whole(&[]), at(1500)).is_empty());
    assert!(plan.observe(whole(&[(A, "a")]), at(2000)).is_empty());
    // It may have been told to stay.
    assert_eq!(plan.running().collect::<Vec<_>>(), [A]);
    assert_eq!(plan.observe(whole(&[]), at(3000)), [A]);
    assert!(plan.observe(whole(&[]), at(4000)).is_empty());
}

#[test]
fn another_directory_of_the_same_name_waits_for_the_runsv_that_leaves() {
    let mut plan = Plan::default();
    let _ = plan.observe(whole(&[(A, "web")]), at(0));
    start_all(&mut plan, at(0));
    assert_eq!(plan.observe(whole(&[(B, "web")]), at(2000)), [A]);
    assert!(start_all(&mut plan, at(2000)).is_empty());
    assert_eq!(plan.next_start(), None, "nothing to do until then");
    plan.exited(A, at(9000));
    assert!(!plan.knows(A));
    assert_eq!(start_all(&mut plan, at(9000)), ["web"]);
    assert_eq!(plan.running().collect::<Vec<_>>(), [B]);
}

#[test]
fn who_waits_behind_another_may_be_renamed_or_go() {
    for (name, started) in [("other", &["other"][..]), ("", &[])] {
        let mut plan = Plan::default();
        let _ = plan.observe(whole(&[(A, "web")]), at(0));
        start_all(&mut plan, at(0));
        let _ = plan.observe(whole(&[(B, "web")]), at(2000));
        start_all(&mut plan, at(2000));
        let next = if name.is_empty() { whole(&[]) } else { whole(&[(B, name)]) };
        assert!(plan.observe(next, at(3000)).is_empty());
        assert_eq!(start_all(&mut plan, at(3000)), started);
        plan.exited(A, at(4000));
        assert!(start_all(&mut plan, at(4000)).is_empty());
        assert_eq!(plan.knows(B), !name.is_empty());
    }
}

#[test]
fn where_another_runsv_is_none_is_started_and_that_is_said_once() {
    let mut plan = Plan::default();
    let _ = plan.observe(whole(&[(A, "a")]), at(0));
    find_occupied(&mut plan, at(0));
    assert!(plan.complaints().is_empty(), "it may be about to end");
    assert_eq!(plan.next_start(), Some(PACE));
    find_occupied(&mut plan, PACE);
    assert_eq!(plan.complaints(), ["a"]);
    for look in 1..4 {
        assert_eq!(plan.next_start(), Some(PACE + OCCUPIED * look));
        find_occupied(&mut plan, PACE + OCCUPIED * look);
        assert!(plan.complaints().is_empty());
    }
    assert_eq!(plan.running().count(), 0);
    assert_eq!(start_all(&mut plan, at(60_000)), ["a"]);
    // It is another story then.
    plan.exited(A, at(70_000));
    find_occupied(&mut plan, at(70_000));
    find_occupied(&mut plan, at(71_000));
    assert_eq!(plan.complaints(), ["a"]);
    assert!(plan.observe(whole(&[]), at(72_000)).is_empty(), "it is not ours to end");
    assert_eq!((plan.next_start(), plan.knows(A)), (None, false));
}

#[test]
fn what_an_incomplete_look_does_not_show_is_kept() {
    let mut plan = Plan::default();
    let _ = plan.observe(whole(&[(A, "a"), (B, "b")]), at(0));
    start_all(&mut plan, at(0));
    assert!(plan.observe(Sighting::default(), at(1)).is_empty());
    let mut unsure = whole(&[]);
    unsure.uncertain.insert("a".into());
    assert_eq!(plan.observe(unsure, at(2)), [B]);
}

#[test]
fn a_failed_start_holds_all_others_for_a_second() {
    let mut plan = Plan::default();
    let _ = plan.observe(whole(&[(A, "a"), (B, "b")]), at(0));
    let mut tries = 0;
    let fail = |_: Identity, _: &OsStr| {
        tries += 1;
        Err("no process")
    };
    assert_eq!(plan.start_due(at(10), usize::MAX, fail), Err("no process"));
    assert_eq!(tries, 1);
    assert_eq!(plan.next_start(), Some(at(1010)));
    assert!(start_all(&mut plan, at(1009)).is_empty());
    assert_eq!(start_all(&mut plan, at(1010)), ["a", "b"]);
}

#[test]
fn a_batch_is_no_larger_than_its_limit() {
    let mut plan = Plan::default();
    let _ = plan.observe(whole(&[(A, "a"), (B, "b")]), at(0));
    plan.start_due(at(0), 1, |_, _| Ok::<_, ()>(Outcome::Running)).unwrap();
    assert_eq!(plan.running().count(), 1);
    assert_eq!(plan.next_start(), Some(at(0)));
}

#[test]
fn an_unknown_service_cannot_exit() {
    let mut plan = Plan::default();
    plan.exited(A, at(0));
    assert_eq!((plan.next_start(), plan.knows(A)), (None, false));
}

#[derive(Clone, Debug)]
enum Step {
    /// Directory number → number of its name, which others may have had; those not in the whole of it may be uncertain.
    Look {
        present: BTreeMap<u64, u8>,
        uncertain: Vec<u64>,
        whole: bool,
    },
    Exit(prop::sample::Index),
    Start {
        works: bool,
    },
    /// Another's runsv comes to a directory, or goes.
    Occupy(u64),
    /// The plan goes to another runsvdir.
    Resume,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (btree_map(0..6_u64, 0..6_u8, 0..6), vec(0..6_u64, 0..2), prop::bool::weighted(0.8))
            .prop_map(|(present, uncertain, whole)| Step::Look { present, uncertain, whole }),
        4 => any::<prop::sample::Index>().prop_map(Step::Exit),
        6 => prop::bool::weighted(0.8).prop_map(|works| Step::Start { works }),
        1 => (0..6_u64).prop_map(Step::Occupy),
        1 => Just(Step::Resume),
        4 => (0..1500_u64).prop_map(Step::Pass),
    ]
}

/// What the plan should believe, kept the obvious way.
#[derive(Default)]
struct Model {
    now: Duration,
    /// The directories that are there, and their names.
    present: BTreeMap<u64, String>,
    /// The directory of each runsv alive, and the name that it had when TERM was sent.
    runsvs: BTreeMap<u64, Option<String>>,
    /// Where another's runsv is.
    occupied: BTreeSet<u64>,
    /// When a directory's runsv was last started, until the directory vanishes.
    last_start: BTreeMap<u64, Duration>,
}

fn directory(number: u64) -> Identity {
    Identity { device: 1, inode: number }
}

impl Model {
    fn look(&mut self, plan: &mut Plan, present: &BTreeMap<u64, u8>, uncertain: &[u64], whole: bool) {
        let names = present.iter().map(|(number, name)| (*number, format!("name-{name}")));
        let names: BTreeMap<u64, String> = names.collect();
        let unsure: BTreeSet<String> =
            uncertain.iter().filter_map(|number| self.present.get(number).cloned()).collect();
        let sighting = Sighting {
            services: names.iter().map(|(number, name)| (directory(*number), name.into())).collect(),
            uncertain: unsure.iter().map(OsString::from).collect(),
            whole,
        };
        let terminated: Vec<u64> =
            plan.observe(sighting, self.now).into_iter().map(|identity| identity.inode).collect();

        let gone: Vec<(u64, String)> = self
            .present
            .iter()
            .filter(|(number, name)| whole && !names.contains_key(number) && !unsure.contains(*name))
            .map(|(number, name)| (*number, name.clone()))
            .collect();
        let mut expected = Vec::new();
        for (number, name) in gone {
            self.present.remove(&number);
            self.last_start.remove(&number);
            if let Some(told) = self.runsvs.get_mut(&number) {
                told.get_or_insert(name);
                expected.push(number);
            }
        }
        self.present.extend(names);
        assert_eq!(terminated, expected, "TERM exactly once");
    }

    fn start(&mut self, plan: &mut Plan, works: bool) {
        let _ = plan.start_due(self.now, usize::MAX, |identity, name| {
            let number = identity.inode;
            assert_eq!(
                self.present.get(&number).map(String::as_str),
                name.to_str(),
                "it is there, so called"
            );
            assert!(!self.runsvs.contains_key(&number), "one runsv a directory");
            let left = |told: &Option<String>| told.as_deref() == name.to_str();
            assert!(!self.runsvs.values().any(left), "one runsv a name");
            if !works {
                return Err(());
            }
            if self.occupied.contains(&number) {
                return Ok(Outcome::Occupied);
            }
            if let Some(last) = self.last_start.insert(number, self.now) {
                assert!(self.now >= last + PACE, "at most one start a second");
            }
            self.runsvs.insert(number, None);
            Ok(Outcome::Running)
        });
    }

    fn exit(&mut self, plan: &mut Plan, which: prop::sample::Index) {
        if self.runsvs.is_empty() {
            return;
        }
        let number = *self.runsvs.keys().nth(which.index(self.runsvs.len())).unwrap();
        self.runsvs.remove(&number);
        plan.exited(directory(number), self.now);
    }

    fn check(&self, plan: &Plan) {
        let of = |numbers: Vec<&u64>| {
            numbers.into_iter().map(|number| directory(*number)).collect::<BTreeSet<_>>()
        };
        let present = self.runsvs.keys().filter(|number| self.present.contains_key(number));
        assert_eq!(plan.running().collect::<BTreeSet<_>>(), of(present.collect()));
        let told = self.runsvs.iter().filter(|(_, told)| told.is_some()).map(|(number, _)| number);
        assert_eq!(plan.leaving().map(|(identity, _)| identity).collect::<BTreeSet<_>>(), of(told.collect()));
    }

    /// Once nothing fails and time passes, every directory present is served, and no other.
    fn settle(&mut self, plan: &mut Plan) {
        let told = self.runsvs.iter().filter(|(_, told)| told.is_some()).map(|(number, _)| *number);
        for number in told.collect::<Vec<_>>() {
            self.runsvs.remove(&number);
            plan.exited(directory(number), self.now);
        }
        self.occupied.clear();
        self.now += OCCUPIED;
        self.start(plan, true);
        assert!(self.runsvs.keys().eq(self.present.keys()), "{:?} {:?}", self.runsvs, self.present);
        self.check(plan);
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
                Step::Occupy(number) => if !model.occupied.remove(&number) { model.occupied.insert(number); }
                Step::Resume => plan = Plan::resume(plan.entries().collect()),
                Step::Pass(time) => model.now += at(time),
            }
            model.check(&plan);
        }
        model.settle(&mut plan);
    }
}
