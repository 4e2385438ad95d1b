//! What tells a process from others that have or had its number.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, SysconfVar, getpid, sysconf};

use super::stat::Stat;
use crate::error::{Context, Result, errno, is_shortage};
use crate::record::ProcessId;

/// When the process was started, in clock ticks since the boot (proc(5), `/proc/PID/stat`, field 22). It can also be read
/// of a process that has ended and has not been reaped. None if there is no such process, or no `/proc`.
pub fn start_time(pid: Pid) -> Option<u64> {
    Stat::of(pid)?.start()
}

/// How long ago the process was started, to a hundredth of a second. None if that cannot be read.
pub fn age(pid: Pid) -> Option<Duration> {
    let ticks = u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok()?;
    let start = start_time(pid)?;
    let nanos = u128::from(start) * 1_000_000_000 / u128::from(ticks);
    let since_boot = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?);
    Some(since_boot.saturating_sub(Duration::from_nanos(u64::try_from(nanos).ok()?)))
}

/// The process that has this number now; its start is 0 if that cannot be read.
pub fn identify(pid: Pid) -> ProcessId {
    ProcessId { pid, start: start_time(pid).unwrap_or(0) }
}

/// This process.
pub fn own_identity() -> ProcessId {
    identify(getpid())
}

/// What process numbers mean something in: this boot as the kernel calls it (random(4)), and the pid namespace, which is told
/// by when its process 1 was started. A container that is started anew has another one in the same boot. Empty if the kernel
/// does not tell the boot.
///
/// # Errors
/// No descriptor or no memory is left to find out.
pub fn boot_id() -> Result<String> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = match fs::read_to_string(path) {
        Err(error) if is_shortage(errno(&error)) => return Err(error).on("read", path),
        text => text.unwrap_or_default(),
    };
    let start = match Stat::read(Pid::from_raw(1)) {
        Err(error) if is_shortage(errno(&error)) => return Err(error).during("read /proc/1/stat"),
        stat => stat.ok().and_then(|stat| stat.start()),
    };
    Ok(match (text.trim_end(), start) {
        ("", _) => String::new(),
        (boot, Some(start)) => format!("{boot}/{start}"),
        (boot, None) => boot.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_start_and_a_boot() {
        assert_eq!(own_identity(), own_identity());
        assert!(own_identity().start > 0 && age(getpid()).unwrap() < Duration::from_secs(3600));
        assert!(boot_id().unwrap().len() >= 36);
        assert_eq!(identify(Pid::from_raw(i32::MAX)).start, 0);
    }
}
