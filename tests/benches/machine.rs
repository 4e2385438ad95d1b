//! Where the figures come from.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::available_parallelism;

use crate::contender::{Contender, Who};
use crate::settings::Settings;

/// Day, machine and versions, in three lines.
pub(crate) fn describe(settings: &Settings, contenders: &[Contender]) -> String {
    let cores = available_parallelism().map_or(0, usize::from);
    let versions: Vec<String> = contenders
        .iter()
        .filter(|contender| contender.who != Who::Floor)
        .map(|contender| {
            let version = contender.version.as_deref().unwrap_or("of unknown version");
            format!("{} {version}", contender.who.name())
        })
        .collect();
    format!(
        "{}, {cores} cores ({}), Linux {}\n{}\nlog directories on {}; a logger syncs each file that becomes an old one, `cat` syncs nothing",
        output("date", &["-u", "+%Y-%m-%d"]),
        processor(),
        kernel_version(),
        versions.join(", "),
        file_system(&settings.place),
    )
}

fn processor() -> String {
    let text = read("/proc/cpuinfo");
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned())
}

/// The kernel's release without what its builder has added to the number.
fn kernel_version() -> String {
    let release = read("/proc/sys/kernel/osrelease");
    release.chars().take_while(|&char| char.is_ascii_digit() || char == '.').collect()
}

/// The type of the file system `path` is on.
fn file_system(path: &Path) -> String {
    let text = output("df", &["--output=fstype", &path.to_string_lossy()]);
    text.lines().nth(1).unwrap_or("an unknown file system").trim().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
