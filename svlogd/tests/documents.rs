//! The configs that the man page and the documents show are what `svlogd --check` has nothing to say about.
#![expect(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use svlogd::config::words::WORDS;

/// What runit's lines begin with.
const LETTERS: [&str; 12] = ["s", "n", "N", "t", "!", "p", "u", "U", "+", "-", "e", "E"];

/// In the man page, the next `.nf` begins a config.
const CONFIG: &str = r#".\" config"#;

/// What `--check` says of a config.
fn check(config: &str) -> String {
    let sandbox = tempfile::tempdir().unwrap();
    fs::write(sandbox.path().join("config"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_svlogd"));
    let output = command.arg("--check").arg(sandbox.path()).output().unwrap();
    assert_eq!(output.status.success(), output.stdout.is_empty(), "{config}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

fn assert_all_are_right(configs: &[String], at_least: usize) {
    assert!(configs.len() >= at_least, "{configs:#?}");
    for config in configs {
        assert_eq!(check(config), "", "{config}");
    }
}

/// What the reader of a page sees of a line of its source.
fn shown(source: &str) -> String {
    let plain = source.replace(r"\fB", "").replace(r"\fR", "").replace(r"\-", "-").replace(r"\(dq", "\"");
    plain.replace(r"\&", "").replace(r"\(aq", "'").replace(r"\e", r"\")
}

#[test]
fn a_wrong_config_would_be_noticed() {
    assert!(check("rotate daily 24:00\n").contains(":1:14: "));
}

#[test]
fn configs_in_the_man_page() {
    let page = read("man/svlogd.8.in");
    let configs: Vec<String> = page
        .split(CONFIG)
        .skip(1)
        .map(|text| {
            let lines = text.lines().skip_while(|&line| line != ".nf").skip(1);
            lines.take_while(|&line| line != ".fi").map(|line| shown(line) + "\n").collect()
        })
        .collect();
    assert_all_are_right(&configs, 8);
}

#[test]
fn examples_of_settings_in_the_man_page() {
    let page = read("man/svlogd.8.in");
    let lines: Vec<&str> = page.lines().collect();
    let examples: Vec<String> = lines
        .windows(2)
        .filter(|pair| pair[0] == "Example:")
        .map(|pair| shown(pair[1].strip_prefix(".B ").unwrap().trim_matches('"')) + "\n")
        .collect();
    assert_all_are_right(&examples, WORDS.len() + LETTERS.len());
    for word in WORDS {
        let is_shown = examples.iter().any(|line| line.split_whitespace().next() == Some(word));
        assert!(is_shown, "no example of {word}");
    }
    for letter in LETTERS {
        let is_shown = examples
            .iter()
            .any(|line| line.starts_with(letter) && !WORDS.iter().any(|word| line.starts_with(word)));
        assert!(is_shown, "no example of {letter}");
    }
}

#[test]
fn configs_for_log_shippers() {
    let text = read("SHIPPERS.md");
    let configs: Vec<String> =
        text.split("```config\n").skip(1).map(|text| text.split("```").next().unwrap().to_owned()).collect();
    assert_all_are_right(&configs, 2);
}
