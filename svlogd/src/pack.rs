//! What the helper does that compresses an old file.
//!
//! `@….s` is compressed into `@….t.gz`, which is synced and renamed to `@….s.gz` before `@….s` is deleted: at any moment one of
//! them is whole. The helper locks the file it works on, so that one which a killed svlogd left behind is waited for.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::fsync;
use svlib::error::errno;
use svlib::log_name::{LogName, Packing, Stage};
use svlib::sys::{clock, priority};

use crate::current::{Failure, failed};
use crate::directory::Directory;
use crate::helper::{self, unless_gone};
use crate::report::{InDirectory, Report};

const BUFFER_SIZE: usize = 128 << 10;
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Compresses the file that the arguments name; whether all went well. `None` for arguments that make no sense.
pub fn run(
    mut arguments: impl Iterator<Item = OsString>,
    directory: &Directory,
    report: &Report,
) -> Option<bool> {
    let packed = helper::file_name(&arguments.next()?)?;
    let level = arguments.next()?.to_str()?.parse().ok()?;
    if packed.stage != Stage::Saved || packed.packing == Packing::Plain {
        return None;
    }
    // It is no reason not to compress that it cannot be done at low priority.
    let _ = priority::nice(39);
    let _ = priority::idle_io();
    let result = replace(packed, level, directory, report);
    if let Err(failure) = result {
        let file = packed.to_string();
        report.failure(failure.what, &InDirectory(directory.name(), &file), failure.errno);
    }
    Some(result.is_ok())
}

/// Puts `packed` in the place of the plain file.
fn replace(packed: LogName, level: i32, directory: &Directory, report: &Report) -> Result<(), Failure> {
    let plain = packed.packed(Packing::Plain);
    let opened = unless_gone(directory.open_read(plain.to_string()));
    let Some(source) = opened.map_err(failed("unable to open logfile to be compressed"))? else {
        return Ok(());
    };
    let source = Flock::lock(File::from(source), FlockArg::LockExclusive)
        .map_err(|(_, errno)| failed("unable to lock logfile")(errno))?;
    let before = fstat(source.as_fd()).map_err(failed("unable to stat logfile"))?;
    if !is_still(&before, plain, directory) {
        return Ok(());
    }
    let output = packed.at(Stage::Temporary);
    let size = pack(output, &source, &before, level, directory, report).and_then(|size| {
        directory
            .rename(output.to_string(), packed.to_string())
            .map_err(failed("unable to rename compressed logfile"))?;
        Ok(size)
    });
    let size = size.inspect_err(|_| {
        // There may be none; one that stays is overwritten by the next try.
        let _ = directory.unlink(output.to_string());
    })?;
    // The rename is on disk before the original goes.
    fsync(directory).map_err(failed("unable to fsync log directory"))?;
    for copy in copies(packed) {
        unless_gone(directory.unlink(copy.to_string()))
            .map_err(failed("unable to unlink compressed logfile"))?;
    }
    let (file, from) = (packed.to_string(), before.st_size);
    let sizes = format!(" {from} {size} {}%", percent(size, from));
    report.info(&("compressed: ", InDirectory(directory.name(), &file), &sizes));
    Ok(())
}

/// What a compressed file replaces: the plain one, and what was compressed in another way and not finished with.
fn copies(packed: LogName) -> impl Iterator<Item = LogName> {
    let other = if packed.packing == Packing::Gzip { Packing::Zstd } else { Packing::Gzip };
    [packed.packed(other).at(Stage::Temporary), packed.packed(other), packed.packed(Packing::Plain)]
        .into_iter()
}

/// Whether the file that was locked still has its name.
fn is_still(locked: &FileStat, file: LogName, directory: &Directory) -> bool {
    let named = directory.stat(file.to_string());
    named.is_ok_and(|named| (named.st_dev, named.st_ino) == (locked.st_dev, locked.st_ino))
}

/// Writes the compressed file, with the permissions and times of the original, to the disk; returns its size.
fn pack(
    output: LogName,
    source: &File,
    before: &FileStat,
    level: i32,
    directory: &Directory,
    report: &Report,
) -> Result<i64, Failure> {
    // For nobody to read who may not read the original: not even one that is left of a try before.
    let file = unless_gone(directory.unlink(output.to_string()))
        .and_then(|_| directory.open_append(output.to_string()))
        .map_err(failed("unable to open output for compression"))?;
    let mut progress = Progress::new(output.at(Stage::Saved), before.st_size, directory, report);
    let written = match output.packing {
        Packing::Zstd => zstd(source, file.into(), level, &mut progress),
        Packing::Gzip | Packing::Plain => gzip(source, file.into(), level, &mut progress),
    };
    let file = written.map_err(|error| failed("unable to compress logfile")(errno(&error)))?;
    let accessed = TimeSpec::new(before.st_atime, before.st_atime_nsec);
    let modified = TimeSpec::new(before.st_mtime, before.st_mtime_nsec);
    futimens(&file, &accessed, &modified)
        .and_then(|()| fchmod(&file, Mode::from_bits_truncate(before.st_mode)))
        .and_then(|()| fsync(&file))
        .and_then(|()| fstat(&file))
        .map(|stat| stat.st_size)
        .map_err(failed("unable to sync compressed logfile"))
}

