//! The suite `interop`.
fn main() {}
