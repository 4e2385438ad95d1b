//! svlogd: lines forwarded to rsyslog and syslog-ng.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;
use svkit_tests::{Case, Running, Sandbox, Subject, case, eventually, find_in_path};

pub(crate) const CASES: &[Case] = &[
    case!(rsyslog_understands_every_way).needs(&["rsyslogd"]).patient(),
    case!(syslog_ng_understands_every_way).needs(&["syslog-ng"]).patient(),
    case!(rsyslog_over_ipv6).needs(&["rsyslogd"]).ipv6().patient(),
    case!(syslog_ng_over_ipv6).needs(&["syslog-ng"]).ipv6().patient(),
    case!(rsyslog_killed_mid_stream_loses_nothing).needs(&["rsyslogd"]).patient(),
    case!(syslog_ng_killed_mid_stream_loses_nothing).needs(&["syslog-ng"]).patient(),
];

/// Tags, and the ways that messages with them go.
const WAYS: &[(&str, &str)] = &[
    ("udp", "syslog+udp://127.0.0.1:PORT"),
    ("tcp", "syslog+tcp://127.0.0.1:PORT"),
    ("name", "syslog+tcp://localhost:PORT"),
    ("unix", "syslog+unix://SOCKET"),
];
const WAYS_OVER_IPV6: &[(&str, &str)] =
    &[("udp6", "syslog+udp://[::1]:PORT"), ("tcp6", "syslog+tcp://[::1]:PORT")];

/// Starts a server that listens at a port and at the UNIX socket `socket`, and writes the file `received`.
type Server = fn(&Sandbox, u16) -> Running;

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn rsyslog(sandbox: &Sandbox, port: u16) -> Running {
    let config = format!(
        "module(load=\"imtcp\")\nmodule(load=\"imudp\")\nmodule(load=\"imuxsock\" SysSock.Use=\"off\")\n\
         input(type=\"imtcp\" port=\"{port}\")\ninput(type=\"imudp\" port=\"{port}\")\n\
         input(type=\"imuxsock\" Socket=\"{}\" UseSpecialParser=\"off\" ParseHostname=\"on\")\n\
         template(name=\"t\" type=\"string\" string=\"%app-name% %syslogfacility-text%.%syslogseverity-text% %msg%\\n\")\n\
         action(type=\"omfile\" file=\"{}\" template=\"t\")\n",
        sandbox.join("socket").display(),
        sandbox.join("received").display()
    );
    let config = sandbox.write("rsyslog.conf", config);
    let mut command = sandbox.command(find_in_path("rsyslogd").unwrap());
    command.arg("-n").arg("-f").arg(config).arg("-i").arg(sandbox.join("rsyslog.pid"));
    sandbox.start(&mut command)
}

fn syslog_ng(sandbox: &Sandbox, port: u16) -> Running {
    let listen = |transport: &str| match TcpListener::bind("[::1]:0") {
        Ok(_) => format!("syslog(ip(\"::\") ip-protocol(6) transport(\"{transport}\") port({port}));"),
        Err(_) => format!("syslog(ip(127.0.0.1) transport(\"{transport}\") port({port}));"),
    };
    let config = format!(
        "@version: 3.35\nsource s {{ {} {} unix-dgram(\"{}\" flags(syslog-protocol)); }};\n\
         destination d {{ file(\"{}\" template(\"${{PROGRAM}} ${{FACILITY}}.${{LEVEL}} ${{MSG}}\\n\")); }};\n\
         log {{ source(s); destination(d); }};\n",
        listen("tcp"),
        listen("udp"),
        sandbox.join("socket").display(),
        sandbox.join("received").display()
    );
    let config = sandbox.write("syslog-ng.conf", config);
    let mut command = sandbox.command(find_in_path("syslog-ng").unwrap());
    command.args(["-F", "--no-caps"]).arg("-f").arg(config).arg("-R").arg(sandbox.join("ng.persist"));
    command.arg("-p").arg(sandbox.join("ng.pid")).arg("-c").arg(sandbox.join("ng.ctl"));
    sandbox.start(&mut command)
}

fn rsyslog_understands_every_way(subject: &Subject) {
    ways_are_understood(subject, rsyslog, WAYS);
}

