//! The options that set limits, of chpst and of softlimit.

use std::ffi::OsStr;

use clap::{Arg, ArgMatches};
use nix::sys::resource::Resource::{self, *};
use svlib::cli::Usage;

use crate::applet::Applet;
use crate::cli::{refuse, text, unsigned, value};
use crate::failure::Failure;
use crate::plan::SoftLimit;

/// The options that `applet` has.
pub(crate) fn options(applet: Applet) -> impl Iterator<Item = Arg> {
    table(applet).map(|option| text(option.letter, option.id, option.value).help(option.help))
}

/// The limits that were given, in the order of the command line: `-m` and `-d` contradict each other, and the last counts.
pub(crate) fn given(
    matches: &ArgMatches,
    applet: Applet,
    usage: &Usage,
) -> Result<Vec<(Resource, SoftLimit)>, Failure> {
    let mut given: Vec<_> =
        table(applet).filter_map(|option| Some((matches.index_of(option.id)?, option))).collect();
    given.sort_by_key(|&(index, _)| index);
    let mut limits = Vec::new();
    for (_, option) in given {
        let text = value(matches, option.id).unwrap_or_default();
        let limit = limit(applet, &text).ok_or_else(|| refuse(usage, "limit", option.letter, &text))?;
        limits.extend(option.resources.iter().map(|&resource| (resource, limit)));
    }
    Ok(limits)
}

/// A limit. runit takes an empty one for 0 and lets a number that does not fit wrap around; neither is a limit here.
fn limit(applet: Applet, text: &OsStr) -> Option<SoftLimit> {
    if applet == Applet::Softlimit && text == "=" {
        return Some(SoftLimit::Hard);
    }
    unsigned(text.to_str()?).map(SoftLimit::To)
}

struct LimitOption {
    letter: char,
    id: &'static str,
    value: &'static str,
    help: &'static str,
    resources: &'static [Resource],
}

const fn option(
    letter: char,
    id: &'static str,
    value: &'static str,
    help: &'static str,
    resources: &'static [Resource],
) -> LimitOption {
    LimitOption { letter, id, value, help, resources }
}

const MEMORY: &[Resource] = &[RLIMIT_DATA, RLIMIT_STACK, RLIMIT_MEMLOCK, RLIMIT_AS];

const TABLE: [LimitOption; 11] = [
    option('m', "memory", "bytes", "Limit data, stack, locked and all memory to bytes each", MEMORY),
    option('a', "all", "bytes", "Limit the total of all segments", &[RLIMIT_AS]),
    option('d', "data", "bytes", "Limit the data segment", &[RLIMIT_DATA]),
    option('s', "stack", "bytes", "Limit the stack segment", &[RLIMIT_STACK]),
    option('l', "locked", "bytes", "Limit locked memory", &[RLIMIT_MEMLOCK]),
    option('r', "resident", "bytes", "Limit resident memory, where the system does", &[RLIMIT_RSS]),
    option('o', "files", "n", "Limit open file descriptors", &[RLIMIT_NOFILE]),
    option('p', "processes", "n", "Limit the processes of the user", &[RLIMIT_NPROC]),
    option('f', "output", "bytes", "Limit the size of output files", &[RLIMIT_FSIZE]),
    option('c', "core", "bytes", "Limit the size of core files", &[RLIMIT_CORE]),
    option('t', "cpu", "seconds", "Limit CPU time; SIGXCPU comes then", &[RLIMIT_CPU]),
];

fn table(applet: Applet) -> impl Iterator<Item = &'static LimitOption> {
    // In chpst, -l is another option; -a and -s it has not.
    TABLE
        .iter()
        .filter(move |option| applet == Applet::Softlimit || !matches!(option.letter, 'a' | 'l' | 's'))
}
