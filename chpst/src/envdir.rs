//! A directory of environment variables: a file's name is the variable, its first line the value.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use svlib::{Context, Error, Result};

/// The most bytes read for one value. The kernel takes no environment string this long (`MAX_ARG_STRLEN`, execve(2)), so
/// to read on, from `/dev/zero` say, would only cost memory.
const MAX_VALUE: usize = 128 * 1024;

/// What a directory defines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// Names, in no order, with the value to set, or `None` to unset.
    pub changes: Vec<(OsString, Option<OsString>)>,
    /// Directories found among the files; they define nothing.
    pub nested: Vec<PathBuf>,
}

/// Reads the directory `path`. Names that begin with a dot are passed over.
///
/// # Errors
///
/// The directory or a file in it cannot be read, a value is longer than any program can be given (E2BIG), or a name
/// contains `=` (EINVAL; runit would set the variable of the name up to there).
pub fn read(path: &Path) -> Result<Variables> {
    let mut variables = Variables::default();
    for entry in fs::read_dir(path).on("switch to directory:", path)? {
        let name = entry.on("read directory:", path)?.file_name();
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        let file = path.join(&name);
        match first_line(&file) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => variables.nested.push(file),
            Err(error) => return Err(error).on("read", file),
            Ok(_) if name.as_bytes().contains(&b'=') => {
                let operation = "set a variable with = in its name:";
                return Err(Error { operation, path: Some(file), errno: Errno::EINVAL });
            }
            Ok(line) => variables.changes.push((name, value(line))),
        }
    }
    Ok(variables)
}

/// Reads a file up to and with its first newline, not much farther. One that is gone by now, or a symlink to nowhere,
/// counts as empty, as in daemontools.
fn first_line(path: &Path) -> io::Result<Vec<u8>> {
    // Without O_NONBLOCK, opening a fifo would wait for a writer.
    let file = match OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut line = Vec::new();
    BufReader::with_capacity(512, file).take(MAX_VALUE as u64).read_until(b'\n', &mut line)?;
    if line.len() == MAX_VALUE { Err(Errno::E2BIG.into()) } else { Ok(line) }
}

/// The value that a file beginning with `line` defines; none if the file is empty.
fn value(mut line: Vec<u8>) -> Option<OsString> {
    if line.is_empty() {
        return None;
    }
    line.pop_if(|last| *last == b'\n');
    while line.pop_if(|last| matches!(last, b' ' | b'\t')).is_some() {}
    // A variable cannot hold a NUL; this is how a file spells a newline.
    line.iter_mut().filter(|byte| **byte == b'\0').for_each(|byte| *byte = b'\n');
    Some(OsString::from_vec(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::ffi::OsStr;
    use std::os::unix::fs::symlink;

    /// Writes the files into a new directory.
    fn directory(files: &[(&[u8], &[u8])]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(directory.path().join(OsStr::from_bytes(name)), content).unwrap();
        }
        directory
    }

    /// The value a file with this content defines, read from a real one.
    fn value_of(content: &[u8]) -> Option<Vec<u8>> {
        let directory = directory(&[(b"NAME", content)]);
        let mut changes = read(directory.path()).unwrap().changes;
        assert_eq!(changes.len(), 1);
        let (name, value) = changes.remove(0);
        assert_eq!(name, "NAME");
        value.map(OsStringExt::into_vec)
    }

    #[test]
    fn the_first_line_is_the_value() {
        let cases: &[(&[u8], Option<&[u8]>)] = &[
            (b"", None),
            (b"\n", Some(b"")),
            (b"value\n", Some(b"value")),
            (b"value", Some(b"value")),
            (b"one\ntwo\n", Some(b"one")),
            (b"\ntwo\n", Some(b"")),
            (b"value \t \n", Some(b"value")),
            (b"  in  side\t.\t", Some(b"  in  side\t.")),
            (b" \t", Some(b"")),
            (b"value\r\n", Some(b"value\r")),
            (b"a\0b\0\n", Some(b"a\nb\n")),
            (b"a\0 \n", Some(b"a\n")),
            (b"a \0\n", Some(b"a \n")),
            (b"\xff=\xfe", Some(b"\xff=\xfe")),
        ];
        for &(content, value) in cases {
            assert_eq!(value_of(content).as_deref(), value, "{content:?}");
        }
    }

    #[test]
    fn names() {
        let directory =
            directory(&[(b"A", b"1"), (b".B", b"2"), (b"C d\ne", b"3"), (b"\xff", b"4"), (b"E", b"")]);
        fs::create_dir(directory.path().join("F")).unwrap();
        symlink("F", directory.path().join("G")).unwrap();
        symlink("A", directory.path().join("H")).unwrap();
        symlink("nowhere", directory.path().join("I")).unwrap();
        let variables = read(directory.path()).unwrap();
        let changes: BTreeMap<_, _> = variables.changes.into_iter().collect();
        let expected = [("A", Some("1")), ("C d\ne", Some("3")), ("E", None), ("H", Some("1")), ("I", None)];
        let mut expected: BTreeMap<_, _> =
            expected.map(|(name, value)| (OsString::from(name), value.map(OsString::from))).into();
        expected.insert(OsString::from_vec(vec![0xff]), Some("4".into()));
        assert_eq!(changes, expected);
        let mut nested = variables.nested;
        nested.sort();
        assert_eq!(nested, [directory.path().join("F"), directory.path().join("G")]);
    }

    #[test]
    fn failures_name_the_file() {
        let looping = directory(&[]);
        symlink("LOOP", looping.path().join("LOOP")).unwrap();
        let cases = [
            (directory(&[(b"A=B", b"1")]), "A=B", Errno::EINVAL),
            (directory(&[(b"BIG", &[b'x'; MAX_VALUE])]), "BIG", Errno::E2BIG),
            (looping, "LOOP", Errno::ELOOP),
        ];
        for (directory, name, errno) in cases {
            let error = read(directory.path()).unwrap_err();
            assert_eq!((error.path, error.errno), (Some(directory.path().join(name)), errno));
        }
        let error = read(Path::new("/no/such")).unwrap_err();
        assert_eq!((error.path, error.errno), (Some("/no/such".into()), Errno::ENOENT));
    }

    #[test]
    fn an_endless_file_and_a_silent_fifo_come_to_an_end() {
        let directory = directory(&[]);
        symlink("/dev/zero", directory.path().join("ZERO")).unwrap();
        assert_eq!(read(directory.path()).unwrap_err().errno, Errno::E2BIG);
        fs::remove_file(directory.path().join("ZERO")).unwrap();
        nix::unistd::mkfifo(&directory.path().join("FIFO"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read(directory.path()).unwrap().changes, [("FIFO".into(), None)]);
    }

    proptest! {
        #[test]
        fn a_value_is_its_first_line_without_trailing_blanks(content in prop::collection::vec(
            prop_oneof![Just(b'\n'), Just(b' '), Just(b'\t'), Just(0), any::<u8>()], 0..40)
        ) {
            let first = content.split(|&byte| byte == b'\n').next().unwrap();
            let end = first.iter().rposition(|byte| !b" \t".contains(byte)).map_or(0, |last| last + 1);
            let expected: Vec<_> = first[..end].iter().map(|&byte| if byte == 0 { b'\n' } else { byte }).collect();
            let line = content.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default().to_vec();
            let value = value(line).map(OsStringExt::into_vec);
            prop_assert_eq!(value, (!content.is_empty()).then_some(expected));
        }
    }
}
