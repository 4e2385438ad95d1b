//! `config` of a log directory: any bytes are one. A second reading of the same lines changes nothing but the filter and
//! the servers, of which there are twice as many.
#![no_main]

use libfuzzer_sys::fuzz_target;
use svlogd::config::Config;
use svlogd::config::problem::{Diagnosis, Problem};
use svlogd::filter::Rule;

fuzz_target!(|text: &[u8]| {
    let (config, diagnoses) = Config::parse(text);
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    assert!(diagnoses.is_sorted_by_key(|diagnosis| diagnosis.line));
    for diagnosis in &diagnoses {
        let line = lines[diagnosis.line - 1];
        assert!(
            line[diagnosis.column - 1..].starts_with(&diagnosis.text),
            "{diagnosis:?} shows what is not there in the line {line:?}"
        );
        let message = String::from_utf8(diagnosis.message()).expect("clean");
        assert!(!message.contains(|char: char| char.is_control() && char != '\t'), "{message:?}");
    }
    let is_pattern = |line: &[u8]| matches!(line.first(), Some(b'+' | b'-' | b'e' | b'E'));
    let patterns = config.rules.iter().filter(|rule| is_pattern(lines[rule.line - 1]));
    assert_eq!(patterns.count(), lines.iter().filter(|line| is_pattern(line)).count());

    let (twice, diagnosed_twice) = Config::parse(&[text, b"\n", text].concat());
    // What contradicts other lines is shown where it is last.
    let alone = |diagnoses: &[Diagnosis]| {
        let is_alone = |found: &&Diagnosis| !matches!(found.problem, Problem::NotBelowKeep | Problem::BelowSize);
        diagnoses.iter().filter(is_alone).count()
    };
    assert_eq!(alone(&diagnosed_twice), 2 * alone(&diagnoses));
    let moved = |rule: &Rule| Rule { line: rule.line + lines.len(), ..rule.clone() };
    let rules: Vec<Rule> = config.rules.iter().cloned().chain(config.rules.iter().map(moved)).collect();
    assert_eq!(twice.rules, rules);
    assert_eq!(twice.forward, [&config.forward[..], &config.forward].concat());
    let rest = |config| Config { rules: Vec::new(), forward: Vec::new(), ..config };
    assert_eq!(rest(twice), rest(config));
});
