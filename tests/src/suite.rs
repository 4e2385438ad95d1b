//! Runs cases against subjects: one trial for each pair, named `subject::group::case`.

use std::any::Any;
use std::cell::RefCell;
use std::env;
use std::io::{Write, stderr};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process::ExitCode;
use std::sync::RwLock;
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;

use crate::case::Case;
use crate::disk::keep_mounts_private;
use crate::eventually::with_deadline;
use crate::network::ensure_ipv6;
use crate::subject::{Subject, find_in_path};

/// Most of a test is waiting, so more of them run at once than there are processors.
const THREADS: usize = 8;
/// How long a case may take to show a difference that is expected.
const DEADLINE_OF_DIFFERENCE: Duration = Duration::from_secs(4);

/// The cases of one module.
pub type Group = (&'static str, &'static [Case]);

/// A subject that may not be installed.
#[derive(Debug)]
pub enum Reference {
    /// It is there.
    Found(Subject),
    /// It is not; the name says what is missed.
    Missing(&'static str),
}

impl Reference {
    /// The subjects `SVKIT_SUBJECT` asks for: ours and the installed runit by default.
    pub fn from_environment() -> Vec<Self> {
        match env::var_os("SVKIT_SUBJECT") {
            None => vec![Self::Found(Subject::ours()), Self::installed_runit()],
            Some(name) if name == "ours" => vec![Self::Found(Subject::ours())],
            Some(name) if name == "runit" => vec![Self::installed_runit()],
            Some(dir) => match Subject::from_dir("given", dir.as_ref()) {
                Some(subject) => vec![Self::Found(subject)],
                None => panic!(
                    "SVKIT_SUBJECT: {dir:?} is neither `ours`, `runit` nor a directory with the programs"
                ),
            },
        }
    }

    /// The runit in `PATH`.
    pub fn installed_runit() -> Self {
        Subject::installed_runit().map_or(Self::Missing("runit"), Self::Found)
    }
}

/// Runs, for each subject, every case of its groups, with libtest's options from the command line.
pub fn run(plan: &[(Reference, &[Group])]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    // Orphans of a killed supervisor become ours, so that no zombie is left where init does not reap.
    set_child_subreaper(true).expect("a Linux with subreapers");
    keep_mounts_private();
    umask(Mode::from_bits_truncate(0o022));
    set_hook(Box::new(|info| {
        note(&format!("at {}", info.location().map_or_else(String::new, ToString::to_string)));
    }));

    let mut trials = Vec::new();
    for (reference, groups) in plan {
        if let Reference::Missing(name) = reference {
            say(&format!("reference {name} not found: skipped"));
        }
        for (group, cases) in *groups {
            trials.extend(cases.iter().map(|case| (!case.alone, trial(reference, group, *case))));
        }
    }
    // Those first, as all others would wait for the longest one that is under way.
    trials.sort_by_key(|(in_company, _)| *in_company);
    let trials = trials.into_iter().map(|(_, trial)| trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Adds a line to what is shown when this thread's test fails.
pub fn note(line: &str) {
    NOTES.with_borrow_mut(|notes| notes.push(line.to_owned()));
}

thread_local! {
    static NOTES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn trial(reference: &Reference, group: &str, case: Case) -> Trial {
    let (name, subject) = match reference {
        Reference::Found(subject) => (subject.name(), Some(subject.clone())),
        Reference::Missing(name) => (*name, None),
    };
    let name = format!("{name}::{group}::{}", case.name);
    match (subject, missing(case)) {
        (Some(subject), None) if case.ipv6 => Trial::test(name, move || execute_with_ipv6(case, &subject)),
        (Some(subject), None) => Trial::test(name, move || execute(case, &subject)),
        (subject, missing) => {
            let program = missing.map_or("runit", |missing| missing);
            // A kernel without IPv6 has it for nobody.
            if program != "IPv6" && references_are_required() {
                return Trial::test(name, move || Err(format!("{program} is missing").into()));
            }
            if subject.is_some() {
                say(&format!("{name}: needs {program}: skipped"));
            }
            Trial::test(name, || Ok(())).with_ignored_flag(true)
        }
    }
}

/// In a thread that ends with the case, as the network is that thread's.
fn execute_with_ipv6(case: Case, subject: &Subject) -> Result<(), Failed> {
    let execute = || {
        ensure_ipv6().map_err(|error| format!("no IPv6: {error}"))?;
        execute(case, subject)
    };
    thread::scope(|scope| scope.spawn(execute).join()).unwrap_or_else(|_| Err("panic".into()))
}

/// Held by every case that runs: shared, unless it is to be alone.
static COMPANY: RwLock<()> = RwLock::new(());

fn execute(case: Case, subject: &Subject) -> Result<(), Failed> {
    // A case that panics is caught while it is held.
    let _alone = case.alone.then(|| COMPANY.write());
    let _together = (!case.alone).then(|| COMPANY.read());
    match case.difference(subject) {
        None => with_deadline(case.deadline, || attempt(case, subject)).map_err(Failed::from),
        Some(reason) => match with_deadline(DEADLINE_OF_DIFFERENCE, || attempt(case, subject)) {
            Err(_) => Ok(()),
            Ok(()) => Err(format!("passes, though it is marked as a difference: {reason}").into()),
        },
    }
}

fn attempt(case: Case, subject: &Subject) -> Result<(), String> {
    NOTES.take();
    catch_unwind(AssertUnwindSafe(|| (case.test)(subject))).map_err(|panic| {
        let notes = NOTES.take();
        format!("{}\n{}", message(panic.as_ref()), notes.join("\n"))
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        panic.downcast_ref::<&str>().copied().unwrap_or("panic")
    }
}

/// What the case needs and this machine has not.
fn missing(case: Case) -> Option<&'static str> {
    if case.root && !geteuid().is_root() {
        return Some("root");
    }
    if case.ipv6 && !thread::spawn(ensure_ipv6).join().is_ok_and(|result| result.is_ok()) {
        return Some("IPv6");
    }
    case.programs.iter().copied().find(|program| find_in_path(program).is_none())
}

fn references_are_required() -> bool {
    env::var_os("SVKIT_REQUIRE_REFERENCES").is_some_and(|value| value == "1")
}

fn say(line: &str) {
    // stderr that is gone is no reason to stop a test run.
    let _ = writeln!(stderr(), "{line}");
}
