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

/// What was measured, of each contender.
pub(crate) type Samples = Vec<(Who, Vec<f64>)>;

/// Runs each contender once a round, in turn, and returns the samples of each: of each thing that `measure` measures.
pub(crate) fn in_turn<T, const N: usize>(
    rounds: usize,
    contenders: &mut [(Who, T)],
    mut measure: impl FnMut(&mut T) -> [f64; N],
) -> [Samples; N] {
    let mut all: [Samples; N] =
        std::array::from_fn(|_| contenders.iter().map(|(who, _)| (*who, Vec::new())).collect());
    for _ in 0..rounds {
        for (index, (_, contender)) in contenders.iter_mut().enumerate() {
            interrupt::check();
            for (samples, sample) in all.iter_mut().zip(measure(contender)) {
                samples[index].1.push(sample);
            }
        }
    }
    all
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
