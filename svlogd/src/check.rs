//! `svlogd --check DIR…`: what is wrong with the configs of log directories, one line each on standard output.
//!
//! ```text
//! DIR/config:LINE:COLUMN: WHY: TEXT
//! ```
//!
//! Lines and columns, in bytes, count from one. Nothing is locked or changed: svlogd may be running.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::ExitCode;

use nix::errno::Errno;
use svlib::diag::{Message, one_line};
use svlib::error::{errno, reason};

use crate::config_file;
use crate::directory::Directory;
use crate::filter::Filter;
use crate::report::{InDirectory, Report};

/// At least one line of a config is not what its writer meant.
const FOUND: u8 = 1;

/// A directory or its config could not be read, or the findings not be written.
const FAILED: u8 = 111;

/// Checks the configs; the exit code is 0 if nothing is wrong, 1 after findings, 111 after a failure.
pub fn run(directories: &[OsString], report: &Report) -> ExitCode {
    let (mut found, mut failed) = (false, false);
    for name in directories {
        match findings(name) {
            Ok(lines) => {
                found |= !lines.is_empty();
                if let Err(error) = io::stdout().write_all(&lines) {
                    // Who reads no further has seen enough.
                    if error.kind() != io::ErrorKind::BrokenPipe {
                        report.fatal(&("unable to write to standard output: ", reason(errno(&error))));
                    }
                    return ExitCode::from(FAILED);
                }
            }
            Err(errno) => {
                failed = true;
                report.failure("unable to read config", &name.as_os_str(), errno);
            }
        }
    }
    match (failed, found) {
        (true, _) => ExitCode::from(FAILED),
        (false, true) => ExitCode::from(FOUND),
        (false, false) => ExitCode::SUCCESS,
    }
}

fn findings(name: &OsStr) -> nix::Result<Vec<u8>> {
    let directory = Directory::open(name)?;
    let text = match config_file::read(&directory) {
        Err(Errno::ENXIO) => {
            let mut finding = Vec::new();
            (name, ": ", &config_file::reason(Errno::ENXIO)).append_to(&mut finding);
            return Ok(one_line(&finding).to_vec());
        }
        text => text?.unwrap_or_default(),
    };
    let (config, mut findings) = config_file::check(name, &text);
    if let Err(error) = Filter::new(config.rules) {
        let mut finding = Vec::new();
        let file = InDirectory(name, config_file::NAME);
        (file, ": unable to compile expressions: ", &error.to_string()).append_to(&mut finding);
        findings.push(finding);
    }
    Ok(findings.iter().flat_map(|finding| one_line(finding)).collect())
}
