//! The web server of the sample tree: it answers every GET with one page and logs a line a request to standard output.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// Longest request head read, in bytes.
const LONGEST_HEAD: u64 = 16 * 1024;

/// Serves on `address` until killed; when that is taken, on any free port of this host.
pub(crate) fn serve(address: &str) -> Result<()> {
    let listener = match TcpListener::bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => TcpListener::bind("127.0.0.1:0"),
        result => result,
    };
    let listener = listener.with_context(|| format!("unable to listen on {address}"))?;
    println!("listening on http://{}/", listener.local_addr()?);
    for stream in listener.incoming() {
        match stream.and_then(answer) {
            Ok(line) => println!("{line}"),
            Err(error) => println!("request failed: {error}"),
        }
    }
    Ok(())
}

/// Answers one request and returns the line to log.
fn answer(mut stream: TcpStream) -> io::Result<String> {
    // One client at a time: a silent one must not keep the others waiting for long.
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let mut head = BufReader::new(&stream).take(LONGEST_HEAD).lines();
    let request = head.next().transpose()?.unwrap_or_default();
    while head.next().transpose()?.is_some_and(|line| !line.is_empty()) {}

    let (status, body) = match request.split(' ').collect::<Vec<_>>().as_slice() {
        ["GET", path, _] => {
            ("200 OK", format!("svkit's sample web service, process {}: {path}\n", std::process::id()))
        }
        _ => ("400 Bad Request", "This server answers GET.\n".to_owned()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    Ok(format!("{} \"{}\" {status}", stream.peer_addr()?, request.escape_default()))
}
