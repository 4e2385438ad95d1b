//! The command line.

use std::ffi::OsString;
use std::iter;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, Command, value_parser};
use svlib::cli::{self, Usage};

const USAGE: Usage<'_> = Usage { program: "runsv", text: "usage: runsv dir\n\n", code: 1 };

/// The options and operands; `--help`, the man page and the completions are made from it.
pub fn command() -> Command {
    cli::command("runsv", "Starts and monitors a service and optionally its log service")
        .override_usage("runsv DIR")
        .arg(
            Arg::new("operands")
                .value_name("DIR")
                .help("The service directory: it holds ./run, and optionally ./finish, ./down, ./control and ./log")
                .num_args(0..)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString)),
        )
}

/// The service directory to supervise. runsv has no short options: a name that begins with a dash is one too.
///
/// # Errors
/// The code to exit with, where there is nothing to supervise.
pub fn service_directory(mut arguments: impl Iterator<Item = OsString>) -> Result<PathBuf, ExitCode> {
    let program = arguments.next().unwrap_or_default();
    let mut arguments = arguments.peekable();
    let is_option =
        arguments.peek().is_some_and(|first| first == "--help" || first == "--version" || first == "--");
    // Without options there is nothing to parse, and each of thousands of runsvs does without a parser's time and memory.
    if !is_option {
        return the_only(arguments);
    }
    let matches = cli::parse(command(), &USAGE, iter::once(program).chain(arguments))?;
    the_only(matches.get_many::<OsString>("operands").into_iter().flatten().cloned())
}

fn the_only(mut operands: impl Iterator<Item = OsString>) -> Result<PathBuf, ExitCode> {
    match (operands.next(), operands.next()) {
        (Some(dir), None) => Ok(PathBuf::from(dir)),
        _ => Err(USAGE.show()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn parse(arguments: &[&[u8]]) -> Result<PathBuf, ExitCode> {
        let arguments = arguments.iter().map(|argument| OsString::from_vec(argument.to_vec()));
        service_directory(iter::once(OsString::from("runsv")).chain(arguments))
    }

    #[test]
    fn one_operand_is_the_directory_whatever_its_name() {
        for name in [&b"dir"[..], b"", b"-V", b"-", b"a b", b"\xff\n", b"--other"] {
            assert_eq!(parse(&[name]), Ok(PathBuf::from(OsString::from_vec(name.to_vec()))));
        }
        assert_eq!(parse(&[b"--", b"--help"]), Ok(PathBuf::from("--help")));
    }

    #[test]
    fn other_numbers_of_operands_are_a_usage_error() {
        for arguments in [&[][..], &[&b"a"[..], b"b"], &[b"--"]] {
            assert_eq!(parse(arguments), Err(ExitCode::from(1)));
        }
    }
}
