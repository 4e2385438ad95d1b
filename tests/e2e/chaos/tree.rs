//! The tree that faults happen to, and what is known of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::thread::{panicking, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use svkit_tests::{ProcStat, Reaper, Running, Sandbox, Service, note, try_send, write_script};

use super::plan::{Fault, Step, Victim, has_log};
use super::writer;

/// How many of the last faults a report has, and how many of those of a service.
const TOLD: usize = 40;
const TOLD_OF_SERVICE: usize = 15;
/// Of how many runsvdirs a report has what they said.
const REMEMBERED: usize = 3;
/// How long after a command a log service may still end because of it.
const LOG_UNREST: Duration = Duration::from_millis(1500);

/// One service.
pub(crate) struct Member {
    /// Its number, and its name for its writer.
    pub(crate) id: usize,
    pub(crate) name: String,
    /// Its entry in the services directory: a link, or the service directory itself.
    entry: String,
    is_link: bool,
    /// The entry is not there for now.
    removed: bool,
    /// Its log service may have been killed.
    pub(crate) logger_killed: bool,
    log_commanded: Option<Instant>,
    /// The runsvdir that holds the log pipe for the dead runsv.
    keeper: Option<u32>,
    versions: usize,
}

impl Member {
    fn entry(&self, sandbox: &Sandbox) -> PathBuf {
        sandbox.services().join(&self.entry)
    }

    /// The service directory, wherever it is now.
    pub(crate) fn service(&self, sandbox: &Sandbox) -> Service {
        Service::at(match (self.is_link, self.removed) {
            (true, _) => sandbox.join("sv").join(&self.name),
            (false, true) => sandbox.join("aside").join(&self.name),
            (false, false) => self.entry(sandbox),
        })
    }
}

/// What is due later.
enum Later {
    Continue(u32),
    PutBack(usize),
}

pub(crate) struct Tree<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) members: Vec<Member>,
    pub(crate) runsvdir: Running,
    reaper: Reaper,
    /// The last ones before it.
    past: Vec<Running>,
    /// The standard output of all.
    outputs: Vec<PathBuf>,
    /// `sv` at work.
    clients: Vec<Running>,
    later: Vec<(Instant, Later)>,
    began: Instant,
    /// What happened, and to which service.
    history: Vec<(Option<usize>, String)>,
    /// How many faults there were, and how many of the plan had nothing to happen to.
    pub(crate) happened: usize,
    pub(crate) passed_over: usize,
}

impl<'a> Tree<'a> {
    /// So many services, under a runsvdir.
    pub(crate) fn start(sandbox: &'a Sandbox, services: usize) -> Self {
        for dir in ["sv", "aside", "made"] {
            sandbox.mkdir(dir);
        }
        let members = (0..services).map(|id| make(sandbox, id)).collect();
        let reaper = Reaper::new();
        let runsvdir = start_runsvdir(sandbox, &reaper);
        Self {
            sandbox,
            members,
            outputs: vec![runsvdir.stdout_path().to_owned()],
            runsvdir,
            reaper,
            past: Vec::new(),
            clients: Vec::new(),
            later: Vec::new(),
            began: Instant::now(),
            history: Vec::new(),
            happened: 0,
            passed_over: 0,
        }
    }

    /// Waits out the pause of a step, and lets its fault happen.
    pub(crate) fn take(&mut self, step: &Step) {
        let until = Instant::now() + Duration::from_millis(step.pause);
        loop {
            self.do_what_is_due(false);
            self.clients.retain_mut(Running::is_running);
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            sleep(left.min(Duration::from_millis(5)));
        }
        let told = match self.happen(&step.fault) {
            Some(told) => {
                self.happened += 1;
                told
            }
            None => {
                self.passed_over += 1;
                format!("{:?}: passed over", step.fault)
            }
        };
        self.tell(step.fault.service(), &told);
    }

    /// Ends the unrest: what was stopped goes on, what was removed is put back, and no client is left.
    pub(crate) fn calm(&mut self) {
        self.do_what_is_due(true);
        for pid in self.sandbox.processes() {
            try_send(pid, Signal::SIGCONT);
        }
        for mut client in std::mem::take(&mut self.clients) {
            client.wait();
        }
        self.tell(None, "the unrest is over");
    }

    /// Adds a line to the report.
    pub(crate) fn tell(&mut self, service: Option<usize>, what: &str) {
        self.history.push((service, format!("{:9.3} {what}", self.began.elapsed().as_secs_f64())));
    }

    /// The last of what happened to a service.
    pub(crate) fn history(&self, service: usize) -> String {
        let lines = self.history.iter().filter(|(of, _)| *of == Some(service)).map(|(_, line)| line.as_str());
        let lines: Vec<&str> = lines.collect();
        lines[lines.len().saturating_sub(TOLD_OF_SERVICE)..].join("\n")
    }

    /// Kills runsvdir, and then all of `others`; starts another runsvdir.
    pub(crate) fn kill_runsvdir(&mut self, others: &[u32]) {
        self.runsvdir.signal(Signal::SIGKILL);
        for pid in others {
            try_send(*pid, Signal::SIGKILL);
        }
        self.runsvdir.wait();
        self.start_another();
    }

