//! The file `config` of a log directory.

use std::fs::File;
use std::io::Read;

use nix::errno::Errno;
use svlib::error::errno;

use crate::config::Config;
use crate::directory::Directory;
use crate::report::{InDirectory, Report};

/// The name of the file.
pub const NAME: &str = "config";

/// The bytes of the file; `None` if there is none.
///
/// # Errors
/// What open(2) and read(2) report.
pub fn read(directory: &Directory) -> nix::Result<Option<Vec<u8>>> {
    let fd = match directory.open_read(NAME) {
        Err(Errno::ENOENT) => return Ok(None),
        fd => fd?,
    };
    let mut text = Vec::new();
    File::from(fd).read_to_end(&mut text).map_err(|error| errno(&error))?;
    Ok(Some(text))
}

/// The settings in `text`; says what is wrong with it.
pub fn parse(directory: &Directory, text: &[u8], report: &Report) -> Config {
    let (config, diagnoses) = Config::parse(text);
    for found in diagnoses {
        let (line, problem) = (found.line.to_string(), found.problem.to_string());
        let place = (InDirectory(directory.name(), NAME), ":", &line);
        report.warning(&(place, ": ", &problem, ": ", &found.text));
    }
    for word in config.without_effect() {
        report.warning(&(InDirectory(directory.name(), NAME), ": not supported by this version: ", word));
    }
    config
}
