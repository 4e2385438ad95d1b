//! runsvdir: thousands of services, which cost nothing while nothing happens.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use svkit_tests::{
    Case, Disk, SLEEP, Sandbox, Service, Subject, case, eventually, voluntary_switches, write_script,
};

pub(crate) const CASES: &[Case] = &[case!(thousands_of_services).patient().alone()];

const COUNT: usize = 5000;

/// So many of them are removed.
const REMOVED: usize = 1000;

/// So long nobody is woken. The time at which one process would look at something matters less than in `idle`: among so
/// many, one always would.
const QUIET: Duration = Duration::from_secs(2);

/// By then it has been quiet for so long.
const DEADLINE: Duration = Duration::from_secs(120);

/// All come up and nobody is woken. Some links are removed: these end, and none of the others is restarted. In the end all
/// stop before any would be killed for being late, and nothing is left.
fn thousands_of_services(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    // Fifty thousand files take a while to remove from a disk.
    let _disk = geteuid().is_root().then(|| Disk::new(&sandbox, "sv", 512 << 10));
    let script = sandbox.join("run");
    write_script(&script, SLEEP);
    let services: Vec<(PathBuf, Service)> = (0..COUNT)
        .map(|number| {
            let dir = sandbox.mkdir(format!("sv/{number}"));
            symlink(&script, dir.join("run")).unwrap();
            let link = sandbox.services().join(number.to_string());
            symlink(&dir, &link).unwrap();
            (link, Service::at(dir))
        })
        .collect();
    let mut runsvdir =
        sandbox.start(sandbox.command("runsvdir").args(["-P", "--init", "--stop-timeout", "60", "services"]));
    let pids: Vec<u32> = services.iter().map(|(_, service)| service.wait_run()).collect();

    let run: HashSet<u32> = pids.iter().copied().collect();
    let supervisors: Vec<u32> = sandbox.processes().into_iter().filter(|pid| !run.contains(pid)).collect();
    assert_eq!(supervisors.len(), COUNT + 1);
    assert_idle(&supervisors);

    let (removed, kept) = services.split_at(REMOVED);
    for (link, _) in removed {
        fs::remove_file(link).unwrap();
    }
    for (link, service) in removed {
        eventually(&format!("the end of {}", link.display()), || (!service.is_ok()).then_some(()));
        assert_eq!(service.status().pid, 0);
    }
    for ((_, service), pid) in kept.iter().zip(&pids[REMOVED..]) {
        assert_eq!(service.status().pid, *pid, "{}", service.dir().display());
        assert!(service.is_ok());
    }

    runsvdir.signal(Signal::SIGTERM);
    let output = runsvdir.wait();
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
    assert!(sandbox.processes().is_empty());
    assert!(kept.iter().all(|(_, service)| service.stat() == "down" && !service.is_ok()));
}

/// Waits for a time of [`QUIET`] in which none of them is woken. Their first moments, and a mount of somebody else, which
/// runsvdir is right to notice, may break the quiet; it then begins anew.
fn assert_idle(pids: &[u32]) {
    let start = Instant::now();
    let switches_of = |pid| voluntary_switches(pid).unwrap_or_else(|| panic!("supervisor {pid} has ended"));
    let switches = || pids.iter().map(|pid| switches_of(*pid)).sum::<u64>();
    loop {
        let before = switches();
        sleep(QUIET);
        if switches() == before {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{} supervisors are never idle", pids.len());
    }
}
