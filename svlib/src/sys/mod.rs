//! System calls, a small safe family a file. Nothing else in svkit may use `unsafe`.

pub mod channel;
pub mod clock;
pub mod environment;
pub mod fd;
pub mod fifo;
pub mod inotify;
pub mod lock;
pub mod memory;
pub mod notify_socket;
pub mod pidfd;
pub mod pipe;
pub mod poll;
pub mod priority;
pub mod process;
pub mod proctitle;
pub mod reexec;
pub mod rlimit;
pub mod signal;
pub mod socket;
pub mod startup;
pub mod timezone;
pub mod user;
pub mod wall_timer;
