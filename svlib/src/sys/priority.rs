//! The nice value.

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
