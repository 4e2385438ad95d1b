//! The suite `e2e`.
fn main() {}
