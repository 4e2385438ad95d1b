//! The memory of this process.

use std::ptr;

use nix::unistd::{SysconfVar, sysconf};

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

/// Gives the memory of the stack below the caller's frame back to the system: what a deep call took once, as that of the
/// command line's parser, is not held for years either. Only for the main thread.
#[inline(never)]
pub fn trim_stack() {
    let here = 0_u8;
    let page = page_size();
    let here = (&raw const here).addr();
    // This frame and that of the system call reach no further down.
    let Some(end) = here.checked_sub(FRAMES) else { return };
    let end = end & !(page - 1);
    let Some(start) = end.checked_sub(STACK) else { return };
    // SAFETY: below the stack pointer of the only thread nothing is in use, and below the stack there is a gap of a mebibyte in
    // which nothing is mapped (vm.stack_guard_gap in the kernel's documentation).
    unsafe { libc::madvise(ptr::with_exposed_provenance_mut(start), STACK, libc::MADV_DONTNEED) };
}

/// More than two frames without any buffer take.
const FRAMES: usize = 1024;

/// More than any call has taken so far.
const STACK: usize = 256 << 10;

/// Gives the memory behind the inner pages of `buffer` back to the system (madvise(2)); they are zeros afterwards, or what
/// they were, and cost nothing until they are used again.
pub fn release(buffer: &mut [u8]) {
    let page = page_size();
    let skip = buffer.as_ptr().align_offset(page);
    let Some(inner) = buffer.get_mut(skip..) else { return };
    let length = inner.len() / page * page;
    // SAFETY: the pages belong to the buffer alone, and any bytes are valid for it.
    unsafe { libc::madvise(inner.as_mut_ptr().cast(), length, libc::MADV_DONTNEED) };
}

/// How much the kernel gives and takes at once.
fn page_size() -> usize {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(LARGEST_PAGE)
}

/// A multiple of the size of a page on every Linux.
const LARGEST_PAGE: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_memory_is_zeros_or_unchanged_and_usable() {
        for length in [0, 1, 4096, 100_000, 1 << 20] {
            let mut buffer = vec![7; length];
            release(&mut buffer);
            assert!(buffer.iter().all(|&byte| byte == 0 || byte == 7));
            buffer.fill(9);
            assert!(buffer.iter().all(|&byte| byte == 9));
        }
    }
}
