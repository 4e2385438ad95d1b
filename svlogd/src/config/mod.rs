//! The text of `config` into settings, with a diagnosis for each line that is not understood.
//!
//! runit's lines are a letter and a value; ours are a word and what follows it, see [`words`].

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use memchr::memchr;
use svlib::pattern::Pattern;

pub mod problem;
pub mod setting;
pub mod words;

#[cfg(test)]
mod tests;

use crate::expression::Expression;
use crate::filter::{Effect, Matcher, Rule};
use problem::{Diagnosis, Problem};
use setting::{Clean, ClockRotation, Compression, Format, FormatKind, Forward, RateLimit, Zone};
use words::{Words, Wrong};

/// The port of syslog, taken when a `u` or `U` line has none.
const SYSLOG_PORT: u16 = 514;

/// What may follow a number of runit's.
struct Units {
    names: Option<&'static str>,
    factors: &'static [(u8, u64)],
}

const NO_UNITS: Units = Units { names: None, factors: &[] };
const SIZE_UNITS: Units = Units { names: Some("k or m"), factors: &[(b'k', 1 << 10), (b'm', 1 << 20)] };
const TIME_UNITS: Units = Units { names: Some("m or h"), factors: &[(b'm', 60), (b'h', 3600)] };

/// What a log directory's `config` says; [`Default`] is what holds without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `s`: bytes at which `current` is rotated, zero for never.
    pub size: u64,
    /// `n`: how many old files are kept, zero for all.
    pub keep: u64,
    /// `N`: how many of them a full disk leaves.
    pub keep_min: u64,
    /// `t`: seconds after which a `current` that is not empty is rotated, zero for never.
    pub age: u64,
    /// `!`: the shell command that old files are fed through.
    pub processor: Option<Vec<u8>>,
    /// `u` or `U`: where selected lines are sent.
    pub udp: Option<SocketAddrV4>,
    /// `U`: they are not written to the directory.
    pub udp_only: bool,
    /// `p`: what stands before each line.
    pub prefix: Vec<u8>,
    /// `+ - e E` and `keep`, `drop`, `alert`, `quiet`: the filter, in order.
    pub rules: Vec<Rule>,
    /// `compress`
    pub compress: Option<Compression>,
    /// `rotate`
    pub clock_rotation: Option<ClockRotation>,
    /// `max-age`: old files are deleted when they are older.
    pub max_age: Option<Duration>,
    /// `max-total`: old files are deleted while the directory's files have more bytes.
    pub max_total: Option<u64>,
    /// `format`
    pub format: Option<Format>,
    /// `mode`: the permissions of files, up to 0777, its owner may read and write.
    pub mode: Option<u32>,
    /// `limit`
    pub limit: Option<RateLimit>,
    /// `forward`, of which there may be several.
    pub forward: Vec<Forward>,
    /// `fsync`: `current` is synced at most that long after a write; zero for at once.
    pub fsync: Option<Duration>,
    /// `kill-after`: a processor that takes longer is killed.
    pub processor_timeout: Option<Duration>,
    /// `clean`
    pub clean: Option<Clean>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            size: 1_000_000,
            keep: 10,
            keep_min: 10,
            age: 0,
            processor: None,
            udp: None,
            udp_only: false,
            prefix: Vec::new(),
            rules: Vec::new(),
            compress: None,
            clock_rotation: None,
            max_age: None,
            max_total: None,
            format: None,
            mode: None,
            limit: None,
            forward: Vec::new(),
            fsync: None,
            processor_timeout: None,
            clean: None,
        }
    }
}

