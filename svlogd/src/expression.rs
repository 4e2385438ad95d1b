//! Regular expressions of `keep`, `drop`, `alert` and `quiet` lines: the syntax of the regex crate, on bytes.
//!
//! A log is not always UTF-8, so Unicode is off unless an expression turns it on with `(?u)`: `.` is any byte, `\w` is
//! ASCII. A character that is not ASCII stands for its bytes.

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::ErrorKind;

/// The most that an expression may compile to, in bytes.
const COMPILED_LIMIT: usize = 1 << 20;

/// What the searches of a config may hold in memory, in bytes, in each direction. Searching is slower with less, never
/// wrong.
pub const CACHE_LIMIT: usize = 512 << 10;

/// Their tables would take more memory than all of svlogd.
const UNICODE_UNSUPPORTED: &str =
    "classes and cases of characters beyond ASCII are not supported, list the characters";

/// A regular expression that is known to compile. It is kept as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression(Box<str>);

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub why: String,
    /// The byte of the text at which it is found, from zero.
    pub at: usize,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// It is not UTF-8, not a regular expression, or too large when it is compiled.
    pub fn new(text: &[u8]) -> Result<Self, Refusal> {
        let text = str::from_utf8(text).map_err(|error| Refusal {
            why: r"not UTF-8; write other bytes as \xNN".into(),
            at: error.valid_up_to(),
        })?;
        let parsed = ParserBuilder::new().unicode(false).utf8(false).build().parse(text);
        let parsed = parsed.map_err(|error| Refusal::of(&error))?;
        if parsed.properties().look_set().contains_word_unicode() {
            return Err(Refusal { why: r"\b and its kin are not supported with (?u)".into(), at: 0 });
        }
        match builder(text).build() {
            Ok(_) => Ok(Self(text.into())),
            Err(regex::Error::CompiledTooBig(limit)) => {
                Err(Refusal { why: format!("compiles to more than {limit} bytes"), at: 0 })
            }
            Err(error) => Err(Refusal { why: error.to_string(), at: 0 }),
        }
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The expression, ready to search.
    ///
    /// # Errors
    /// None that [`new`](Self::new) has not refused.
    pub fn compile(&self) -> Result<Regex, regex::Error> {
        builder(&self.0).build()
    }
}

impl Refusal {
    fn of(error: &regex_syntax::Error) -> Self {
        match error {
            regex_syntax::Error::Parse(error) => {
                Self { why: error.kind().to_string(), at: error.span().start.offset }
            }
            regex_syntax::Error::Translate(error) => {
                let why = match error.kind() {
                    ErrorKind::UnicodeNotAllowed => "not a class of bytes, (?u:...) allows characters".into(),
                    ErrorKind::UnicodePropertyNotFound
                    | ErrorKind::UnicodePropertyValueNotFound
                    | ErrorKind::UnicodePerlClassNotFound
                    | ErrorKind::UnicodeCaseUnavailable => UNICODE_UNSUPPORTED.into(),
                    kind => kind.to_string(),
                };
                Self { why, at: error.span().start.offset }
            }
            other => Self { why: other.to_string(), at: 0 },
        }
    }
}

/// Expressions of which it does not matter which is found: one pass tells whether any is.
#[derive(Clone, Debug)]
pub enum AnyOf {
    /// This can be faster than a set of one: from a literal inside, the rest is searched for backwards.
    One(Regex),
    /// All of them at once.
    Many(RegexSet),
}

impl AnyOf {
    /// Compiles the expressions, a search for which may hold `cache` bytes; `None` if there are none.
    ///
    /// # Errors
    /// They are too large together, which takes more states than fit into 31 bits.
    pub fn new(expressions: &[&Expression], cache: usize) -> Result<Option<Self>, regex::Error> {
        Ok(match expressions {
            [] => None,
            [expression] => Some(Self::One(builder(expression.as_str()).dfa_size_limit(cache).build()?)),
            all => Some(Self::Many(compile_set(all, cache)?)),
        })
    }

    /// Whether any of them is found in `line`.
    pub fn is_match(&self, line: &[u8]) -> bool {
        match self {
            Self::One(expression) => expression.is_match(line),
            Self::Many(set) => set.is_match(line),
        }
    }
}

fn compile_set(expressions: &[&Expression], cache: usize) -> Result<RegexSet, regex::Error> {
    RegexSetBuilder::new(expressions.iter().map(|expression| expression.as_str()))
        .unicode(false)
        // Each of them is within its limit.
        .size_limit(usize::MAX)
        .dfa_size_limit(cache)
        .build()
}

fn builder(text: &str) -> RegexBuilder {
    let mut builder = RegexBuilder::new(text);
    builder.unicode(false).size_limit(COMPILED_LIMIT).dfa_size_limit(CACHE_LIMIT);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(expression: &str, line: &[u8]) -> bool {
        Expression::new(expression.as_bytes()).unwrap().compile().unwrap().is_match(line)
    }

    #[test]
    fn lines_are_bytes() {
        assert!(matches("^a.b$", b"a\xffb"));
        assert!(!matches("^a.b$", "aéb".as_bytes()), "two bytes");
        assert!(matches("^a(?u:.)b$", "aéb".as_bytes()));
        assert!(matches("é", "café".as_bytes()));
        assert!(matches(r"\xff$", b"a\xff"));
        assert!(matches("(?i)ERROR", b"an error"));
    }

    #[test]
    fn searches_anywhere() {
        assert!(matches("b", b"abc"));
        assert!(!matches("^b", b"abc"));
    }

    #[test]
    fn what_is_none_is_refused_where_it_is_wrong() {
        for (text, at, why) in [
            (&b"a(b"[..], 1, "unclosed group"),
            (b"ab)", 2, "unopened group"),
            (b"x[z-a]", 2, "invalid character class range"),
            (b"*a", 0, "repetition operator missing expression"),
            (br"a\y", 1, "unrecognized escape sequence"),
            (b"(a)\\1", 3, "backreferences are not supported"),
            (b"a(?=b)", 1, "look-around"),
            (b"a\xff", 1, "not UTF-8"),
            ("[é]".as_bytes(), 1, "(?u:...)"),
            (br"a(?u)\b", 0, "(?u)"),
            (b"(((a{100}){100}){100}){100}", 0, "compiles to more than"),
        ] {
            let refusal = Expression::new(text).unwrap_err();
            assert_eq!(refusal.at, at, "{refusal:?}");
            assert!(refusal.why.contains(why), "{refusal:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_searched(text: Vec<u8>, line: Vec<u8>) {
            match Expression::new(&text) {
                Ok(expression) => {
                    let alone = expression.compile().unwrap().is_match(&line);
                    for expressions in [&[&expression] as &[_], &[&expression, &expression]] {
                        prop_assert_eq!(AnyOf::new(expressions, CACHE_LIMIT).unwrap().unwrap().is_match(&line), alone);
                        prop_assert_eq!(AnyOf::new(expressions, 0).unwrap().unwrap().is_match(&line), alone);
                    }
                }
                Err(refusal) => prop_assert!(refusal.at <= text.len()),
            }
        }

        #[test]
        fn an_escaped_text_is_found_where_it_is(text in "[ -~]{0,12}", line in "[ -~]{0,12}") {
            prop_assert_eq!(matches(&regex::escape(&text), line.as_bytes()), line.contains(&text));
        }
    }
}
