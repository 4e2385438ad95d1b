//! Limits come last because they may leave chpst itself no memory.

use std::process::Command;

#[test]
fn a_limit_that_leaves_no_memory_lets_chpst_say_what_failed() {
    let mut chpst = Command::new(env!("CARGO_BIN_EXE_chpst"));
    // More than the allocator has at hand, and more than the program's stack may take under the limit.
    for n in 0..8 {
        chpst.env(format!("VARIABLE{n}"), "x".repeat(100_000));
    }
    let output = chpst.args(["-m", "0", "true"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(111), "{stderr}");
    assert_eq!(stderr, "chpst: fatal: unable to run: true: Argument list too long\n");
}
