//! The command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use svlib::cli::{self, Usage};

use crate::format::Style;
use crate::split::{Replacement, Splitter};

/// What a command line that cannot be used is answered with.
pub const USAGE: Usage<'_> = Usage {
    program: "svlogd",
    text: "usage: svlogd [-ttv] [-r c] [-R abc] [-l len] [-b buflen] dir ...\n\n",
    code: 111,
};

const DEFAULT_LINE_LIMIT: usize = 1000;
const DEFAULT_BUFFER_SIZE: usize = 1024;

/// What is asked for.
pub enum Task {
    /// Writing a log.
    Log(Request),
    /// `--check` of these log directories.
    Check(Vec<OsString>),
    /// `--explain`
    Explain {
        /// Whose config.
        directory: OsString,
        /// Makes lines of standard input.
        splitter: Splitter,
    },
}

/// How a log is written.
pub struct Request {
    /// The log directories.
    pub directories: Vec<OsString>,
    /// `-t`, `-tt`, `-ttt`.
    pub style: Option<Style>,
    /// `-r` and `-R`.
    pub replacement: Option<Replacement>,
    /// `-l`, in bytes, not zero.
    pub line_limit: usize,
    /// `-b`, in bytes, more than `line_limit`.
    pub buffer_size: usize,
    /// `-v`.
    pub verbose: bool,
}

/// The options and operands; `--help`, the man page and the completions are made from it.
pub fn command() -> Command {
    let value = |name: &'static str, short: char, placeholder: &'static str| {
        Arg::new(name).short(short).value_name(placeholder).value_parser(value_parser!(OsString))
    };
    cli::command("svlogd", "Writes standard input to automatically rotated, filtered log directories")
        .arg(Arg::new("timestamp").short('t').action(ArgAction::Count).help(
            "Put a time stamp before each line: TAI64N; -tt: YYYY-MM-DD_HH:MM:SS.xxxxx; -ttt: YYYY-MM-DDTHH:MM:SS.xxxxx",
        ))
        .arg(value("replace", 'r', "c").help("Replace non-printable characters by c"))
        .arg(value("charset", 'R', "xyz").help("Replace the characters x, y and z too, by c or an underscore"))
        .arg(value("length", 'l', "len").help("Match patterns against the first len characters of a line [1000]"))
        .arg(value("buffer", 'b', "buflen").help("Size of the read buffer, more than len; small ones are enlarged [1024]"))
        .arg(Arg::new("verbose").short('v').action(ArgAction::Count).help("Tell what is done on standard error"))
        .arg(Arg::new("show-version").short('V').action(ArgAction::SetTrue).help("Print the version and the usage"))
        .arg(
            Arg::new("check")
                .long("check")
                .action(ArgAction::SetTrue)
                .help("Say what is wrong with the configs of the log directories, and exit"),
        )
        .arg(
            Arg::new("explain")
                .long("explain")
                .action(ArgAction::SetTrue)
                .conflicts_with("check")
                .help("Say which rule of the log directory decides about each line of standard input"),
        )
        .arg(
            Arg::new("directories")
                .value_name("dir")
                .num_args(0..)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString))
                .help("Log directories"),
        )
}

/// Reads the command line.
///
/// # Errors
/// The exit code with which svlogd ends, after the usage or `--help` was printed.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Task, ExitCode> {
    let matches = cli::parse(command(), &USAGE, arguments)?;
    if matches.get_flag("show-version") {
        return Err(USAGE.version());
    }
    task(&matches).map_err(|wrong| USAGE.refuse(&wrong))
}

fn task(matches: &ArgMatches) -> Result<Task, &'static str> {
    let request = request(matches)?;
    if matches.get_flag("check") {
        return Ok(Task::Check(request.directories));
    }
    if !matches.get_flag("explain") {
        return Ok(Task::Log(request));
    }
    let splitter = Splitter::new(request.line_limit, request.replacement);
    match <[OsString; 1]>::try_from(request.directories) {
        Ok([directory]) => Ok(Task::Explain { directory, splitter }),
        Err(_) => Err("--explain takes one log directory"),
    }
}

