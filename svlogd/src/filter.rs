//! Which lines a directory takes: the `+`, `-`, `e`, `E`, `keep`, `drop`, `alert` and `quiet` lines of its config, in order.

use svlib::pattern::Pattern;

use crate::expression::{AnyOf, CACHE_LIMIT, Expression};

/// What becomes of a line that matches a rule, unless a later rule matches too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `+`, `keep`: written to the log directory, and sent through UDP.
    Select,
    /// `-`, `drop`: discarded from the log directory.
    Deselect,
    /// `e`, `alert`: written to standard error.
    Alert,
    /// `E`, `quiet`: not written to standard error.
    Quiet,
}

/// One line of the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The number of its line, from one.
    pub line: usize,
    /// What the rule does.
    pub effect: Effect,
    /// To which lines.
    pub matcher: Matcher,
}

/// What a rule compares lines with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matcher {
    /// runit's: matches the whole line.
    Pattern(Pattern),
    /// Ours: is found in the line.
    Expression(Expression),
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// It goes to the directory.
    pub select: bool,
    /// It goes to standard error.
    pub alert: bool,
}

impl Effect {
    /// Whether it is about the directory, not about standard error.
    pub fn selects(self) -> bool {
        matches!(self, Self::Select | Self::Deselect)
    }
}

impl Rule {
    /// The line of the config, with one blank after a word.
    pub fn text(&self) -> Vec<u8> {
        let (letter, word) = match self.effect {
            Effect::Select => ("+", "keep "),
            Effect::Deselect => ("-", "drop "),
            Effect::Alert => ("e", "alert "),
            Effect::Quiet => ("E", "quiet "),
        };
        match &self.matcher {
            Matcher::Pattern(pattern) => [letter.as_bytes(), pattern.as_bytes()].concat(),
            Matcher::Expression(expression) => [word, expression.as_str()].concat().into_bytes(),
        }
    }
}

/// Ordered rules: the last one that matches decides, for the directory and for standard error apart.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    selecting: Rules,
    alerting: Rules,
}

/// The rules for one question.
#[derive(Clone, Debug, Default)]
struct Rules {
    /// The latest first: the first match decides, and what comes after it need not be tried.
    runs: Vec<Run>,
}

/// Neighbours of the same effect: it does not matter which of them matches.
#[derive(Clone, Debug)]
struct Run {
    effect: Effect,
    patterns: Vec<Pattern>,
    /// Searched for in one pass.
    expressions: Option<AnyOf>,
}

impl Filter {
    /// A filter of rules in the order of the config.
    ///
    /// # Errors
    /// The expressions are too large together.
    pub fn new(rules: Vec<Rule>) -> Result<Self, regex::Error> {
        let (selecting, alerting) =
            rules.into_iter().rev().partition::<Vec<_>, _>(|rule| rule.effect.selects());
        // What all of them hold together does not grow with their number.
        let cache = CACHE_LIMIT / (runs(&selecting).count() + runs(&alerting).count()).max(1);
        Ok(Self { selecting: Rules::new(&selecting, cache)?, alerting: Rules::new(&alerting, cache)? })
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.selecting.runs.is_empty() && self.alerting.runs.is_empty()
    }

    /// What becomes of a line, of which `text` is what may be matched. Initially it is selected, and not alerted.
    pub fn verdict(&self, text: &[u8]) -> Verdict {
        Verdict {
            select: self.selecting.decide(text) != Some(Effect::Deselect),
            alert: self.alerting.decide(text) == Some(Effect::Alert),
        }
    }
}

impl Rules {
    /// Of rules with the latest first.
    fn new(rules: &[Rule], cache: usize) -> Result<Self, regex::Error> {
        Ok(Self { runs: runs(rules).map(|run| Run::new(run, cache)).collect::<Result<_, _>>()? })
    }

    /// The effect of the latest rule that matches.
    #[inline]
    fn decide(&self, text: &[u8]) -> Option<Effect> {
        self.runs.iter().find(|run| run.matches(text)).map(|run| run.effect)
    }
}

