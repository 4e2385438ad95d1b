//! The command line.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, Command, value_parser};
use svlib::cli::{self, Usage};

use crate::verb::{Verb, parse_seconds, patience};

/// What one call of the program asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub verb: Verb,
    /// The services to do it to, at least one.
    pub services: Vec<OsString>,
    /// Whether to wait for commands to take effect, even where the verb does not.
    pub waits: bool,
    /// How long to wait at most, if that was said.
    pub patience: Option<Duration>,
    /// Whether the status is to be a JSON object.
    pub json: bool,
    /// Whether this is an LSB init script, named after its only service.
    pub lsb: bool,
}

/// The options and operands; `--help`, the man page and the completions are made from it.
pub fn command() -> Command {
    cli::command("sv", "Controls and reports services monitored by runsv")
        .override_usage("sv [-v] [-w SEC] COMMAND SERVICE...\n       sv --json status SERVICE...\n       /etc/init.d/SERVICE [-w SEC] COMMAND")
        .arg(
            Arg::new("verbose")
                .short('v')
                .action(ArgAction::SetTrue)
                .help("Wait until the command has taken effect, then report the status"),
        )
        .arg(
            Arg::new("wait")
                .short('w')
                .value_name("sec")
                .value_parser(value_parser!(OsString))
                .help("Wait for this many seconds at most, not 7; implies -v"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print the status as a JSON object a line"),
        )
        .arg(
            Arg::new("usage")
                .short('V')
                .action(ArgAction::SetTrue)
                .help("Print the version and the usage on standard error, and fail"),
        )
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .value_parser(value_parser!(OsString))
                .help("What to do; of most commands only the first letter counts"),
        )
        .arg(
            Arg::new("services")
                .value_name("SERVICE")
                .num_args(0..)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString))
                .help("A service directory, or the name of one in the services directory"),
        )
}

/// Reads the arguments, the program's name first; `sv_wait` is the value of `SVWAIT`.
///
/// # Errors
/// The exit code with which the program ends: after `--help` and `--version`, and after a wrong usage, which has been
/// reported.
pub fn request(
    mut arguments: impl Iterator<Item = OsString>,
    sv_wait: Option<&OsStr>,
) -> Result<Request, ExitCode> {
    let program = arguments.next().unwrap_or_default();
    let name = base_name(&program);
    let lsb = name != "sv";
    let script = name.to_string_lossy();
    let script_usage = format!("usage: {script} [-w sec] command\n\n");
    let usage = if lsb {
        Usage { program: &script, text: &script_usage, code: 2 }
    } else {
        Usage { program: "sv", text: "usage: sv [-v] [-w sec] command service ...\n\n", code: 100 }
    };
    let mut matches = cli::parse(command(), &usage, [program.clone()].into_iter().chain(arguments))?;
    if matches.get_flag("usage") {
        return Err(usage.version());
    }
    let word: OsString = matches.remove_one("command").ok_or_else(|| usage.show())?;
    let operands = matches.remove_many("services").into_iter().flatten();
    let services: Vec<OsString> = if lsb { vec![name.into()] } else { operands.collect() };
    let json = matches.get_flag("json");
    let verb =
        Verb::parse(word.as_bytes(), lsb).filter(|_| !services.is_empty()).ok_or_else(|| usage.show())?;
    if json && verb != Verb::Status {
        return Err(usage.refuse(&"--json is for the command status"));
    }
    let option: Option<OsString> = matches.remove_one("wait");
    let seconds = option.as_deref().or(sv_wait).map(|text| parse_seconds(text.as_bytes()));
    Ok(Request {
        verb,
        services,
        waits: matches.get_flag("verbose") || option.is_some(),
        patience: seconds.map(patience),
        json,
        lsb,
    })
}

/// What follows the last slash.
fn base_name(program: &OsStr) -> &OsStr {
    let bytes = program.as_bytes();
    let start = bytes.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    OsStr::from_bytes(&bytes[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, sv_wait: Option<&str>) -> Result<Request, ExitCode> {
        request(line.split(' ').map(OsString::from), sv_wait.map(OsStr::new))
    }

    #[test]
    fn definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn requests() {
        let request = read("/usr/bin/sv -v u a -w b", None).unwrap();
        assert_eq!(request.services, ["a", "-w", "b"]);
        assert!(request.waits && !request.lsb);
        assert_eq!(request.patience, None);
        let request = read("sv status a", None).unwrap();
        assert!(!request.waits);
        assert_eq!(request.verb, Verb::Status);
    }

    #[test]
    fn an_init_script_is_its_service() {
        let request = read("/etc/init.d/web -w3 start ignored", None).unwrap();
        assert_eq!(request.services, ["web"]);
        assert!(request.lsb && request.waits);
        assert_eq!(request.patience, Some(patience(3)));
    }

    #[test]
    fn the_option_overrides_the_environment() {
        for (line, sv_wait, seconds, waits) in [
            ("sv u a", Some("3"), 3, false),
            ("sv -w 5 u a", Some("3"), 5, true),
            ("sv -w 5 -w 6 u a", Some("3"), 6, true),
            ("sv -wx u a", Some("3"), 0, true),
            ("sv u a", Some(""), 0, false),
        ] {
            let request = read(line, sv_wait).unwrap();
            assert_eq!((request.patience, request.waits), (Some(patience(seconds)), waits), "{line}");
        }
    }

    #[test]
    fn only_a_status_is_json() {
        for (line, json) in [
            ("sv --json status a b", true),
            ("sv --json s a", true),
            ("sv status a --json", false),
            ("sv status a", false),
        ] {
            assert_eq!(read(line, None).unwrap().json, json, "{line}");
        }
        assert!(read("/etc/init.d/web --json status", None).unwrap().json);
    }

    #[test]
    fn wrong_usage() {
        for (line, code) in [
            ("sv", 100),
            ("sv u", 100),
            ("sv r a", 100),
            ("sv -x u a", 100),
            ("sv --json", 100),
            ("sv --json status", 100),
            ("sv --json check a", 100),
            ("sv --json u a", 100),
            ("sv --jso status a", 100),
            ("web --json start", 2),
            ("sv -w", 100),
            ("sv -V u a", 100),
            ("web", 2),
            ("web s", 2),
            ("./web -V", 2),
        ] {
            assert_eq!(read(line, None), Err(ExitCode::from(code)), "{line}");
        }
    }
}
