//! The local time zone: that of the variable TZ, or of `/etc/localtime`.

use std::mem::MaybeUninit;

unsafe extern "C" {
    // POSIX; libc has no name for it on Linux.
    safe fn tzset();
}

/// Reads the zone again (tzset(3)): it is known to this process from the first use on, also if its file changes.
pub fn reload() {
    tzset();
}

/// What the local zone adds to Unix time at `time`, in seconds (localtime_r(3)). Zero, UTC, where the zone is not known, or
/// `time` is in no year that a calendar has.
pub fn offset_at(time: i64) -> i32 {
    let mut calendar = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are valid for the call.
    let result = unsafe { libc::localtime_r(&raw const time, calendar.as_mut_ptr()) };
    if result.is_null() {
        return 0;
    }
    // SAFETY: localtime_r has filled it in, as it did not return null.
    let calendar = unsafe { calendar.assume_init() };
    i32::try_from(calendar.tm_gmtoff).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const ZONE: &str = "SVKIT_TEST_OFFSETS";

    /// Runs in a process of its own, below.
    #[test]
    fn offsets_of_a_zone() {
        if std::env::var_os(ZONE).is_some() {
            reload();
            let offsets = [1_774_745_999, 1_774_746_000, 1_792_889_999, 1_792_890_000].map(offset_at);
            assert_eq!(offsets, [3600, 7200, 7200, 3600]);
        }
    }

    #[test]
    fn a_zone_has_its_offsets() {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sys::timezone::tests::offsets_of_a_zone"])
            // Berlin's rule, which needs no database.
            .env("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
            .env(ZONE, "1")
            .status();
        assert!(status.unwrap().success());
    }

    #[test]
    fn a_year_that_no_calendar_has_is_utc() {
        assert_eq!(offset_at(i64::MAX), 0);
    }
}
