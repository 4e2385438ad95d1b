//! `config` of a log directory: any bytes are one. A second reading of the same lines changes nothing but the filter,
//! which has every rule twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use svlogd::config::Config;

fuzz_target!(|text: &[u8]| {
    let (config, diagnoses) = Config::parse(text);
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    assert!(diagnoses.is_sorted_by_key(|diagnosis| diagnosis.line));
    for diagnosis in &diagnoses {
        let line = lines[diagnosis.line - 1];
        assert!(
            diagnosis.text.is_empty()
                || line.windows(diagnosis.text.len()).any(|part| part == diagnosis.text),
            "{diagnosis:?} shows what is not in the line {line:?}"
        );
        assert!(!diagnosis.problem.to_string().is_empty());
    }
    let rules = lines.iter().filter(|line| matches!(line.first(), Some(b'+' | b'-' | b'e' | b'E')));
    assert_eq!(config.rules.len(), rules.count());

    let (twice, diagnosed_twice) = Config::parse(&[text, b"\n", text].concat());
    assert_eq!(diagnosed_twice.len(), 2 * diagnoses.len());
    assert_eq!(twice.rules, [&config.rules[..], &config.rules].concat());
    assert_eq!(Config { rules: Vec::new(), ..twice }, Config { rules: Vec::new(), ..config });
});
