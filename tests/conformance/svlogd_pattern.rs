//! Selection by pattern.

use svkit_tests::{Case, Sandbox, Subject, case};

use crate::svlogd_write::{current, log, quietly};

pub(crate) const CASES: &[Case] = &[
    case!(matching_table),
    case!(the_last_match_wins),
    case!(initially_selected),
    case!(standard_error_selection),
    case!(example_of_the_page),
    case!(only_the_first_len_characters_count),
    case!(rest_of_a_long_line_follows_its_first_part),
    case!(replacement_comes_before_matching),
    case!(stamp_and_prefix_are_not_matched),
];

/// "A character not a star (``*'') and not a plus (``+'') matches itself. A plus matches the next character in pattern in
/// the log message one or more times. A star before the end of pattern matches any string in the log message that does not
/// include the next character in pattern. A star at the end of pattern matches any string." svlogd(8); and what the page
/// leaves out.
fn matching_table(subject: &Subject) {
    let table: [(&str, &[&str], &[&str]); 12] = [
        ("abc", &["abc"], &["ab", "abcd", "", "xabc"]),
        ("*", &["", "a", "***"], &[]),
        ("a*", &["a", "abc"], &["", "ba"]),
        ("*c", &["c", "abc"], &["", "ab", "abcd", "cc"]),
        ("a*c", &["ac", "abc", "abbbc"], &["abcbc", "ab"]),
        ("+ab", &["ab", "aaab"], &["b", "bab"]),
        ("+a", &["a", "aaa"], &["", "b", "ab"]),
        ("+ab*", &["ab", "aabc", "aaa"], &["b"]),
        ("x+ax", &["xax", "xaax", "xa", "xaaa"], &["xx", "x"]),
        ("*: *: pid *", &["a: b: pid 1"], &["a: pid 1", "a:b: pid 1"]),
        ("a.b", &["a.b"], &["axb"]),
        ("?", &["?"], &["a"]),
    ];
    for (pattern, matching, others) in table {
        let sandbox = Sandbox::new(subject);
        sandbox.mkdir("log");
        sandbox.write("log/config", format!("-*\n+{pattern}\n"));
        let input: String = others.iter().chain(matching).map(|line| format!("{line}\n")).collect();
        quietly(&sandbox, &["log"], input);
        let expected: String = matching.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(current(&sandbox, "log"), expected, "{pattern}");
    }
}

/// "If a line starts with a -, +, e, or E, svlogd matches the first len characters of each log message against pattern and
/// acts accordingly" svlogd(8): in order.
fn the_last_match_wins(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "-*\n+a*\n-ab*\n+abc*\n");
    quietly(&sandbox, &["log"], "x\na\nab\nabc\nabcd\n");
    assert_eq!(current(&sandbox, "log"), "a\nabc\nabcd\n");
}

/// "Initially each line is selected to be written to log/current." svlogd(8)
fn initially_selected(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "# comment\n\n-debug*\n+debugger\n");
    quietly(&sandbox, &["log"], "debug: x\ninfo\ndebugger\n");
    assert_eq!(current(&sandbox, "log"), "info\ndebugger\n");
}

/// "epattern the log message is selected to be printed to standard error. Epattern the log message is deselected to be
/// printed to standard error." "Initially each line is deselected to be written to standard err." svlogd(8)
fn standard_error_selection(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "e*: error*\nEignored*\n-secret*\n");
    let input = "a: error 1\nignored: error 2\ninfo\nsecret: error 3\n";
    let output = log(&sandbox, &["log"], input);
    assert_eq!(output.stderr, "a: error 1\nsecret: error 3\n");
    assert_eq!(current(&sandbox, "log"), "a: error 1\nignored: error 2\ninfo\n");
}

/// "The following pattern doesn't match: -*pid* … To match this log message, you can use a pattern like this instead:
/// -*: *: pid *" svlogd(8)
fn example_of_the_page(subject: &Subject) {
    // Without the stamp the page has: its colons are the first ones.
    let line = "tcpsvd: info: pid 1977 from 10.4.1.14\n";
    for (pattern, expected) in [("-*pid*", line), ("-*: *: pid *", "")] {
        let sandbox = Sandbox::new(subject);
        sandbox.mkdir("log");
        sandbox.write("log/config", format!("{pattern}\n"));
        quietly(&sandbox, &["log"], line);
        assert_eq!(current(&sandbox, "log"), expected, "{pattern}");
    }
}

/// "Pattern matching applies to the first len characters of a log message only." svlogd(8)
fn only_the_first_len_characters_count(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "-*\n+12345\n");
    quietly(&sandbox, &["-l", "5", "-b", "10", "log"], "1234567890\n12345\n1234\n12346\n");
    assert_eq!(current(&sandbox, "log"), "1234567890\n12345\n");
}

/// "Pattern matching applies to the first len characters of a log message only." svlogd(8): the rest of a long line
/// goes where its first part went, whatever it would match.
fn rest_of_a_long_line_follows_its_first_part(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for dir in ["yes", "no"] {
        sandbox.mkdir(dir);
    }
    sandbox.write("yes/config", "-b*\n");
    sandbox.write("no/config", "-a*\n");
    quietly(&sandbox, &["-l", "5", "-b", "10", "yes", "no"], "aaaaabbbbbbbbbbbbbbbbb\nbbbbbaaaaaaaaaaaaa\n");
    assert_eq!(current(&sandbox, "yes"), "aaaaabbbbbbbbbbbbbbbbb\n");
    assert_eq!(current(&sandbox, "no"), "bbbbbaaaaaaaaaaaaa\n");
}

/// "Characters are replaced before pattern matching is applied." svlogd(8)
fn replacement_comes_before_matching(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "-*\n+a?b\n");
    quietly(&sandbox, &["-r", "?", "log"], "a\tb\na b\n");
    assert_eq!(current(&sandbox, "log"), "a?b\n");
}

/// "Timestamps optionally added by svlogd are not considered part of the log message." svlogd(8): nor is the prefix.
fn stamp_and_prefix_are_not_matched(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    sandbox.write("log/config", "pprefix: \n-*\n+one\n");
    quietly(&sandbox, &["-t", "log"], "one\ntwo\n");
    assert_eq!(svkit_tests::mask_stamps(&current(&sandbox, "log")), "@STAMP prefix: one\n");
}
