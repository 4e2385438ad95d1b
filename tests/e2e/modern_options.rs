//! `--help` and `--version`, which runit has not.

use svkit_tests::{Case, PROGRAMS, Sandbox, Subject, case};

pub(crate) const CASES: &[Case] = &[
    case!(help_goes_to_standard_output),
    case!(version_goes_to_standard_output),
    case!(usage_names_the_program),
];

fn help_goes_to_standard_output(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for program in PROGRAMS {
        let output = sandbox.run(program, &["--help"]);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{program}");
        assert!(output.stdout.contains(program), "{output:?}");
    }
}

fn version_goes_to_standard_output(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for program in PROGRAMS {
        let output = sandbox.run(program, &["--version"]);
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{program}");
        assert!(output.stdout.starts_with(program) && output.stdout.lines().count() == 1, "{output:?}");
    }
}

/// The codes of runit's usage errors, with our own words.
fn usage_names_the_program(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    for (program, code) in [("runsv", 1), ("runsvdir", 1), ("sv", 100), ("chpst", 100), ("svlogd", 111)] {
        // runsv has no options: two arguments are one too many.
        let output =
            sandbox.run(program, if program == "runsv" { &["-x", "-y"] } else { &["--no-such-option"] });
        assert_eq!((output.code, output.stdout.as_str()), (Some(code), ""), "{program}: {output:?}");
        assert!(output.stderr.to_lowercase().contains(&format!("usage: {program}")), "{output:?}");
    }
}
