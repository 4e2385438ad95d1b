//! `svlogd --explain DIR`: which rule of a config decided what becomes of each line of standard input.
//!
//! ```text
//! selected<TAB>-<TAB>LINE
//! deselected<TAB>3: drop ^debug<TAB>LINE
//! selected, alert<TAB>2: +*error*, 7: alert (?i)panic<TAB>LINE
//! ```
//!
//! LINE is what is matched: after `-r`, not longer than `-l`; control characters, and bytes that are not UTF-8, are written
//! as escapes. Nothing is locked or changed: svlogd may be running.

use std::ffi::OsStr;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use regex::bytes::Regex;
use svlib::diag::one_line;
use svlib::error::{errno, reason};

use crate::clean::{self, Clean};
use crate::config_file;
use crate::directory::Directory;
use crate::filter::{Effect, Matcher, Rule};
use crate::report::Report;
use crate::split::Splitter;

/// The config could not be read, or the input, or the output not be written.
const FAILED: u8 = 111;

/// Rules that are tried one by one.
pub struct Explainer {
    /// The latest first.
    rules: Vec<(Rule, Option<Regex>)>,
}

/// The rules that decide about a line; `None` where none matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation<'a> {
    /// Whether it is written to the directory.
    pub directory: Option<&'a Rule>,
    /// Whether it is written to standard error.
    pub standard_error: Option<&'a Rule>,
}

impl Explainer {
    /// Of rules in the order of the config.
    ///
    /// # Errors
    /// As [`Expression::compile`](crate::expression::Expression::compile).
    pub fn new(rules: Vec<Rule>) -> Result<Self, regex::Error> {
        let compile = |rule: Rule| {
            let regex = match &rule.matcher {
                Matcher::Pattern(_) => None,
                Matcher::Expression(expression) => Some(expression.compile()?),
            };
            Ok((rule, regex))
        };
        Ok(Self { rules: rules.into_iter().rev().map(compile).collect::<Result<_, _>>()? })
    }

    /// Which rules decide about a line, of which `text` is what may be matched.
    pub fn explain(&self, text: &[u8]) -> Explanation<'_> {
        let matches = |rule: &Rule, regex: Option<&Regex>| match (&rule.matcher, regex) {
            (_, Some(regex)) => regex.is_match(text),
            (Matcher::Pattern(pattern), None) => pattern.matches(text),
            (Matcher::Expression(_), None) => false,
        };
        let latest = |selects| {
            let mut rules = self.rules.iter().filter(|(rule, _)| rule.effect.selects() == selects);
            rules.find(|(rule, regex)| matches(rule, regex.as_ref())).map(|(rule, _)| rule)
        };
        Explanation { directory: latest(true), standard_error: latest(false) }
    }
}

impl Explanation<'_> {
    /// What is printed, with the newline.
    pub fn line(&self, text: &[u8]) -> Vec<u8> {
        let is = |rule: Option<&Rule>, effect| rule.is_some_and(|rule| rule.effect == effect);
        let select = if is(self.directory, Effect::Deselect) { "deselected" } else { "selected" };
        let alert = if is(self.standard_error, Effect::Alert) { ", alert" } else { "" };
        let rules: Vec<_> = [self.directory, self.standard_error].into_iter().flatten().map(name).collect();
        let rules = if rules.is_empty() { b"-".to_vec() } else { rules.join(&b", "[..]) };
        let mut line = [select, alert, "\t"].concat().into_bytes();
        for (part, end) in [(&rules[..], b'\t'), (text, b'\n')] {
            let mut cleaned = Vec::new();
            clean::append(&mut cleaned, part, Clean::Escape);
            line.extend_from_slice(&one_line(&cleaned));
            line.pop();
            line.push(end);
        }
        line
    }
}

/// A rule as its line has it, after the number of the line.
fn name(rule: &Rule) -> Vec<u8> {
    [rule.line.to_string().as_bytes(), b": ", &rule.text()].concat()
}

/// Explains the lines of standard input until it ends; the exit code is 0, or 111 after a failure.
pub fn run(directory: &OsStr, splitter: Splitter, report: &Report) -> ExitCode {
    match explainer(directory, report).and_then(|explainer| explain_input(&explainer, splitter, report)) {
        Some(()) => ExitCode::SUCCESS,
        None => ExitCode::from(FAILED),
    }
}

