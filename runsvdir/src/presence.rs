//! Whether somebody supervises a service already: a runsv outlives the runsvdir that started it if that is killed.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use svlib::error::{self, is_shortage};
use svlib::record::{BadRecord, ProcessId, RECORD_LENGTH, Record};
use svlib::sys::pidfd::{Found, Pidfd};
use svlib::sys::{fifo, process};
use svlib::{Context as _, Result, paths};

/// How often a record is read that is just being written.
const TRIES: usize = 20;

/// Who is there.
#[derive(Debug)]
pub enum Presence {
    /// Nobody.
    Nobody,
    /// The runsv that the record names, and proves to be.
    Runsv(ProcessId, Pidfd),
    /// Somebody that cannot be told from another process.
    Unproven,
}

/// Looks who supervises the service in `directory`.
///
/// # Errors
///
/// No descriptor or no memory is left to find out.
pub fn look(directory: &Path) -> Result<Presence> {
    let ok = directory.join(paths::OK);
    match fifo::open_write(&ok) {
        Ok(_) => {}
        Err(error) if is_shortage(error.errno) => return Err(error),
        // ENXIO and ENOENT: nobody. What else is wrong there is for the runsv to say that is started.
        Err(_) => return Ok(Presence::Nobody),
    }
    let path = directory.join(paths::RECORD);
    let Some(supervisor) = recorded(&path)? else { return Ok(Presence::Unproven) };
    match Pidfd::find(supervisor) {
        Ok(Found::Alive(pidfd)) => Ok(Presence::Runsv(supervisor, pidfd)),
        Ok(Found::Gone | Found::Unproven(_)) => Ok(Presence::Unproven),
        Err(errno) if is_shortage(errno) => Err(errno).during("look for runsv"),
        Err(_) => Ok(Presence::Unproven),
    }
}

/// The runsv of this boot that a record names, if it was written by root or by who we are.
fn recorded(path: &Path) -> Result<Option<ProcessId>> {
    let mut record = Err(BadRecord::Torn);
    for _ in 0..TRIES {
        // Not to wait for a writer should it be a fifo.
        let mut options = OpenOptions::new();
        let file = match options.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path) {
            Ok(file) => file,
            Err(error) if is_shortage(error::errno(&error)) => return Err(error).on("read", path),
            Err(_) => return Ok(None),
        };
        let is_ours = |owner| owner == 0 || owner == geteuid().as_raw();
        if !file.metadata().is_ok_and(|metadata| is_ours(metadata.uid())) {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(RECORD_LENGTH);
        if file.take(RECORD_LENGTH as u64).read_to_end(&mut bytes).is_err() {
            return Ok(None);
        }
        record = Record::decode(&bytes);
        if record != Err(BadRecord::Torn) {
            break;
        }
    }
    let boot = process::boot_id()?;
    Ok(record
        .ok()
        .filter(|record| !boot.is_empty() && record.boot == boot)
        .and_then(|record| record.supervisor))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::OwnedFd;

    use svlib::sys::process::own_identity;

    use super::*;

    /// A service directory with somebody in it.
    fn occupied(directory: &Path) -> OwnedFd {
        fs::create_dir(directory.join(paths::SUPERVISE)).unwrap();
        fifo::make(&directory.join(paths::OK), 0o600).unwrap();
        fifo::open_read(&directory.join(paths::OK)).unwrap()
    }

    #[test]
    fn nobody_is_where_the_fifo_has_no_reader() {
        let root = tempfile::tempdir().unwrap();
        let found = || look(root.path()).unwrap();
        assert!(matches!(found(), Presence::Nobody));
        drop(occupied(root.path()));
        assert!(matches!(found(), Presence::Nobody));
        assert!(matches!(look(Path::new("/no/such/directory")).unwrap(), Presence::Nobody));
    }

    #[test]
    fn a_runsv_is_whom_the_record_names() {
        let root = tempfile::tempdir().unwrap();
        let _reader = occupied(root.path());
        let found = |record: Record| {
            fs::write(root.path().join(paths::RECORD), Record::file(&record.lines(), 1)).unwrap();
            look(root.path()).unwrap()
        };
        let own = own_identity();
        let record = Record { boot: process::boot_id().unwrap(), supervisor: Some(own), ..Record::default() };
        assert!(matches!(found(record.clone()), Presence::Runsv(..)));
        let later = ProcessId { start: own.start + 1, ..own };
        let others = [
            Record { supervisor: None, ..record.clone() },
            Record { boot: String::new(), ..record.clone() },
            Record { boot: "another".into(), ..record.clone() },
            Record { supervisor: Some(later), ..record },
        ];
        for record in others {
            let text = record.lines();
            assert!(matches!(found(record), Presence::Unproven), "{text}");
        }
    }

    #[test]
    fn what_is_no_record_proves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let _reader = occupied(root.path());
        let path = root.path().join(paths::RECORD);
        assert!(matches!(look(root.path()).unwrap(), Presence::Unproven), "none");
        fs::write(&path, "seq=1\nversion=1\nend=2\n").unwrap();
        assert!(matches!(look(root.path()).unwrap(), Presence::Unproven), "torn for ever");
        fs::remove_file(&path).unwrap();
        fifo::make(&path, 0o600).unwrap();
        assert!(matches!(look(root.path()).unwrap(), Presence::Unproven), "a fifo");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(look(root.path()).unwrap(), Presence::Unproven), "a directory");
    }
}
