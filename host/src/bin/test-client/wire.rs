//! What no well-behaved client sends: malformed and oversized requests, odd line ends, requests in fragments. After each the
//! stream must still be in step, which a `PING` shows.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use osprey::client::Error;

use super::walk::Walk;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Above every limit of a key: its length is 16 bits in the store.
const KEY_TOO_LONG: usize = 70_000;

/// A connection without a client: bytes out, lines in.
struct Raw {
    stream: BufReader<TcpStream>,
}

impl Raw {
    fn connect(address: &str) -> Result<Self, Error> {
        let connect = || {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            Ok(Self { stream: BufReader::new(stream) })
        };
        connect().map_err(|source| Error::Connect { address: address.into(), source })
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// A line with its end, `None` at the end of the stream.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        Ok((!line.is_empty()).then_some(line))
    }

    /// Sends and reads one line for each of `expected`; tells how that went. A line must begin as expected and end in CRLF.
    fn transcript(&mut self, sent: &[u8], expected: &[&str]) -> (bool, String) {
        if let Err(error) = self.send(sent) {
            return (false, error.to_string());
        }
        let (mut holds, mut got) = (true, String::new());
        for expected in expected {
            let separator = if got.is_empty() { "" } else { ", " };
            let _ = match self.line() {
                Ok(Some(line)) => {
                    holds &= line.starts_with(expected.as_bytes()) && line.ends_with(b"\r\n");
                    write!(got, "{separator}{}", line.trim_ascii_end().escape_ascii())
                }
                Ok(None) => {
                    holds &= *expected == END;
                    write!(got, "{separator}{END}")
                }
                Err(error) => {
                    holds = false;
                    write!(got, "{separator}{error}")
                }
            };
            if !holds {
                break;
            }
        }
        (holds, got)
    }
}

/// Stands for the end of the stream in a transcript; no reply looks so.
const END: &str = "<closed>";

pub(crate) fn check(w: &mut Walk) -> Result<(), Error> {
    in_step(w)?;
    claimed(w)?;
    fragments(w)?;
    all_or_nothing(w)?;
    closing(w)
}

/// What is sent and how each line of the reply begins.
type Transcript = (String, &'static [&'static str]);

fn in_step(w: &mut Walk) -> Result<(), Error> {
    let k = w.key("wire");
    let long = "k".repeat(KEY_TOO_LONG);
    let lenient: &[Transcript] = &[
        ("pInG\n".into(), &["PONG"]),
        ("\r\n\n\r\nPING\r\n".into(), &["PONG"]),
        (format!("GET \t {k}-none\r\n"), &["NOT_FOUND"]),
        (format!("set {k} 2\nab\n"), &["OK "]),
        (format!("GET {k}\n"), &["VALUE 2 ", "ab"]),
    ];
    let malformed: &[Transcript] = &[
        ("FROB\r\n".into(), &["ERR BADREQ "]),
        ("GET\r\n".into(), &["ERR BADREQ "]),
        (format!("GET {k} {k}\r\n"), &["ERR BADREQ "]),
        (format!("GET {k}\x01\r\n"), &["ERR BADREQ "]),
        (format!("GET {k}\x7f\r\n"), &["ERR BADREQ "]),
        (format!("INCR {k} 1x\r\n"), &["ERR BADREQ "]),
        (format!("INCR {k} +1\r\n"), &["ERR BADREQ "]),
        (format!("INCR {k} 01\r\n"), &["ERR BADREQ "]),
        (format!("INCR {k} 9223372036854775808\r\n"), &["ERR BADREQ "]),
        (format!("EXPIRE {k}\r\n"), &["ERR BADREQ "]),
        ("SCAN -1\r\n".into(), &["ERR BADREQ "]),
        (format!("SET {k} 4 EX 0\r\nPING\r\n"), &["ERR BADREQ "]),
        (format!("SET {k} 4 EX -1\r\nPING\r\n"), &["ERR BADREQ "]),
        (format!("SET {k} 4 PXAT 0\r\nPING\r\n"), &["ERR BADREQ "]),
        (format!("SET {k} 4 EX 5 KEEPTTL\r\nPING\r\n"), &["ERR BADREQ "]),
        (format!("SET {k} 4 NX XX\r\nPING\r\n"), &["ERR BADREQ "]),
        (format!("SET {k} 4 NX NX\r\nPING\r\n"), &["ERR BADREQ "]),
        (format!("SET {k} 4 FROB\r\nPING\r\n"), &["ERR BADREQ "]),
        (format!("SET {k} 4\r\nPINGPONG\r\n"), &["ERR BADREQ "]),
    ];
    let oversized: &[Transcript] = &[(format!("GET {long}\r\n"), &["ERR TOOLARGE "]), (format!("INCR {long} 1\r\n"), &["ERR TOOLARGE "])];
    for (group, transcripts) in [
        ("Line ends, blanks, case", lenient),
        ("Malformed requests are refused, and what follows is understood", malformed),
        ("What is too large is refused, and what follows is understood", oversized),
    ] {
        w.group(group);
        let mut raw = Raw::connect(w.address())?;
        for (sent, expected) in transcripts {
            let expected: Vec<&str> = expected.iter().copied().chain(["PONG"]).collect();
            let (holds, got) = raw.transcript(format!("{sent}PING\r\n").as_bytes(), &expected);
            w.judge(show_sent(sent) + ", PING", expected.join(", "), holds, got);
            if !holds {
                raw = Raw::connect(w.address())?;
            }
        }
    }
    Ok(())
}

