//! The memory of this process.

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
