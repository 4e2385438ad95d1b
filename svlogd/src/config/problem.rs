//! What can be wrong with a line of a config.

use std::fmt;

use crate::clean::{self, Clean};

/// So much is shown of a text, in bytes.
const SHOWN: usize = 60;

/// A line that does not say what its writer meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The number of the line, from one.
    pub line: usize,
    /// The byte of the line that `text` begins at, from one.
    pub column: usize,
    /// What is wrong with it.
    pub problem: Problem,
    /// What was found.
    pub text: Vec<u8>,
}

impl Diagnosis {
    /// `LINE:COLUMN: WHY: TEXT`, of a long text the beginning, and nothing that a terminal acts on.
    pub fn message(&self) -> Vec<u8> {
        let mut message = format!("{}:{}: {}", self.line, self.column, self.problem).into_bytes();
        let is_long = self.text.len() > SHOWN;
        let shown = if is_long { clean::whole_characters(&self.text[..SHOWN]) } else { self.text.len() };
        if shown > 0 {
            message.extend_from_slice(b": ");
            clean::append(&mut message, &self.text[..shown], Clean::Escape);
        }
        if is_long {
            message.extend_from_slice(b"...");
        }
        message
    }
}

/// What can be wrong with a line, and what holds instead. A line of ours with a problem is ignored, as it is by runit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Neither runit's nor ours: ignored. It may resemble one of ours.
    Unknown(Option<&'static str>),
    /// A setting begins in the first column: ignored.
    Indented,
    /// What some editors begin a file with, and runit does not know: the line is ignored.
    ByteOrderMark,
    /// What follows it is ignored, as in runit.
    Nul,
    /// A carriage return at the end, of an editor that means no harm: it belongs to a line of runit's, as in runit.
    CarriageReturn,
    /// No digit directly after the letter: zero, as in runit.
    NoNumber,
    /// Over 2^64 - 1: what remains of it modulo 2^64, as in runit.
    TooLarge,
    /// Something after the number and its unit, of which there may be some: ignored, as in runit.
    AfterNumber(Option<&'static str>),
    /// `N` that is not below `n`.
    NotBelowKeep,
    /// `max-total` below the size of `current`, which alone may have more then.
    BelowSize,
    /// Not an IPv4 address: the line is ignored, no line of the log goes astray.
    Address,
    /// Not a port between 1 and 65535: likewise.
    Port,
    /// Not what stands in this place of a line of ours: what does.
    Expected(&'static str),
    /// A line of ours that goes on after its end.
    Extra,
    /// Not a regular expression, or one that compiles to too much: why.
    Expression(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown(None) => "unknown line",
            Self::Unknown(Some(word)) => return write!(f, "unknown line, did you mean {word}?"),
            Self::Indented => "line ignored, a setting begins in the first column",
            Self::ByteOrderMark => "line ignored, it begins with a byte order mark",
            Self::Nul => "ignored from the NUL byte on",
            Self::CarriageReturn => "carriage return at the end, part of the value to runit",
            Self::NoNumber => "no number directly after the letter, taken as 0",
            Self::TooLarge => "number too large, taken modulo 2^64",
            Self::AfterNumber(None) => "ignored after the number",
            Self::AfterNumber(Some(units)) => {
                return write!(f, "ignored after the number, only {units} may follow it");
            }
            Self::NotBelowKeep => "without effect, as it is not below n",
            Self::BelowSize => "less than current alone may have, see s",
            Self::Address => "unable to scan ip address",
            Self::Port => "unable to scan port number",
            Self::Expected(what) => return write!(f, "line ignored, expected {what}"),
            Self::Extra => "line ignored, nothing expected here",
            Self::Expression(why) => return write!(f, "line ignored, regular expression: {why}"),
        })
    }
}
