//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, Command, value_parser};
use svlib::cli::{self, Usage};

/// How long a stop may take, unless it is said: what docker(1) waits, ten seconds, less a margin.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(9);

const USAGE: Usage = Usage { program: "runsvdir", text: "usage: runsvdir [-P] dir\n\n", code: 1 };

/// What the arguments ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The services directory.
    pub directory: PathBuf,
    /// `-P`: each runsv leads a session of its own.
    pub new_sessions: bool,
    /// `--init`: TERM and the like stop everything, as the first process of a container does in any case.
    pub init: bool,
    /// `--stop-timeout`: how long that may take.
    pub stop_timeout: Duration,
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
        .override_usage("runsvdir [-P] [--init] [--stop-timeout SECONDS] dir [log]")
        .arg(
            Arg::new("sessions")
                .short('P')
                .action(ArgAction::SetTrue)
                .help("Run each runsv in a new session and process group"),
        )
        .arg(Arg::new("init").long("init").action(ArgAction::SetTrue).help(
            "Act as init: TERM, INT and HUP stop all services before runsvdir exits. Implied for process 1",
        ))
        .arg(
            Arg::new("stop-timeout")
                .long(STOP_TIMEOUT_NAME)
                .value_name("SECONDS")
                .value_parser(|text: &str| seconds(text).ok_or("not a number of seconds"))
                .help("As init, kill what has not stopped after so long. Default: 9"),
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
    let mut matches = cli::parse(command(), &USAGE, attached(arguments))?;
    let operands: Vec<OsString> = matches.remove_many("operands").map(Iterator::collect).unwrap_or_default();
    let first_operand = count - operands.len();
    let mut operands = operands.into_iter();
    let Some(directory) = operands.next() else { return Err(USAGE.show()) };
    Ok(Request {
        directory: directory.into(),
        new_sessions: matches.get_flag("sessions"),
        init: matches.get_flag("init"),
        stop_timeout: matches.get_one("stop-timeout").copied().unwrap_or(STOP_TIMEOUT),
        log: operands.next().map(|text| LogArgument { text, index: first_operand + 1 }),
    })
}

/// The name of the option that takes a value.
const STOP_TIMEOUT_NAME: &str = "stop-timeout";

/// The arguments, with the value of `--stop-timeout` attached to it: to who looks for the first operand as getopt(3) does,
/// it would be one.
fn attached(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let option = format!("--{STOP_TIMEOUT_NAME}");
    let mut arguments = arguments;
    let mut attached: Vec<OsString> = arguments.next().into_iter().collect();
    while let Some(mut argument) = arguments.next() {
        let is_operand =
            !argument.as_encoded_bytes().starts_with(b"-") || argument == "--" || argument == "-";
        if argument == option.as_str()
            && let Some(value) = arguments.next()
        {
            argument.push("=");
            argument.push(value);
        }
        attached.push(argument);
        if is_operand {
            break;
        }
    }
    attached.extend(arguments);
    attached
}

/// A decimal number of seconds, as `9` or `8.5`; none if it is another text, or a century and more.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_long = || text.parse::<f64>().map_or(true, |seconds| seconds >= 3.2e9);
    if !is_number(whole) || !is_number(fraction) || is_long() {
        return None;
    }
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
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
        let plain = Request {
            directory: "/service".into(),
            new_sessions: false,
            init: false,
            stop_timeout: STOP_TIMEOUT,
            log: None,
        };
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
    fn the_time_to_stop_is_a_number_of_seconds() {
        let stop_timeout = |arguments: &[&str]| request_of(arguments).map(|request| request.stop_timeout);
        for (text, milliseconds) in [("9", 9000), ("8.5", 8500), ("0", 0), ("0.25", 250), ("28", 28_000)] {
            let expected = Ok(Duration::from_millis(milliseconds));
            assert_eq!(stop_timeout(&["runsvdir", "--init", "--stop-timeout", text, "dir"]), expected);
            assert_eq!(stop_timeout(&["runsvdir", &format!("--stop-timeout={text}"), "-P", "dir"]), expected);
        }
        for text in ["", "-1", "+1", "1e3", "x", "1.", ".5", "1.5.2", " 1", "inf", "NaN", "99999999999"] {
            assert_eq!(
                stop_timeout(&["runsvdir", "--stop-timeout", text, "dir"]),
                Err(ExitCode::from(1)),
                "{text}"
            );
        }
        assert_eq!(stop_timeout(&["runsvdir", "--stop-timeout"]), Err(ExitCode::from(1)));
    }

    #[test]
    fn the_log_is_found_behind_every_option() {
        let request =
            request_of(&["runsvdir", "-P", "--stop-timeout", "8.5", "--init", "dir", "log: ......"]).unwrap();
        assert!(request.init && request.new_sessions);
        assert_eq!(request.log.map(|log| log.index), Some(6));
        // What follows the directory is no option.
        let request = request_of(&["runsvdir", "dir", "--stop-timeout", "8"]).unwrap();
        assert_eq!((request.stop_timeout, request.log.unwrap().index), (STOP_TIMEOUT, 2));
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
