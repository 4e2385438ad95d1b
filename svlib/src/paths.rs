//! The names inside a service directory (runsv(8)), relative to it.

/// The program that is the service.
pub const RUN: &str = "run";
/// The program started when `run` has ended.
pub const FINISH: &str = "finish";
/// The program `sv` asks whether the service is available.
pub const CHECK: &str = "check";
/// While it exists, runsv does not start the service by itself.
pub const DOWN: &str = "down";
/// The service directory of the log service.
pub const LOG: &str = "log";
/// The directory of the programs that customize control, one a command byte.
pub const CONTROL_SCRIPTS: &str = "control";
/// runsv's own directory; possibly a symbolic link.
pub const SUPERVISE: &str = "supervise";
/// Locked exclusively while runsv lives.
pub const LOCK: &str = "supervise/lock";
/// A fifo that has a reader while runsv lives.
pub const OK: &str = "supervise/ok";
/// The fifo for command bytes.
pub const CONTROL: &str = "supervise/control";
/// The binary status record.
pub const STATUS: &str = "supervise/status";
/// The status in words.
pub const STAT: &str = "supervise/stat";
/// The process id of the service, as text.
pub const PID: &str = "supervise/pid";
/// What the next supervisor would need to go on where this one was killed ([`record`](crate::record)).
pub const RECORD: &str = "supervise/record";
