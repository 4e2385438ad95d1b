//! The name of the service whose log this is: `service` of a JSON line.
//!
//! svlogd runs in the directory of the log service, `…/NAME/log`, as runsv starts it; elsewhere the working directory
//! itself has the name. A link that led there counts for nothing: the kernel knows the directory it leads to.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What the service is called if the working directory has no name.
const NAMELESS: &[u8] = b"svlogd";

/// The name that goes with a working directory.
pub fn name(working_directory: &Path) -> &[u8] {
    let directory = match working_directory.parent() {
        Some(parent) if working_directory.ends_with("log") => parent,
        _ => working_directory,
    };
    directory.file_name().map_or(NAMELESS, OsStrExt::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (directory, expected) in [
            ("/etc/sv/httpd/log", "httpd"),
            ("/var/log/httpd", "httpd"),
            ("/srv/a b/log/", "a b"),
            ("/srv/catalog", "catalog"),
            ("/log", "svlogd"),
            ("/", "svlogd"),
        ] {
            assert_eq!(name(Path::new(directory)), expected.as_bytes(), "{directory}");
        }
    }
}
