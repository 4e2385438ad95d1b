//! svlogd: lines forwarded to syslog servers that come and go, do not read, or are not there.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use svkit_tests::{Case, Running, Sandbox, Subject, case, eventually, is_running, write_script};

use crate::numbered::eventually_counted;

pub(crate) const CASES: &[Case] = &[
    case!(datagrams_over_udp),
    case!(octet_counting_over_tcp),
    case!(over_ipv6).ipv6(),
    case!(host_name_is_looked_up),
    case!(all_addresses_of_a_name_are_tried),
    case!(hanging_lookup_is_ended),
    case!(unix_sockets_of_both_kinds),
    case!(server_that_breaks_off_mid_stream_gets_all_lines),
    case!(unix_server_bound_again_mid_stream_gets_all_lines),
    case!(absent_server_holds_nothing_up_and_drops_are_counted),
    case!(server_that_never_reads_holds_nothing_up),
    case!(server_that_sends_without_pause_holds_nothing_up),
    case!(server_that_closes_at_once_is_left_in_peace),
    case!(hangup_keeps_what_is_queued),
    case!(server_that_is_set_again_gets_lines_again),
    case!(losses_are_told_in_the_format_of_the_directory),
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
    datagrams_to(subject, "127.0.0.1");
}

fn octet_counting_over_tcp(subject: &Subject) {
    stream_to(subject, "127.0.0.1");
}

fn over_ipv6(subject: &Subject) {
    datagrams_to(subject, "[::1]");
    stream_to(subject, "[::1]");
}

