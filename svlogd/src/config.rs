//! The text of `config` into settings, with a diagnosis for each line that is not understood.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use memchr::memchr;
use svlib::pattern::Pattern;

use crate::filter::{Effect, Rule};

/// The port of syslog, taken when a `u` or `U` line has none.
const SYSLOG_PORT: u16 = 514;

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
    /// `+ - e E`: the filter, in order.
    pub rules: Vec<Rule>,
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
        }
    }
}

/// A line that does not say what its writer meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The number of the line, from one.
    pub line: usize,
    /// What is wrong with it.
    pub problem: Problem,
    /// What was found.
    pub text: Vec<u8>,
}

/// What can be wrong with a line, and what holds instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Neither runit's nor ours: ignored.
    Unknown,
    /// No digit directly after the letter: zero, as in runit.
    NoNumber,
    /// Over 2^64 - 1: what remains of it modulo 2^64, as in runit.
    TooLarge,
    /// Something after the number and its unit: ignored, as in runit.
    AfterNumber,
    /// Not an IPv4 address: the line is ignored, no line of the log goes astray.
    Address,
    /// Not a port between 1 and 65535: likewise.
    Port,
    /// A carriage return at the end, of an editor that means no harm: it belongs to the line, as in runit.
    CarriageReturn,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown line",
            Self::NoNumber => "no number, taken as 0",
            Self::TooLarge => "number too large",
            Self::AfterNumber => "ignored after the number",
            Self::Address => "unable to scan ip address",
            Self::Port => "unable to scan port number",
            Self::CarriageReturn => "carriage return at the end of the line",
        })
    }
}

impl Config {
    /// Reads the text of a config. Any bytes are one; later lines override earlier ones.
    pub fn parse(text: &[u8]) -> (Self, Vec<Diagnosis>) {
        let mut config = Self::default();
        let mut diagnoses = Vec::new();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let mut report = |problem, text: &[u8]| {
                diagnoses.push(Diagnosis { line: index + 1, problem, text: text.to_vec() });
            };
            if line.ends_with(b"\r") && !line.starts_with(b"#") {
                report(Problem::CarriageReturn, line);
            }
            config.read_line(line, &mut report);
        }
        (config, diagnoses)
    }

    fn read_line(&mut self, line: &[u8], report: &mut impl FnMut(Problem, &[u8])) {
        let Some((&letter, value)) = line.split_first() else { return };
        let value = &value[..memchr(0, value).unwrap_or(value.len())];
        match letter {
            b'#' | b'\r' => {}
            b'+' => self.add_rule(Effect::Select, value),
            b'-' => self.add_rule(Effect::Deselect, value),
            b'e' => self.add_rule(Effect::Alert, value),
            b'E' => self.add_rule(Effect::Quiet, value),
            b's' => self.size = scan_number(value, &[(b'k', 1 << 10), (b'm', 1 << 20)], report),
            b'n' => self.keep = scan_number(value, &[], report),
            b'N' => self.keep_min = scan_number(value, &[], report),
            b't' => self.age = scan_number(value, &[(b'm', 60), (b'h', 3600)], report),
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
            _ => report(Problem::Unknown, line),
        }
    }

    fn add_rule(&mut self, effect: Effect, pattern: &[u8]) {
        self.rules.push(Rule { effect, pattern: Pattern::new(pattern) });
    }
}

