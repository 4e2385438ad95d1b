//! Talks to one supervise directory.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::Pid;
use svlib::command::{Command, REEXEC};
use svlib::error::{errno, reason};
use svlib::paths;
use svlib::record::{ProcessId, RECORD_LENGTH};
use svlib::status::{self, Status};
use svlib::sys::{fd, fifo, process};

use crate::report::Trouble;
use crate::seen::{Recorded, Seen};
use crate::timeout;

/// How often, and how long apart, status and record are read again until they are of the same moment. runsv is between the
/// two for microseconds, unless the machine is busy. On a full disk they disagree until there is room, perhaps those of every
/// service: so this is for all services of a command together.
const RETRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(2);

/// How often a command may still read again what is being rewritten.
#[derive(Debug)]
pub struct Retries(u32);

impl Default for Retries {
    fn default() -> Self {
        Self(RETRIES)
    }
}

/// A service directory, and the name it was called by.
#[derive(Debug)]
pub struct Service {
    name: Vec<u8>,
    directory: PathBuf,
}

impl Service {
    /// The service called `name`: a path if it starts with a dot or slash or ends with a slash, otherwise an entry of
    /// `services`.
    pub fn named(name: &OsStr, services: &Path) -> Self {
        let bytes = name.as_bytes();
        let is_path =
            bytes.is_empty() || bytes.starts_with(b"/") || bytes.starts_with(b".") || bytes.ends_with(b"/");
        let directory = if is_path {
            name.into()
        } else if services.as_os_str().is_empty() {
            // An empty SVDIR is a directory that does not exist, not the current one.
            PathBuf::new()
        } else {
            services.join(name)
        };
        Self { name: bytes.to_vec(), directory }
    }

    /// The log service in the service's directory.
    pub fn log(&self) -> Self {
        Self { name: [&self.name, b"/log".as_slice()].concat(), directory: self.directory.join(paths::LOG) }
    }

    /// The name to print.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The path of a file of the service, `file` being one of [`svlib::paths`].
    pub fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// The service directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Finds out whether the service directory can be entered.
    ///
    /// # Errors
    /// What chdir(2) would say.
    pub fn enter(&self) -> Result<(), Errno> {
        if self.directory.as_os_str().is_empty() {
            return Err(Errno::ENOENT);
        }
        fs::metadata(self.directory.join(".")).map(drop).map_err(|error| errno(&error))
    }

    /// Finds out whether a runsv supervises the service. As long as the descriptor is kept, poll(2) reports an error on it
    /// once that runsv has exited.
    ///
    /// # Errors
    /// [`Trouble::NotRunning`], or why it is not known.
    pub fn runsv(&self) -> Result<OwnedFd, Trouble> {
        self.open_fifo(paths::OK, "unable to open supervise/ok")
    }

    /// The status that runsv has published.
    ///
    /// # Errors
    /// Why it is not known; this does not look whether runsv is there.
    pub fn status(&self) -> Result<Status, Trouble> {
        let unable = |what| move |error: io::Error| Trouble::Unable(what, errno(&error));
        let file = self.open_file(paths::STATUS).map_err(unable("unable to open supervise/status"))?;
        let record =
            read_start(file, status::RECORD_LENGTH).map_err(unable("unable to read supervise/status"))?;
        Status::decode(&record).map_err(|_| Trouble::BadStatus)
    }

    /// The status that runsv has published, and what it has recorded beside it.
    ///
    /// # Errors
    /// Why the status is not known. A record that cannot be read, perhaps for want of permission, is none.
    pub fn see(&self) -> Result<Seen, Trouble> {
        let status = self.status()?;
        let record = self.open_file(paths::RECORD).and_then(|file| read_start(file, RECORD_LENGTH));
        let recorded =
            record.map_or(Recorded::Nothing, |record| Recorded::beside(&status, &record, is_that_process));
        Ok(Seen { status, recorded })
    }

    /// As [`see`](Self::see), and again if status and record are just being rewritten.
    ///
    /// # Errors
    /// Why the status is not known.
    pub fn see_settled(&self, retries: &mut Retries) -> Result<Seen, Trouble> {
        self.see_until(retries, |seen| matches!(seen.recorded, Recorded::Nothing | Recorded::Facts(_)))
    }

    /// As [`see`](Self::see), and again if the record is just being rewritten. The status may be of another moment.
    ///
    /// # Errors
    /// Why the status is not known.
    pub fn see_untorn(&self, retries: &mut Retries) -> Result<Seen, Trouble> {
        self.see_until(retries, |seen| seen.recorded != Recorded::Torn)
    }

