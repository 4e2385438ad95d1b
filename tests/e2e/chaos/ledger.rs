//! What of the numbered lines of a service is in its log.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::writer;
use crate::numbered::files;

/// What is asked of a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The writer's name.
    pub(crate) name: &'a str,
    /// Its service directory.
    pub(crate) dir: &'a Path,
    /// Where it wrote before it had a log.
    pub(crate) before: &'a [PathBuf],
    /// Its svlogd was killed: lines may be there twice, and the last of a file may be cut.
    pub(crate) killed: bool,
}

/// Every number up to `done` is there, in order, and no line twice. What is wrong, if anything.
pub(crate) fn audit(asked: Asked<'_>) -> Vec<String> {
    let Asked { name, dir, before, killed } = asked;
    let mut problems = Vec::new();
    let (mut seen, mut numbers, mut last_of_run) = (HashSet::new(), BTreeSet::new(), HashMap::new());
    let main = dir.join("log/main");
    let logs = if main.is_dir() { files(&main) } else { Vec::new() };
    for file in before.iter().chain(&logs) {
        let text = fs::read(file).unwrap();
        let text = String::from_utf8_lossy(&text);
        let is_log = !before.contains(file);
        for line in text.split_inclusive('\n') {
            let parsed = parse(line).filter(|(writer, _, _)| *writer == name);
            let Some((_, run, number)) = parsed else {
                let is_cut = killed && !line.ends_with('\n');
                if is_log && !is_cut {
                    problems.push(format!("{}: {line:?} is no line of it", file.display()));
                }
                continue;
            };
            if !seen.insert((run.to_owned(), number)) {
                if !killed {
                    problems.push(format!("{}: {line:?} is there twice", file.display()));
                }
                continue;
            }
            numbers.insert(number);
            let last = last_of_run.insert(run.to_owned(), number);
            if last.is_some_and(|last| last + 1 != number) {
                problems.push(format!("{}: {line:?} comes after number {last:?}", file.display()));
            }
        }
    }
    let done = writer::number(dir, "done");
    let missing: Vec<u64> = (1..=done).filter(|number| !numbers.contains(number)).collect();
    if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
        problems.push(format!("{} of {done} lines are lost, from {first} to {last}", missing.len()));
    }
    problems
}

/// Writer, run and number of a whole line.
fn parse(line: &str) -> Option<(&str, &str, u64)> {
    let mut words = line.strip_suffix('\n')?.split(' ');
    let parsed = (words.next()?, words.next()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some(parsed)
}
