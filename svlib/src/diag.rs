//! Diagnostics: one line on standard error, composed first and written with one write(2), so that the lines of many
//! processes on one descriptor do not mix.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A piece of a diagnostic line. Paths keep their bytes, whatever their encoding.
pub trait Message {
    /// Appends the bytes of this piece.
    fn append_to(&self, line: &mut Vec<u8>);
}

/// Where the lines of a program begin: `PROGRAM: ` or `PROGRAM SUBJECT: `.
#[derive(Clone, Debug)]
pub struct Diag {
    prefix: Vec<u8>,
}

impl Diag {
    /// Lines of `program`, about `subject`.
    pub fn new(program: &str, subject: Option<&OsStr>) -> Self {
        let mut prefix = program.as_bytes().to_vec();
        if let Some(subject) = subject {
            (" ", subject).append_to(&mut prefix);
        }
        prefix.extend_from_slice(b": ");
        Self { prefix }
    }

    /// What ends the program.
    pub fn fatal(&self, message: &dyn Message) {
        self.line("fatal", message);
    }

    /// What the program goes on after.
    pub fn warning(&self, message: &dyn Message) {
        self.line("warning", message);
    }

    /// What only a verbose program tells.
    pub fn info(&self, message: &dyn Message) {
        self.line("info", message);
    }

    /// A line that begins with another word.
    pub fn line(&self, word: &str, message: &dyn Message) {
        let mut line = self.prefix.clone();
        (word, ": ", message).append_to(&mut line);
        // Nobody is left to be told when standard error fails.
        let _ = io::stderr().write_all(&one_line(&line));
    }
}

/// A line of `text`: control characters become `\xNN`, so that a name with a newline cannot pretend to be a line of its own.
pub fn one_line(text: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(text.len() + 1);
    for &byte in text {
        if byte.is_ascii_control() {
            line.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        } else {
            line.push(byte);
        }
    }
    line.push(b'\n');
    line
}

impl<T: Message + ?Sized> Message for &T {
    fn append_to(&self, line: &mut Vec<u8>) {
        (**self).append_to(line);
    }
}

macro_rules! bytes_message {
    ($($type:ty => $bytes:expr),* $(,)?) => {$(
        impl Message for $type {
            fn append_to(&self, line: &mut Vec<u8>) {
                let bytes: fn(&Self) -> &[u8] = $bytes;
                line.extend_from_slice(bytes(self));
            }
        }
    )*};
}

bytes_message! {
    str => |text| text.as_bytes(),
    String => |text| text.as_bytes(),
    [u8] => |text| text,
    Vec<u8> => |text| text,
    OsStr => |text| text.as_bytes(),
    OsString => |text| text.as_bytes(),
    Path => |text| text.as_os_str().as_bytes(),
    PathBuf => |text| text.as_os_str().as_bytes(),
}

impl<const N: usize> Message for [u8; N] {
    fn append_to(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(self);
    }
}

macro_rules! tuple_message {
    ($($name:ident)+) => {
        impl<$($name: Message),+> Message for ($($name,)+) {
            fn append_to(&self, line: &mut Vec<u8>) {
                #[expect(non_snake_case, reason = "the type parameters name the fields")]
                let ($($name,)+) = self;
                $($name.append_to(line);)+
            }
        }
    };
}

tuple_message!(A B);
tuple_message!(A B C);
tuple_message!(A B C D);
tuple_message!(A B C D E);
tuple_message!(A B C D E F);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_and_keep_their_bytes() {
        let mut line = Vec::new();
        ("unable to stat ", OsStr::from_bytes(b"a\xff b"), ": ", String::from("reason")).append_to(&mut line);
        assert_eq!(line, b"unable to stat a\xff b: reason");
    }

    #[test]
    fn a_diagnostic_is_one_line() {
        assert_eq!(one_line(b"a\nb\x1b[m\xff"), b"a\\x0ab\\x1b[m\xff\n");
    }

    #[test]
    fn prefix_names_program_and_subject() {
        assert_eq!(Diag::new("chpst", None).prefix, b"chpst: ");
        assert_eq!(Diag::new("runsv", Some(OsStr::new("web"))).prefix, b"runsv web: ");
    }
}
