//! What tells a process from others that have or had its number.

use std::fs::{self, File};
use std::io::Read;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, SysconfVar, getpid, sysconf};

use crate::record::ProcessId;

/// When the process was started, in clock ticks since the boot (proc(5), `/proc/PID/stat`, field 22). It can also be read
/// of a process that has ended and has not been reaped. None if there is no such process, or no `/proc`.
pub fn start_time(pid: Pid) -> Option<u64> {
    let mut file = File::open(format!("/proc/{pid}/stat")).ok()?;
    // Its line is far shorter, and comes in one piece.
    let mut stat = [0; 1024];
    let length = file.read(&mut stat).ok()?;
    parse(&stat[..length])
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

/// What the kernel calls this boot (random(4)); empty if it does not tell.
pub fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim_end().to_owned()
}

/// Field 22. The program's name, in parentheses before it, may hold anything.
fn parse(stat: &[u8]) -> Option<u64> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let field = stat[end + 1..].split(|&byte| byte == b' ').filter(|field| !field.is_empty()).nth(19)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_found_behind_any_name() {
        let rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21\n";
        for name in ["sh", "a b", ") S 1", ""] {
            assert_eq!(parse(format!("7 ({name}){rest}").as_bytes()), Some(4711), "{name}");
        }
        for text in ["", "7 (sh", "7 (sh) S 1 2", "7 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn this_process_has_a_start_and_a_boot() {
        assert_eq!(own_identity(), own_identity());
        assert!(own_identity().start > 0 && age(getpid()).unwrap() < Duration::from_secs(3600));
        assert_eq!(boot_id().len(), 36);
        assert_eq!(identify(Pid::from_raw(i32::MAX)).start, 0);
    }
}
