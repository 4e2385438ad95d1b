//! svlogd: lines forwarded to syslog servers, of ours and real ones, which come and go.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use nix::sys::signal::Signal;
use svkit_tests::{Case, Running, Sandbox, Subject, case, eventually, find_in_path};

pub(crate) const CASES: &[Case] = &[
    case!(datagrams_over_udp),
    case!(octet_counting_over_tcp),
    case!(host_name_is_looked_up),
    case!(unix_sockets_of_both_kinds),
    case!(server_that_breaks_off_mid_stream_gets_all_lines),
    case!(absent_server_holds_nothing_up_and_drops_are_counted),
    case!(rsyslog_killed_mid_stream_loses_nothing).needs(&["rsyslogd"]).patient(),
    case!(syslog_ng_killed_mid_stream_loses_nothing).needs(&["syslog-ng"]).patient(),
];

/// A svlogd that forwards to `address` from `log`.
fn start(sandbox: &Sandbox, address: &str) -> Running {
    sandbox.mkdir("log");
    sandbox.write("log/config", format!("s0\nforward {address} local0.notice web\n"));
    sandbox.start(sandbox.command("svlogd").args(["-v", "log"]).stdin(Stdio::piped()))
}

fn current(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.join("log/current")).unwrap_or_default()
}

/// The text of a message, whose header is checked.
fn text(message: &str) -> &str {
    let fields: Vec<_> = message.splitn(8, ' ').collect();
    assert_eq!((fields[0], &fields[3..7]), ("<133>1", &["web", "-", "-", "-"] as &[_]), "{message}");
    assert!(fields[1].len() == 27 && fields[1].ends_with('Z'), "{message}");
    fields[7]
}

/// What octet counting has told apart; the beginning of another message is left out.
fn counted(mut stream: &str) -> Vec<&str> {
    let mut texts = Vec::new();
    while let Some((length, rest)) = stream.split_once(' ')
        && let Some((message, rest)) = rest.split_at_checked(length.parse().unwrap())
    {
        texts.push(text(message));
        stream = rest;
    }
    texts
}

fn datagrams_over_udp(subject: &Subject) {
    for host in ["127.0.0.1", "[::1]"] {
        let Ok(receiver) = UdpSocket::bind(format!("{host}:0")) else { continue };
        let sandbox = Sandbox::new(subject);
        let port = receiver.local_addr().unwrap().port();
        let mut svlogd = start(&sandbox, &format!("syslog+udp://{host}:{port}"));
        let mut input = svlogd.stdin();
        for line in ["one", "two  with \u{e4}", ""] {
            writeln!(input, "{line}").unwrap();
            let mut buffer = [0; 2000];
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(text(str::from_utf8(&buffer[..length]).unwrap()), line);
        }
        drop(input);
        assert_eq!(svlogd.wait().code, Some(0));
        assert_eq!(current(&sandbox), "one\ntwo  with \u{e4}\n\n");
    }
}

fn read_all(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// A prefix is part of the line; a line that is not selected is not forwarded, a long one is cut.
fn octet_counting_over_tcp(subject: &Subject) {
    for host in ["127.0.0.1", "[::1]"] {
        let Ok(listener) = TcpListener::bind(format!("{host}:0")) else { continue };
        let sandbox = Sandbox::new(subject);
        sandbox.mkdir("log");
        let address = format!("{host}:{}", listener.local_addr().unwrap().port());
        let config = format!("pnode7: \n-no*\nforward syslog+tcp://{address} local0.notice web\n");
        sandbox.write("log/config", config);
        let mut svlogd =
            sandbox.start(sandbox.command("svlogd").args(["-tt", "-l", "10", "log"]).stdin(Stdio::piped()));
        svlogd.stdin().write_all(b"one\nno\n123456789012345\nlast").unwrap();
        let (stream, _) = listener.accept().unwrap();
        assert_eq!(counted(&read_all(stream)), ["node7: one", "node7: 1234567890...", "node7: last"]);
        assert_eq!(svlogd.wait().code, Some(0));
    }
}

fn host_name_is_looked_up(subject: &Subject) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sandbox = Sandbox::new(subject);
    let port = listener.local_addr().unwrap().port();
    let mut svlogd = start(&sandbox, &format!("syslog+tcp://localhost:{port}"));
    svlogd.stdin().write_all(b"one\n").unwrap();
    let (stream, _) = listener.accept().unwrap();
    assert_eq!(counted(&read_all(stream)), ["one"]);
    assert_eq!(svlogd.wait().code, Some(0));
    // One that nobody knows is no reason to stop.
    let sandbox = Sandbox::new(subject);
    let mut svlogd = start(&sandbox, "syslog+tcp://nobody.invalid");
    let mut input = svlogd.stdin();
    input.write_all(b"one\n").unwrap();
    eventually("it is said", || svlogd.stderr().contains("no address found").then_some(()));
    assert_eq!(current(&sandbox), "one\n");
    drop(input);
    assert_eq!(svlogd.wait().code, Some(0));
    assert!(current(&sandbox).ends_with("1 lines not forwarded to syslog+tcp://nobody.invalid:514\n"));
}

