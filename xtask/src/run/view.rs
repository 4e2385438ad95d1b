//! The state of a services directory, for people.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use svlib::paths;
use svlib::status::Status;
use svlib::sys::{clock, fifo};

/// How many lines of what the tree prints are shown below the table.
const MESSAGES: usize = 5;

/// Shows the state on standard output: a table that is drawn again on a terminal, else a line for each change.
pub(super) struct View {
    services: PathBuf,
    /// On a terminal: the file with what the tree prints.
    messages: Option<PathBuf>,
    last: Vec<Row>,
    /// The height of the table on the screen.
    drawn: usize,
}

/// One process of a service.
struct Row {
    name: String,
    status: Option<Status>,
}

impl View {
    pub(super) fn new(services: &Path, messages: Option<PathBuf>) -> Self {
        Self { services: services.to_owned(), messages, last: Vec::new(), drawn: 0 }
    }

    /// Shows what there is to show now.
    pub(super) fn show(&mut self) {
        let rows = read(&self.services);
        let text = match &self.messages {
            Some(messages) => self.table(&rows, &last_lines(messages)),
            None => self.changes(&rows),
        };
        self.last = rows;
        let mut out = io::stdout().lock();
        // A closed standard output ends the show, not the supervision.
        let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn table(&mut self, rows: &[Row], messages: &[String]) -> String {
        let now = clock::now().wall;
        let mut lines: Vec<String> = rows.iter().map(|row| row.line(now.unix_seconds())).collect();
        lines.push(String::new());
        lines.extend_from_slice(messages);
        // Up to the first line of the last table, erase to the end, and do not wrap.
        let up = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
        self.drawn = lines.len();
        format!("{up}\r\x1b[J\x1b[?7l{}\n\x1b[?7h", lines.join("\n"))
    }

    fn changes(&self, rows: &[Row]) -> String {
        let told = |row: &Row| match self.last.iter().find(|last| last.name == row.name) {
            Some(last) => last.state() == row.state(),
            None => row.status.is_none(),
        };
        let mut text = String::new();
        for row in rows.iter().filter(|row| !told(row)) {
            text.push_str(&format!("{}: {}\n", row.name, row.state()));
        }
        for gone in self.last.iter().filter(|last| !rows.iter().any(|row| row.name == last.name)) {
            text.push_str(&format!("{}: removed\n", gone.name));
        }
        text
    }
}

impl Row {
    fn state(&self) -> String {
        let Some(status) = self.status else { return "no runsv".to_owned() };
        let pid = status.pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
        format!("{}{pid}", status.stat_text().trim_end())
    }

    fn line(&self, now: i64) -> String {
        let age = self
            .status
            .map_or_else(String::new, |status| format!("{} s", now - status.changed.unix_seconds()));
        format!("{:<16} {:>8}  {}", self.name, age, self.state())
    }
}

/// The service directories in `services` that a runsv runs for.
pub(super) fn supervised(services: &Path) -> Result<Vec<PathBuf>> {
    let mut dirs = directories(services).with_context(|| format!("unable to list {}", services.display()))?;
    dirs.retain(|dir| is_supervised(dir));
    Ok(dirs)
}

/// What runsvdir takes for services, sorted.
fn directories(services: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(services)?.collect::<io::Result<Vec<_>>>()?;
    let visible = entries.iter().filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    let mut dirs: Vec<_> = visible.map(fs::DirEntry::path).filter(|path| path.is_dir()).collect();
    dirs.sort();
    Ok(dirs)
}

/// Opening the fifo for writing succeeds while runsv has it open for reading.
fn is_supervised(service: &Path) -> bool {
    fifo::open_write(&service.join(paths::OK)).is_ok()
}

fn read(services: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    for dir in directories(services).unwrap_or_default() {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().escape_debug().to_string();
        let log = dir.join(paths::LOG);
        rows.push(Row { status: status(&dir), name: name.clone() });
        if log.is_dir() {
            rows.push(Row { status: status(&log), name: format!("{name}/log") });
        }
    }
    rows
}

fn status(dir: &Path) -> Option<Status> {
    let record = fs::read(dir.join(paths::STATUS)).ok()?;
    is_supervised(dir).then(|| Status::decode(&record).ok()).flatten()
}

/// The end of the file, without what could move the cursor.
fn last_lines(path: &Path) -> Vec<String> {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<String> =
        text.lines().rev().take(MESSAGES).map(|line| line.escape_debug().to_string()).collect();
    lines.into_iter().rev().collect()
}
