//! The command `status`: prints what state a service is in, and its log service if it has one.
//!
//! Each function returns the exit code that an init script ends with.

use nix::errno::Errno;
use svlib::tai64n::Tai64n;

use crate::client::{Retries, Service};
use crate::console::Console;
use crate::json::Object;
use crate::report::Trouble;
use crate::seen::Seen;
use crate::status_json::{status_object, trouble_object};

const RUNNING: u8 = 0;
const DOWN: u8 = 3;
const UNKNOWN: u8 = 4;

/// Prints it in words.
pub fn words(service: &Service, now: Tai64n, retries: &mut Retries, console: &mut Console) -> u8 {
    let seen = match look(service, retries) {
        Ok(seen) => seen,
        Err(trouble) => {
            console.trouble(service, trouble);
            return unknown(trouble, console);
        }
    };
    let text = console.describe(service, service.name(), &seen, now);
    let code = if text.is_some() { known(&seen) } else { UNKNOWN };
    let mut line = text.unwrap_or_default();
    line.extend(log_words(&service.log(), now, retries, console));
    console.print(&line);
    code
}

/// Prints it as a JSON object.
pub fn json(service: &Service, now: Tai64n, retries: &mut Retries, console: &mut Console) -> u8 {
    let seen = service.enter().map_err(Trouble::NoService).and_then(|()| look(service, retries));
    let (object, code) = match seen {
        Ok(seen) => {
            let normally_up = console.normally_up(service);
            let mut object = status_object(service.name(), &seen, now, normally_up);
            object.object("log", log_object(&service.log(), now, retries, console));
            (object, if normally_up.is_some() { known(&seen) } else { UNKNOWN })
        }
        Err(trouble) => {
            console.count_failure();
            (trouble_object(service.name(), trouble), unknown(trouble, console))
        }
    };
    console.print(format!("{}\n", object.finish()).as_bytes());
    code
}

fn look(service: &Service, retries: &mut Retries) -> Result<Seen, Trouble> {
    let _runsv = service.runsv()?;
    service.see_settled(retries)
}

fn known(seen: &Seen) -> u8 {
    if seen.status.pid.is_some() { RUNNING } else { DOWN }
}

fn unknown(trouble: Trouble, console: &Console) -> u8 {
    match trouble {
        Trouble::NotRunning | Trouble::NoService(_) => console.exit_code(),
        _ => UNKNOWN,
    }
}

/// The status of a log service, or why it is not known; `None` if there is no log service.
fn look_at_log(log: &Service, retries: &mut Retries) -> Option<Result<Seen, Trouble>> {
    match log.enter() {
        Err(Errno::ENOENT) => None,
        Err(errno) => Some(Err(Trouble::NoLog(errno))),
        Ok(()) => Some(look(log, retries)),
    }
}

/// What a status line ends with: the status of the log service, or why it is not known, or nothing; and a newline.
fn log_words(log: &Service, now: Tai64n, retries: &mut Retries, console: &mut Console) -> Vec<u8> {
    let text = match look_at_log(log, retries) {
        None => return b"\n".to_vec(),
        Some(Ok(seen)) => {
            [console.describe(log, b"log", &seen, now).unwrap_or_default(), b"\n".to_vec()].concat()
        }
        Some(Err(trouble)) => console.trouble_line(log, trouble),
    };
    [b"; ".as_slice(), &text].concat()
}

fn log_object(log: &Service, now: Tai64n, retries: &mut Retries, console: &mut Console) -> Option<Object> {
    Some(match look_at_log(log, retries)? {
        Ok(seen) => status_object(log.name(), &seen, now, console.normally_up(log)),
        Err(trouble) => {
            console.count_failure();
            trouble_object(log.name(), trouble)
        }
    })
}
