//! Numbered lines: what svlogd was given and what of it is in its directories, counted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use svkit_tests::{Running, complete, eventually};

/// Lines with their number first, of uneven length.
pub(crate) fn lines(numbers: Range<usize>) -> String {
    numbers.map(|number| format!("{number:07} a line that has {}\n", "x".repeat(number % 90))).collect()
}

/// No line is longer.
pub(crate) const LONGEST: &str = "200";

/// Writes lines in uneven parts, so that the pipe often ends within a line, with pauses. A svlogd that is gone is not
/// written to any more: what it left is told by what it lacks.
pub(crate) fn write_unevenly(mut to: impl Write, numbers: Range<usize>, pause: Duration) {
    for (round, part) in lines(numbers).as_bytes().chunks(3001).enumerate() {
        match to.write_all(part) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return,
            result => result.unwrap(),
        }
        if round % 3 == 0 {
            thread::sleep(pause);
        }
    }
}

/// Writes lines unevenly until there are enough, and returns how many that were.
pub(crate) fn write_until(enough: &AtomicBool, mut to: impl Write, pause: Duration) -> usize {
    let mut next = 0;
    while !enough.load(Ordering::Relaxed) {
        write_unevenly(&mut to, next..next + 1000, pause);
        next += 1000;
    }
    next
}

/// Asks svlogd, which has begun to work, for its counters until it has told `wanted` of them.
pub(crate) fn eventually_counted(svlogd: &Running, wanted: &str) {
    eventually(wanted, || {
        svlogd.signal(Signal::SIGUSR1);
        let said = svlogd.stderr();
        said.lines()
            .any(|line| line.contains("counters: ") && format!("{line} ").contains(wanted))
            .then_some(())
    });
}

/// What is in a log directory.
#[derive(Debug, Default)]
pub(crate) struct Count {
    /// How often each line is there as it was written.
    pub(crate) whole: BTreeMap<usize, usize>,
    /// What is none of these lines.
    pub(crate) torn: Vec<String>,
    /// The most bytes at the beginning of a file that are in those before it, too.
    pub(crate) most_twice: usize,
}

impl Count {
    /// Counts the lines in a log directory, the oldest first.
    pub(crate) fn of(dir: &Path) -> Self {
        Self::of_form(dir, |line| Some(line.to_owned()))
    }

    /// Counts the lines in a log directory that `plain` makes of those that are written there.
    pub(crate) fn of_form(dir: &Path, plain: impl Fn(&str) -> Option<String>) -> Self {
        // One may be renamed meanwhile, also when svlogd has ended.
        let texts = || files(dir).iter().map(|file| read(file)).collect::<Option<Vec<_>>>();
        let mut count = Self::default();
        for text in eventually("no file is renamed", texts) {
            let mut twice = 0;
            for written in text.split_inclusive('\n') {
                let line = plain(written).unwrap_or_default();
                let number = line.get(..7).and_then(|number| number.parse().ok());
                match number.filter(|&number| lines(number..number + 1) == line) {
                    None => count.torn.push(written.to_owned()),
                    Some(number) => {
                        let times = count.whole.entry(number).or_default();
                        *times += 1;
                        twice += if *times > 1 { line.len() } else { 0 };
                    }
                }
            }
            count.most_twice = count.most_twice.max(twice);
        }
        count
    }

    /// Each of `total` lines is there.
    pub(crate) fn assert_complete(&self, total: usize) {
        let missing: Vec<_> = (0..total).filter(|number| !self.whole.contains_key(number)).collect();
        assert!(missing.is_empty(), "{} of {total} lines are lost: {:?}", missing.len(), missing.first());
    }

    /// Each of `total` lines is there once, and nothing else.
    pub(crate) fn assert_exact(&self, total: usize) {
        self.assert_complete(total);
        assert_eq!(self.torn, [""; 0]);
        let twice = self.whole.iter().find(|(_, times)| **times > 1);
        assert_eq!(twice, None, "a line is there twice");
        assert_eq!(self.whole.len(), total);
    }
}

/// The old files and `current`, the oldest first. What is processed or compressed is there under two names until that is
/// done: the first is listed.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_log = |name: &String| name == "current" || name.starts_with('@') && !name.contains(".t");
    let mut names: Vec<_> = names.filter(is_log).collect();
    // `@…` sorts before `current`.
    names.sort();
    names.dedup_by(|name, other| name.split('.').next() == other.split('.').next());
    names.into_iter().map(|name| dir.join(name)).collect()
}

/// What a file holds, as `zcat` reads it. `None` if it is gone.
fn read(file: &Path) -> Option<String> {
    if file.extension().is_none_or(|extension| extension != "gz") {
        return fs::read_to_string(file).ok();
    }
    let output = complete(Command::new("zcat").stdin(File::open(file).ok()?));
    assert!(output.status.success(), "{}: {output:?}", file.display());
    Some(String::from_utf8(output.stdout).unwrap())
}
