//! What services cost by their number, and so whether the cost of one stays what it is.
//!
//! Everything is on a tmpfs where root mounts one, so that the figures are not those of a disk. What the services
//! themselves cost is in all figures of time: the floor is they alone, started one after the other. The most of them take
//! ten thousand processes, and under ours runsvdir fifteen thousand descriptors: its limit is this process's hard one, or as
//! root what the kernel allows.

use std::collections::HashSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, geteuid};
use svkit_tests::{Disk, ProcStat, Running, Sandbox, keep_mounts_private, write_script};

use crate::arrivals::Arrivals;
use crate::boot::supervisor_of_all;
use crate::contender::{Contender, Samples, Who, in_turn};
use crate::figure::{Figure, Goal, Unit};
use crate::interrupt;
use crate::memory::{QUIET, private_kib, wakeups};
use crate::settings::Settings;

const SIZES: [usize; 3] = [100, 1000, 5000];

/// As many as runit's runsvdir takes.
const RUNIT_TAKES: usize = 1000;

/// What the files of the most services need, in KiB.
const DISK: u32 = 1 << 20;

/// So long nobody is woken once all have settled.
const SETTLED: Duration = Duration::from_secs(1);

/// How long all may take to settle, and to be gone.
const DEADLINE: Duration = Duration::from_secs(120);

/// How often the end of a process is looked for.
const PACE: Duration = Duration::from_millis(2);

/// How much dearer a service may be among many than among few.
const FLAT: f64 = 1.5;

/// What a number of services costs.
struct Costs {
    services: usize,
    /// Seconds to all running.
    start: Samples,
    /// KiB of all supervisors.
    memory: Samples,
    /// KiB of the one above them. It runs once, so the pages of its program are counted as its own; a runsv shares its.
    top: Samples,
    /// Of all supervisors while they are idle.
    wakeups: Samples,
    /// Seconds to all gone.
    stop: Samples,
}

/// 100, 1,000 and 5,000 services.
pub(crate) fn measure(settings: &Settings, contenders: &[Contender]) -> Vec<Figure> {
    keep_mounts_private();
    let [few, many, most] = SIZES.map(|size| Costs::measure(settings, contenders, settings.amount(size)));
    let mut figures: Vec<Figure> = [&few, &many, &most].into_iter().flat_map(Costs::figures).collect();
    // Among a hundred, the start of the program above them and the idle processor at the beginning and at the end are
    // a good part of the time: there it would be compared with something else than a service.
    figures.push(flatness("start", [&many, &most], |costs| &costs.start));
    figures.push(flatness("stop", [&many, &most], |costs| &costs.stop));
    figures.push(flatness("private memory", [&few, &most], |costs| &costs.memory));
    figures
}

/// How many times the cost among few a service costs among many, round by round.
fn flatness(what: &str, [few, many]: [&Costs; 2], cost: fn(&Costs) -> &Samples) -> Figure {
    let (few_each, many_each) = (few.each(cost(few)), many.each(cost(many)));
    let of = |(who, many): &(Who, Vec<f64>)| {
        let (_, few) = few_each.iter().find(|(other, _)| other == who)?;
        Some((*who, many.iter().zip(few).map(|(many, few)| many / few).collect()))
    };
    let samples = many_each.iter().filter_map(of).collect();
    let name = format!("{what}, a service among {}: in times that among {}", many.services, few.services);
    Figure::new(name, Unit::Times, samples).goals(&[Goal::Usually(FLAT)])
}

impl Costs {
    fn measure(settings: &Settings, contenders: &[Contender], services: usize) -> Self {
        let able = |contender: &&Contender| contender.who != Who::Runit || services <= RUNIT_TAKES;
        let mut contenders: Vec<_> =
            contenders.iter().filter(able).map(|contender| (contender.who, contender)).collect();
        let [start, memory, top, wakeups, stop] =
            in_turn(settings.rounds(), &mut contenders, |contender| match contender.who {
                Who::Floor => [services_alone(contender, services), 0.0, 0.0, 0.0, 0.0],
                _ => Tree::start(contender, services).costs(),
            });
        let [memory, top, wakeups, stop] = [memory, top, wakeups, stop].map(|mut samples| {
            samples.retain(|(who, _)| *who != Who::Floor);
            samples
        });
        Self { services, start, memory, top, wakeups, stop }
    }

    /// The part of each service.
    fn each(&self, samples: &Samples) -> Samples {
        let part = |samples: &Vec<f64>| samples.iter().map(|sample| sample / self.services as f64).collect();
        samples.iter().map(|(who, samples)| (*who, part(samples))).collect()
    }

    fn figures(&self) -> [Figure; 8] {
        let figure = |what, unit, samples: &Samples| {
            Figure::new(format!("{} services: {what}", self.services), unit, samples.clone())
        };
        // Among a hundred, the program of the one above them would be a good part.
        let no_dearer: &[Goal] =
            if self.services == RUNIT_TAKES { &[Goal::PartOf(0.7, Who::Runit)] } else { &[] };
        let wakeups = format!("wakeups of all supervisors in {QUIET:?}");
        [
            figure("start to all running", Unit::Seconds, &self.start).goals(&[Goal::Times(1.0, Who::S6)]),
            figure("start to all running, a service", Unit::Milliseconds, &self.each(&self.start)),
            figure("private memory of all supervisors", Unit::KiB, &self.memory),
            figure("private memory of all supervisors, a service", Unit::KiB, &self.each(&self.memory))
                .goals(no_dearer),
            figure("private memory of the supervisor of all, its program included", Unit::KiB, &self.top),
            figure(&wakeups, Unit::Count, &self.wakeups).goals(&[Goal::AtMost(0.0)]),
            figure("told to stop to all gone", Unit::Seconds, &self.stop),
            figure("told to stop to all gone, a service", Unit::Milliseconds, &self.each(&self.stop)),
        ]
    }
}

