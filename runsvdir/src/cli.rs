//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgAction, Command, value_parser};
use svlib::cli::{self, Usage};

const USAGE: Usage = Usage { program: "runsvdir", text: "usage: runsvdir [-P] dir\n\n", code: 1 };

/// What the arguments ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The services directory.
    pub directory: PathBuf,
    /// `-P`: each runsv leads a session of its own.
    pub new_sessions: bool,
    /// The place in the process list where standard error is shown.
    pub log: Option<LogArgument>,
}

/// The `log` argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogArgument {
    /// What it says at first.
    pub text: OsString,
    /// Which of the arguments it is; the program's name is number 0.
    pub index: usize,
}

/// The options and operands; `--help`, the man page and the completions are made from it.
pub fn command() -> Command {
    cli::command("runsvdir", "Starts and monitors a directory of runsv processes")
        .override_usage("runsvdir [-P] dir [log]")
        .arg(
            Arg::new("sessions")
                .short('P')
                .action(ArgAction::SetTrue)
                .help("Run each runsv in a new session and process group"),
        )
        .arg(
            Arg::new("operands")
                .value_names(["dir", "log"])
                .num_args(0..)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString))
                .help("The services directory, and the place for a readproctitle log: at least seven characters"),
        )
}

/// The request that `arguments`, the program's name first, make.
///
/// # Errors
///
/// The code to exit with, all having been said: 1 for wrong usage, 0 after `--help` and `--version`.
pub fn request(arguments: impl ExactSizeIterator<Item = OsString>) -> Result<Request, ExitCode> {
    let count = arguments.len();
    let mut matches = cli::parse(command(), &USAGE, arguments)?;
    let operands: Vec<OsString> = matches.remove_many("operands").map(Iterator::collect).unwrap_or_default();
    let first_operand = count - operands.len();
    let mut operands = operands.into_iter();
    let Some(directory) = operands.next() else { return Err(USAGE.show()) };
    Ok(Request {
        directory: directory.into(),
        new_sessions: matches.get_flag("sessions"),
        log: operands.next().map(|text| LogArgument { text, index: first_operand + 1 }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request_of(arguments: &[&str]) -> Result<Request, ExitCode> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        request(arguments.into_iter())
    }

    #[test]
    fn directory_sessions_and_log_are_found() {
        let plain = Request { directory: "/service".into(), new_sessions: false, log: None };
        assert_eq!(request_of(&["runsvdir", "/service"]), Ok(plain.clone()));
        assert_eq!(
            request_of(&["runsvdir", "-P", "/service"]),
            Ok(Request { new_sessions: true, ..plain.clone() })
        );
        let log = |index| Some(LogArgument { text: "log: ...".into(), index });
        assert_eq!(
            request_of(&["runsvdir", "/service", "log: ..."]),
            Ok(Request { log: log(2), ..plain.clone() })
        );
        assert_eq!(
            request_of(&["runsvdir", "-P", "--", "/service", "log: ...", "more"]),
            Ok(Request { new_sessions: true, log: log(4), ..plain })
        );
    }

    #[test]
    fn operands_may_look_like_options() {
        assert_eq!(request_of(&["runsvdir", "--", "-P"]).unwrap().directory, PathBuf::from("-P"));
        assert!(!request_of(&["runsvdir", "dir", "-P"]).unwrap().new_sessions);
    }

    #[test]
    fn wrong_usage_exits_1() {
        assert_eq!(request_of(&["runsvdir"]), Err(ExitCode::from(1)));
        assert_eq!(request_of(&["runsvdir", "-P"]), Err(ExitCode::from(1)));
        assert_eq!(request_of(&["runsvdir", "-x", "dir"]), Err(ExitCode::from(1)));
    }
}
