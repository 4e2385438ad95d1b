use super::setting::{CompressionKind, FormatKind, Period, Precision, Server, Transport, Zone};
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

/// The pattern of a rule of runit's.
fn pattern(rule: &Rule) -> &[u8] {
    match &rule.matcher {
        Matcher::Pattern(pattern) => pattern.as_bytes(),
        Matcher::Expression(_) => panic!("{rule:?}"),
    }
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
    assert_eq!(problems("\nn5 files\n"), [(2, Problem::AfterNumber(None))]);
    assert_eq!(Config::parse(b"n18446744073709551617").0.keep, 1);
    assert_eq!(problems("s10M"), [(1, Problem::AfterNumber(Some("k or m")))]);
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
    let rules: Vec<_> = config.rules.iter().map(|rule| (rule.effect, pattern(rule))).collect();
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
fn unknown_lines_are_reported() {
    for (text, problem) in [
        ("xyz", Problem::Unknown(None)),
        ("\u{feff}s5", Problem::ByteOrderMark),
        (" s5", Problem::Indented),
        ("\tkeep a", Problem::Indented),
        ("Keep a", Problem::Unknown(Some("keep"))),
        ("quite a", Problem::Unknown(Some("quiet"))),
        ("max_age 1d", Problem::Unknown(Some("max-age"))),
        ("maxage=1d", Problem::Unknown(Some("max-age"))),
        ("format:json", Problem::Unknown(Some("format"))),
        ("compres gzip", Problem::Unknown(Some("compress"))),
    ] {
        assert_eq!(problems(&format!("s5\n{text}\n")), [(2, problem)], "{text}");
    }
    assert_eq!(problems("s5\n \n\t\r\n\r\n"), [], "nothing is meant by blanks");
}

#[test]
fn lines_end_at_a_carriage_return_or_nul_that_is_shown() {
    let (config, diagnoses) = Config::parse(b"s5\r\n-a\r\nkeep b\0c\n-d\0\n#\0\n\0\n");
    let places: Vec<_> = diagnoses.iter().map(|found| (found.line, found.column, &found.problem)).collect();
    let expected = [
        (1, 3, &Problem::CarriageReturn),
        (2, 3, &Problem::CarriageReturn),
        (3, 7, &Problem::Nul),
        (4, 3, &Problem::Nul),
        (6, 1, &Problem::Nul),
    ];
    assert_eq!(places, expected);
    let texts: Vec<_> = config.rules.iter().map(Rule::text).collect();
    assert_eq!(texts, [&b"-a\r"[..], b"keep b", b"-d"]);
}

#[test]
fn contradictions_are_shown_where_they_are() {
    assert_eq!(problems("N3\nn5\nN8\n# N\n"), [(3, Problem::NotBelowKeep)]);
    assert_eq!(problems("N8\nn0\n"), [(1, Problem::NotBelowKeep)]);
    assert_eq!(problems("n5\n"), [], "the default of N is meant by nobody");
    assert_eq!(problems("max-total 900k\nmax-total x\n")[0], (1, Problem::BelowSize));
    assert_eq!(problems("max-total 900k\ns0\n"), [(1, Problem::BelowSize)]);
    assert_eq!(problems("s100k\nmax-total 900k\nN2\n"), []);
}

#[test]
fn a_long_text_is_cut_and_a_terminal_is_safe() {
    let text = format!("{}\u{9b}\n zebra\u{9b}\x1b[2J\n", "zebra ".repeat(100));
    let messages: Vec<_> = Config::parse(text.as_bytes()).1.iter().map(Diagnosis::message).collect();
    let messages: Vec<_> = messages.iter().map(|message| str::from_utf8(message).unwrap()).collect();
    let cut = format!("1:1: unknown line: {}...", "zebra ".repeat(10));
    assert_eq!(
        messages,
        [&cut, "2:1: line ignored, a setting begins in the first column:  zebra\\u009b\\x1b[2J"]
    );
    assert_eq!(
        Config::parse(b"mode").1[0].message(),
        b"1:5: line ignored, expected an octal mode like 0640, with 0600 at least"
    );
}

#[test]
fn settings_of_ours() {
    let udp = |host: &str, port| Transport::Udp(Server { host: host.into(), port });
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    type Change = fn(&mut Config);
    let table: [(&str, Change); 22] = [
        ("compress gzip", |config| {
            config.compress = Some(Compression { kind: CompressionKind::Gzip, level: None });
        }),
        ("compress \t zstd 19 ", |config| {
            config.compress = Some(Compression { kind: CompressionKind::Zstd, level: Some(19) });
        }),
        ("rotate daily", |config| config.clock_rotation = rotation(Period::Daily, 0, 0, Zone::Utc)),
        ("rotate weekly 23:59 local", |config| {
            config.clock_rotation = rotation(Period::Weekly, 23, 59, Zone::Local);
        }),
        ("rotate hourly 00:30", |config| config.clock_rotation = rotation(Period::Hourly, 0, 30, Zone::Utc)),
        ("rotate hourly local", |config| config.clock_rotation = rotation(Period::Hourly, 0, 0, Zone::Local)),
        ("max-age 30d", |config| config.max_age = Some(Duration::from_secs(30 * 86_400))),
        ("max-age 1h\nmax-age 0", |_| {}),
        ("max-total 2g", |config| config.max_total = Some(2 << 30)),
        ("format rfc3339-local ms", |config| {
            config.format = Some(Format { kind: FormatKind::Rfc3339Local, precision: Precision::Ms });
        }),
        ("format json", |config| {
            config.format = Some(Format { kind: FormatKind::Json, precision: Precision::Us });
        }),
        ("format tai64n", |config| {
            config.format = Some(Format { kind: FormatKind::Tai64n, precision: Precision::Us });
        }),
        ("format tai64n ns", |config| {
            config.format = Some(Format { kind: FormatKind::Tai64n, precision: Precision::Ns });
        }),
        ("mode 0640", |config| config.mode = Some(0o640)),
        ("limit 1000/s", |config| config.limit = Some(RateLimit { per_second: 1000, burst: 1000 })),
        ("limit 10/s burst 500", |config| config.limit = Some(RateLimit { per_second: 10, burst: 500 })),
        ("fsync 0", |config| config.fsync = Some(Duration::ZERO)),
        ("fsync 5s", |config| config.fsync = Some(Duration::from_secs(5))),
        ("kill-after 2m", |config| config.processor_timeout = Some(Duration::from_secs(120))),
        ("clean escape", |config| config.clean = Some(Clean::Escape)),
        ("clean replace", |config| config.clean = Some(Clean::Replace)),
        ("mode 600\nmode 644", |config| config.mode = Some(0o644)),
    ];
    assert_eq!(parse_quietly("kill-after 4w").processor_timeout, seconds(4 * 604_800));
    for (text, change) in &table {
        let mut expected = Config::default();
        change(&mut expected);
        assert_eq!(parse_quietly(text), expected, "{text}");
    }
    let forward = |text: &str| parse_quietly(&format!("forward {text}")).forward;
    let plain = |transport| Forward { transport, facility: 3, severity: 6, tag: None };
    for (text, transport) in [
        ("syslog+udp://10.0.0.1", udp("10.0.0.1", 514)),
        ("syslog+udp://[::1]:5514", udp("::1", 5514)),
        ("syslog+udp://[fe80::1]", udp("fe80::1", 514)),
        (
            "syslog+tcp://log.example.com:601",
            Transport::Tcp(Server { host: "log.example.com".into(), port: 601 }),
        ),
        ("syslog+unix:///dev/log", Transport::Unix("/dev/log".into())),
    ] {
        assert_eq!(forward(text), [plain(transport)], "{text}");
    }
    let udp = plain(udp("h", 514));
    let tag = |tag: &str| Some(tag.to_string());
    assert_eq!(
        forward("syslog+udp://h local7.err web"),
        [Forward { facility: 23, severity: 3, tag: tag("web"), ..udp.clone() }]
    );
    assert_eq!(forward("syslog+udp://h www.example"), [Forward { tag: tag("www.example"), ..udp.clone() }]);
    assert_eq!(parse_quietly("forward syslog+udp://h\nforward syslog+udp://h\n").forward, [udp.clone(), udp]);
}

fn rotation(period: Period, hour: u8, minute: u8, zone: Zone) -> Option<ClockRotation> {
    Some(ClockRotation { period, hour, minute, zone })
}

#[test]
fn settings_of_ours_that_are_wrong_are_ignored() {
    for (text, column, shown, why) in [
        ("compress", 9, "", "gzip or zstd"),
        ("compress lzma", 10, "lzma", "gzip or zstd"),
        ("compress gzip 10", 15, "10", "between 1 and 9"),
        ("compress zstd 0", 15, "0", "between 1 and 19"),
        ("compress zstd +3", 15, "+3", "between 1 and 19"),
        ("compress gzip 9 x", 17, "x", "nothing expected"),
        ("rotate", 7, "", "hourly, daily or weekly"),
        ("rotate daily 24:00", 14, "24:00", "HH:MM"),
        ("rotate daily 1:00", 14, "1:00", "HH:MM"),
        ("rotate hourly 02:00", 15, "02:00", "00:MM"),
        ("rotate daily utc 01:00", 18, "01:00", "nothing expected"),
        ("max-age -1", 9, "-1", "a time"),
        ("max-age 1y", 9, "1y", "a time"),
        ("max-age 18446744073709551615w", 9, "18446744073709551615w", "a time"),
        ("max-total k", 11, "k", "a size"),
        ("format xml", 8, "xml", "json"),
        ("format tai64n us", 15, "us", "nothing or ns"),
        ("format none us", 13, "us", "nothing expected"),
        ("format json s", 13, "s", "ms, us or ns"),
        ("mode 8", 6, "8", "octal"),
        ("mode 01777", 6, "01777", "octal"),
        ("mode 0400", 6, "0400", "0600"),
        ("mode 0200", 6, "0200", "0600"),
        ("mode +644", 6, "+644", "octal"),
        ("limit 1000", 7, "1000", "1000/s"),
        ("limit 0/s", 7, "0/s", "1000/s"),
        ("limit 5/s burst", 16, "", "a number of lines"),
        ("limit 5/s 5", 11, "5", "burst"),
        ("fsync", 6, "", "a time"),
        ("clean all", 7, "all", "escape or replace"),
        ("forward 10.0.0.1", 9, "10.0.0.1", "syslog+udp://"),
        ("forward syslog+udp://", 22, "", "host name"),
        ("forward syslog+udp://::1", 22, "::1", "host name"),
        ("forward syslog+tcp://[::1", 22, "[::1", "host name"),
        ("forward syslog+tcp://[x]:1", 22, "[x]:1", "host name"),
        ("forward syslog+tcp://-h", 22, "-h", "host name"),
        ("forward syslog+tcp://10.0.0.256", 22, "10.0.0.256", "host name"),
        ("forward syslog+tcp://h:65536", 22, "h:65536", "a port"),
        ("forward syslog+tcp://h:0", 22, "h:0", "a port"),
        ("forward syslog+tcp://[::1]514", 22, "[::1]514", "a port"),
        ("forward syslog+unix://dev/log", 23, "dev/log", "absolute"),
        ("forward syslog+udp://h deamon.info", 24, "deamon", "facility"),
        ("forward syslog+udp://h daemon.inf", 31, "inf", "severity"),
        ("forward syslog+udp://h t\u{e9}g", 24, "t\u{e9}g", "a tag"),
        ("forward syslog+udp://h tag daemon.info", 28, "daemon.info", "nothing expected"),
        ("keep", 5, "", "a regular expression"),
        ("drop  a(b", 8, "(b", "unclosed group"),
        ("keepx", 1, "keepx", "unknown line"),
        (" keep x", 1, " keep x", "first column"),
    ] {
        let (config, diagnoses) = Config::parse(format!("# one\n{text}\n").as_bytes());
        assert_eq!(config, Config::default(), "{text}");
        let [found] = &diagnoses[..] else { panic!("{text}: {diagnoses:?}") };
        assert_eq!((found.line, found.column, &found.text[..]), (2, column, shown.as_bytes()), "{text}");
        assert!(found.problem.to_string().contains(why), "{text}: {}", found.problem);
    }
}

#[test]
fn expressions_keep_their_order_and_their_blanks() {
    let config = parse_quietly("drop  a b \n+a*\nkeep\t^x$\nalert e\nquiet .\n");
    let rules: Vec<_> = config.rules.iter().map(|rule| (rule.line, rule.effect, &rule.matcher)).collect();
    let expression = |text: &str| Matcher::Expression(Expression::new(text.as_bytes()).unwrap());
    let expected = [
        (1, Effect::Deselect, &expression("a b ")),
        (2, Effect::Select, &Matcher::Pattern(Pattern::new(b"a*"))),
        (3, Effect::Select, &expression("^x$")),
        (4, Effect::Alert, &expression("e")),
        (5, Effect::Quiet, &expression(".")),
    ];
    assert_eq!(rules, expected);
}

#[test]
fn a_carriage_return_does_no_harm_to_settings_of_ours() {
    let text = "mode 0640\r\nkeep a$\r\n";
    assert_eq!(problems(text), [1, 2].map(|line| (line, Problem::CarriageReturn)));
    let config = Config::parse(text.as_bytes()).0;
    assert_eq!(config.mode, Some(0o640));
    assert_eq!(config.rules[0].matcher, Matcher::Expression(Expression::new(b"a$").unwrap()));
}

#[test]
fn no_word_of_ours_begins_with_a_letter_of_runit() {
    for word in words::WORDS {
        assert!(!b"#snNt!uUp+-eE".contains(&word.as_bytes()[0]), "{word}");
        assert!(!matches!(problems(word)[..], [(1, Problem::Unknown(_))]), "{word}");
    }
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![b' '..=b'~', b'\x80'..=b'\xff'], 1..20)
}

