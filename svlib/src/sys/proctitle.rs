//! The program's own arguments in memory, which `/proc/PID/cmdline` and so ps(1) show.

use std::ffi::CStr;
use std::ptr::{self, NonNull};

use super::startup;

/// The text of one argument, to be replaced in place.
///
/// Only this changes the memory. What `std::env::args_os` returned before is a copy and stays as it was.
#[derive(Debug)]
pub struct Argument {
    start: NonNull<u8>,
    length: usize,
}

impl Argument {
    /// Argument number `index`, the program's name being number 0; none if there are fewer. Ask once for each.
    #[must_use]
    pub fn at(index: usize) -> Option<Self> {
        let (count, vector) = startup::arguments();
        if vector.is_null() || index >= usize::try_from(count).ok()? {
            return None;
        }
        // SAFETY: the vector has `count` pointers, and `index` is below that.
        let place = unsafe { vector.add(index) };
        // SAFETY: as above; the kernel made them before this program began.
        let start = NonNull::new(unsafe { *place })?;
        // SAFETY: the kernel ends every argument with a NUL byte, in memory that lasts as long as the process.
        let length = unsafe { CStr::from_ptr(start.as_ptr().cast_const()) }.count_bytes();
        Some(Self { start: start.cast(), length })
    }

    /// Puts `text` at the beginning of the argument, as much of it as has room: the argument keeps its length.
    pub fn overwrite(&mut self, text: &[u8]) {
        let count = text.len().min(self.length);
        // SAFETY: `length` bytes from `start` are the argument's, writable, and referred to by nothing else; the
        // text is in other memory.
        unsafe { ptr::copy_nonoverlapping(text.as_ptr(), self.start.as_ptr(), count) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::fs;

    #[test]
    fn what_is_written_shows_in_the_process_list() {
        let name = env::args_os().next().unwrap().into_encoded_bytes();
        let mut argument = Argument::at(0).unwrap();
        let mut title = name.clone();
        title[..4].copy_from_slice(b"name");
        argument.overwrite(b"name");
        let shown = fs::read("/proc/self/cmdline").unwrap();
        assert_eq!(shown[..name.len() + 1], [&title[..], b"\0"].concat());
        argument.overwrite(&[&name[..], b"more than there is room for"].concat());
        assert_eq!(fs::read("/proc/self/cmdline").unwrap()[..name.len() + 1], [&name[..], b"\0"].concat());
    }

    #[test]
    fn there_are_no_more_arguments_than_were_given() {
        assert!(Argument::at(env::args_os().count()).is_none());
    }
}
