//! The service of these tests: it numbers its lines without a gap, over any number of ends. It is this test executable,
//! started with a word before its arguments.
//!
//! In its directory it keeps `done`, the number of the last line that write(2) took, and `attempted`, that of the last
//! one it was about to write. It begins after `done`: so every number up to `done` is written, and one by two runs at most
//! where the first was killed between write(2) and `done`. What must not happen is told in `errors`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg};

const WORD: &str = "--write-numbered-lines";
/// Held by the one that runs.
pub(crate) const LOCK: &str = "lock-of-service";

/// The body of a `run` that becomes the writer named `name`.
pub(crate) fn script(name: &str) -> String {
    let executable = std::env::current_exe().unwrap();
    // QUIT comes, too, and cores would fill the disk.
    format!("ulimit -c 0\nexec '{}' {WORD} {name}", executable.display())
}

/// Writes lines until killed, if that is what this executable was started for.
pub(crate) fn called() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    (arguments.next()? == WORD).then(|| write(&arguments.next().unwrap_or_default()))
}

/// The number in `done` or `attempted` of a service directory; 0 if nothing was written.
pub(crate) fn number(dir: &Path, file: &str) -> u64 {
    fs::read_to_string(dir.join(file)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn write(name: &str) -> ExitCode {
    let lock = File::options().create(true).truncate(false).write(true).open(LOCK).unwrap();
    // Released by the end of the process.
    let Ok(_lock) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) else {
        return shout("a second copy");
    };
    let mut out = File::from(io::stdout().as_fd().try_clone_to_owned().unwrap());
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let run = format!("{}.{began:x}", std::process::id());
    let open = |file| OpenOptions::new().create(true).truncate(false).write(true).open(file).unwrap();
    let (attempted, done) = (open("attempted"), open("done"));
    for next in number(Path::new("."), "done") + 1.. {
        put(&attempted, next);
        // Less than PIPE_BUF: it goes in whole or not at all.
        if let Err(error) = out.write_all(format!("{name} {run} {next}\n").as_bytes()) {
            return shout(&format!("line {next}: {error}"));
        }
        put(&done, next);
        sleep(Duration::from_millis(5 + next * 7919 % 16));
    }
    ExitCode::SUCCESS
}

/// Always as long, so that it replaces what is there.
fn put(file: &File, number: u64) {
    file.write_all_at(format!("{number:020}\n").as_bytes(), 0).unwrap();
}

fn shout(what: &str) -> ExitCode {
    let mut errors = OpenOptions::new().create(true).append(true).open("errors").unwrap();
    writeln!(errors, "process {}: {what}", std::process::id()).unwrap();
    ExitCode::from(111)
}