/// The digits at the beginning, times the unit that follows them.
fn scan_number(value: &[u8], units: &[(u8, u64)], report: &mut impl FnMut(Problem, &[u8])) -> u64 {
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
        && let Some((_, unit)) = units.iter().find(|(name, _)| name == letter)
    {
        number = step(u64::overflowing_mul(number, *unit));
        rest = after;
    }
    if digits.is_empty() {
        report(Problem::NoNumber, value);
    } else if overflow {
        report(Problem::TooLarge, value);
    } else if !rest.is_empty() && rest != b"\r" {
        report(Problem::AfterNumber, rest);
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse_quietly(text: &str) -> Config {
        let (config, diagnoses) = Config::parse(text.as_bytes());
        assert_eq!(diagnoses, [], "{text:?}");
        config
    }

    fn problems(text: &str) -> Vec<(usize, Problem)> {
        Config::parse(text.as_bytes()).1.into_iter().map(|found| (found.line, found.problem)).collect()
    }

    #[test]
    fn an_empty_config_is_the_default() {
        assert_eq!(parse_quietly(""), Config::default());
        assert_eq!(parse_quietly("\n# s5\n\n#"), Config::default());
    }

    #[test]
    fn numbers_and_their_units() {
        let config = parse_quietly("s10k\nn3\nN1\nt2h");
        assert_eq!((config.size, config.keep, config.keep_min, config.age), (10_240, 3, 1, 7200));
        assert_eq!(parse_quietly("s2m\nt5m\n").size, 2_097_152);
        assert_eq!(parse_quietly("s0\nn0\nt0\n").size, 0);
    }

    #[test]
    fn numbers_that_are_none_mean_what_they_mean_to_runit() {
        assert_eq!(Config::parse(b"s 1000\n").0.size, 0);
        assert_eq!(problems("s 1000\n"), [(1, Problem::NoNumber)]);
        assert_eq!(Config::parse(b"\nn5 files\n").0.keep, 5);
        assert_eq!(problems("\nn5 files\n"), [(2, Problem::AfterNumber)]);
        assert_eq!(Config::parse(b"n18446744073709551617").0.keep, 1);
        assert_eq!(problems("n18446744073709551617"), [(1, Problem::TooLarge)]);
        assert_eq!(problems("t18446744073709551615h"), [(1, Problem::TooLarge)]);
    }

    #[test]
    fn texts_are_kept_as_they_are() {
        let config = parse_quietly("p  app: \n!gzip -9 \n");
        assert_eq!(config.prefix, b"  app: ");
        assert_eq!(config.processor.unwrap(), b"gzip -9 ");
        assert_eq!(parse_quietly("pa\np\n!b\n!\n").prefix, b"a", "an empty one overrides nothing");
    }

    #[test]
    fn rules_keep_their_order() {
        let config = parse_quietly("-*\n+a*\ne*b\nE\n");
        let rules: Vec<_> = config.rules.iter().map(|rule| (rule.effect, rule.pattern.as_bytes())).collect();
        let expected: [(Effect, &[u8]); 4] =
            [(Effect::Deselect, b"*"), (Effect::Select, b"a*"), (Effect::Alert, b"*b"), (Effect::Quiet, b"")];
        assert_eq!(rules, expected);
    }

    #[test]
    fn addresses() {
        assert_eq!(parse_quietly("u10.0.0.1\n").udp, Some("10.0.0.1:514".parse().unwrap()));
        let config = parse_quietly("U127.0.0.1:5514\nu10.0.0.1:1\n");
        assert_eq!((config.udp, config.udp_only), (Some("10.0.0.1:1".parse().unwrap()), true));
        for (text, problem) in [
            ("u", Problem::Address),
            ("u1.2.3", Problem::Address),
            ("U256.1.1.1", Problem::Address),
            ("ulocalhost", Problem::Address),
            ("u1.2.3.4:", Problem::Port),
            ("u1.2.3.4:0", Problem::Port),
            ("u1.2.3.4:65536", Problem::Port),
        ] {
            assert_eq!(problems(text), [(1, problem)], "{text}");
            let (config, _) = Config::parse(text.as_bytes());
            assert_eq!((config.udp, config.udp_only), (None, false), "lines still go to the directory");
        }
    }

    #[test]
    fn unknown_lines_and_carriage_returns_are_reported() {
        assert_eq!(problems("s5\nxyz\n q"), [(2, Problem::Unknown), (3, Problem::Unknown)]);
        assert_eq!(problems("s5\r\n\r\n-a\r\n"), [1, 2, 3].map(|line| (line, Problem::CarriageReturn)));
        assert_eq!(Config::parse(b"-a\r\n").0.rules[0].pattern.as_bytes(), b"a\r");
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![b' '..=b'~', b'\x80'..=b'\xff'], 1..20)
    }

    fn config() -> impl Strategy<Value = Config> {
        let effect = prop_oneof![
            Just(Effect::Select),
            Just(Effect::Deselect),
            Just(Effect::Alert),
            Just(Effect::Quiet)
        ];
        let rule = (effect, text()).prop_map(|(effect, text)| Rule { effect, pattern: Pattern::new(&text) });
        let udp = (any::<[u8; 4]>(), 1..u16::MAX, any::<bool>());
        (
            any::<[u64; 4]>(),
            prop::option::of(text()),
            prop::option::of(udp),
            prop::option::of(text()),
            prop::collection::vec(rule, 0..5),
        )
            .prop_map(|([size, keep, keep_min, age], processor, udp, prefix, rules)| Config {
                size,
                keep,
                keep_min,
                age,
                processor,
                udp: udp.map(|(address, port, _)| SocketAddrV4::new(address.into(), port)),
                udp_only: udp.is_some_and(|(_, _, only)| only),
                prefix: prefix.unwrap_or_default(),
                rules,
            })
    }

    /// A config's text, as its owner would write it.
    fn write(config: &Config) -> Vec<u8> {
        let mut text = format!("s{}\nn{}\nN{}\nt{}\n", config.size, config.keep, config.keep_min, config.age);
        if let Some(udp) = config.udp {
            text += &format!("{}{udp}\n", if config.udp_only { 'U' } else { 'u' });
        }
        let mut text = text.into_bytes();
        let mut add = |letter: u8, value: &[u8]| {
            text.push(letter);
            text.extend_from_slice(value);
            text.push(b'\n');
        };
        for rule in &config.rules {
            let letter = match rule.effect {
                Effect::Select => b'+',
                Effect::Deselect => b'-',
                Effect::Alert => b'e',
                Effect::Quiet => b'E',
            };
            add(letter, rule.pattern.as_bytes());
        }
        if let Some(processor) = &config.processor {
            add(b'!', processor);
        }
        add(b'p', &config.prefix);
        text
    }

    proptest! {
        #[test]
        fn a_written_config_reads_as_it_was(config in config()) {
            prop_assert_eq!(Config::parse(&write(&config)), (config, Vec::new()));
        }

        #[test]
        fn any_bytes_are_read(text in prop::collection::vec(prop_oneof![Just(b'\n'), b'0'..=b'9', any::<u8>()], 0..200)) {
            let (_, diagnoses) = Config::parse(&text);
            let lines = text.split(|&byte| byte == b'\n').count();
            prop_assert!(diagnoses.iter().all(|diagnosis| (1..=lines).contains(&diagnosis.line)));
        }

        #[test]
        fn a_comment_changes_nothing(config in config(), comment in "[ -~]{0,20}") {
            let mut text = write(&config);
            text.extend(format!("#{comment}").into_bytes());
            prop_assert_eq!(Config::parse(&text), (config, Vec::new()));
        }
    }
}
