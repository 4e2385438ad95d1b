//! Where runsv decidedly does better than runit, seen from outside.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);
const SLEEP: &str = "exec sleep 600";

/// A service directory and its supervisor, which exits with it.
struct Service {
    dir: TempDir,
    runsv: Option<Child>,
}

impl Service {
    fn new(scripts: &[(&str, &str)]) -> Self {
        let service = Self { dir: TempDir::new().unwrap(), runsv: None };
        for (name, body) in scripts {
            service.script(name, body);
        }
        service
    }

    fn script(&self, name: &str, body: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    fn supervise(mut self) -> Self {
        let stderr = fs::File::create(self.path("stderr")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_runsv"));
        self.runsv = Some(
            command
                .arg(self.dir.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(stderr)
                .spawn()
                .unwrap(),
        );
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn command(&self, bytes: &str) {
        let mut control = OpenOptions::new().write(true).open(self.path("supervise/control")).unwrap();
        control.write_all(bytes.as_bytes()).unwrap();
    }

    fn wait(&self, name: &str, holds: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let text = self.read(name);
            if holds(&text) {
                return text;
            }
            thread::sleep(Duration::from_millis(2));
        }
        panic!("{name} stays {:?}; stderr: {:?}", self.read(name), self.read("stderr"));
    }

    fn wait_stat(&self, stat: &str) {
        self.wait("supervise/stat", |text| text.trim_end() == stat);
    }

    fn exit_code(&mut self) -> Option<i32> {
        let runsv = self.runsv.as_mut().unwrap();
        kill(Pid::from_raw(runsv.id().cast_signed()), Signal::SIGTERM).unwrap();
        let code = runsv.wait().unwrap().code();
        self.runsv = None;
        code
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.runsv.is_some() {
            self.exit_code();
        }
    }
}

fn lines(text: &str) -> usize {
    text.lines().count()
}

#[test]
fn up_cuts_the_throttle_short() {
    let service = Service::new(&[("run", "echo run >>runs")]).supervise();
    service.wait("runs", |runs| lines(runs) == 1);
    let begin = Instant::now();
    service.wait("runs", |runs| {
        service.command("u");
        lines(runs) >= 6
    });
    assert!(begin.elapsed() < Duration::from_secs(4), "five starts in {:?}", begin.elapsed());
}

#[test]
fn a_killed_service_is_never_doubled() {
    let service = Service::new(&[("run", "echo $$ >>runs; exec sleep 600"), ("finish", "echo $1 $2 >>ends")]);
    let service = service.supervise();
    service.wait_stat("run");
    service.wait("runs", |runs| lines(runs) == 1);
    service.command("kukuku");
    service.wait("ends", |ends| lines(ends) == 1);
    service.wait("runs", |runs| lines(runs) == 2);
    service.wait_stat("run");
    assert_eq!(service.read("ends"), "-1 9\n");
}

#[test]
fn a_control_script_holds_up_nothing_but_later_commands() {
    let service = Service::new(&[
        ("run", "echo $$ >>runs; exec sleep 600"),
        ("control/h", "echo begin >>log_of_h; read line <gate; exit 1"),
        ("finish", "echo finish >>ends"),
    ]);
    nix::unistd::mkfifo(&service.path("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let service = service.supervise();
    service.wait_stat("run");
    service.wait("runs", |runs| lines(runs) == 1);
    service.command("hd");
    service.wait("log_of_h", |text| lines(text) == 1);
    let pid: i32 = service.read("supervise/pid").trim_end().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    service.wait("ends", |ends| lines(ends) == 1);
    service.wait_stat("down");
    fs::write(service.path("gate"), "go\n").unwrap();
    // The `d` that waited keeps the service down: had it been lost, it would run again.
    service.wait("supervise/status", |_| fs::read(service.path("supervise/status")).unwrap()[17] == b'd');
    assert_eq!(lines(&service.read("runs")), 1);
}

#[test]
fn a_log_directory_that_appears_is_taken_up_at_the_next_start() {
    let service = Service::new(&[("run", "echo $$; exec sleep 600")]).supervise();
    service.wait_stat("run");
    service.script("log/run", "exec cat >>got");
    service.command("t");
    service.wait("log/supervise/stat", |stat| stat == "run\n");
    service.wait("log/got", |got| lines(got) == 1);
}

#[test]
fn what_cannot_be_published_is_published_later() {
    let service = Service::new(&[("run", SLEEP)]);
    fs::create_dir_all(service.path("supervise/stat.new")).unwrap();
    let mut service = service.supervise();
    let stderr = service.wait("stderr", |text| text.contains("supervise/stat.new"));
    assert!(stderr.contains(": warning: unable to "), "{stderr}");
    fs::remove_dir(service.path("supervise/stat.new")).unwrap();
    service.wait_stat("run");
    assert_eq!(lines(&service.read("stderr")), 1, "said once");
    assert_eq!(service.exit_code(), Some(0));
}

#[test]
fn waiting_for_the_lock_of_the_log_does_not_keep_runsv_from_exiting() {
    let service = Service::new(&[("run", SLEEP), ("log/run", "exec cat")]);
    fs::create_dir(service.path("log/supervise")).unwrap();
    let held = svlib::sys::lock::Lock::try_exclusive(&service.path("log/supervise/lock")).unwrap().unwrap();
    let mut service = service.supervise();
    service.wait("stderr", |text| text.contains("unable to lock log/supervise/lock"));
    assert_eq!(service.exit_code(), Some(0));
    drop(held);
}

#[test]
fn a_missing_interpreter_is_named() {
    let service = Service::new(&[]);
    let run: &Path = &service.path("run");
    fs::write(run, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(run, Permissions::from_mode(0o755)).unwrap();
    let service = service.supervise();
    service.wait("stderr", |text| text.contains("unable to start ./run: its interpreter does not exist"));
}