fn config() -> impl Strategy<Value = Config> {
    let effect =
        prop_oneof![Just(Effect::Select), Just(Effect::Deselect), Just(Effect::Alert), Just(Effect::Quiet)];
    let rule = (effect, text(), any::<bool>()).prop_map(|(effect, text, is_expression)| {
        let matcher = match is_expression {
            false => Matcher::Pattern(Pattern::new(&text)),
            true => Matcher::Expression(Expression::new(b"a (b|c)+ $ ").unwrap()),
        };
        // Where it is written is known when the rest is.
        Rule { line: 0, effect, matcher }
    });
    let udp = (any::<[u8; 4]>(), 1..u16::MAX, any::<bool>());
    (
        any::<[u64; 4]>(),
        prop::option::of(text()),
        prop::option::of(udp),
        prop::option::of(text()),
        prop::collection::vec(rule, 0..5),
    )
        .prop_map(|([size, keep, keep_min, age], processor, udp, prefix, mut rules)| {
            let first = if udp.is_some() { 6 } else { 5 };
            rules.iter_mut().zip(first..).for_each(|(rule, line): (&mut Rule, _)| rule.line = line);
            Config {
                size,
                keep: keep.max(1),
                keep_min: keep_min % keep.max(1),
                age,
                processor,
                udp: udp.map(|(address, port, _)| SocketAddrV4::new(address.into(), port)),
                udp_only: udp.is_some_and(|(_, _, only)| only),
                prefix: prefix.unwrap_or_default(),
                rules,
                ..Config::default()
            }
        })
}

