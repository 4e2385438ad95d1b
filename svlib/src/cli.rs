//! Command lines as getopt(3) reads them, defined with clap.
//!
//! clap's [`Command`] is the one definition that `--help`, the man page and the completions come from. Its own reading of
//! short options differs from getopt's (`-e=x` loses the `=`, options are found after operands), so
//! the arguments are first put in a form that both read alike.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::diag::Message;

/// What a program does with a command line that it cannot use.
#[derive(Clone, Copy, Debug)]
pub struct Usage<'a> {
    /// The program's name, for the line that says what is wrong.
    pub program: &'a str,
    /// The text for standard error, as runit prints it.
    pub text: &'a str,
    /// The exit code.
    pub code: u8,
}

/// A command with `--help` and `--version`, without clap's short forms of them, in which the last of repeated options
/// wins.
pub fn command(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .arg(Arg::new("help").long("help").action(ArgAction::Help).help("Print this help"))
        .arg(Arg::new("version").long("version").action(ArgAction::Version).help("Print the version"))
}

/// Reads `arguments`, the program's name first.
///
/// # Errors
/// The exit code with which the program ends: 0 after `--help` and `--version`, the usage's code after a wrong usage,
/// which has been reported.
pub fn parse(
    mut command: Command,
    usage: &Usage<'_>,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<ArgMatches, ExitCode> {
    let arguments = canonical(&command, arguments).map_err(|wrong| usage.refuse(&wrong))?;
    command.try_get_matches_from_mut(arguments).map_err(|error| {
        if error.use_stderr() {
            // The first line says what is wrong; the rest would be clap's usage beside the program's own.
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            return usage.refuse(&line.strip_prefix("error: ").unwrap_or(line));
        }
        let _ = io::stdout().write_all(error.to_string().as_bytes());
        ExitCode::SUCCESS
    })
}

impl Usage<'_> {
    /// Says what is `wrong`, if anything can be said, and how the program is used.
    pub fn refuse(&self, wrong: &dyn Message) -> ExitCode {
        let mut text = Vec::new();
        (self.program, ": ", wrong, "\n", self.text).append_to(&mut text);
        self.print(&text)
    }

    /// Says how the program is used.
    pub fn show(&self) -> ExitCode {
        self.print(self.text.as_bytes())
    }

    /// Prints the version and how the program is used: the `-V` of chpst, sv and svlogd.
    pub fn version(&self) -> ExitCode {
        self.print(
            format!("svkit {} {}\n\n{}", self.program, env!("CARGO_PKG_VERSION"), self.text).as_bytes(),
        )
    }

    fn print(&self, text: &[u8]) -> ExitCode {
        let _ = io::stderr().write_all(text);
        ExitCode::from(self.code)
    }
}