    /// Starts a runsvdir where the last one has ended.
    pub(crate) fn start_another(&mut self) {
        let next = start_runsvdir(self.sandbox, &self.reaper);
        self.outputs.push(next.stdout_path().to_owned());
        self.past.push(std::mem::replace(&mut self.runsvdir, next));
        if self.past.len() > REMEMBERED {
            self.past.remove(0);
        }
    }

    /// Where services write that have no log.
    pub(crate) fn outputs(&self) -> &[PathBuf] {
        &self.outputs
    }

    pub(crate) fn service(&self, id: usize) -> Service {
        self.members[id].service(self.sandbox)
    }

    fn do_what_is_due(&mut self, all: bool) {
        let now = Instant::now();
        let later = std::mem::take(&mut self.later);
        let (due, rest) = later.into_iter().partition(|(at, _)| all || *at <= now);
        self.later = rest;
        for (_, what) in due {
            match what {
                // Only what is the sandbox's: another may have its number by now.
                Later::Continue(pid) if self.sandbox.owns(pid) => try_send(pid, Signal::SIGCONT),
                Later::Continue(_) => {}
                Later::PutBack(id) => self.put_back(id),
            }
        }
    }

    /// `None`: there is nothing for it to happen to.
    fn happen(&mut self, fault: &Fault) -> Option<String> {
        match fault {
            Fault::Kill(victim) => self.kill(*victim),
            Fault::Stop(victim, time) => {
                let pid = self.process(*victim)?;
                try_send(pid, Signal::SIGSTOP);
                self.later.push((Instant::now() + Duration::from_millis(*time), Later::Continue(pid)));
                Some(format!("stopped {victim:?}, {pid}, for {time} ms"))
            }
            Fault::Flood { service, log, bytes } => {
                let to = self.service(*service);
                let to = if *log { to.log() } else { to };
                if *log {
                    let member = &mut self.members[*service];
                    member.log_commanded = Some(Instant::now());
                    member.logger_killed = true;
                }
                to.try_command(bytes).then(|| {
                    let text = String::from_utf8_lossy(&bytes[bytes.len() - 8..]).into_owned();
                    format!("{} bytes to {service}, log {log}, the last: {text:?}", bytes.len())
                })
            }
            Fault::Sv(service, verb) => {
                let entry = self.members[*service].entry.clone();
                let mut command = self.sandbox.command("sv");
                let client = self.sandbox.start(command.args(["-w", "3", verb, &entry]));
                self.clients.push(client);
                Some(format!("sv {verb} {entry}"))
            }
            Fault::Rename(service) => self.rename(*service),
            Fault::Remove(service, time) => self.remove(*service, *time),
            Fault::Down(service) => {
                let file = self.service(*service).join("down");
                let is_there = file.exists();
                if is_there { fs::remove_file(&file) } else { fs::write(&file, "") }.unwrap();
                Some(format!("{}: down was there: {is_there}", self.members[*service].name))
            }
            Fault::Replace(service) => {
                let member = &mut self.members[*service];
                member.versions += 1;
                let dir = member.service(self.sandbox).dir().to_owned();
                write_run(&dir.join("run.new"), &member.name, member.versions);
                fs::rename(dir.join("run.new"), dir.join("run")).unwrap();
                Some(format!("{}: run is version {}", member.name, member.versions))
            }
            Fault::AddLog(service) => {
                let member = &self.members[*service];
                let dir = member.service(self.sandbox).dir().to_owned();
                if dir.join("log").exists() {
                    return None;
                }
                make_log(&dir.join("log.new"));
                fs::rename(dir.join("log.new"), dir.join("log")).unwrap();
                Some(format!("{}: log", member.name))
            }
            Fault::Add => {
                let member = make(self.sandbox, self.members.len());
                let told = format!("added {}", member.name);
                self.members.push(member);
                Some(told)
            }
        }
    }

    /// A running process of the tree.
    fn process(&self, victim: Victim) -> Option<u32> {
        let running =
            |service: Service| service.try_status().map(|status| status.pid).filter(|pid| *pid != 0);
        let pid = match victim {
            Victim::Run(service) => running(self.service(service)),
            Victim::Logger(service) => running(self.service(service).log()),
            Victim::Runsv(service) => self.service(service).supervisor(),
            Victim::Runsvdir => Some(self.runsvdir.pid()),
        };
        // A status that nobody keeps up may name what has ended.
        pid.filter(|pid| self.sandbox.owns(*pid))
    }