/// A config's text, as its owner would write it.
fn write(config: &Config) -> Vec<u8> {
    let mut text = format!("s{}\nn{}\nN{}\nt{}\n", config.size, config.keep, config.keep_min, config.age);
    if let Some(udp) = config.udp {
        text += &format!("{}{udp}\n", if config.udp_only { 'U' } else { 'u' });
    }
    let mut text = text.into_bytes();
    let mut add = |word: &str, value: &[u8]| {
        text.extend_from_slice(word.as_bytes());
        text.extend_from_slice(value);
        text.push(b'\n');
    };
    for rule in &config.rules {
        add("", &rule.text());
    }
    if let Some(processor) = &config.processor {
        add("!", processor);
    }
    add("p", &config.prefix);
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
    fn what_is_shown_is_at_its_place(text in "((keep|drop|limit|rotate|forward|mode|max-age|s|u) ?[ -~\\t]{0,12}\r?\n){0,8}") {
        let lines: Vec<&str> = text.split('\n').collect();
        for found in Config::parse(text.as_bytes()).1 {
            prop_assert!(lines[found.line - 1].as_bytes()[found.column - 1..].starts_with(&found.text), "{found:?}");
        }
    }

    #[test]
    fn a_comment_changes_nothing(config in config(), comment in "[ -~]{0,20}") {
        let mut text = write(&config);
        text.extend(format!("#{comment}").into_bytes());
        prop_assert_eq!(Config::parse(&text), (config, Vec::new()));
    }
}