fn request(matches: &ArgMatches) -> Result<Request, &'static str> {
    let bytes = |name| matches.get_one::<OsString>(name).map(|value| value.as_bytes());
    let line_limit = scan_size(bytes("length"), DEFAULT_LINE_LIMIT).ok_or("len is out of range")?;
    let buffer_size = scan_size(bytes("buffer"), DEFAULT_BUFFER_SIZE).ok_or("buflen is out of range")?;
    let replace = match bytes("replace") {
        None => None,
        Some(&[byte]) => Some(byte),
        Some(_) => return Err("c must be a single character"),
    };
    let charset = bytes("charset");
    let directories: Vec<OsString> = matches.get_many("directories").unwrap_or_default().cloned().collect();
    if directories.is_empty() {
        return Err("no log directory is given");
    }
    if buffer_size <= line_limit {
        return Err("buflen must be greater than len");
    }
    Ok(Request {
        directories,
        style: match matches.get_count("timestamp") {
            0 => None,
            1 => Some(Style::Tai64n),
            2 => Some(Style::Calendar),
            _ => Some(Style::Iso),
        },
        replacement: (replace.is_some() || charset.is_some())
            .then(|| Replacement::new(replace.unwrap_or(b'_'), charset.unwrap_or_default())),
        line_limit,
        buffer_size,
        verbose: matches.get_count("verbose") > 0,
    })
}

/// The digits at the beginning; zero and no number mean the default, as in runit. `None` if no size is that large.
fn scan_size(value: Option<&[u8]>, default: usize) -> Option<usize> {
    let Some(value) = value else { return Some(default) };
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
    let size = digits.map(|digit| usize::from(digit - b'0')).try_fold(0_usize, |size, digit| {
        size.checked_mul(10)?.checked_add(digit).filter(|&size| isize::try_from(size).is_ok())
    })?;
    Some(if size == 0 { default } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_task(arguments: &[&str]) -> Result<Task, ExitCode> {
        parse(["svlogd"].iter().chain(arguments).map(OsString::from))
    }

    fn read(arguments: &[&str]) -> Result<Request, ExitCode> {
        read_task(arguments).map(|task| match task {
            Task::Log(request) => request,
            Task::Check(_) | Task::Explain { .. } => panic!("{arguments:?} writes a log"),
        })
    }

    #[test]
    fn configs_are_checked_and_explained() {
        let task = read_task(&["--check", "a", "b"]).ok().unwrap();
        assert!(matches!(task, Task::Check(directories) if directories == ["a", "b"]));
        let task = read_task(&["-l", "20", "--explain", "a"]).ok().unwrap();
        assert!(matches!(task, Task::Explain { directory, .. } if directory == "a"));
    }

    #[test]
    fn defaults() {
        let request = read(&["main"]).ok().unwrap();
        assert_eq!(request.directories, ["main"]);
        assert_eq!((request.line_limit, request.buffer_size, request.verbose), (1000, 1024, false));
        assert!(request.style.is_none() && request.replacement.is_none());
    }

    #[test]
    fn stamps_are_counted_to_three() {
        for (argument, style) in
            [("-t", Style::Tai64n), ("-tt", Style::Calendar), ("-ttt", Style::Iso), ("-tttt", Style::Iso)]
        {
            assert_eq!(read(&[argument, "a", "b"]).ok().unwrap().style, Some(style));
        }
    }

    #[test]
    fn sizes_are_read_as_runit_reads_them() {
        let request = read(&["-l", "0", "-b2k", "a"]).ok();
        assert!(request.is_none(), "2 is not more than 1000");
        let request = read(&["-l", "x", "-b65536", "a"]).ok().unwrap();
        assert_eq!((request.line_limit, request.buffer_size), (1000, 65536));
        assert_eq!(read(&["-l20", "-b", "21", "a"]).ok().unwrap().line_limit, 20);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for arguments in [
            &[] as &[&str],
            &["-v"],
            &["-l", "1024", "a"],
            &["-b", "1000", "a"],
            &["-l", "99999999999999999999999", "a"],
            &["-b", "18446744073709551615", "a"],
            &["-r", "", "a"],
            &["-r", "ab", "a"],
            &["-x", "a"],
            &["-V", "a"],
            &["--check"],
            &["--explain"],
            &["--explain", "a", "b"],
            &["--check", "--explain", "a"],
        ] {
            assert_eq!(read(arguments).err(), Some(ExitCode::from(111)), "{arguments:?}");
        }
    }
}
