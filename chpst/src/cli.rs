//! The command line: options and operands, by the name the program was called with.

use std::ffi::{OsStr, OsString};
use std::iter;
use std::os::unix::ffi::OsStrExt;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use svlib::cli::{self, Usage};

use crate::applet::Applet;
use crate::failure::Failure;
use crate::limits;
use crate::plan::{self, Changes, EnvironmentDirectory, LockFile, Nested, Step, Stream};
use crate::userspec::UserSpec;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// The changes to make, in order.
    pub steps: Vec<Step>,
    /// The program to run then.
    pub program: OsString,
    /// Its arguments, the name it is called by first.
    pub argv: Vec<OsString>,
}

/// The options and operands of chpst; `--help`, the man page and the completions are made from it.
pub fn command() -> Command {
    cli::command("chpst", "Runs a program with a changed process state")
        .args([
            text('u', "user", "[:]user[:group...]")
                .help("Become user, with the user's group or those given, no other"),
            text('U', "export", "[:]user[:group]").help("Set $UID and $GID to the ids of user and group"),
            text('b', "argv0", "argv0").help("Run prog with argv0 as its 0th argument"),
            text('e', "envdir", "dir").help("Set and unset environment variables by the files in dir"),
            text('/', "root", "root").help("Change the root directory to root"),
            text('C', "directory", "pwd").help("Change the working directory to pwd, inside the new root"),
            text('n', "nice", "inc").action(ArgAction::Append).help("Add inc to the nice value"),
            text('l', "lock", "lock")
                .action(ArgAction::Append)
                .help("Hold a lock on the file lock; wait for it"),
            text('L', "try-lock", "lock")
                .action(ArgAction::Append)
                .help("Hold a lock on the file lock, or fail at once"),
        ])
        .args(limits::options(Applet::Chpst))
        .args([
            flag('P', "session").help("Run prog in a new session and process group"),
            flag('0', "close-stdin").help("Close standard input"),
            flag('1', "close-stdout").help("Close standard output"),
            flag('2', "close-stderr").help("Close standard error"),
            flag('v', "verbose").help("Print warnings to standard error"),
            flag('V', "usage").help("Print version and usage to standard error and exit 100"),
        ])
        .arg(operands(&["prog"]))
}

/// The options and operands of the program that `applet` is.
pub fn command_of(applet: Applet) -> Command {
    let command = |about| cli::command(applet.name(), about);
    match applet {
        Applet::Chpst => self::command(),
        Applet::Setuidgid => {
            command("Runs a program as the user of an account").arg(operands(&["account", "child"]))
        }
        Applet::Envuidgid => command("Runs a program with $UID and $GID set to an account's")
            .arg(operands(&["account", "child"])),
        Applet::Envdir => {
            command("Runs a program with environment variables set by files").arg(operands(&["dir", "child"]))
        }
        Applet::Pgrphack => command("Runs a program in a new process group").arg(operands(&["child"])),
        Applet::Setlock => command("Runs a program while it holds a lock on a file")
            .args([
                flag('n', "try")
                    .overrides_with("wait")
                    .help("Fail at once if another process holds the lock"),
                flag('N', "wait").overrides_with("try").help("Wait for the lock (the default)"),
                flag('x', "optional").overrides_with("required").help("Without the lock, exit 0 in silence"),
                flag('X', "required")
                    .overrides_with("optional")
                    .help("Without the lock, exit 111 (the default)"),
            ])
            .arg(operands(&["file", "program"])),
        Applet::Softlimit => command("Runs a program with other soft limits, = being the hard limit")
            .args(limits::options(applet))
            .arg(operands(&["child"])),
    }
}

