//! One way of logging, said for each program.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use svkit_tests::Sandbox;

use crate::contender::{Contender, Who};

/// What a logger is asked to do. A program that cannot do it has `None`.
pub(crate) struct Logging {
    /// The options of svlogd.
    pub(crate) options: &'static [&'static str],
    /// The lines of `config`, of our svlogd.
    pub(crate) svkit: &'static [&'static str],
    /// The lines of `config`, of runit's svlogd.
    pub(crate) runit: Option<&'static [&'static str]>,
    /// The directives of s6-log.
    pub(crate) s6: Option<&'static [&'static str]>,
    /// Whether `cat > file` is the floor.
    pub(crate) floor: bool,
}

/// When files are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// svlogd's defaults, for all: at 1,000,000 bytes, and 10 old files are kept.
    Usual,
    /// On ALRM only.
    OnAlarm,
}

/// The lines as they come.
pub(crate) const PLAIN: Logging =
    Logging { options: &[], svkit: &[], runit: Some(&[]), s6: Some(&[]), floor: true };

/// Each line with the time, in calendar form.
pub(crate) const STAMPED: Logging =
    Logging { options: &["-ttt"], svkit: &[], runit: Some(&[]), s6: Some(&["T"]), floor: true };

const PATTERNS: &[&str] = &["-*\"GET /health*", "-*\"*\"*\"*\" \"curl/*", "-*\"*\" 404 *", "+*\"POST *"];

/// Each line against four patterns of runit's.
pub(crate) const FOUR_PATTERNS: Logging = Logging {
    options: &[],
    svkit: PATTERNS,
    runit: Some(PATTERNS),
    s6: Some(&[
        "-^[^\"]*\"GET /health",
        "-^[^\"]*\"[^\"]*\"[^\"]*\"[^\"]*\" \"curl/",
        "-^[^\"]*\"[^\"]*\" 404 ",
        "+^[^\"]*\"POST ",
    ]),
    floor: true,
};

/// Each line against ten regular expressions, which mean the same to the regex crate and as POSIX's extended ones.
pub(crate) const TEN_EXPRESSIONS: Logging = Logging {
    options: &[],
    svkit: &[
        "drop \"(GET|HEAD) /health ",
        "drop ^10\\.4\\.(1?[0-9])\\.",
        "drop \" 304 [0-9]+ ",
        "drop /static/[a-z]+\\.[0-9a-f]{4}\\.css",
        "drop \"curl/[0-9]+(\\.[0-9]+)*\"",
        "drop \" 0\\.0[0-9]{2}$",
        "keep \" (404|5[0-9]{2}) ",
        "keep \"(POST|PUT) /api/v[0-9]+/",
        "drop /search HTTP/1\\.[01]\" 404 ",
        "keep \" [1-9]00 [1-9][0-9]{4,} \"-\"",
    ],
    runit: None,
    s6: Some(&[
        "-\"(GET|HEAD) /health ",
        "-^10\\.4\\.(1?[0-9])\\.",
        "-\" 304 [0-9]+ ",
        "-/static/[a-z]+\\.[0-9a-f]{4}\\.css",
        "-\"curl/[0-9]+(\\.[0-9]+)*\"",
        "-\" 0\\.0[0-9]{2}$",
        "+\" (404|5[0-9]{2}) ",
        "+\"(POST|PUT) /api/v[0-9]+/",
        "-/search HTTP/1\\.[01]\" 404 ",
        "+\" [1-9]00 [1-9][0-9]{4,} \"-\"",
    ]),
    floor: true,
};

/// Each line as an object.
pub(crate) const JSON: Logging =
    Logging { options: &[], svkit: &["format json"], runit: None, s6: None, floor: false };

/// Each line is also for a server that nobody has started: what waits for it is as much as ever waits.
pub(crate) const FORWARD: Logging = Logging {
    options: &[],
    svkit: &["forward syslog+tcp://127.0.0.1:1 local0.info bench"],
    runit: None,
    s6: None,
    floor: false,
};

impl Logging {
    /// Whether this program can do it.
    pub(crate) fn is_for(&self, who: Who) -> bool {
        match who {
            Who::Svkit => true,
            Who::Runit => self.runit.is_some(),
            Who::S6 => self.s6.is_some(),
            Who::Floor => self.floor,
        }
    }

    /// Those who can do it, each with a sandbox.
    pub(crate) fn contenders(&self, all: &[Contender]) -> Vec<(Who, (Who, Sandbox))> {
        let able = all.iter().filter(|contender| self.is_for(contender.who));
        able.map(|contender| (contender.who, (contender.who, contender.sandbox()))).collect()
    }

    /// The logger, with a pipe for its standard input, logging to the empty directory `dir`.
    pub(crate) fn command(&self, sandbox: &Sandbox, who: Who, rotation: Rotation, dir: &Path) -> Command {
        let (program, arguments) = self.arguments(who, rotation);
        let mut command = sandbox.command(program);
        command.args(arguments).stdin(Stdio::piped());
        if who == Who::Floor {
            command.stdout(File::create(dir.join("file")).expect("a fresh directory takes entries"));
        } else {
            command.arg(dir);
        }
        if let Some(lines) = self.config(who, rotation).filter(|lines| !lines.is_empty()) {
            fs::write(dir.join("config"), lines.join("\n") + "\n").expect("a fresh directory takes entries");
        }
        command
    }

    /// What [`command`](Self::command) runs, for people: of each contender that takes part.
    pub(crate) fn descriptions(&self, rotation: Rotation, all: &[Contender]) -> Vec<String> {
        let able = all.iter().filter(|contender| self.is_for(contender.who));
        able.map(|contender| self.description(contender.who, rotation)).collect()
    }

    fn description(&self, who: Who, rotation: Rotation) -> String {
        let (program, arguments) = self.arguments(who, rotation);
        let place = if who == Who::Floor { "> file" } else { "DIR" };
        let quoted = arguments.iter().map(|argument| match argument.contains([' ', '*', '(', '|']) {
            true => format!("'{argument}'"),
            false => (*argument).to_owned(),
        });
        let words: Vec<String> = [program.to_owned()].into_iter().chain(quoted).collect();
        let config = self.config(who, rotation).unwrap_or_default();
        let config =
            if config.is_empty() { String::new() } else { format!("; config: {}", config.join(" ⏎ ")) };
        format!("{}: {} {place}{config}", who.name(), words.join(" "))
    }

    fn arguments(&self, who: Who, rotation: Rotation) -> (&'static str, Vec<&'static str>) {
        match who {
            Who::Svkit => ("svlogd", self.options.to_vec()),
            // Its default is a buffer of 1 KiB.
            Who::Runit => ("svlogd", [&["-b", "65536"], self.options].concat()),
            Who::S6 => {
                // It cannot do without a size: this is the largest.
                let size = if rotation == Rotation::Usual { "s1000000" } else { "s268435455" };
                ("s6-log", [&["--"], self.s6.unwrap_or_default(), &["n10", size]].concat())
            }
            Who::Floor => ("cat", Vec::new()),
        }
    }

    /// The lines of svlogd's `config`.
    fn config(&self, who: Who, rotation: Rotation) -> Option<Vec<&'static str>> {
        let lines = match who {
            Who::Svkit => self.svkit,
            Who::Runit => self.runit?,
            Who::S6 | Who::Floor => return None,
        };
        let size: &[_] = if rotation == Rotation::Usual { &[] } else { &["s0"] };
        Some([size, lines].concat())
    }
}