/// The arguments with one short option each, its value attached by `=`, and `--` before the operands.
fn canonical(
    command: &Command,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Vec<OsString>, String> {
    let mut arguments = arguments.into_iter();
    let mut canonical: Vec<OsString> = vec![arguments.next().unwrap_or_default()];
    let mut operand = None;
    while let Some(argument) = arguments.next() {
        match argument.as_bytes() {
            b"--" => break,
            [b'-', b'-', ..] => canonical.push(argument),
            [b'-', cluster @ ..] if !cluster.is_empty() => {
                let mut rest = cluster;
                while let Some((&letter, after)) = rest.split_first() {
                    let mut option = vec![b'-', letter];
                    rest = after;
                    if takes_value(command, letter)? {
                        let value = if rest.is_empty() {
                            arguments.next()
                        } else {
                            Some(OsStr::from_bytes(rest).into())
                        };
                        let value = value.ok_or_else(|| {
                            format!("option requires an argument -- {}", letter.escape_ascii())
                        })?;
                        option.push(b'=');
                        option.extend_from_slice(value.as_bytes());
                        rest = &[];
                    }
                    canonical.push(OsString::from_vec(option));
                }
            }
            _ => {
                operand = Some(argument);
                break;
            }
        }
    }
    canonical.push("--".into());
    canonical.extend(operand);
    canonical.extend(arguments);
    Ok(canonical)
}

fn takes_value(command: &Command, letter: u8) -> Result<bool, String> {
    command
        .get_arguments()
        .find(|argument| argument.get_short() == Some(char::from(letter)))
        .map(|argument| argument.get_action().takes_values())
        .ok_or_else(|| format!("illegal option -- {}", letter.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::value_parser;
    use proptest::prelude::*;

    const USAGE: Usage<'_> = Usage { program: "test", text: "usage: test\n", code: 100 };

    fn test_command() -> Command {
        command("test", "Tests")
            .arg(Arg::new("t").short('t').action(ArgAction::Count))
            .arg(Arg::new("v").short('v').action(ArgAction::SetTrue))
            .arg(Arg::new("e").short('e').value_parser(value_parser!(OsString)))
            .arg(
                Arg::new("operands")
                    .num_args(0..)
                    .trailing_var_arg(true)
                    .value_parser(value_parser!(OsString)),
            )
    }

    /// How often `-t`, whether `-v`, the value of `-e`, the operands.
    type Read = (u8, bool, Option<Vec<u8>>, Vec<Vec<u8>>);

    fn read(arguments: &[&[u8]]) -> Result<Read, ExitCode> {
        let arguments = [b"test".as_slice()].into_iter().chain(arguments.iter().copied());
        let arguments = arguments.map(|text| OsStr::from_bytes(text).to_owned());
        let matches = parse(test_command(), &USAGE, arguments)?;
        let bytes = |text: &OsString| text.as_bytes().to_vec();
        Ok((
            matches.get_count("t"),
            matches.get_flag("v"),
            matches.get_one("e").map(bytes),
            matches.get_many("operands").unwrap_or_default().map(bytes).collect(),
        ))
    }

    #[test]
    fn reads_as_getopt_does() {
        let operands = |list: &[&[u8]]| list.iter().map(|text| text.to_vec()).collect::<Vec<_>>();
        let value = |text: &[u8]| Some(text.to_vec());
        assert_eq!(read(&[b"-ttv", b"a"]), Ok((2, true, None, operands(&[b"a"]))));
        assert_eq!(read(&[b"-tve./x"]), Ok((1, true, value(b"./x"), vec![])));
        assert_eq!(read(&[b"-e=x"]), Ok((0, false, value(b"=x"), vec![])));
        assert_eq!(read(&[b"-e", b"-v", b"a"]), Ok((0, false, value(b"-v"), operands(&[b"a"]))));
        assert_eq!(read(&[b"-e", b"", b"-e", b"b"]), Ok((0, false, value(b"b"), vec![])));
        assert_eq!(read(&[b"-e", b""]), Ok((0, false, value(b""), vec![])));
        assert_eq!(
            read(&[b"a", b"-v", b"--", b"-q"]),
            Ok((0, false, None, operands(&[b"a", b"-v", b"--", b"-q"])))
        );
        assert_eq!(read(&[b"-v", b"--", b"-t"]), Ok((0, true, None, operands(&[b"-t"]))));
        assert_eq!(read(&[b"-", b"-v"]), Ok((0, false, None, operands(&[b"-", b"-v"]))));
        assert_eq!(read(&[b"-e\xff", b"\xfe"]), Ok((0, false, value(b"\xff"), operands(&[b"\xfe"]))));
    }

    #[test]
    fn wrong_usage_ends_with_the_programs_code() {
        for arguments in [&[b"-x".as_slice()] as &[&[u8]], &[b"-tx"], &[b"-e"], &[b"-\xff"], &[b"--nonsense"]]
        {
            assert_eq!(read(arguments), Err(ExitCode::from(100)));
        }
    }

    proptest! {
        #[test]
        fn operands_reach_the_program_unchanged(operands: Vec<Vec<u8>>) {
            let operands: Vec<Vec<u8>> =
                operands.into_iter().map(|text| text.into_iter().filter(|&byte| byte != 0).collect()).collect();
            let mut arguments: Vec<&[u8]> = vec![b"-v", b"--"];
            arguments.extend(operands.iter().map(Vec::as_slice));
            prop_assert_eq!(read(&arguments), Ok((0, true, None, operands)));
        }
    }
}