/// Reads the command line; its first word is the name the program was called with.
///
/// # Errors
///
/// There is nothing to run: `--help` or a wrong usage, which has been answered, or a user there cannot be.
pub fn request(arguments: impl IntoIterator<Item = OsString>) -> Result<Request, Failure> {
    let mut arguments = arguments.into_iter().peekable();
    let name = arguments.next().unwrap_or_default();
    let applet = Applet::named(&name);
    let usage = Usage { program: applet.name(), text: applet.usage(), code: 100 };

    // A program without options takes every word as it stands: `pgrphack -x` runs `-x`.
    let only_operands = !applet.has_options()
        && arguments.peek().is_some_and(|first| !matches!(first.as_bytes(), b"--help" | b"--version"));
    let arguments = iter::once(name).chain(only_operands.then(|| "--".into())).chain(arguments);
    let matches = cli::parse(command_of(applet), &usage, arguments).map_err(Failure::Answered)?;
    if applet == Applet::Chpst && matches.get_flag("usage") {
        return Err(Failure::Answered(usage.version()));
    }
    let wrong_usage = || Failure::Answered(usage.show());

    let mut operands = matches.get_many::<OsString>("operands").unwrap_or_default().cloned();
    let mut subject = || operands.next().ok_or_else(wrong_usage);
    let changes = match applet {
        Applet::Chpst => chpst_changes(&matches, &usage)?,
        Applet::Setuidgid => Changes { identity: Some(UserSpec::Account(subject()?)), ..Changes::default() },
        Applet::Envuidgid => Changes { exported: Some(UserSpec::Account(subject()?)), ..Changes::default() },
        Applet::Envdir => {
            let environment = EnvironmentDirectory { path: subject()?.into(), nested: Nested::Refuse };
            Changes { environment: Some(environment), ..Changes::default() }
        }
        Applet::Pgrphack => Changes { new_session: true, ..Changes::default() },
        Applet::Setlock => {
            let (wait, optional) = (!matches.get_flag("try"), matches.get_flag("optional"));
            Changes { lock: Some(LockFile { path: subject()?.into(), wait, optional }), ..Changes::default() }
        }
        Applet::Softlimit => {
            Changes { limits: limits::given(&matches, applet, &usage)?, ..Changes::default() }
        }
    };
    let program = operands.next().ok_or_else(wrong_usage)?;
    let argv0 = (applet == Applet::Chpst).then(|| value(&matches, "argv0")).flatten();
    let argv = iter::once(argv0.unwrap_or_else(|| program.clone())).chain(operands).collect();
    Ok(Request { steps: plan::steps(changes), program, argv })
}

/// The changes that chpst's options ask for.
fn chpst_changes(matches: &ArgMatches, usage: &Usage) -> Result<Changes, Failure> {
    let user =
        |id| value(matches, id).map(|text| UserSpec::parse(&text)).transpose().map_err(Failure::BadUser);
    let nested = if matches.get_flag("verbose") { Nested::Warn } else { Nested::Skip };
    let locks =
        |id, wait| values(matches, id).map(move |path| LockFile { path: path.into(), wait, optional: false });
    let mut locks = locks("lock", true).chain(locks("try-lock", false));
    let (lock, second) = (locks.next(), locks.next());
    if second.is_some() {
        return Err(Failure::Answered(usage.refuse(&"more than one lock")));
    }
    let streams = Stream::ALL.into_iter().zip(["close-stdin", "close-stdout", "close-stderr"]);
    Ok(Changes {
        new_session: matches.get_flag("session"),
        environment: value(matches, "envdir").map(|path| EnvironmentDirectory { path: path.into(), nested }),
        root: value(matches, "root").map(Into::into),
        directory: value(matches, "directory").map(Into::into),
        nice: values(matches, "nice")
            .map(|inc| increment(inc).ok_or_else(|| refuse(usage, "increment", 'n', inc)))
            .try_fold(None, |_, inc| inc.map(Some))?,
        exported: user("export")?,
        identity: user("user")?,
        lock,
        closed: streams.filter(|(_, id)| matches.get_flag(id)).map(|(stream, _)| stream).collect(),
        limits: limits::given(matches, Applet::Chpst, usage)?,
    })
}

/// A value that the option cannot have.
pub(crate) fn refuse(usage: &Usage, what: &str, letter: char, text: &OsStr) -> Failure {
    Failure::Answered(usage.refuse(&("invalid ", what, format!(" -- {letter} "), text)))
}

/// An option with a value.
pub(crate) fn text(letter: char, id: &'static str, value: &'static str) -> Arg {
    Arg::new(id).short(letter).value_name(value).value_parser(value_parser!(OsString))
}

fn flag(letter: char, id: &'static str) -> Arg {
    Arg::new(id).short(letter).action(ArgAction::SetTrue)
}

fn operands(names: &'static [&'static str]) -> Arg {
    Arg::new("operands")
        .num_args(0..)
        .trailing_var_arg(true)
        .value_names(names)
        .help("The program to run, with its arguments, comes last")
        .value_parser(value_parser!(OsString))
}

fn value(matches: &ArgMatches, id: &str) -> Option<OsString> {
    matches.get_one::<OsString>(id).cloned()
}

/// The values of an option that may come again.
pub(crate) fn values<'a>(matches: &'a ArgMatches, id: &str) -> impl Iterator<Item = &'a OsStr> {
    matches.get_many::<OsString>(id).unwrap_or_default().map(OsString::as_os_str)
}

/// An increment of the nice value: digits, after a minus or plus perhaps.
fn increment(text: &OsStr) -> Option<i32> {
    let text = text.to_str()?;
    let increment = i32::try_from(unsigned(text.strip_prefix(['-', '+']).unwrap_or(text))?).ok()?;
    Some(if text.starts_with('-') { -increment } else { increment })
}

