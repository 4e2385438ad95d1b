//! `run`: the suite at work on a services directory, until Ctrl-C.

mod family;
mod sample;
mod view;

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use svlib::sys::poll;
use svlib::sys::process::Spawn;
use svlib::sys::signal::{self, Signals};
use tempfile::TempDir;

use crate::programs;
use family::Family;
use view::View;

/// How often the state is read.
const TICK: Duration = Duration::from_millis(250);
/// How long services have to stop before they are killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Supervises `dir`, or a copy of the sample tree, with the programs in `programs`, or ours.
pub(crate) fn run(dir: Option<PathBuf>, programs: Option<PathBuf>) -> Result<()> {
    let programs = match programs {
        Some(dir) => absolute(&dir)?,
        None => programs::build_release()?,
    };
    let scratch = TempDir::with_prefix("svkit-").context("unable to create a temporary directory")?;
    let services = match &dir {
        Some(dir) => absolute(dir)?,
        None => sample::create(scratch.path())?,
    };
    if let Some(taken) = view::supervised(&services)?.first() {
        bail!("{} is supervised already: stop its runsv first", taken.display());
    }

    let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD];
    let signals = Signals::block(&signals)?;
    let mut family = Family::new()?;
    let messages = scratch.path().join("messages");
    let on_terminal = io::stdout().is_terminal();
    let runsvdir = start(&programs, &services, on_terminal.then_some(&messages))?;
    introduce(&programs, &services, runsvdir, dir.is_none());

    let mut view = View::new(&services, on_terminal.then_some(messages));
    let outcome = watch(&signals, &mut family, runsvdir, &mut view);
    println!("\nstopping every service; Ctrl-C again kills them");
    stop(&signals, &mut family, runsvdir, || kill_services(&programs, &services))?;
    println!("every service has stopped");
    outcome
}

fn absolute(dir: &Path) -> Result<PathBuf> {
    let dir = fs::canonicalize(dir).with_context(|| format!("unable to find {}", dir.display()))?;
    if !dir.is_dir() {
        bail!("{} is not a directory", dir.display());
    }
    Ok(dir)
}

/// Starts runsvdir, with what the tree prints going to the file `messages`, or where ours goes.
fn start(programs: &Path, services: &Path, messages: Option<&PathBuf>) -> Result<Pid> {
    let nothing = File::open("/dev/null").context("unable to open /dev/null")?;
    let messages = match messages {
        Some(path) => {
            Some(File::create(path).with_context(|| format!("unable to create {}", path.display()))?)
        }
        None => None,
    };
    let xtask = env::current_exe().context("unable to find this program")?;
    // Not the standard library's Command: its children keep our signal mask. In a session of its own: the terminal's
    // Ctrl-C is for us alone, the services are told by their runsv.
    let mut command = Spawn::new("env").search_path().new_session().stdin(nothing.as_fd());
    if let Some(messages) = &messages {
        command = command.stdout(messages.as_fd()).stderr(messages.as_fd());
    }
    for (name, value) in
        [("PATH", search_path(programs)?), ("SVDIR", services.into()), ("XTASK", xtask.into())]
    {
        let mut assignment = OsString::from(format!("{name}="));
        assignment.push(value);
        command = command.arg(assignment);
    }
    Ok(command.arg(programs.join("runsvdir")).arg("-P").arg(services).spawn()?)
}

fn search_path(programs: &Path) -> Result<OsString> {
    let rest = env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(programs.to_owned()).chain(env::split_paths(&rest));
    env::join_paths(all).context("unable to put the programs in the PATH")
}

fn introduce(programs: &Path, services: &Path, runsvdir: Pid, sample: bool) {
    println!("services:  {}", services.display());
    println!("runsvdir:  process {runsvdir}, from {}", programs.display());
    println!("To control them, in another terminal:");
    println!("  export SVDIR='{}' PATH='{}':\"$PATH\"", services.display(), programs.display());
    println!("  sv status \"$SVDIR\"/*");
    if sample {
        println!("  sv restart worker");
        println!("  sv down crasher");
        println!("  sv check dependent");
        println!("  tail -F \"$SVDIR\"/web/log/main/current");
    } else {
        println!("  sv restart NAME");
    }
    println!("Ctrl-C stops every service, each before its logger.\n");
}

/// Shows the state until a signal asks to stop; runsvdir's end is an error.
fn watch(signals: &Signals, family: &mut Family, runsvdir: Pid, view: &mut View) -> Result<()> {
    loop {
        view.show();
        if told_to_stop(signals)? {
            return Ok(());
        }
        family.reap();
        if !family.has(runsvdir) {
            bail!("runsvdir has exited");
        }
    }
}

/// Ends runsvdir, then every runsv, which stops its service and then its logger. What does not stop in time is killed:
/// first the services alone (`kill_services`), so that their loggers still get to the end; then all that is left.
fn stop(signals: &Signals, family: &mut Family, runsvdir: Pid, kill_services: impl Fn()) -> Result<()> {
    // Before the others: it would start each runsv again.
    if family.has(runsvdir) {
        signal::send(runsvdir, Signal::SIGTERM)?;
    }
    while family.has(runsvdir) {
        told_to_stop(signals)?;
        family.reap();
    }
    if wind_down(signals, family, Signal::SIGTERM)? {
        return Ok(());
    }
    println!("some services do not stop: killing them");
    kill_services();
    if wind_down(signals, family, Signal::SIGTERM)? || wind_down(signals, family, Signal::SIGKILL)? {
        return Ok(());
    }
    bail!("processes are left: {:?}", family.children());
}

/// Sends `signal` to every child, also those that become ours meanwhile, and waits for the last to end; `false` when
/// time is up or a signal says that it shall be.
fn wind_down(signals: &Signals, family: &mut Family, signal: Signal) -> Result<bool> {
    let start = Instant::now();
    let mut told = Vec::new();
    loop {
        family.reap();
        let children = family.children();
        if children.is_empty() {
            return Ok(true);
        }
        for child in children {
            if !told.contains(&child) {
                // It may have ended since, or belong to another user.
                let _not_told = signal::send(child, signal);
                told.push(child);
            }
        }
        if told_to_stop(signals)? || start.elapsed() > PATIENCE {
            return Ok(false);
        }
    }
}

/// Waits for a signal, or a [`TICK`]; `true` when the signal asks this program to stop.
fn told_to_stop(signals: &Signals) -> Result<bool> {
    let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    poll::wait(&mut fds, Some(TICK)).context("unable to wait")?;
    let mut told = false;
    while let Some(signal) = signals.next()? {
        told |= signal != Signal::SIGCHLD;
    }
    Ok(told)
}

/// Tells each runsv to kill its service.
fn kill_services(programs: &Path, services: &Path) {
    let Ok(stubborn) = view::supervised(services) else { return };
    let mut sv = Command::new(programs.join("sv"));
    if let Err(error) = sv.arg("kill").args(stubborn).stdin(Stdio::null()).status() {
        println!("unable to run sv: {error}");
    }
}