/// Nobody has so many bytes: the answer must not wait for them, nor for memory to hold them.
fn claimed(w: &mut Walk) -> Result<(), Error> {
    w.group("A length that is only claimed");
    for sent in [format!("SET {} {}\r\n", w.key("claimed"), i64::MAX), format!("MSET {} {}\r\n", w.key("claimed"), i64::MAX)] {
        let (holds, got) = Raw::connect(w.address())?.transcript(sent.as_bytes(), &["ERR TOOLARGE "]);
        w.judge(show_sent(&sent), "ERR TOOLARGE ", holds, got);
    }
    Ok(())
}

fn fragments(w: &mut Walk) -> Result<(), Error> {
    w.group("Requests in fragments, and many in one write");
    let k = w.key("fragments");
    let mut raw = Raw::connect(w.address())?;
    let sent = format!("SET {k} 4\r\na\r\nb\r\nGET {k}\r\nDEL {k}\r\n");
    let expected = ["OK ", "VALUE 4 ", "a", "b", "DELETED 1"];
    let (holds, got) = raw.transcript(sent.as_bytes(), &expected);
    w.judge(show_sent(&sent), expected.join(", "), holds, got);

    let (last, bytes) = sent.as_bytes().split_last().unwrap_or((&b'\n', &[]));
    let sent_all = bytes.iter().try_for_each(|byte| raw.send(&[*byte]));
    let (holds, got) = raw.transcript(&[*last], &expected);
    w.judge(show_sent(&sent) + ", a byte at a time", expected.join(", "), holds && sent_all.is_ok(), got);
    Ok(())
}

fn all_or_nothing(w: &mut Walk) -> Result<(), Error> {
    w.group("MSET does nothing when it cannot do everything");
    let (a, b) = (w.key("mset-a"), w.key("mset-b"));
    let mut raw = Raw::connect(w.address())?;
    let sent = format!("MSET {a} 1 {b}\x7f 1\r\nxy\r\nMGET {a} {b}\r\n");
    let (no_a, no_b) = (format!("NOT_FOUND {a}"), format!("NOT_FOUND {b}"));
    let expected = ["ERR BADREQ ", &no_a, &no_b];
    let (holds, got) = raw.transcript(sent.as_bytes(), &expected);
    w.judge(show_sent(&sent), expected.join(", "), holds, got);
    Ok(())
}

fn closing(w: &mut Walk) -> Result<(), Error> {
    w.group("When the server closes the connection");
    let k = w.key("closing");
    let unreadable = [
        (format!("SET {k} abc\r\nDEL {k}\r\n"), ["ERR BADREQ ", END]),
        (format!("SET {k} -1\r\nDEL {k}\r\n"), ["ERR BADREQ ", END]),
        ("QUIT\r\n".to_string(), ["BYE", END]),
        ("QUIT\r\nPING\r\n".to_string(), ["BYE", END]),
    ];
    for (sent, expected) in unreadable {
        let (holds, got) = Raw::connect(w.address())?.transcript(sent.as_bytes(), &expected);
        w.judge(show_sent(&sent), expected.join(", "), holds, got);
    }
    let mut raw = Raw::connect(w.address())?;
    let sent = raw.send(b"PING\r\nPING\r\n").and_then(|()| raw.stream.get_ref().shutdown(Shutdown::Write));
    let (holds, got) = raw.transcript(b"", &["PONG", "PONG", END]);
    w.judge("PING, PING, and no more to send", "PONG, PONG, <closed>", holds && sent.is_ok(), got);
    Ok(())
}

fn show_sent(sent: &str) -> String {
    sent.as_bytes().escape_ascii().to_string()
}