impl Config {
    /// Reads the text of a config. Any bytes are one; later lines override earlier ones.
    pub fn parse(text: &[u8]) -> (Self, Vec<Diagnosis>) {
        let mut config = Self::default();
        let mut diagnoses = Vec::new();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            // All that is reported is a part of the line.
            let mut report = |problem, text: &[u8]| {
                let column = text.as_ptr().addr() - line.as_ptr().addr() + 1;
                diagnoses.push(Diagnosis { line: index + 1, column, problem, text: text.to_vec() });
            };
            if line.starts_with(b"#") {
                continue;
            }
            let (line, rest) = line.split_at(memchr(0, line).unwrap_or(line.len()));
            if !line.trim_ascii().is_empty() {
                config.read_line(index + 1, line, &mut report);
                if line.ends_with(b"\r") {
                    report(Problem::CarriageReturn, &line[line.len() - 1..]);
                }
            }
            if !rest.is_empty() {
                report(Problem::Nul, rest);
            }
        }
        diagnoses.extend(config.contradictions(text));
        diagnoses.sort_by_key(|found| found.line);
        (config, diagnoses)
    }

    /// Whether the local time zone matters.
    pub fn has_local_time(&self) -> bool {
        self.format.is_some_and(|format| format.kind == FormatKind::Rfc3339Local)
            || self.clock_rotation.is_some_and(|rotation| rotation.zone == Zone::Local)
    }

    /// Lines that say nothing together with others.
    fn contradictions(&self, text: &[u8]) -> impl Iterator<Item = Diagnosis> {
        let last = |is_it: fn(&[u8]) -> bool, problem| {
            let (index, line) =
                text.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| is_it(line)).last()?;
            Some(Diagnosis { line: index + 1, column: 1, problem, text: line.to_vec() })
        };
        let keep_min = || last(|line| line.starts_with(b"N"), Problem::NotBelowKeep);
        let is_max_total = |line: &[u8]| {
            let (word, words) = Words::split(line);
            word == b"max-total" && words.size().is_ok()
        };
        let max_total = || last(is_max_total, Problem::BelowSize);
        let is_below_size = self.max_total.is_some_and(|total| self.size == 0 || total < self.size);
        let keep_min = (self.keep_min >= self.keep).then(keep_min).flatten();
        [keep_min, is_below_size.then(max_total).flatten()].into_iter().flatten()
    }

    fn read_line(&mut self, number: usize, line: &[u8], report: &mut impl FnMut(Problem, &[u8])) {
        let Some((&letter, value)) = line.split_first() else { return };
        let mut add_rule = |effect| {
            self.rules.push(Rule { line: number, effect, matcher: Matcher::Pattern(Pattern::new(value)) });
        };
        match letter {
            b'+' => add_rule(Effect::Select),
            b'-' => add_rule(Effect::Deselect),
            b'e' => add_rule(Effect::Alert),
            b'E' => add_rule(Effect::Quiet),
            b's' => self.size = scan_number(value, &SIZE_UNITS, report),
            b'n' => self.keep = scan_number(value, &NO_UNITS, report),
            b'N' => self.keep_min = scan_number(value, &NO_UNITS, report),
            b't' => self.age = scan_number(value, &TIME_UNITS, report),
            b'!' if !value.is_empty() => self.processor = Some(value.to_vec()),
            b'p' if !value.is_empty() => self.prefix = value.to_vec(),
            b'!' | b'p' => {}
            b'u' | b'U' => match scan_address(value) {
                Ok(address) => {
                    self.udp = Some(address);
                    self.udp_only |= letter == b'U';
                }
                Err(problem) => report(problem, value),
            },
            _ => {
                if let Err((problem, text)) = self.read_setting(number, line) {
                    report(problem, text);
                }
            }
        }
    }

    /// A line that runit skips.
    fn read_setting<'a>(&mut self, number: usize, line: &'a [u8]) -> Result<(), Wrong<'a>> {
        let (word, words) = Words::split(line);
        match word {
            b"keep" => self.add_expression(number, Effect::Select, words)?,
            b"drop" => self.add_expression(number, Effect::Deselect, words)?,
            b"alert" => self.add_expression(number, Effect::Alert, words)?,
            b"quiet" => self.add_expression(number, Effect::Quiet, words)?,
            b"compress" => self.compress = Some(words.compression()?),
            b"rotate" => self.clock_rotation = Some(words.clock_rotation()?),
            b"max-age" => self.max_age = unless_zero(words.duration()?),
            b"max-total" => self.max_total = unless_zero(words.size()?),
            b"format" => self.format = Some(words.format()?),
            b"mode" => self.mode = Some(words.mode()?),
            b"limit" => self.limit = Some(words.limit()?),
            b"forward" => self.forward.push(words.forward()?),
            b"fsync" => self.fsync = Some(words.duration()?),
            b"kill-after" => self.processor_timeout = unless_zero(words.duration()?),
            b"clean" => self.clean = Some(words.clean()?),
            _ => return Err((words::unknown(line), line)),
        }
        Ok(())
    }

    fn add_expression<'a>(&mut self, line: usize, effect: Effect, words: Words<'a>) -> Result<(), Wrong<'a>> {
        let text = words.text("a regular expression")?;
        let expression = Expression::new(text)
            .map_err(|refusal| (Problem::Expression(refusal.why), &text[refusal.at.min(text.len())..]))?;
        self.rules.push(Rule { line, effect, matcher: Matcher::Expression(expression) });
        Ok(())
    }
}

/// Zero turns a setting off, as it does with runit's numbers.
fn unless_zero<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

/// The digits at the beginning, times the unit that follows them.
fn scan_number(value: &[u8], units: &Units, report: &mut impl FnMut(Problem, &[u8])) -> u64 {
    let (digits, rest) = leading_digits(value);
    let mut overflow = false;
    let mut step = |(result, overflows): (u64, bool)| {
        overflow |= overflows;
        result
    };
    let mut number = 0;
    for digit in digits {
        number = step(u64::overflowing_mul(number, 10));
        number = step(u64::overflowing_add(number, u64::from(digit - b'0')));
    }
    let mut rest = rest;
    if let Some((letter, after)) = rest.split_first()
        && let Some((_, unit)) = units.factors.iter().find(|(name, _)| name == letter)
    {
        number = step(u64::overflowing_mul(number, *unit));
        rest = after;
    }
    if digits.is_empty() {
        report(Problem::NoNumber, value);
    } else if overflow {
        report(Problem::TooLarge, value);
    } else if !rest.is_empty() && rest != b"\r" {
        report(Problem::AfterNumber(units.names), rest);
    }
    number
}

/// `a.b.c.d[:port]`; what follows is ignored, as in runit.
fn scan_address(value: &[u8]) -> Result<SocketAddrV4, Problem> {
    let mut octets = [0; 4];
    let mut rest = value;
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix(b".").ok_or(Problem::Address)?;
        }
        let (digits, after) = leading_digits(rest);
        *octet = parse(digits).ok_or(Problem::Address)?;
        rest = after;
    }
    let port = match rest.strip_prefix(b":") {
        Some(port) => parse(leading_digits(port).0).filter(|&port| port != 0).ok_or(Problem::Port)?,
        None => SYSLOG_PORT,
    };
    Ok(SocketAddrV4::new(Ipv4Addr::from(octets), port))
}

fn leading_digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len()))
}

fn parse<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    str::from_utf8(digits).ok()?.parse().ok()
}
