//! The memory of this process.

/// Gives freed heap memory back to the system (malloc_trim(3)), where the C library can.
///
/// Long-lived programs call it once they are set up: what reading the command line took is then not held for years.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}
