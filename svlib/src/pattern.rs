//! svlogd's patterns: no regular expressions, but a walk through pattern and line (svlogd(8), PATTERN MATCHING).

use memchr::memchr;

/// A pattern of a `+`, `-`, `e` or `E` line.
///
/// A star stops at the *first* byte that equals the pattern's next one, there is no backtracking; a `+c` that reaches
/// the end of the line matches whatever the pattern still holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<[u8]>);

impl Pattern {
    /// A pattern of any bytes; a NUL ends it, as in runit.
    pub fn new(text: &[u8]) -> Self {
        let end = memchr(0, text).unwrap_or(text.len());
        Self(text[..end].into())
    }

    /// The pattern as it was written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the whole `line`, without its newline, matches.
    pub fn matches(&self, line: &[u8]) -> bool {
        let mut pattern = &*self.0;
        let mut line = line;
        loop {
            match *pattern {
                [] => return line.is_empty(),
                [b'*'] => return true,
                [b'*', stop, ..] => match memchr(stop, line) {
                    Some(found) => {
                        pattern = &pattern[1..];
                        line = &line[found..];
                    }
                    None => return false,
                },
                [b'+'] => return false,
                [b'+', repeated, ..] => match line.iter().position(|&byte| byte != repeated) {
                    Some(0) => return false,
                    Some(run) => {
                        pattern = &pattern[2..];
                        line = &line[run..];
                    }
                    None => return !line.is_empty(),
                },
                [literal, ..] => match line {
                    [first, rest @ ..] if *first == literal => {
                        pattern = &pattern[1..];
                        line = rest;
                    }
                    _ => return false,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, line: &str) -> bool {
        Pattern::new(pattern.as_bytes()).matches(line.as_bytes())
    }

    /// The man page's sentences, one byte of the line at a time.
    fn obvious(pattern: &[u8], line: &[u8]) -> bool {
        match (pattern, line) {
            // "A star at the end of pattern matches any string."
            ([b'*'], _) => true,
            // "A star before the end of pattern matches any string in the log message that does not include the next
            // character in pattern."
            ([b'*', next, ..], [byte, ..]) if byte == next => obvious(&pattern[1..], line),
            ([b'*', ..], [_, rest @ ..]) => obvious(pattern, rest),
            ([b'*', ..], []) => false,
            // "A plus matches the next character in pattern in the log message one or more times."
            ([b'+', next, ..], [byte]) => byte == next,
            ([b'+', next, after @ ..], [byte, second, ..]) if byte == next => {
                obvious(if second == next { pattern } else { after }, &line[1..])
            }
            ([b'+', ..], _) => false,
            // "A character not a star and not a plus matches itself."
            ([literal, pattern @ ..], [byte, line @ ..]) => literal == byte && obvious(pattern, line),
            ([], line) => line.is_empty(),
            (_, []) => false,
        }
    }

    #[test]
    fn the_example_of_the_man_page() {
        // "Timestamps optionally added by svlogd are not considered part of the log message."
        let line = "tcpsvd: info: pid 1977 from 10.4.1.14";
        assert!(!matches("*pid*", line));
        assert!(matches("*: *: pid *", line));
    }

    #[test]
    fn plus_is_one_or_more() {
        assert!(!matches("+ab", "b"));
        assert!(matches("+ab", "aab"));
        assert!(!matches("+aab", "aab"), "a plus takes all of a run");
        assert!(!matches("x+", "x"));
    }

    #[test]
    fn a_run_at_the_end_of_the_line_matches_whatever_is_left() {
        assert!(matches("+abc", "aaa"));
        assert!(!matches("+abc", ""));
    }

    #[test]
    fn star_before_star_or_plus_looks_for_that_character() {
        assert!(!matches("**", "abc"));
        assert!(matches("**", "a*bc"));
        assert!(!matches("*+b", "a+bb"), "the plus found is no b");
    }

    #[test]
    fn ends_at_a_nul() {
        assert_eq!(Pattern::new(b"ab\0*").as_bytes(), b"ab");
    }

    #[test]
    fn no_pattern_matches_no_text() {
        assert!(matches("", ""));
        assert!(!matches("", "a"));
    }

    proptest! {
        #[test]
        fn agrees_with_the_obvious_matcher(pattern in "[ab*+]{0,8}", line in "[ab*+]{0,8}") {
            prop_assert_eq!(matches(&pattern, &line), obvious(pattern.as_bytes(), line.as_bytes()));
        }

        #[test]
        fn a_text_without_specials_matches_itself_only(text in "[a-z ]{0,20}", other in "[a-z ]{0,20}") {
            prop_assert!(matches(&text, &text));
            prop_assert_eq!(matches(&text, &other), text == other);
        }

        #[test]
        fn any_bytes_do_no_harm(pattern: Vec<u8>, line: Vec<u8>) {
            let pattern = Pattern::new(&pattern);
            prop_assert_eq!(pattern.matches(&line), obvious(pattern.as_bytes(), &line));
        }
    }
}
