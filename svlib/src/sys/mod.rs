//! System calls, a small safe family a file. Nothing else in svkit may use `unsafe`.

pub mod clock;
pub mod fd;
pub mod fifo;
pub mod inotify;
pub mod lock;
pub mod memory;
pub mod pipe;
pub mod poll;
pub mod priority;
pub mod process;
pub mod proctitle;
pub mod rlimit;
pub mod signal;
pub mod socket;
pub mod startup;
pub mod timezone;
pub mod user;
pub mod wall_timer;