fn gzip(source: &File, output: File, level: i32, progress: &mut Progress<'_>) -> io::Result<File> {
    let level = flate2::Compression::new(level.clamp(0, 9).unsigned_abs());
    let mut encoder = flate2::write::GzEncoder::new(output, level);
    copy(source, &mut encoder, progress)?;
    encoder.finish()
}

fn zstd(source: &File, output: File, level: i32, progress: &mut Progress<'_>) -> io::Result<File> {
    let mut encoder = zstd::stream::write::Encoder::new(output, level)?;
    encoder.include_checksum(true)?;
    copy(source, &mut encoder, progress)?;
    encoder.finish()
}

fn copy(mut source: &File, output: &mut impl Write, progress: &mut Progress<'_>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_SIZE];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(()),
            count => {
                output.write_all(&buffer[..count])?;
                progress.add(count);
            }
        }
    }
}

fn percent(part: i64, whole: i64) -> i64 {
    part.saturating_mul(100).checked_div(whole).unwrap_or(100)
}

/// What `-v` tells of a file that takes long.
struct Progress<'a> {
    file: String,
    size: i64,
    done: i64,
    next: Duration,
    directory: &'a Directory,
    report: &'a Report,
}

impl<'a> Progress<'a> {
    fn new(file: LogName, size: i64, directory: &'a Directory, report: &'a Report) -> Self {
        let next = clock::now().monotonic.saturating_add(PROGRESS_INTERVAL);
        Self { file: file.to_string(), size, done: 0, next, directory, report }
    }

    fn add(&mut self, count: usize) {
        self.done = self.done.saturating_add_unsigned(count as u64);
        let now = clock::now().monotonic;
        if now >= self.next {
            self.next = now.saturating_add(PROGRESS_INTERVAL);
            let done = format!(" {}%", percent(self.done, self.size));
            self.report.info(&("compressing: ", InDirectory(self.directory.name(), &self.file), &done));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use nix::errno::Errno;
    use svlib::tai64n::Tai64n;

    fn name() -> LogName {
        LogName::new(Tai64n { seconds: 1 << 62, nanos: 0 }, Stage::Saved)
    }

    fn run_in(dir: &tempfile::TempDir, arguments: &[&str]) -> Option<bool> {
        let directory = Directory::open(dir.path().as_os_str()).unwrap();
        run(arguments.iter().map(OsString::from), &directory, &Report::new(false))
    }

    fn files(dir: &tempfile::TempDir) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn what_is_left_of_a_try_before_goes() {
        let dir = tempfile::tempdir().unwrap();
        let [gzip, zstd] = [Packing::Gzip, Packing::Zstd].map(|packing| name().packed(packing));
        for file in [name(), zstd, zstd.at(Stage::Temporary), gzip.at(Stage::Temporary)] {
            fs::write(dir.path().join(file.to_string()), "line\n").unwrap();
        }
        assert_eq!(run_in(&dir, &[&gzip.to_string(), "6"]), Some(true));
        assert_eq!(files(&dir), [gzip.to_string()]);
        let packed = File::open(dir.path().join(gzip.to_string())).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
        assert_eq!(text, "line\n");
    }

    #[test]
    fn nobody_may_read_the_output_before_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path().as_os_str()).unwrap();
        let output = name().packed(Packing::Gzip).at(Stage::Temporary);
        let path = dir.path().join(output.to_string());
        fs::write(&path, "of a try before").unwrap();
        let source = dir.path().join("source");
        fs::create_dir(&source).unwrap();
        // It cannot be read, so that the output stays as it was while it was written.
        let source = File::open(source).unwrap();
        let before = fstat(&source).unwrap();
        let result = pack(output, &source, &before, 6, &directory, &Report::new(false));
        assert_eq!(result.unwrap_err().errno, Errno::EISDIR);
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_file_that_is_gone_is_done_with() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(run_in(&dir, &[&name().packed(Packing::Zstd).to_string(), "3"]), Some(true));
        assert!(files(&dir).is_empty());
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let packed = name().packed(Packing::Gzip);
        let temporary = packed.at(Stage::Temporary).to_string();
        let [plain, packed] = [name(), packed].map(|name| name.to_string());
        for arguments in [&[] as &[&str], &[&packed], &[&packed, "x"], &[&plain, "1"], &[&temporary, "1"]] {
            assert_eq!(run_in(&dir, arguments), None, "{arguments:?}");
        }
    }
}