    fn see_until(
        &self,
        retries: &mut Retries,
        mut is_enough: impl FnMut(&Seen) -> bool,
    ) -> Result<Seen, Trouble> {
        loop {
            let seen = self.see()?;
            if is_enough(&seen) || retries.0 == 0 {
                return Ok(seen);
            }
            retries.0 -= 1;
            thread::sleep(PAUSE);
        }
    }

    /// The time in the service's [`timeout::FILE`], if there is one.
    ///
    /// # Errors
    /// Why there is none though there is a file: a reason for people.
    pub fn timeout_ready(&self) -> Result<Option<Duration>, String> {
        match self.open_file(timeout::FILE).and_then(|file| read_start(file, timeout::LENGTH)) {
            Ok(text) => timeout::parse(&text).map(Some).ok_or_else(|| "not a number of milliseconds".into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(reason(errno(&error))),
        }
    }

    /// Sends commands, in one write.
    ///
    /// # Errors
    /// [`Trouble::NotRunning`], or why they could not be sent.
    pub fn send(&self, commands: &[Command]) -> Result<(), Trouble> {
        let bytes: Vec<u8> = commands.iter().map(|command| command.byte()).collect();
        self.send_bytes(&bytes)
    }

    /// Tells runsv to become the program file that has its name now.
    ///
    /// # Errors
    /// [`Trouble::NotRunning`], or why it could not be told.
    pub fn send_reexec(&self) -> Result<(), Trouble> {
        self.send_bytes(&[REEXEC])
    }

    /// Whether runsv starts the service by itself: there is no file `down`.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn is_normally_up(&self) -> Result<bool, Errno> {
        match fs::metadata(self.path(paths::DOWN)) {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(errno(&error)),
        }
    }

    fn send_bytes(&self, bytes: &[u8]) -> Result<(), Trouble> {
        let control = self.open_fifo(paths::CONTROL, "unable to open supervise/control")?;
        fd::write_all(&control, bytes)
            .map_err(|error| Trouble::Unable("unable to write to supervise/control", errno(&error)))
    }

    /// Opens a file of the service for reading; not to hang should it be a fifo.
    fn open_file(&self, file: &str) -> io::Result<fs::File> {
        fs::OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(self.path(file))
    }

    /// Opens a fifo that runsv reads, for writing.
    fn open_fifo(&self, file: &str, what: &'static str) -> Result<OwnedFd, Trouble> {
        fifo::open_write(&self.path(file)).map_err(|error| match error.errno {
            Errno::ENXIO => Trouble::NotRunning,
            errno => Trouble::Unable(what, errno),
        })
    }
}

/// The first `length` bytes of a file.
fn read_start(file: fs::File, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether that process is still there, and its number not another's.
fn is_that_process(process: ProcessId) -> bool {
    process::start_time(process.pid) == Some(process.start)
}

/// What a process does, as far as can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It uses the processor, waits for it or for a disk, or has ended without runsv knowing yet (proc(5), states R, D, Z, X).
    Something,
    /// It waits, as the interpreter of a `run` script.
    WaitingAsScript,
    /// It waits. Of a process that cannot be seen nothing else is assumed.
    Waiting,
}

/// What the process of a `run` does.
pub fn doing(pid: Pid) -> Doing {
    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}"));
    if read("stat").is_ok_and(|stat| tells_unsettled(&stat)) {
        Doing::Something
    } else if read("cmdline").is_ok_and(|arguments| tells_script(&arguments)) {
        Doing::WaitingAsScript
    } else {
        Doing::Waiting
    }
}

/// Whether the text of `/proc/PID/cmdline` is that of an interpreter that was given the script `run` (execve(2)).
fn tells_script(arguments: &[u8]) -> bool {
    let mut arguments = arguments.split(|&byte| byte == 0);
    arguments.next().is_some_and(|program| program != b"./run")
        && arguments.any(|argument| argument == b"./run")
}

