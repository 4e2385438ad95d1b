//! `man`: the man pages, section 8.
//!
//! A page is its prose, `<program>/man/<program>.8.in`, plus what the clap definition says: the NAME and SYNOPSIS
//! sections, and the head and help sentence of each option. So a page cannot name an option that does not exist, nor
//! leave one out. The prose is man(7) source:
//!
//! - the first line is the page's `.TH`, with the date of its last change;
//! - where there are tables (`.TS`), the page says at its very beginning that it needs tbl(1), as man(1) wants it;
//! - what stands before the first `.SH` follows the options in the SYNOPSIS: the operands;
//! - a line `.\" option -x` becomes that option's head and help sentence; the text after it belongs to the option;
//! - a line `.\" options` becomes all options that the prose does not name.

mod roff;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::programs::{PROGRAMS, Program};
use crate::project;

const ONE: &str = r#".\" option "#;
const REST: &str = r#".\" options"#;
const TABLE: &str = ".TS";
const NEEDS_TBL: &str = "'\\\" t\n";

/// Writes every page to `dir`.
pub(crate) fn write(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("unable to create {}", dir.display()))?;
    for program in &PROGRAMS {
        let path = dir.join(format!("{}.8", program.name));
        fs::write(&path, render(program)?).with_context(|| format!("unable to write {}", path.display()))?;
    }
    println!("{}", dir.display());
    Ok(())
}

/// The page of one program.
pub(crate) fn render(program: &Program) -> Result<String> {
    let path = project::root().join(program.name).join("man").join(format!("{}.8.in", program.name));
    let prose = fs::read_to_string(&path).with_context(|| format!("unable to read {}", path.display()))?;
    let mut command = (program.command)();
    // Adds --help and --version where the definition leaves them to clap.
    command.build();
    compose(&command, &prose).with_context(|| format!("in {}", path.display()))
}

/// Checks every page with mandoc; whatever it remarks is an error.
pub(crate) fn lint() -> Result<()> {
    let dir = tempfile::tempdir().context("unable to create a temporary directory")?;
    write(dir.path())?;
    let mut mandoc = Command::new("mandoc");
    mandoc
        .args(["-T", "lint", "-W", "style"])
        .args(PROGRAMS.iter().map(|program| format!("{}.8", program.name)));
    let output =
        mandoc.current_dir(dir.path()).stdin(Stdio::null()).output().context("unable to run mandoc")?;
    if !output.status.success() || !output.stdout.is_empty() {
        bail!("{}", String::from_utf8_lossy(&output.stdout).trim_end());
    }
    Ok(())
}

fn compose(command: &clap::Command, prose: &str) -> Result<String> {
    let mut lines = prose.lines();
    let title = lines.next().filter(|line| line.starts_with(".TH ")).context("the first line is not .TH")?;
    let preprocessor = if prose.lines().any(|line| line == TABLE) { NEEDS_TBL } else { "" };
    let mut page = format!("{preprocessor}{title}\n{}{}", roff::name(command), roff::synopsis(command));

    let all = || command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set());
    let named: Vec<&str> = prose.lines().filter_map(|line| line.strip_prefix(ONE)).collect();
    let mut rest: Vec<_> = all().filter(|arg| !named.iter().any(|name| roff::is_called(arg, name))).collect();
    // Last, wherever the definition has them.
    rest.sort_by_key(|arg| roff::is_clap_own(arg));
    for line in lines {
        if line == REST {
            rest.drain(..).for_each(|arg| page.push_str(&roff::option(arg)));
        } else if let Some(name) = line.strip_prefix(ONE) {
            let arg = all()
                .find(|arg| roff::is_called(arg, name))
                .with_context(|| format!("no option is `{name}`"))?;
            page.push_str(&roff::option(arg));
        } else {
            page.push_str(line);
            page.push('\n');
        }
    }
    if let Some(arg) = rest.first() {
        bail!("the option `{}` is not described, and there is no line `{REST}`", arg.get_id());
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction};

    use super::*;

    fn command() -> clap::Command {
        let mut command = clap::Command::new("demo")
            .about("Does a thing")
            .disable_help_flag(true)
            .arg(Arg::new("pair").short('P').action(ArgAction::SetTrue).help("Use -2 of them"))
            .arg(Arg::new("verbose").short('v').action(ArgAction::Count).help("Say more"))
            .arg(Arg::new("user").short('u').long("user").value_name("user").help("Become user."))
            .arg(Arg::new("dir").required(true));
        command.build();
        command
    }

    #[test]
    fn a_page_is_the_definition_and_the_prose() {
        let prose = ".TH DEMO 8 2026-01-01\n.I dir\n.SH OPTIONS\n.\\\" option -u\nThe prose.\n.\\\" options\n.SH FILES\n";
        let page = compose(&command(), prose).unwrap();
        let expected = r"
.TH DEMO 8 2026-01-01
.SH NAME
demo \- does a thing
.SH SYNOPSIS
\fBdemo\fR
[\fB\-Pv\fR]
[\fB\-u\fR \fIuser\fR]
.I dir
.SH OPTIONS
.TP
\fB\-u\fR \fIuser\fR, \fB\-\-user\fR \fIuser\fR
Become user.
The prose.
.TP
\fB\-P\fR
Use \-2 of them.
.TP
\fB\-v\fR
Say more.
.SH FILES
";
        assert_eq!(page, expected.trim_start());
    }

    #[test]
    fn a_page_with_a_table_names_the_preprocessor() {
        let page = compose(&command(), ".TH DEMO 8\n.\\\" options\n.TS\nl l.\na\tb\n.TE\n").unwrap();
        assert!(page.starts_with("'\\\" t\n.TH DEMO 8\n"), "{page}");
    }

    #[test]
    fn prose_for_an_option_that_is_gone_is_an_error() {
        let error = compose(&command(), ".TH DEMO 8\n.\\\" option -o\n.\\\" options\n").unwrap_err();
        assert_eq!(error.to_string(), "no option is `-o`");
    }

    #[test]
    fn an_option_without_a_place_is_an_error() {
        let error = compose(&command(), ".TH DEMO 8\n.\\\" option --user\n.\\\" option -v\n").unwrap_err();
        assert!(error.to_string().contains("`pair` is not described"), "{error}");
    }

    #[test]
    fn every_program_has_a_page_with_the_sections_a_reader_expects() {
        for program in &PROGRAMS {
            let page = render(program).unwrap();
            for section in
                ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT CODES", "EXAMPLES", "SEE ALSO"]
            {
                assert!(page.contains(&format!("\n.SH {section}\n")), "{} has no {section}", program.name);
            }
        }
    }
}