fn unix_sockets_of_both_kinds(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let address = format!("syslog+unix://{}", sandbox.join("socket").display());
    let receiver = UnixDatagram::bind(sandbox.join("socket")).unwrap();
    let mut svlogd = start(&sandbox, &address);
    svlogd.stdin().write_all(b"one\ntwo\n").unwrap();
    for line in ["one", "two"] {
        let mut buffer = [0; 2000];
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(text(str::from_utf8(&buffer[..length]).unwrap()), line);
    }
    assert_eq!(svlogd.wait().code, Some(0));
    let sandbox = Sandbox::new(subject);
    let address = format!("syslog+unix://{}", sandbox.join("socket").display());
    let listener = UnixListener::bind(sandbox.join("socket")).unwrap();
    let mut svlogd = start(&sandbox, &address);
    svlogd.stdin().write_all(b"one\ntwo\n").unwrap();
    let mut stream = String::new();
    listener.accept().unwrap().0.read_to_string(&mut stream).unwrap();
    assert_eq!(stream.lines().map(text).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(svlogd.wait().code, Some(0));
}

/// It reads a while, leaves the rest unread, and is gone; four times.
fn server_that_breaks_off_mid_stream_gets_all_lines(subject: &Subject) {
    let mut listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sandbox = Sandbox::new(subject);
    let mut svlogd = start(&sandbox, &format!("syslog+tcp://{address}"));
    let mut input = svlogd.stdin();
    let mut received = BTreeSet::new();
    let mut lines = (0..4000).map(|number| format!("line {number:05} {}", "x".repeat(20)));
    for _ in 0..4 {
        for line in lines.by_ref().take(1000) {
            writeln!(input, "{line}").unwrap();
        }
        let mut stream = listener.accept().unwrap().0;
        let mut part = [0; 7001];
        stream.read_exact(&mut part).unwrap();
        received.extend(counted(str::from_utf8(&part).unwrap()).into_iter().map(str::to_owned));
        drop((stream, listener));
        listener = eventually("the port is free", || TcpListener::bind(address).ok());
    }
    // The last one reads all there is.
    let mut stream = listener.accept().unwrap().0;
    drop(input);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    received.extend(counted(str::from_utf8(&rest).unwrap()).into_iter().map(str::to_owned));
    assert_eq!(svlogd.wait().code, Some(0));
    assert_eq!(received.len(), 4000);
    assert_eq!(current(&sandbox).lines().count(), 4000);
}

/// Far more than the queue holds is written here at once, and what was dropped is told of here.
fn absent_server_holds_nothing_up_and_drops_are_counted(subject: &Subject) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let sandbox = Sandbox::new(subject);
    let mut svlogd = start(&sandbox, &format!("syslog+tcp://{address}"));
    let mut input = svlogd.stdin();
    let line = format!("{}\n", "y".repeat(100));
    for _ in 0..300 {
        input.write_all(line.repeat(100).as_bytes()).unwrap();
    }
    let ours = |text: &str| text.lines().filter(|line| line.starts_with('y')).count();
    eventually("all is written", || (ours(&current(&sandbox)) == 30_000).then_some(()));
    eventually("the loss is told of", || current(&sandbox).contains("lines not forwarded").then_some(()));
    drop(input);
    assert_eq!(svlogd.wait().code, Some(0));
    let text = current(&sandbox);
    let told = format!(" lines not forwarded to syslog+tcp://{address}");
    let lost: usize = text.lines().filter_map(|line| line.strip_suffix(&told)?.parse::<usize>().ok()).sum();
    assert_eq!((lost, ours(&text)), (30_000, 30_000));
    assert_eq!(svlogd.stderr().matches("Connection refused").count(), 1, "{}", svlogd.stderr());
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn rsyslog_killed_mid_stream_loses_nothing(subject: &Subject) {
    killed_mid_stream_loses_nothing(subject, |sandbox, port| {
        let config = format!(
            "module(load=\"imtcp\")\ninput(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")\n\
             template(name=\"t\" type=\"string\" string=\"%app-name% %syslogfacility-text%.%syslogseverity-text% %msg%\\n\")\n\
             action(type=\"omfile\" file=\"{}\" template=\"t\")\n",
            sandbox.join("received").display()
        );
        let config = sandbox.write("rsyslog.conf", config);
        let mut command = sandbox.command(find_in_path("rsyslogd").unwrap());
        command.arg("-n").arg("-f").arg(config).arg("-i").arg(sandbox.join("rsyslog.pid"));
        sandbox.start(&mut command)
    });
}

fn syslog_ng_killed_mid_stream_loses_nothing(subject: &Subject) {
    killed_mid_stream_loses_nothing(subject, |sandbox, port| {
        let config = format!(
            "@version: 3.38\nsource s {{ syslog(ip(127.0.0.1) transport(\"tcp\") port({port})); }};\n\
             destination d {{ file(\"{}\" template(\"${{PROGRAM}} ${{FACILITY}}.${{LEVEL}} ${{MSG}}\\n\")); }};\n\
             log {{ source(s); destination(d); }};\n",
            sandbox.join("received").display()
        );
        let config = sandbox.write("syslog-ng.conf", config);
        let file = |name: &str| -> PathBuf { sandbox.join(name) };
        let mut command = sandbox.command(find_in_path("syslog-ng").unwrap());
        command.args(["-F", "--no-caps"]).arg("-f").arg(config).arg("-R").arg(file("ng.persist"));
        command.arg("-p").arg(file("ng.pid")).arg("-c").arg(file("ng.ctl"));
        if let Some(libraries) = std::env::var_os("LD_LIBRARY_PATH") {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        sandbox.start(&mut command)
    });
}

/// Numbered lines go on while the server is killed and started again; all arrive, some of them twice.
fn killed_mid_stream_loses_nothing(subject: &Subject, server: impl Fn(&Sandbox, u16) -> Running) {
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
    let mut svlogd = start(&sandbox, &format!("syslog+tcp://127.0.0.1:{port}"));
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
    assert!(!current(&sandbox).contains("warning"), "none was dropped");
}

/// The different lines in the server's file.
fn received(sandbox: &Sandbox) -> BTreeSet<String> {
    let file: &Path = &sandbox.join("received");
    // RFC 5424 has one blank before the text, which rsyslog gives as a part of it for some.
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}
