//! The nice value, and the same for input and output.

use nix::errno::Errno;

use crate::{Context, Result};

/// Adds `increment` to this process's nice value, within the bounds of -20 and 19.
///
/// # Errors
///
/// EPERM if it is negative and the process is not privileged (nice(2)).
pub fn nice(increment: i32) -> Result<()> {
    // From one bound to the other it is 39; a sum beyond the range of numbers is the C library's undefined behaviour.
    let increment = increment.clamp(-40, 40);
    Errno::clear();
    // SAFETY: nice(2) takes and returns a number.
    let nice = unsafe { libc::nice(increment) };
    // -1 is a nice value as well: only errno can tell.
    if nice == -1 && Errno::last_raw() != 0 {
        return Err(Errno::last()).during("set nice level");
    }
    Ok(())
}

/// Lets this process read and write only while no other wants the disk (ioprio_set(2), class idle).
///
/// # Errors
///
/// What ioprio_set(2) reports.
pub fn idle_io() -> Result<()> {
    // From linux/ioprio.h, which the C library has no header for.
    const WHO_PROCESS: libc::c_long = 1;
    const THIS_PROCESS: libc::c_long = 0;
    const CLASS_IDLE: libc::c_long = 3;
    const CLASS_SHIFT: u32 = 13;
    // SAFETY: ioprio_set(2) takes and returns numbers.
    let result =
        unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, THIS_PROCESS, CLASS_IDLE << CLASS_SHIFT) };
    Errno::result(result).map(drop).during("set I/O priority")
}