fn runs(rules: &[Rule]) -> impl Iterator<Item = &[Rule]> {
    rules.chunk_by(|rule, next| rule.effect == next.effect)
}

impl Run {
    /// Of one rule and more.
    fn new(rules: &[Rule], cache: usize) -> Result<Self, regex::Error> {
        let (mut patterns, mut expressions) = (Vec::new(), Vec::new());
        for rule in rules {
            match &rule.matcher {
                Matcher::Pattern(pattern) => patterns.push(pattern.clone()),
                Matcher::Expression(expression) => expressions.push(expression),
            }
        }
        Ok(Self { effect: rules[0].effect, patterns, expressions: AnyOf::new(&expressions, cache)? })
    }

    fn matches(&self, text: &[u8]) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(text))
            || self.expressions.as_ref().is_some_and(|any| any.is_match(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(effect: Effect, text: &str) -> Rule {
        Rule { line: 1, effect, matcher: Matcher::Pattern(Pattern::new(text.as_bytes())) }
    }

    fn expression(effect: Effect, text: &str) -> Rule {
        let expression = Expression::new(text.as_bytes()).unwrap();
        Rule { line: 1, effect, matcher: Matcher::Expression(expression) }
    }

    #[test]
    fn without_rules_a_line_is_selected_and_not_alerted() {
        assert_eq!(Filter::default().verdict(b"x"), Verdict { select: true, alert: false });
    }

    #[test]
    fn the_last_match_decides() {
        let filter = Filter::new(vec![
            pattern(Effect::Deselect, "*"),
            pattern(Effect::Select, "a*"),
            pattern(Effect::Deselect, "ab*"),
            pattern(Effect::Alert, "a*"),
            pattern(Effect::Quiet, "*z"),
        ])
        .unwrap();
        assert_eq!(filter.verdict(b"b"), Verdict { select: false, alert: false });
        assert_eq!(filter.verdict(b"ac"), Verdict { select: true, alert: true });
        assert_eq!(filter.verdict(b"abz"), Verdict { select: false, alert: false });
    }

    #[test]
    fn expressions_take_their_place_among_patterns() {
        let filter = Filter::new(vec![
            expression(Effect::Deselect, "debug"),
            pattern(Effect::Select, "*keep"),
            expression(Effect::Deselect, "^secret"),
            expression(Effect::Alert, "(?i)panic"),
        ])
        .unwrap();
        assert_eq!(filter.verdict(b"a debug line"), Verdict { select: false, alert: false });
        assert_eq!(filter.verdict(b"a debug line, keep"), Verdict { select: true, alert: false });
        assert_eq!(filter.verdict(b"secret debug PANIC, keep"), Verdict { select: false, alert: true });
        assert_eq!(filter.verdict(b"an other line"), Verdict { select: true, alert: false });
    }

    proptest! {
        #[test]
        fn agrees_with_reading_the_rules_in_order(
            rules in prop::collection::vec((0_usize..4, "[ab*+]{0,3}", prop::option::of("[ab^$.]{0,3}")), 0..10),
            text in "[ab]{0,4}",
        ) {
            let effects = [Effect::Select, Effect::Deselect, Effect::Alert, Effect::Quiet];
            let rules: Vec<Rule> = rules.iter().map(|(which, glob, regex)| match regex {
                Some(regex) => expression(effects[*which], regex),
                None => pattern(effects[*which], glob),
            }).collect();
            let mut expected = Verdict { select: true, alert: false };
            for rule in &rules {
                let matched = match &rule.matcher {
                    Matcher::Pattern(pattern) => pattern.matches(text.as_bytes()),
                    Matcher::Expression(expression) => expression.compile().unwrap().is_match(text.as_bytes()),
                };
                match rule.effect {
                    _ if !matched => {}
                    Effect::Select => expected.select = true,
                    Effect::Deselect => expected.select = false,
                    Effect::Alert => expected.alert = true,
                    Effect::Quiet => expected.alert = false,
                }
            }
            prop_assert_eq!(Filter::new(rules).unwrap().verdict(text.as_bytes()), expected);
        }
    }
}
