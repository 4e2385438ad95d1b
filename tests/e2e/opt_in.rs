//! What the tests of the opt-in files share: a look at `supervise/record` and at warnings.

use svkit_tests::{Running, Sandbox, Service, Supervised, eventually};

/// The value of a key in `supervise/record`. None: the record has no such line. Read in the midst of a write it counts as
/// absent, so wait for what is to be there.
pub(crate) fn key(service: &Service, key: &str) -> Option<String> {
    let record = service.read("supervise/record");
    let mut lines = record.lines().filter_map(|line| line.split_once('='));
    lines.find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
}

/// Waits until the record says `value` of `name`; None: until it is whole and says nothing of it.
pub(crate) fn wait_key(service: &Service, name: &str, value: Option<&str>) {
    let what = format!("{name}={value:?} in {}", service.dir().display());
    eventually(&what, || {
        let is_whole = key(service, "seq").is_some() && key(service, "seq") == key(service, "end");
        (is_whole && key(service, name).as_deref() == value).then_some(())
    });
}

/// Waits for a warning, which has come once.
pub(crate) fn wait_warning(service: &mut Supervised, text: &str) {
    let line = format!("runsv {}: warning: {text}", service.dir().display());
    let stderr = eventually(text, || {
        let stderr = service.runsv().stderr();
        stderr.contains(&line).then_some(stderr)
    });
    assert_eq!(stderr.matches(&line).count(), 1, "{stderr}");
}

/// Kills the runsv of a service and starts another one.
pub(crate) fn replace_runsv(sandbox: &Sandbox, service: &mut Supervised) -> Running {
    service.runsv().signal(nix::sys::signal::Signal::SIGKILL);
    service.runsv().wait();
    let runsv = sandbox.start(sandbox.command("runsv").arg(service.dir()));
    eventually("another runsv", || {
        let supervisor = key(service, "supervisor")?;
        (supervisor.split(' ').next()? == runsv.pid().to_string() && service.is_ok()).then_some(())
    });
    runsv
}
