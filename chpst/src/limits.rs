//! The options that set limits, of chpst and of softlimit.

use std::ffi::OsStr;

use clap::{Arg, ArgAction, ArgMatches};
use nix::sys::resource::Resource::{self, *};
use svlib::cli::Usage;

use crate::applet::Applet;
use crate::cli::{refuse, text, unsigned, values};
use crate::failure::Failure;
use crate::plan::SoftLimit;

/// The options that `applet` has. Each may come again: every value is looked at, as with runit.
pub(crate) fn options(applet: Applet) -> impl Iterator<Item = Arg> {
    table(applet).map(|option| {
        text(option.letter, option.id, option.value).action(ArgAction::Append).help(option.help)
    })
}

/// The limits that were given, in the order of the command line: `-m` and `-d` contradict each other, and the last counts.
pub(crate) fn given(
    matches: &ArgMatches,
    applet: Applet,
    usage: &Usage,
) -> Result<Vec<(Resource, SoftLimit)>, Failure> {
    let mut given = Vec::new();
    for option in table(applet) {
        let indices = matches.indices_of(option.id).into_iter().flatten();
        given.extend(indices.zip(values(matches, option.id)).map(|(index, text)| (index, option, text)));
    }
    given.sort_by_key(|&(index, ..)| index);
    let mut limits = Vec::new();
    for (_, option, text) in given {
        let limit = limit(applet, text).ok_or_else(|| refuse(usage, "limit", option.letter, text))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;
    use crate::plan::Step;
    use proptest::prelude::*;
    use proptest::sample::select;
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::process::ExitCode;

    /// The resources behind a letter, as the man pages of chpst and softlimit list them.
    fn resources(applet: Applet, letter: char) -> &'static [Resource] {
        match letter {
            'm' => &[RLIMIT_AS, RLIMIT_DATA, RLIMIT_MEMLOCK, RLIMIT_STACK],
            'd' => &[RLIMIT_DATA],
            'o' => &[RLIMIT_NOFILE],
            'p' => &[RLIMIT_NPROC],
            'f' => &[RLIMIT_FSIZE],
            'c' => &[RLIMIT_CORE],
            't' => &[RLIMIT_CPU],
            'r' => &[RLIMIT_RSS],
            'a' if applet == Applet::Softlimit => &[RLIMIT_AS],
            's' if applet == Applet::Softlimit => &[RLIMIT_STACK],
            'l' if applet == Applet::Softlimit => &[RLIMIT_MEMLOCK],
            _ => panic!("no limit of {applet:?}: {letter}"),
        }
    }

    /// What the text asks for; `None` for what is no number of the system's.
    fn meaning(applet: Applet, text: &str) -> Option<SoftLimit> {
        if applet == Applet::Softlimit && text == "=" {
            return Some(SoftLimit::Hard);
        }
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number: u128 = is_number.then(|| text.parse().ok())??;
        (number <= u128::from(u64::MAX)).then_some(SoftLimit::To(number as u64))
    }

    fn texts() -> impl Strategy<Value = String> {
        const ODD: [&str; 8] =
            ["", "=", "-1", "+1", "1x", " 1", "18446744073709551615", "18446744073709551616"];
        prop_oneof![
            12 => any::<u64>().prop_map(|number| number.to_string()),
            2 => "0{0,3}[0-9]{1,3}",
            1 => select(&ODD[..]).prop_map(str::to_owned),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        /// Each option sets its resources, later ones over earlier ones; one wrong number and nothing is done.
        #[test]
        fn any_command_line_agrees_with_the_model(
            softlimit in any::<bool>(),
            options in prop::collection::vec((any::<prop::sample::Index>(), texts(), any::<bool>()), 0..8),
        ) {
            let (applet, letters) =
                if softlimit { (Applet::Softlimit, "madslropfct") } else { (Applet::Chpst, "mdropfct") };
            let mut words = vec![OsString::from(applet.name())];
            let mut expected = Some(BTreeMap::new());
            for (letter, text, joined) in options {
                let letter = char::from(*letter.get(letters.as_bytes()));
                if joined && !text.is_empty() {
                    words.push(format!("-{letter}{text}").into());
                } else {
                    words.extend([format!("-{letter}").into(), text.clone().into()]);
                }
                expected = expected.zip(meaning(applet, &text)).map(|(mut limits, limit)| {
                    limits.extend(resources(applet, letter).iter().map(|&resource| (resource as u32, limit)));
                    limits
                });
            }
            words.push("true".into());
            match (cli::request(words), expected) {
                (Ok(request), Some(expected)) => {
                    let set: Vec<_> = request
                        .steps
                        .into_iter()
                        .map(|step| match step {
                            Step::Limit(resource, limit) => (resource as u32, limit),
                            other => panic!("not a limit: {other:?}"),
                        })
                        .collect();
                    prop_assert_eq!(set.len(), expected.len(), "each once");
                    prop_assert_eq!(set.into_iter().collect::<BTreeMap<_, _>>(), expected);
                }
                (Err(Failure::Answered(code)), None) => prop_assert_eq!(code, ExitCode::from(100)),
                (found, expected) => prop_assert!(false, "{:?} is not {:?}", found.map(|request| request.steps), expected),
            }
        }
    }
}