/// `None` after a message.
fn explainer(name: &OsStr, report: &Report) -> Option<Explainer> {
    let unreadable = |errno| report.failure("unable to read config", &name, errno);
    let directory = Directory::open(name).map_err(unreadable).ok()?;
    let text = config_file::read(&directory).map_err(unreadable).ok()?.unwrap_or_default();
    let config = config_file::parse(&directory, &text, report);
    let explainer = Explainer::new(config.rules);
    let uncompiled = |error: regex::Error| {
        report.fatal(&("unable to compile expressions: ", name, ": ", &error.to_string()));
    };
    explainer.map_err(uncompiled).ok()
}

/// `None` after a message.
fn explain_input(explainer: &Explainer, mut splitter: Splitter, report: &Report) -> Option<()> {
    let failed = |what: &str, error: io::Error| {
        // Who reads no further has seen enough.
        if error.kind() != io::ErrorKind::BrokenPipe {
            report.fatal(&(what, ": ", reason(errno(&error))));
        }
    };
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut buffer = Vec::new();
    loop {
        let read = input.fill_buf().map_err(|error| failed("unable to read standard input", error)).ok()?;
        let count = read.len();
        buffer.extend_from_slice(read);
        input.consume(count);
        if count == 0 && splitter.is_mid_line() {
            buffer.push(b'\n');
        }
        let mut explained = Vec::new();
        let mut taken = 0;
        while let Some(piece) = splitter.next(&mut buffer, taken) {
            taken = piece.with_newline().end;
            if piece.first {
                let text = &buffer[piece.text];
                explained.extend_from_slice(&explainer.explain(text).line(text));
            }
        }
        buffer.drain(..taken);
        output
            .write_all(&explained)
            .and_then(|()| output.flush())
            .map_err(|error| failed("unable to write to standard output", error))
            .ok()?;
        if count == 0 {
            return Some(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::filter::{Filter, Verdict};
    use proptest::prelude::*;

    fn explain(config: &str, text: &[u8]) -> String {
        let explainer = Explainer::new(Config::parse(config.as_bytes()).0.rules).unwrap();
        String::from_utf8(explainer.explain(text).line(text)).unwrap()
    }

    #[test]
    fn names_the_rules_that_decided() {
        let config = "-*\n+*error*\ndrop ^debug\n\nalert (?i)panic\nE*quiet*\n";
        assert_eq!(explain(config, b"hello"), "deselected\t1: -*\thello\n");
        assert_eq!(explain(config, b"an error"), "selected\t2: +*error*\tan error\n");
        assert_eq!(explain(config, b"debug error"), "deselected\t3: drop ^debug\tdebug error\n");
        assert_eq!(
            explain(config, b"PANIC error"),
            "selected, alert\t2: +*error*, 5: alert (?i)panic\tPANIC error\n"
        );
        assert_eq!(explain("E*\n", b"x"), "selected\t1: E*\tx\n");
        assert_eq!(explain("drop x\n", b"a\t\x1b\xff\xc2\x9b"), "selected\t-\ta\\x09\\x1b\\xff\\u009b\n");
    }

    proptest! {
        #[test]
        fn agrees_with_the_filter(
            lines in prop::collection::vec("([-+eE]|keep |drop |alert |quiet )[ab*.$^]{1,3}", 0..8),
            text in "[ab*+]{0,4}",
        ) {
            let rules = Config::parse(lines.join("\n").as_bytes()).0.rules;
            let filter = Filter::new(rules.clone()).unwrap();
            let explainer = Explainer::new(rules).unwrap();
            let explanation = explainer.explain(text.as_bytes());
            let effect = |rule: Option<&Rule>| rule.map(|rule| rule.effect);
            prop_assert_eq!(
                filter.verdict(text.as_bytes()),
                Verdict {
                    select: effect(explanation.directory) != Some(Effect::Deselect),
                    alert: effect(explanation.standard_error) == Some(Effect::Alert),
                }
            );
        }
    }
}
