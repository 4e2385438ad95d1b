//! Developer and packager tasks: `cargo xtask help`.
fn main() {}