fn syslog_ng_understands_every_way(subject: &Subject) {
    ways_are_understood(subject, syslog_ng, WAYS);
}

fn rsyslog_over_ipv6(subject: &Subject) {
    ways_are_understood(subject, rsyslog, WAYS_OVER_IPV6);
}

fn syslog_ng_over_ipv6(subject: &Subject) {
    ways_are_understood(subject, syslog_ng, WAYS_OVER_IPV6);
}

fn ways_are_understood(subject: &Subject, server: Server, ways: &[(&str, &str)]) {
    let sandbox = Sandbox::new(subject);
    let port = free_port();
    let _server = server(&sandbox, port);
    let socket = sandbox.join("socket").display().to_string();
    let lines = ways.iter().map(|(tag, address)| {
        let address = address.replace("PORT", &port.to_string()).replace("SOCKET", &socket);
        format!("forward {address} local7.err {tag}\n")
    });
    sandbox.mkdir("log");
    sandbox.write("log/config", lines.collect::<String>());
    let mut svlogd = sandbox.start(sandbox.command("svlogd").arg("log").stdin(Stdio::piped()));
    let mut input = svlogd.stdin();
    // Until the server is there, datagrams are lost.
    let mut number = 0;
    eventually("each way has been used", || {
        number += 1;
        writeln!(input, "line {number} \u{e4}\u{20ac} <1>[x]").unwrap();
        let received = received(&sandbox);
        let has_come = |tag: &str| {
            let is_it = |line: &String| {
                line.strip_prefix(tag).is_some_and(|rest| rest.starts_with(" local7.err line "))
            };
            received.iter().any(|line| is_it(line) && line.ends_with(" \u{e4}\u{20ac} <1>[x]"))
        };
        ways.iter().all(|(tag, _)| has_come(tag)).then_some(())
    });
    drop(input);
    assert_eq!(svlogd.wait().code, Some(0));
}

fn rsyslog_killed_mid_stream_loses_nothing(subject: &Subject) {
    killed_mid_stream_loses_nothing(subject, rsyslog);
}

fn syslog_ng_killed_mid_stream_loses_nothing(subject: &Subject) {
    killed_mid_stream_loses_nothing(subject, syslog_ng);
}

/// Numbered lines go on while the server is killed and started again; all arrive, some of them twice.
fn killed_mid_stream_loses_nothing(subject: &Subject, server: Server) {
    let sandbox = Sandbox::new(subject);
    let port = free_port();
    let mut running = server(&sandbox, port);
    let listens = || match TcpStream::connect(("127.0.0.1", port)) {
        Ok(_) => Some(()),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            None
        }
    };
    eventually("the server listens", listens);
    sandbox.mkdir("log");
    sandbox.write("log/config", format!("forward syslog+tcp://127.0.0.1:{port} local0.notice web\n"));
    let mut svlogd = sandbox.start(sandbox.command("svlogd").arg("log").stdin(Stdio::piped()));
    let mut input = svlogd.stdin();
    let mut number = 0..;
    let mut write = |count: usize| {
        for number in number.by_ref().take(count) {
            writeln!(input, "line {number:05}.").unwrap();
        }
    };
    for round in 1..=3 {
        write(500);
        eventually("some have arrived", || (received(&sandbox).len() > round * 50).then_some(()));
        write(500);
        running.signal(Signal::SIGKILL);
        running.wait();
        write(300);
        running = server(&sandbox, port);
        eventually("the server listens", listens);
    }
    let expected: BTreeSet<_> =
        (0..3900).map(|number| format!("web local0.notice line {number:05}.")).collect();
    eventually("all have arrived", || expected.is_subset(&received(&sandbox)).then_some(()));
    drop(input);
    assert_eq!(svlogd.wait().code, Some(0));
    assert_eq!(
        fs::read_to_string(sandbox.join("log/current")).unwrap().lines().count(),
        3900,
        "none was dropped"
    );
}

/// The different lines in the server's file.
fn received(sandbox: &Sandbox) -> BTreeSet<String> {
    let file: &Path = &sandbox.join("received");
    // RFC 5424 has one blank before the text, which rsyslog gives as a part of it for some.
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}
