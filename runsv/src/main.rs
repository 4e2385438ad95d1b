//! `runsv`(8): see the library's documentation.
fn main() -> std::process::ExitCode {
    runsv::main()
}