fn datagrams_to(subject: &Subject, host: &str) {
    let receiver = UdpSocket::bind(format!("{host}:0")).unwrap();
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

fn read_all(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// A prefix is part of the line; a line that is not selected is not forwarded, a long one is cut.
fn stream_to(subject: &Subject, host: &str) {
    let listener = TcpListener::bind(format!("{host}:0")).unwrap();
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    let address = format!("{host}:{}", listener.local_addr().unwrap().port());
    let config = format!("pnode7: \n-no*\nforward syslog+tcp://{address} local0.notice web\n");
    sandbox.write("log/config", config);
    let mut svlogd =
        sandbox.start(sandbox.command("svlogd").args(["-tt", "-l", "10", "log"]).stdin(Stdio::piped()));
    let mut input = svlogd.stdin();
    input.write_all(b"one\nno\n123456789012345\n").unwrap();
    let (stream, _) = listener.accept().unwrap();
    eventually_counted(&svlogd, " forwarded=2 lost=0 queue=0 ");
    input.write_all(b"last").unwrap();
    drop(input);
    assert_eq!(counted(&read_all(stream)), ["node7: one", "node7: 1234567890...", "node7: last"]);
    assert_eq!(svlogd.wait().code, Some(0));
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

/// A svlogd that finds another getent, which does what `script` says.
fn start_with_getent(sandbox: &Sandbox, script: &str, address: &str) -> Running {
    sandbox.mkdir("names");
    write_script(&sandbox.join("names/getent"), script);
    sandbox.mkdir("log");
    sandbox.write("log/config", format!("forward {address} local0.notice web\n"));
    let mut path = sandbox.join("names").into_os_string();
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    sandbox.start(sandbox.command("svlogd").arg("log").env("PATH", path).stdin(Stdio::piped()))
}

fn all_addresses_of_a_name_are_tried(subject: &Subject) {
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let sandbox = Sandbox::new(subject);
    let script = "test \"$*\" = 'ahosts loghost' && printf '127.0.0.%s STREAM\\n' 1 1 2";
    let mut svlogd = start_with_getent(&sandbox, script, &format!("syslog+tcp://loghost:{port}"));
    svlogd.stdin().write_all(b"one\n").unwrap();
    let (stream, _) = listener.accept().unwrap();
    assert_eq!(counted(&read_all(stream)), ["one"]);
    assert_eq!(svlogd.wait().stderr, "");
}

fn hanging_lookup_is_ended(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let pid_file = sandbox.join("pid");
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", pid_file.display());
    let mut svlogd = start_with_getent(&sandbox, &script, "syslog+udp://loghost");
    svlogd.stdin().write_all(b"one\n").unwrap();
    let pid = eventually("getent runs", || fs::read_to_string(&pid_file).ok()?.trim().parse().ok());
    assert_eq!(svlogd.wait().code, Some(0));
    eventually("getent is gone", || (!is_running(pid)).then_some(()));
    assert_eq!(current(&sandbox), "one\n1 lines not forwarded to syslog+udp://loghost:514\n");
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

/// As the server over TCP; its socket is bound again each time, as a new file.
fn unix_server_bound_again_mid_stream_gets_all_lines(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    let socket = sandbox.join("socket");
    let mut listener = UnixListener::bind(&socket).unwrap();
    let mut svlogd = start(&sandbox, &format!("syslog+unix://{}", socket.display()));
    let mut input = svlogd.stdin();
    let mut received = BTreeSet::new();
    // What the end of a part has cut is no line.
    let mut receive = |part: &[u8]| {
        let lines = part.split_inclusive(|&byte| byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
        received.extend(lines.map(|line| text(str::from_utf8(line).unwrap()).to_owned()));
        received.len()
    };
    let mut lines = (0..4000).map(|number| format!("line {number:05} {}", "x".repeat(20)));
    for _ in 0..4 {
        for line in lines.by_ref().take(1000) {
            writeln!(input, "{line}").unwrap();
        }
        let mut stream = listener.accept().unwrap().0;
        let mut part = [0; 7001];
        stream.read_exact(&mut part).unwrap();
        receive(&part);
        drop((stream, listener));
        fs::remove_file(&socket).unwrap();
        listener = UnixListener::bind(&socket).unwrap();
    }
    // The last one reads all there is.
    let mut stream = listener.accept().unwrap().0;
    drop(input);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(svlogd.wait().code, Some(0));
    assert_eq!(receive(&rest), 4000);
    assert_eq!(current(&sandbox).lines().count(), 4000);
}

/// How many lines did not get to the TCP server, as the directory was told.
fn told_lost(text: &str, address: &str) -> usize {
    let told = format!(" lines not forwarded to syslog+tcp://{address}");
    text.lines().filter_map(|line| line.strip_suffix(&told)?.parse::<usize>().ok()).sum()
}

/// How many lines were forwarded, are lost, and wait; to be asked for once.
fn counters(svlogd: &Running) -> [usize; 3] {
    svlogd.signal(Signal::SIGUSR1);
    eventually("the counters", || {
        let stderr = svlogd.stderr();
        let counters = stderr.split_once("svlogd: counters: ")?.1.strip_suffix('\n')?;
        let number = |name| -> usize {
            let field =
                counters.split(' ').find_map(|field: &str| field.strip_prefix(name)?.strip_prefix('='));
            field.unwrap().parse().unwrap()
        };
        Some(["forwarded", "lost", "queue"].map(number))
    })
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
    let [forwarded, lost, queue] = counters(&svlogd);
    assert_eq!((forwarded, lost + queue), (0, 30_000));
    assert!(queue * 150 < 1 << 20 && queue * 300 > 1 << 20, "{queue}");
    drop(input);
    assert_eq!(svlogd.wait().code, Some(0));
    let text = current(&sandbox);
    let lost = told_lost(&text, &address.to_string());
    assert_eq!((lost, ours(&text)), (30_000, 30_000));
    assert_eq!(svlogd.stderr().matches("Connection refused").count(), 1, "{}", svlogd.stderr());
}

/// What it does not read fills the kernel's buffers and the queue; no line of the directory waits for that.
fn server_that_never_reads_holds_nothing_up(subject: &Subject) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sandbox = Sandbox::new(subject);
    let mut svlogd = start(&sandbox, &format!("syslog+tcp://{address}"));
    let mut input = svlogd.stdin();
    let line = format!("{}\n", "z".repeat(900));
    input.write_all(line.as_bytes()).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut written = 1;
    eventually("the loss is told of", || {
        input.write_all(line.repeat(1000).as_bytes()).unwrap();
        written += 1000;
        current(&sandbox).contains("lines not forwarded").then_some(())
    });
    drop(input);
    assert_eq!(svlogd.wait().code, Some(0));
    assert_eq!(current(&sandbox).lines().filter(|text| **text == line[..900]).count(), written);
    // What the kernel had taken is there still; what the server had not acknowledged counts as lost all the same.
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received);
    let received = counted(str::from_utf8(&received).unwrap()).len();
    let lost = told_lost(&current(&sandbox), &address.to_string());
    assert!(lost < written && received + lost >= written, "{received} + {lost}: {written}");
}

/// What it sends is of no interest, and there is always more of it.
fn server_that_sends_without_pause_holds_nothing_up(subject: &Subject) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sandbox = Sandbox::new(subject);
    let mut svlogd = start(&sandbox, &format!("syslog+tcp://{}", listener.local_addr().unwrap()));
    let mut input = svlogd.stdin();
    input.write_all(b"line 0\n").unwrap();
    let (stream, _) = listener.accept().unwrap();
    let flood = [(); 4].map(|()| {
        let mut stream = stream.try_clone().unwrap();
        thread::spawn(move || while stream.write_all(&[b'x'; 64 << 10]).is_ok() {})
    });
    // Each once the one before it is there.
    let mut written = 1;
    eventually("all lines are there", || {
        if current(&sandbox).lines().count() == written {
            writeln!(input, "line {written}").unwrap();
            written += 1;
        }
        (written > 30).then_some(())
    });
    drop(input);
    assert_eq!(svlogd.wait().code, Some(0));
    drop(stream);
    flood.into_iter().for_each(|sender| sender.join().unwrap());
}

/// It gets its lines in the end, and is not bothered more and more often until then.
fn server_that_closes_at_once_is_left_in_peace(subject: &Subject) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sandbox = Sandbox::new(subject);
    let mut svlogd = start(&sandbox, &format!("syslog+tcp://{address}"));
    let mut input = svlogd.stdin();
    let begin = Instant::now();
    for round in 0..6 {
        writeln!(input, "line {round}").unwrap();
        drop(listener.accept().unwrap());
    }
    // 100, 200, 400, 800, 1600 milliseconds.
    assert!(begin.elapsed() > Duration::from_millis(3000), "{:?}", begin.elapsed());
    let (mut stream, _) = listener.accept().unwrap();
    let mut text = [0; 1000];
    eventually("the last line", || {
        let length = stream.read(&mut text).unwrap();
        counted(str::from_utf8(&text[..length]).unwrap()).contains(&"line 5").then_some(())
    });
    drop(input);
    drop(stream);
    assert_eq!(svlogd.wait().code, Some(0));
    assert_eq!(current(&sandbox).lines().count(), 6);
}

/// For as long as the config names the server.
fn hangup_keeps_what_is_queued(subject: &Subject) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let sandbox = Sandbox::new(subject);
    let mut svlogd = start(&sandbox, &format!("syslog+tcp://{address}"));
    let mut input = svlogd.stdin();
    input.write_all(b"one\ntwo\nthr").unwrap();
    let reopened = |svlogd: &Running, count: usize| {
        eventually("it is open again", || {
            (svlogd.stderr().matches("append: ").count() == count).then_some(())
        });
    };
    eventually("two lines", || current(&sandbox).contains("two").then_some(()));
    svlogd.signal(Signal::SIGHUP);
    reopened(&svlogd, 1);
    input.write_all(b"ee\n").unwrap();
    let listener = eventually("the port is free", || TcpListener::bind(address).ok());
    let (mut stream, _) = listener.accept().unwrap();
    let mut received = String::new();
    let mut buffer = [0; 1000];
    while counted(&received).len() < 3 {
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "{received}");
        received.push_str(str::from_utf8(&buffer[..length]).unwrap());
    }
    assert_eq!(counted(&received), ["one", "two", "three"]);
    // With another server in the config, this one is given up, and what it did not get is told of.
    drop((stream, listener));
    eventually("it is gone", || TcpStream::connect(address).is_err().then_some(()));
    input.write_all(b"four\nfive\n").unwrap();
    eventually("five lines", || current(&sandbox).contains("five").then_some(()));
    let config = fs::read_to_string(sandbox.join("log/config")).unwrap();
    sandbox.write("log/config", config.lines().next().unwrap());
    svlogd.signal(Signal::SIGHUP);
    let told = format!(" lines not forwarded to syslog+tcp://{address}\n");
    eventually("the loss is told of", || current(&sandbox).ends_with(&told).then_some(()));
    drop(input);
    assert_eq!(svlogd.wait().code, Some(0));
    assert_eq!(current(&sandbox).matches(&told).count(), 1);
}