/// Services without logs, not started yet.
struct Services {
    directory: PathBuf,
    arrivals: Arrivals,
    _disk: Option<Disk>,
}

impl Services {
    fn new(sandbox: &Sandbox, count: usize) -> Self {
        let disk = geteuid().is_root().then(|| Disk::new(sandbox, "sv", DISK));
        let arrivals = Arrivals::new(sandbox);
        let script = sandbox.join("run");
        write_script(&script, &arrivals.run_script());
        for number in 0..count {
            let dir = sandbox.mkdir(format!("sv/{number}"));
            symlink(&script, dir.join("run")).expect("a fresh directory takes links");
        }
        Self { directory: sandbox.join("sv"), arrivals, _disk: disk }
    }

    /// Waits until so many run, and returns their process ids.
    fn wait(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.arrivals.next().cast_unsigned()).collect()
    }
}

/// Seconds to all running where nobody supervises them.
fn services_alone(contender: &Contender, count: usize) -> f64 {
    let sandbox = contender.sandbox();
    let mut services = Services::new(&sandbox, count);
    let start = Instant::now();
    let mut children: Vec<Child> = (0..count)
        .map(|number| {
            let dir = services.directory.join(number.to_string());
            sandbox.command(dir.join("run")).current_dir(&dir).spawn().expect("it starts")
        })
        .collect();
    services.wait(count);
    let elapsed = start.elapsed().as_secs_f64();
    for child in &mut children {
        child.kill().expect("our own child can be killed");
        child.wait().expect("our own child can be waited for");
    }
    elapsed
}

/// All services running.
struct Tree {
    who: Who,
    /// How long it took, in seconds.
    took: f64,
    running: Vec<u32>,
    supervisors: Vec<u32>,
    top: Running,
    services: Services,
    // Last, so that it outlives what runs in it.
    sandbox: Sandbox,
}

impl Tree {
    fn start(contender: &Contender, count: usize) -> Self {
        let (who, sandbox) = (contender.who, contender.sandbox());
        let mut services = Services::new(&sandbox, count);
        let mut command = supervisor_of_all(&sandbox, who);
        if who == Who::Svkit {
            // As the first process of a container, and nobody is killed for being late on a busy machine.
            command.args(["--init", "--stop-timeout", "60"]);
        }
        command.arg(&services.directory);
        let start = Instant::now();
        let top = sandbox.start(&mut command);
        let running = services.wait(count);
        let took = start.elapsed().as_secs_f64();
        let known: HashSet<u32> = running.iter().copied().collect();
        let supervisors: Vec<u32> =
            sandbox.processes().into_iter().filter(|pid| !known.contains(pid)).collect();
        assert_eq!(supervisors.len(), count + 1, "{who:?}: one for each service, and the one above");
        Self { who, took, running, supervisors, top, services, sandbox }
    }

    /// What it cost to start it, then what it costs, then what it costs to stop it.
    fn costs(mut self) -> [f64; 5] {
        self.settle();
        let before = self.wakeups();
        sleep(QUIET);
        let woken = self.wakeups() - before;
        let memory = self.supervisors.iter().map(|pid| private_kib(*pid)).sum();
        [self.took, memory, private_kib(self.top.pid()), woken, self.stop()]
    }

    fn wakeups(&self) -> f64 {
        self.supervisors.iter().map(|pid| wakeups(*pid)).sum()
    }

    /// Waits until all is done that follows a start.
    fn settle(&self) {
        let end = Instant::now() + DEADLINE;
        loop {
            interrupt::check();
            let before = self.wakeups();
            sleep(SETTLED);
            if self.wakeups() <= before {
                return;
            }
            assert!(Instant::now() < end, "{:?} is never idle", self.who);
        }
    }

    /// Seconds to all gone.
    fn stop(&mut self) -> f64 {
        let pids = self.supervisors.iter().chain(&self.running);
        let all: Vec<(u32, u64)> = pids.filter_map(|pid| Some((*pid, ProcStat::of(*pid)?.start))).collect();
        let start = Instant::now();
        match self.who {
            Who::S6 => tell_svscan(&self.sandbox, &self.services.directory),
            Who::Runit => self.top.signal(Signal::SIGHUP),
            Who::Svkit | Who::Floor => self.top.signal(Signal::SIGTERM),
        }
        for (pid, born) in &all {
            while ProcStat::of(*pid).is_some_and(|stat| stat.start == *born && stat.state != 'Z') {
                interrupt::check();
                assert!(start.elapsed() < DEADLINE, "{:?}: process {pid} does not end", self.who);
                sleep(PACE);
            }
        }
        let elapsed = start.elapsed().as_secs_f64();
        // Whose supervisor ended first is ours to reap.
        for (pid, _) in all.iter().filter(|(pid, _)| *pid != self.top.pid()) {
            let _ = waitpid(Pid::from_raw(pid.cast_signed()), Some(WaitPidFlag::WNOHANG));
        }
        assert_eq!(self.top.stderr(), "", "{:?}", self.who);
        elapsed
    }
}

fn tell_svscan(sandbox: &Sandbox, directory: &Path) {
    let told = sandbox.command("s6-svscanctl").arg("-t").arg(directory).status().expect("it starts");
    assert!(told.success(), "s6-svscanctl: {told}");
}