/// Digits and nothing else.
pub(crate) fn unsigned(digits: &str) -> Option<u64> {
    digits.parse().ok().filter(|_| !digits.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SoftLimit;
    use nix::sys::resource::Resource;
    use proptest::prelude::*;
    use std::path::PathBuf;
    use std::process::ExitCode;

    fn read(words: &[&str]) -> Result<Request, Failure> {
        request(words.iter().map(OsString::from))
    }

    fn steps(words: &[&str]) -> Vec<Step> {
        read(words).unwrap().steps
    }

    fn user(text: &str) -> UserSpec {
        UserSpec::parse(text.as_ref()).unwrap()
    }

    fn account(text: &str) -> UserSpec {
        UserSpec::Account(text.into())
    }

    #[test]
    fn definitions_are_consistent() {
        Applet::ALL.into_iter().map(command_of).for_each(Command::debug_assert);
    }

    #[test]
    fn every_option_of_chpst() {
        let limit = |resource, value| Step::Limit(resource, SoftLimit::To(value));
        let lock = |wait| Step::Lock(LockFile { path: "f".into(), wait, optional: false });
        let environment =
            |nested| Step::ReadEnvironment(EnvironmentDirectory { path: PathBuf::from("./e"), nested });
        for (options, step) in [
            (&["-u", "a:b"] as &[&str], Step::Become(user("a:b"))),
            (&["-U", ":1:2"], Step::ExportIds(user(":1:2"))),
            (&["-e./e"], environment(Nested::Skip)),
            (&["-ve", "./e"], environment(Nested::Warn)),
            (&["-/", "/r"], Step::ChangeRoot("/r".into())),
            (&["-C="], Step::ChangeDirectory("=".into())),
            (&["-n5"], Step::Nice(5)),
            (&["-n+5"], Step::Nice(5)),
            (&["-n", "-5"], Step::Nice(-5)),
            (&["-lf"], lock(true)),
            (&["-L", "f"], lock(false)),
            (&["-d1"], limit(Resource::RLIMIT_DATA, 1)),
            (&["-o", "65536"], limit(Resource::RLIMIT_NOFILE, 65536)),
            (&["-p007"], limit(Resource::RLIMIT_NPROC, 7)),
            (&["-f0"], limit(Resource::RLIMIT_FSIZE, 0)),
            (&["-c", "18446744073709551615"], limit(Resource::RLIMIT_CORE, u64::MAX)),
            (&["-r1"], limit(Resource::RLIMIT_RSS, 1)),
            (&["-t1"], limit(Resource::RLIMIT_CPU, 1)),
            (&["-t9", "-t1"], limit(Resource::RLIMIT_CPU, 1)),
            (&["-P"], Step::NewSession),
            (&["-0"], Step::Close(Stream::Input)),
            (&["-1"], Step::Close(Stream::Output)),
            (&["-2"], Step::Close(Stream::Error)),
        ] {
            let words = [&["chpst"], options, &["prog", "-u", "x"]].concat();
            assert_eq!(steps(&words), [step], "{words:?}");
            assert_eq!(read(&words).unwrap().argv, ["prog", "-u", "x"]);
        }
    }

    #[test]
    fn the_zeroth_argument() {
        let request = read(&["chpst", "-b", "-sh", "sh", "-c", ""]).unwrap();
        assert_eq!(
            (request.program, request.argv),
            ("sh".into(), vec!["-sh".into(), "-c".into(), "".into()])
        );
    }

    #[test]
    fn the_last_of_contradicting_limits_counts() {
        let all_but_data = [Resource::RLIMIT_STACK, Resource::RLIMIT_MEMLOCK, Resource::RLIMIT_AS]
            .map(|r| Step::Limit(r, SoftLimit::To(9)));
        let data = |value| Step::Limit(Resource::RLIMIT_DATA, SoftLimit::To(value));
        for name in ["chpst", "softlimit"] {
            assert_eq!(steps(&[name, "-m9", "-d5", "x"]), [&[data(5)], &all_but_data[..]].concat());
            assert_eq!(steps(&[name, "-d5", "-m9", "x"]), [&[data(9)], &all_but_data[..]].concat());
            assert_eq!(steps(&[name, "-m1", "-d5", "-m9", "x"]), [&[data(9)], &all_but_data[..]].concat());
        }
    }

    #[test]
    fn the_emulated_programs() {
        let lock = |wait, optional| Step::Lock(LockFile { path: "f".into(), wait, optional });
        for (words, step) in [
            (&["setuidgid", "a:b", "x"] as &[&str], Step::Become(account("a:b"))),
            (&["dsetuidgid", "-u", "x"], Step::Become(account("-u"))),
            (&["envuidgid", "--", "x"], Step::ExportIds(account("--"))),
            (
                &["/bin/envdir", "-e", "x"],
                Step::ReadEnvironment(EnvironmentDirectory { path: "-e".into(), nested: Nested::Refuse }),
            ),
            (&["pgrphack", "x"], Step::NewSession),
            (&["setlock", "f", "x"], lock(true, false)),
            (&["setlock", "-n", "f", "x"], lock(false, false)),
            (&["setlock", "-N", "f", "x"], lock(true, false)),
            (&["setlock", "-nN", "f", "x"], lock(true, false)),
            (&["setlock", "-Nn", "f", "x"], lock(false, false)),
            (&["setlock", "-nNn", "f", "x"], lock(false, false)),
            (&["setlock", "-x", "f", "x"], lock(true, true)),
            (&["setlock", "-xX", "f", "x"], lock(true, false)),
            (&["setlock", "-X", "-nx", "--", "f", "x"], lock(false, true)),
            (&["softlimit", "-o=", "x"], Step::Limit(Resource::RLIMIT_NOFILE, SoftLimit::Hard)),
            (&["softlimit", "-a", "=", "x"], Step::Limit(Resource::RLIMIT_AS, SoftLimit::Hard)),
            (&["softlimit", "-s1", "x"], Step::Limit(Resource::RLIMIT_STACK, SoftLimit::To(1))),
            (&["softlimit", "-l1", "x"], Step::Limit(Resource::RLIMIT_MEMLOCK, SoftLimit::To(1))),
        ] {
            assert_eq!(steps(words), [step], "{words:?}");
            assert_eq!(read(words).unwrap().argv, ["x"]);
        }
        assert_eq!(read(&["pgrphack", "-x", "--", "y"]).unwrap().argv, ["-x", "--", "y"]);
    }

    #[test]
    fn wrong_usage_exits_100() {
        for words in [
            &["chpst"] as &[&str],
            &["chpst", "-V"],
            &["chpst", "-V", "true"],
            &["chpst", "-P"],
            &["chpst", "-u"],
            &["chpst", "-x", "true"],
            &["chpst", "-a1", "true"],
            &["chpst", "-s1", "true"],
            &["chpst", "-l", "a", "-L", "b", "true"],
            &["chpst", "-l", "a", "-l", "a", "true"],
            &["chpst", "-o", "=", "true"],
            &["setuidgid"],
            &["setuidgid", "root"],
            &["envuidgid", "root"],
            &["envdir", "."],
            &["pgrphack"],
            &["setlock", "f"],
            &["setlock", "-Z", "f", "x"],
            &["softlimit", "-o1"],
            &["softlimit", "-o", "==", "x"],
            &["softlimit", "-P", "x"],
        ] {
            assert_eq!(exit_code(words), Some(ExitCode::from(100)), "{words:?}");
        }
        for value in ["", "-5", "+5", "10x", " 5", "5 ", "0x5", "18446744073709551616", "1e3", "\u{661}"] {
            for option in ["-m", "-d", "-o", "-p", "-f", "-c", "-r", "-t"] {
                assert_eq!(
                    exit_code(&["chpst", option, value, "true"]),
                    Some(ExitCode::from(100)),
                    "{option} {value:?}"
                );
            }
        }
        for value in ["", "-", "+", "+-5", "--5", "5x", "2147483648"] {
            assert_eq!(exit_code(&["chpst", "-n", value, "true"]), Some(ExitCode::from(100)), "{value:?}");
        }
    }

    #[test]
    fn help_and_version_exit_0() {
        for applet in Applet::ALL {
            assert_eq!(exit_code(&[applet.name(), "--help"]), Some(ExitCode::SUCCESS));
            assert_eq!(exit_code(&[applet.name(), "--version"]), Some(ExitCode::SUCCESS));
        }
    }

    fn exit_code(words: &[&str]) -> Option<ExitCode> {
        match read(words) {
            Err(Failure::Answered(code)) => Some(code),
            _ => None,
        }
    }

    proptest! {
        #[test]
        fn the_program_gets_its_words_unchanged(words in prop::collection::vec("\\PC{0,6}", 0..6)) {
            for prefix in [&["chpst", "-P"] as &[&str], &["pgrphack"], &["setuidgid", "a"], &["softlimit"]] {
                let words: Vec<_> = ["prog"].into_iter().chain(words.iter().map(String::as_str)).collect();
                let request = read(&[prefix, &words].concat()).unwrap();
                prop_assert_eq!(&request.program, "prog");
                prop_assert_eq!(request.argv, words);
            }
        }
    }
}
