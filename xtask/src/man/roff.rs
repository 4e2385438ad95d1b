//! Parts of a clap definition as man(7) source.

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command};

/// The NAME section.
pub(super) fn name(command: &Command) -> String {
    let about = command.get_about().map(StyledStr::to_string).unwrap_or_default();
    let mut letters = about.chars();
    let about: String =
        letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect();
    let text = format!("{} \\- {}", escape(command.get_name()), escape(about.trim_end_matches('.')));
    format!(".SH NAME\n{}", fill(&text))
}

/// The SYNOPSIS section without operands: flags of one letter in one bracket, then options with a value.
pub(super) fn synopsis(command: &Command) -> String {
    let mut text = format!(".SH SYNOPSIS\n{}\n", bold(command.get_name()));
    let shown = || command.get_arguments().filter(|arg| !arg.is_hide_set() && !is_clap_own(arg));
    let letters: String = shown().filter(|arg| !takes_value(arg)).filter_map(Arg::get_short).collect();
    if !letters.is_empty() {
        text.push_str(&format!("[{}]\n", bold(&format!("-{letters}"))));
    }
    for arg in shown().filter(|arg| !arg.is_positional()) {
        if takes_value(arg) || arg.get_short().is_none() {
            let spelling = spellings(arg).into_iter().next().unwrap_or_default();
            text.push_str(&format!("[{spelling}]\n"));
        }
    }
    text
}

/// An option as a tagged paragraph: its spellings, then its help as a sentence.
pub(super) fn option(arg: &Arg) -> String {
    let help = arg.get_help().map(StyledStr::to_string).unwrap_or_default();
    let stop = if help.is_empty() || help.ends_with('.') { "" } else { "." };
    format!(".TP\n{}\n{}", spellings(arg).join(", "), fill(&escape(&format!("{help}{stop}"))))
}

/// Whether `name` is `-x` or `--word` of this option.
pub(super) fn is_called(arg: &Arg, name: &str) -> bool {
    match name.strip_prefix("--") {
        Some(word) => arg.get_long() == Some(word),
        None => arg.get_short().is_some_and(|letter| name == format!("-{letter}")),
    }
}

/// `-u user` and `--user user`, as far as they exist.
fn spellings(arg: &Arg) -> Vec<String> {
    let value = if takes_value(arg) { format!(" {}", values(arg)) } else { String::new() };
    let short = arg.get_short().map(|letter| format!("-{letter}"));
    let long = arg.get_long().map(|word| format!("--{word}"));
    short.into_iter().chain(long).map(|name| format!("{}{value}", bold(&name))).collect()
}

fn values(arg: &Arg) -> String {
    match arg.get_value_names() {
        Some(names) => names.iter().map(|name| italic(name)).collect::<Vec<_>>().join(" "),
        None => italic(arg.get_id().as_str()),
    }
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

/// `--help` and `--version`: described among the options, but no part of a normal call.
pub(super) fn is_clap_own(arg: &Arg) -> bool {
    matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    ) || matches!(arg.get_id().as_str(), "help" | "version")
}

fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escape(text))
}

fn italic(text: &str) -> String {
    format!("\\fI{}\\fR", escape(text))
}

/// Text in which roff sees nothing of its own.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// Lines of at most 80 characters, as mandoc's style wants them, none of them a request.
fn fill(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { continue };
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= 78 {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    let guard = |line: &String| if line.starts_with(['.', '\'']) { "\\&" } else { "" };
    lines.iter().map(|line| format!("{}{line}\n", guard(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backslashes_and_hyphens_are_printed_as_they_are() {
        assert_eq!(escape(r"a\n -x"), r"a\en \-x");
    }

    #[test]
    fn a_long_text_is_folded_and_no_line_of_it_is_a_request() {
        let text = fill(&format!("{} .config is read", "x".repeat(75)));
        assert_eq!(text, format!("{}\n\\&.config is read\n", "x".repeat(75)));
    }
}
