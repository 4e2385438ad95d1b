//! Patterns and regular expressions mixed: one pass over a line decides as trying rule after rule does, and a refused
//! expression is shown where it is wrong. The first line is matched, the others are the config.
#![no_main]

use libfuzzer_sys::fuzz_target;
use svlogd::config::Config;
use svlogd::config::problem::Problem;
use svlogd::explain::Explainer;
use svlogd::filter::{Effect, Filter, Verdict};

/// Expressions are compiled several times for each input.
const MOST_LINES: usize = 16;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(2, |&byte| byte == b'\n');
    let (text, config) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    if config.split(|&byte| byte == b'\n').count() > MOST_LINES {
        return;
    }
    let (config, diagnoses) = Config::parse(config);
    for found in diagnoses {
        if let Problem::Expression(why) = found.problem {
            assert!(!why.is_empty() && found.column > "keep".len(), "{why:?} in column {}", found.column);
        }
    }
    let filter = Filter::new(config.rules.clone()).expect("each compiles");
    let explainer = Explainer::new(config.rules).expect("each compiles");
    let explanation = explainer.explain(text);
    let verdict = Verdict {
        select: explanation.directory.is_none_or(|rule| rule.effect == Effect::Select),
        alert: explanation.standard_error.is_some_and(|rule| rule.effect == Effect::Alert),
    };
    assert_eq!(filter.verdict(text), verdict);
    let line = explanation.line(text);
    assert!(line.ends_with(b"\n") && line.iter().filter(|byte| byte.is_ascii_control()).count() == 3, "{line:?}");
});
