//! runsv: what comes while a new program file is tested is not lost with the old one.

use std::fs;
use std::os::unix::process::CommandExt;

use nix::sys::signal::Signal;
use svkit_tests::{
    Case, ProcStat, Running, SLEEP, Sandbox, Service, Subject, case, eventually, is_running, write_script,
};

pub(crate) const CASES: &[Case] =
    &[case!(term_that_comes_with_the_end_of_the_test), case!(term_that_waits_for_a_control_script)];

/// A runsv whose program file has been replaced by one that tests itself until there is a file `tested`.
struct Replaced<'a> {
    sandbox: &'a Sandbox,
    service: Service,
    runsv: Running,
    run: u32,
    /// The self-test.
    test: u32,
}

impl<'a> Replaced<'a> {
    fn new(sandbox: &'a Sandbox, service: Service) -> Self {
        let bin = sandbox.copy_programs("copies");
        let path = format!("{}:/usr/bin:/bin", bin.display());
        let mut command = sandbox.command(bin.join("runsv"));
        let runsv = sandbox.start(command.arg0("runsv").env("PATH", path).arg(service.dir()));
        let run = service.wait_run();
        service.wait_stat("run");
        let (tested, began) = (sandbox.join("tested"), sandbox.join("began"));
        let script = format!(
            "[ \"$1\" != --self-test ] && exec {} \"$@\"\necho $$ >{}\nwhile [ ! -e {} ]; do sleep 0.02; done",
            sandbox.join("bin/runsv").display(),
            began.display(),
            tested.display()
        );
        write_script(&bin.join("runsv.new"), &script);
        fs::rename(bin.join("runsv.new"), bin.join("runsv")).unwrap();
        service.command("R");
        let test = eventually("a self-test", || fs::read_to_string(&began).ok()?.trim().parse().ok());
        Self { sandbox, service, runsv, run, test }
    }

    /// The test is passed. Its end has not been seen if runsv is stopped.
    fn pass(&self) {
        fs::write(self.sandbox.join("tested"), "").unwrap();
        eventually("the end of the test", || (!is_running(self.test)).then_some(()));
    }

    /// It has brought its service down and exited.
    fn assert_ended(&mut self) {
        let output = self.runsv.wait();
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""));
        assert!(!is_running(self.run));
        assert_eq!(self.service.stat(), "down");
    }
}

/// Both are found at one look.
fn term_that_comes_with_the_end_of_the_test(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let mut replaced = Replaced::new(&sandbox, sandbox.service("web").run(SLEEP).build());
    replaced.runsv.signal(Signal::SIGSTOP);
    let state = || ProcStat::of(replaced.runsv.pid()).map(|stat| stat.state);
    eventually("runsv is stopped", || (state() == Some('T')).then_some(()));
    replaced.pass();
    replaced.runsv.signal(Signal::SIGTERM);
    replaced.runsv.signal(Signal::SIGCONT);
    replaced.assert_ended();
}

/// TERM has been received, and is obeyed when the script has ended.
fn term_that_waits_for_a_control_script(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let script = "echo script >>events; while [ ! -e go ]; do sleep 0.02; done";
    let mut replaced =
        Replaced::new(&sandbox, sandbox.service("web").run(SLEEP).control('h', script).build());
    replaced.service.command("h");
    replaced.service.wait_events(1);
    replaced.runsv.signal(Signal::SIGTERM);
    let pending = || {
        let status = fs::read_to_string(format!("/proc/{}/status", replaced.runsv.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("ShdPnd:")).unwrap().to_owned();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    eventually("TERM is received", || (pending() == 0).then_some(()));
    replaced.pass();
    fs::write(replaced.service.join("go"), "").unwrap();
    replaced.assert_ended();
}