/// It did not read, and was given up when the config did not name it.
fn server_that_is_set_again_gets_lines_again(subject: &Subject) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sandbox = Sandbox::new(subject);
    let mut svlogd = start(&sandbox, &format!("syslog+tcp://{address}"));
    let config = fs::read_to_string(sandbox.join("log/config")).unwrap();
    let mut input = svlogd.stdin();
    input.write_all(b"one\n").unwrap();
    let stalled = listener.accept().unwrap();
    let lines = format!("{}\n", "z".repeat(900)).repeat(1000);
    eventually("the loss is told of", || {
        input.write_all(lines.as_bytes()).unwrap();
        current(&sandbox).contains("lines not forwarded").then_some(())
    });
    let [_, lost, _] = counters(&svlogd);
    sandbox.write("log/config", config.lines().next().unwrap());
    svlogd.signal(Signal::SIGHUP);
    eventually("it is given up", || {
        (told_lost(&current(&sandbox), &address.to_string()) > lost).then_some(())
    });
    sandbox.write("log/config", config);
    svlogd.signal(Signal::SIGHUP);
    eventually("it is open again", || (svlogd.stderr().matches("append: ").count() == 2).then_some(()));
    input.write_all(b"two\n").unwrap();
    listener.set_nonblocking(true).unwrap();
    let (stream, _) = eventually("a connection", || listener.accept().ok());
    stream.set_nonblocking(false).unwrap();
    drop((input, stalled));
    assert_eq!(counted(&read_all(stream)), ["two"]);
    assert_eq!(svlogd.wait().code, Some(0));
}

fn losses_are_told_in_the_format_of_the_directory(subject: &Subject) {
    let sandbox = Sandbox::new(subject);
    sandbox.mkdir("log");
    let address = format!("syslog+unix://{}", sandbox.join("nobody").display());
    sandbox.write("log/config", format!("format json ms\npnode7: \nforward {address}\n"));
    let mut svlogd = sandbox.start(sandbox.command("svlogd").arg("log").stdin(Stdio::piped()));
    svlogd.stdin().write_all(b"one\n").unwrap();
    assert_eq!(svlogd.wait().code, Some(0));
    let text = current(&sandbox);
    let (first, last) = text.trim_end().split_once('\n').unwrap();
    assert!(first.starts_with("{\"time\":\"2") && first.ends_with("\"message\":\"node7: one\"}"), "{first}");
    let message = format!("\"message\":\"node7: 1 lines not forwarded to {address}\"}}");
    assert!(last.starts_with("{\"time\":\"2") && last.ends_with(&message), "{last}");
}
