//! The file `config` of a log directory.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};
use svlib::diag::Message;
use svlib::error::errno;

use crate::config::Config;
use crate::directory::Directory;
use crate::report::{InDirectory, Report};

/// The name of the file.
pub const NAME: &str = "config";

/// The bytes of the file; `None` if there is none.
///
/// # Errors
/// What open(2) and read(2) report; ENXIO, as open(2) does of a socket, if it is a fifo or a device: what is read of one
/// need not be what it says, nor end.
pub fn read(directory: &Directory) -> nix::Result<Option<Vec<u8>>> {
    let fd = match directory.open_read(NAME) {
        Err(Errno::ENOENT) => return Ok(None),
        fd => fd?,
    };
    let kind = SFlag::from_bits_truncate(fstat(&fd)?.st_mode & SFlag::S_IFMT.bits());
    if ![SFlag::S_IFREG, SFlag::S_IFDIR].contains(&kind) {
        return Err(Errno::ENXIO);
    }
    let mut text = Vec::new();
    File::from(fd).read_to_end(&mut text).map_err(|error| errno(&error))?;
    Ok(Some(text))
}

/// Why the file could not be read, in words.
pub fn reason(errno: Errno) -> String {
    if errno == Errno::ENXIO { "config is no regular file".into() } else { svlib::error::reason(errno) }
}

/// The settings in `text`; says what is wrong with it.
pub fn parse(directory: &Directory, text: &[u8], report: &Report) -> Config {
    let (config, findings) = check(directory.name(), text);
    findings.iter().for_each(|finding| report.warning(finding));
    config
}

/// The settings in `text`, the config of the directory `name`, and what is wrong with it:
/// `DIR/config:LINE:COLUMN: WHY: TEXT`.
pub fn check(name: &OsStr, text: &[u8]) -> (Config, Vec<Vec<u8>>) {
    let (config, diagnoses) = Config::parse(text);
    let finding = |separator: &str, message: &[u8]| {
        let mut line = Vec::new();
        (InDirectory(name, NAME), separator, message).append_to(&mut line);
        line
    };
    let findings = diagnoses.iter().map(|found| finding(":", &found.message())).collect();
    (config, findings)
}
