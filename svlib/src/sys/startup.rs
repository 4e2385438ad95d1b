//! What the parent handed over, recorded before Rust's runtime touches it.
//!
//! The runtime opens `/dev/null` in place of closed descriptors 0 to 2, and ignores SIGPIPE. What this process starts must
//! see neither; [`process`](super::process) undoes both. Initialisers run before `main`, and glibc gives them `main`'s
//! arguments.

use std::ffi::{c_char, c_int};
use std::fs;
use std::os::fd::RawFd;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, Ordering};

static CLOSED: AtomicU8 = AtomicU8::new(0);
static SIGPIPE_IGNORED: AtomicBool = AtomicBool::new(false);
static ARGC: AtomicI32 = AtomicI32::new(0);
static ARGV: AtomicPtr<*mut c_char> = AtomicPtr::new(ptr::null_mut());

/// The descriptors among 0, 1 and 2 that were closed when this process began.
pub fn closed() -> impl Iterator<Item = RawFd> {
    (0..3).filter(|fd| CLOSED.load(Ordering::Relaxed) & (1 << fd) != 0)
}

/// Standard error, which may have been closed when this process began, is meant to be there for all that it starts.
pub fn opened_stderr() {
    CLOSED.fetch_and(!(1 << libc::STDERR_FILENO), Ordering::Relaxed);
}

/// Whether the parent left SIGPIPE ignored.
pub fn sigpipe_was_ignored() -> bool {
    SIGPIPE_IGNORED.load(Ordering::Relaxed)
}

/// The highest number of a descriptor that the parent handed over. None if proc(5) does not tell now.
///
/// It is told by its being open on exec, as nothing is that this process opens.
pub(super) fn highest_inherited() -> Option<RawFd> {
    static HIGHEST: OnceLock<RawFd> = OnceLock::new();
    if let Some(highest) = HIGHEST.get() {
        return Some(*highest);
    }
    let entries = fs::read_dir("/proc/self/fd").ok()?;
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // SAFETY: F_GETFD only asks.
    let is_kept = |number: &RawFd| unsafe { libc::fcntl(*number, libc::F_GETFD) } == 0;
    let highest = numbers.filter(is_kept).max().unwrap_or(libc::STDERR_FILENO);
    Some(*HIGHEST.get_or_init(|| highest))
}

/// Puts things as Rust's runtime had put them, after they were handed back to a program that could not be executed.
pub(super) fn take_again() {
    closed().for_each(|_| {
        // SAFETY: opens a file under the lowest number that is free, which is one of these.
        unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
    });
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// The number of arguments and the vector of them, in the memory that ps(1) shows. Null where the C library does not
/// tell.
pub(super) fn arguments() -> (c_int, *mut *mut c_char) {
    (ARGC.load(Ordering::Relaxed), ARGV.load(Ordering::Relaxed))
}

#[used]
#[unsafe(link_section = ".init_array")]
static RECORD: extern "C" fn(c_int, *mut *mut c_char) = record;

extern "C" fn record(argc: c_int, argv: *mut *mut c_char) {
    if cfg!(target_env = "gnu") {
        ARGC.store(argc, Ordering::Relaxed);
        ARGV.store(argv, Ordering::Relaxed);
    }
    let mut closed = 0;
    for fd in 0..3 {
        // SAFETY: F_GETFD only asks; it fails for a closed descriptor.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
            closed |= 1 << fd;
        }
    }
    CLOSED.store(closed, Ordering::Relaxed);
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action sigaction only fills in the current one, for which there is room.
    let asked = unsafe { libc::sigaction(libc::SIGPIPE, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all bytes zero is a valid sigaction; the call may have filled in another.
    let handler = unsafe { action.assume_init() }.sa_sigaction;
    SIGPIPE_IGNORED.store(asked == 0 && handler == libc::SIG_IGN, Ordering::Relaxed);
}