/// Whether the text of `/proc/PID/stat` tells of an unsettled process.
fn tells_unsettled(stat: &[u8]) -> bool {
    matches!(process::state(stat), Some(b'R' | b'D' | b'Z' | b'X'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_follows_the_name() {
        for (stat, unsettled) in [
            (b"7 (sh) R 1 7" as &[u8], true),
            (b"7 (sh) D 1 7", true),
            (b"7 (sh) Z 1 7", true),
            (b"7 (sh) S 1 7", false),
            (b"7 (a) R b) S 1 7", false),
            (b"7 (sh)", false),
            (b"", false),
        ] {
            assert_eq!(tells_unsettled(stat), unsettled, "{}", stat.escape_ascii());
        }
        assert_eq!(doing(Pid::from_raw(i32::MAX)), Doing::Waiting);
    }

    #[test]
    fn an_interpreter_has_the_script_among_its_arguments() {
        for (arguments, is_script) in [
            (b"/bin/sh\0./run\0" as &[u8], true),
            (b"/bin/sh\0-e\0./run\0", true),
            (b"./run\0", false),
            (b"./run\0./run\0", false),
            (b"sleep\x001000\0", false),
            (b"", false),
        ] {
            assert_eq!(tells_script(arguments), is_script, "{}", arguments.escape_ascii());
        }
    }

    #[test]
    fn a_time_to_become_ready_is_found_or_a_reason() {
        let directory = tempfile::tempdir().unwrap();
        let service = Service::named(directory.path().as_os_str(), Path::new("/"));
        assert_eq!(service.timeout_ready(), Ok(None));
        fs::write(service.path(timeout::FILE), "250\n").unwrap();
        assert_eq!(service.timeout_ready(), Ok(Some(Duration::from_millis(250))));
        fs::write(service.path(timeout::FILE), "soon\n").unwrap();
        assert_eq!(service.timeout_ready(), Err("not a number of milliseconds".into()));
        fs::remove_file(service.path(timeout::FILE)).unwrap();
        fs::create_dir(service.path(timeout::FILE)).unwrap();
        assert_eq!(service.timeout_ready(), Err("Is a directory".into()));
    }

    #[test]
    fn retries_are_for_all_looks_together() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(paths::SUPERVISE)).unwrap();
        let service = Service::named(directory.path().as_os_str(), Path::new("/"));
        fs::write(service.path(paths::STATUS), [0; 20]).unwrap();
        let mut retries = Retries(5);
        // The look that is enough, how many there were, and how many retries are left.
        for (enough, expected, left) in [(1, 1, 5), (3, 3, 3), (9, 4, 0), (9, 1, 0)] {
            let mut looks = 0;
            let is_enough = |_: &Seen| {
                looks += 1;
                looks == enough
            };
            assert!(service.see_until(&mut retries, is_enough).is_ok());
            assert_eq!((looks, retries.0), (expected, left));
        }
    }

    #[test]
    fn names_are_found_in_the_services_directory_unless_they_are_paths() {
        for (name, services, directory) in [
            ("web", "/service", "/service/web"),
            ("web/log", "/service", "/service/web/log"),
            ("web", "relative", "relative/web"),
            ("/etc/sv/web", "/service", "/etc/sv/web"),
            ("./web", "/service", "./web"),
            (".", "/service", "."),
            ("web/", "/service", "web/"),
            ("", "/service", ""),
            ("web", "", ""),
        ] {
            let service = Service::named(OsStr::new(name), Path::new(services));
            assert_eq!(service.directory(), Path::new(directory), "{name:?} in {services:?}");
            assert_eq!(service.name(), name.as_bytes());
        }
    }

    #[test]
    fn directories_are_entered_or_not() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        let enter = |name: &str| Service::named(OsStr::new(name), directory.path()).enter();
        assert_eq!(enter("missing"), Err(Errno::ENOENT));
        assert_eq!(enter(""), Err(Errno::ENOENT));
        assert_eq!(enter("file"), Err(Errno::ENOTDIR));
        assert_eq!(enter(directory.path().to_str().unwrap()), Ok(()));
    }

    #[test]
    fn only_a_whole_record_is_a_status() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(paths::SUPERVISE)).unwrap();
        let service = Service::named(directory.path().as_os_str(), Path::new("/"));
        assert_eq!(service.status(), Err(Trouble::Unable("unable to open supervise/status", Errno::ENOENT)));
        for (length, expected) in [(0, false), (18, false), (19, false), (20, true), (21, true)] {
            fs::write(service.path(paths::STATUS), vec![0; length]).unwrap();
            assert_eq!(service.status().is_ok(), expected, "{length}");
        }
        fs::write(service.path(paths::STATUS), [b'~'; 20]).unwrap();
        assert_eq!(service.status(), Err(Trouble::BadStatus));
    }
}
