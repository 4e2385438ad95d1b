//! Which lines a directory takes: the `+`, `-`, `e` and `E` lines of its config, in order.

use svlib::pattern::Pattern;

/// What becomes of a line that matches a rule, unless a later rule matches too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// `+`: written to the log directory, and sent through UDP.
    Select,
    /// `-`: discarded from the log directory.
    Deselect,
    /// `e`: written to standard error.
    Alert,
    /// `E`: not written to standard error.
    Quiet,
}

/// One line of the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What the rule does.
    pub effect: Effect,
    /// To which lines.
    pub pattern: Pattern,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// It goes to the directory.
    pub select: bool,
    /// It goes to standard error.
    pub alert: bool,
}

/// Ordered rules: the last one that matches decides, for the directory and for standard error apart.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    // Both latest first: the first match decides, and what comes after it need not be tried.
    selecting: Vec<Rule>,
    alerting: Vec<Rule>,
}

impl Filter {
    /// A filter of rules in the order of the config.
    pub fn new(rules: Vec<Rule>) -> Self {
        let (selecting, alerting) = rules
            .into_iter()
            .rev()
            .partition(|rule| matches!(rule.effect, Effect::Select | Effect::Deselect));
        Self { selecting, alerting }
    }

    /// What becomes of a line, of which `text` is what may be matched. Initially it is selected, and not alerted.
    pub fn verdict(&self, text: &[u8]) -> Verdict {
        let decide =
            |rules: &[Rule]| rules.iter().find(|rule| rule.pattern.matches(text)).map(|rule| rule.effect);
        Verdict {
            select: decide(&self.selecting) != Some(Effect::Deselect),
            alert: decide(&self.alerting) == Some(Effect::Alert),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(effect: Effect, pattern: &str) -> Rule {
        Rule { effect, pattern: Pattern::new(pattern.as_bytes()) }
    }

    #[test]
    fn without_rules_a_line_is_selected_and_not_alerted() {
        assert_eq!(Filter::default().verdict(b"x"), Verdict { select: true, alert: false });
    }

    #[test]
    fn the_last_match_decides() {
        let filter = Filter::new(vec![
            rule(Effect::Deselect, "*"),
            rule(Effect::Select, "a*"),
            rule(Effect::Deselect, "ab*"),
            rule(Effect::Alert, "a*"),
            rule(Effect::Quiet, "*z"),
        ]);
        assert_eq!(filter.verdict(b"b"), Verdict { select: false, alert: false });
        assert_eq!(filter.verdict(b"ac"), Verdict { select: true, alert: true });
        assert_eq!(filter.verdict(b"abz"), Verdict { select: false, alert: false });
    }

    proptest! {
        #[test]
        fn agrees_with_reading_the_rules_in_order(
            rules in prop::collection::vec((0_usize..4, "[ab*+]{0,3}"), 0..8),
            text in "[ab]{0,4}",
        ) {
            let effects = [Effect::Select, Effect::Deselect, Effect::Alert, Effect::Quiet];
            let rules: Vec<Rule> = rules.iter().map(|(which, pattern)| rule(effects[*which], pattern)).collect();
            let mut expected = Verdict { select: true, alert: false };
            for rule in rules.iter().filter(|rule| rule.pattern.matches(text.as_bytes())) {
                match rule.effect {
                    Effect::Select => expected.select = true,
                    Effect::Deselect => expected.select = false,
                    Effect::Alert => expected.alert = true,
                    Effect::Quiet => expected.alert = false,
                }
            }
            prop_assert_eq!(Filter::new(rules).verdict(text.as_bytes()), expected);
        }
    }
}
