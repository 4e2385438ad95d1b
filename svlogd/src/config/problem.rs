//! What can be wrong with a line of a config.

use std::fmt;

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

/// What can be wrong with a line, and what holds instead. A line of ours with a problem is ignored, as it is by runit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Neither runit's nor ours: ignored.
    Unknown,
    /// No digit directly after the letter: zero, as in runit.
    NoNumber,
    /// Over 2^64 - 1: what remains of it modulo 2^64, as in runit.
    TooLarge,
    /// Something after the number and its unit: ignored, as in runit.
    AfterNumber,
    /// Not an IPv4 address: the line is ignored, no line of the log goes astray.
    Address,
    /// Not a port between 1 and 65535: likewise.
    Port,
    /// A carriage return at the end, of an editor that means no harm: it belongs to a line of runit's, as in runit.
    CarriageReturn,
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
            Self::Unknown => "unknown line",
            Self::NoNumber => "no number, taken as 0",
            Self::TooLarge => "number too large",
            Self::AfterNumber => "ignored after the number",
            Self::Address => "unable to scan ip address",
            Self::Port => "unable to scan port number",
            Self::CarriageReturn => "carriage return at the end of the line",
            Self::Expected(what) => return write!(f, "line ignored, expected {what}"),
            Self::Extra => "line ignored, nothing expected here",
            Self::Expression(why) => return write!(f, "line ignored, regular expression: {why}"),
        })
    }
}