    /// The log pipe must keep an owner: runsv, or the runsvdir that started it, or the processes at both ends. What none
    /// of them has any more is gone, and nobody could have kept it.
    fn kill(&mut self, victim: Victim) -> Option<String> {
        let pid = self.process(victim)?;
        match victim {
            Victim::Runsv(service) => {
                let parent = ProcStat::of(pid)?.parent;
                let is_kept = parent == self.runsvdir.pid() && !self.members[service].removed;
                if !is_kept && !self.has_steady_logger(service) {
                    return None;
                }
                self.members[service].keeper = is_kept.then_some(parent);
            }
            Victim::Logger(service) => {
                let is_kept = self.members[service].keeper == Some(self.runsvdir.pid());
                if self.process(Victim::Runsv(service)).is_none() && !is_kept {
                    return None;
                }
                self.members[service].logger_killed = true;
                self.members[service].log_commanded = Some(Instant::now());
            }
            Victim::Runsvdir => {
                let ids = 0..self.members.len();
                let is_safe = |id| self.process(Victim::Runsv(id)).is_some() || self.has_steady_logger(id);
                if !ids.into_iter().all(is_safe) {
                    return None;
                }
                self.kill_runsvdir(&[]);
                return Some(format!("killed runsvdir, {pid}; the next is {}", self.runsvdir.pid()));
            }
            Victim::Run(_) => {}
        }
        try_send(pid, Signal::SIGKILL);
        Some(format!("killed {victim:?}, {pid}"))
    }

    /// Whether nothing has been done for a while that would end its log service. One without a log has no pipe.
    fn has_steady_logger(&self, service: usize) -> bool {
        let commanded = self.members[service].log_commanded;
        let is_steady = commanded.is_none_or(|commanded| commanded.elapsed() > LOG_UNREST);
        let has_log = self.service(service).log().dir().is_dir();
        !has_log || is_steady && self.process(Victim::Logger(service)).is_some()
    }

    fn rename(&mut self, id: usize) -> Option<String> {
        let member = &mut self.members[id];
        if member.removed {
            return None;
        }
        let from = member.entry(self.sandbox);
        member.entry = match member.entry.strip_suffix("-renamed") {
            Some(name) => name.to_owned(),
            None => format!("{}-renamed", member.entry),
        };
        fs::rename(from, member.entry(self.sandbox)).unwrap();
        Some(format!("{} is now {}", member.name, member.entry))
    }

    fn remove(&mut self, id: usize, time: u64) -> Option<String> {
        // What is held for it is let go.
        let is_safe = self.process(Victim::Runsv(id)).is_some() || self.has_steady_logger(id);
        let member = &mut self.members[id];
        if member.removed || !is_safe {
            return None;
        }
        let entry = member.entry(self.sandbox);
        member.removed = true;
        member.keeper = None;
        match member.is_link {
            true => fs::remove_file(entry).unwrap(),
            false => fs::rename(entry, member.service(self.sandbox).dir()).unwrap(),
        }
        let told = format!("removed {} for {time} ms", member.entry);
        self.later.push((Instant::now() + Duration::from_millis(time), Later::PutBack(id)));
        Some(told)
    }

    fn put_back(&mut self, id: usize) {
        let member = &mut self.members[id];
        let dir = member.service(self.sandbox).dir().to_owned();
        member.removed = false;
        let entry = member.entry(self.sandbox);
        if member.is_link { symlink(dir, entry) } else { fs::rename(dir, entry) }.unwrap();
        let told = format!("{} is back", member.entry);
        self.tell(Some(id), &told);
    }
}

impl Drop for Tree<'_> {
    fn drop(&mut self) {
        if panicking() {
            note(&format!("{} faults, {} passed over; the last:", self.happened, self.passed_over));
            for (_, line) in &self.history[self.history.len().saturating_sub(TOLD)..] {
                note(line);
            }
        }
    }
}

fn start_runsvdir(sandbox: &Sandbox, reaper: &Reaper) -> Running {
    let mut command = sandbox.command("runsvdir");
    let runsvdir = sandbox.start(command.arg("services").process_group(0));
    reaper.watch(&runsvdir);
    runsvdir
}

/// A service, complete before its entry shows.
fn make(sandbox: &Sandbox, id: usize) -> Member {
    let name = format!("s{id:02}");
    // Every other one is a link.
    let is_link = id.is_multiple_of(2);
    let place = if is_link { format!("sv/{name}") } else { format!("made/{name}") };
    let dir = sandbox.mkdir(place);
    write_run(&dir.join("run"), &name, 0);
    if id % 4 < 2 {
        // `run` has ended: its lock is free.
        let finish = format!("exec chpst -L {} true 2>>errors", writer::LOCK);
        write_script(&dir.join("finish"), &finish);
    }
    if has_log(id) {
        make_log(&dir.join("log"));
    }
    let member = Member {
        id,
        entry: name.clone(),
        name,
        is_link,
        removed: false,
        logger_killed: false,
        log_commanded: None,
        keeper: None,
        versions: 0,
    };
    let entry = member.entry(sandbox);
    if is_link { symlink(dir, entry) } else { fs::rename(dir, entry) }.unwrap();
    member
}

fn write_run(path: &Path, name: &str, version: usize) {
    write_script(path, &format!("# version {version}\n{}", writer::script(name)));
}

fn make_log(dir: &Path) {
    fs::create_dir_all(dir.join("main")).unwrap();
    fs::write(dir.join("main/config"), "s10000\nn0\n").unwrap();
    write_script(&dir.join("run"), "ulimit -c 0\nexec svlogd ./main");
}
