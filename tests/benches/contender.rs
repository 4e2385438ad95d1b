//! Who takes part.

use std::env;
use std::path::Path;
use std::process::Command;

use svkit_tests::{Sandbox, Subject, find_in_path};

use crate::interrupt;

/// Whose programs are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Svkit,
    Runit,
    S6,
    /// `cat > file`, or nothing but the program itself: as fast as it gets.
    Floor,
}

/// One that takes part.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) who: Who,
    pub(crate) version: Option<String>,
    /// The programs in `PATH`; s6's are looked up in the caller's.
    subject: Subject,
}

impl Contender {
    /// Ours, and the peers that are installed; those that are not are said.
    pub(crate) fn all() -> Vec<Self> {
        let ours = match env::var_os("SVKIT_SUBJECT") {
            Some(dir) if dir != "ours" => Subject::from_dir("svkit", Path::new(&dir))
                .unwrap_or_else(|| panic!("SVKIT_SUBJECT: no programs in {}", dir.display())),
            _ => Subject::ours(),
        };
        let runit = Subject::installed_runit().filter(|subject| !subject.is_ours());
        let s6 = find_in_path("s6-svscan").map(|_| ours.clone());

        let svkit = Self { who: Who::Svkit, version: version(&ours), subject: ours.clone() };
        let mut all = vec![svkit];
        for (who, package, subject) in [(Who::Runit, "runit", runit), (Who::S6, "s6", s6)] {
            match subject {
                Some(subject) => all.push(Self { who, version: package_version(package), subject }),
                None => eprintln!("{package} is not installed: nothing to compare with"),
            }
        }
        all.push(Self { who: Who::Floor, version: None, subject: ours });
        all
    }

    /// A sandbox with its programs.
    pub(crate) fn sandbox(&self) -> Sandbox {
        Sandbox::new(&self.subject)
    }
}

/// Runs each contender once a round, in turn, and returns the samples of each.
pub(crate) fn in_turn<T>(
    rounds: usize,
    contenders: &mut [(Who, T)],
    mut measure: impl FnMut(&mut T) -> f64,
) -> Vec<(Who, Vec<f64>)> {
    let mut samples: Vec<_> = contenders.iter().map(|(who, _)| (*who, Vec::new())).collect();
    for _ in 0..rounds {
        for ((_, contender), (_, samples)) in contenders.iter_mut().zip(&mut samples) {
            interrupt::check();
            samples.push(measure(contender));
        }
    }
    samples
}

fn version(subject: &Subject) -> Option<String> {
    let output = Command::new(subject.program("runsv")).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().nth(1).map(str::to_owned)
}

fn package_version(package: &str) -> Option<String> {
    let output = Command::new("dpkg-query").args(["-W", "-f=${Version}", package]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
