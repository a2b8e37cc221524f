//! A small Osprey server for the load generator's tests: it keeps values in a map, counts what it serves, and can be told to
//! go wrong in one way.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What is wrong with the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Each byte of a reply is sent by itself.
    Dribbles,
    /// Every third GET or SET is refused.
    RefusesThirds,
    /// Values come back a byte longer than they were.
    Lengthens,
    /// GET is answered as SET should be.
    MixesUp,
    /// The connection is closed at this request, counted from 1.
    ClosesAt(u64),
    /// No request is answered from this one on, counted from 1.
    SilentFrom(u64),
    /// This request takes so long.
    StallsAt(u64, Duration),
}

/// Ends with the test's process.
pub(crate) struct FaultyServer {
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) gets: u64,
    pub(crate) sets: u64,
    pub(crate) increments: u64,
    /// Requests of all connections in the order in which they came, without payloads.
    pub(crate) lines: Vec<String>,
    values: HashMap<String, Vec<u8>>,
}

impl FaultyServer {
    pub(crate) fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(&stream, fault, &state));
            }
        });
        Self { address, state }
    }

    pub(crate) fn state(&self) -> State {
        self.state.lock().expect("no test panics with the lock").clone()
    }
}

/// Until the client goes, or the fault ends the connection.
fn serve(stream: &TcpStream, fault: Fault, state: &Mutex<State>) {
    stream.set_nodelay(true).expect("a socket");
    let mut input = BufReader::new(stream);
    let mut line = String::new();
    while {
        line.clear();
        input.read_line(&mut line).is_ok_and(|count| count > 0)
    } {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut payload = Vec::new();
        if let ["SET", _, length, ..] = words[..] {
            payload = vec![0; length.parse::<usize>().expect("a length") + 2];
            input.read_exact(&mut payload).expect("a payload");
            assert!(payload.ends_with(b"\r\n"));
            payload.truncate(payload.len() - 2);
        }
        let (number, reply) = state.lock().expect("no other thread panicked").answer(&words, payload, fault);
        match fault {
            Fault::ClosesAt(at) if number == at => return,
            Fault::SilentFrom(from) if number >= from => continue,
            Fault::StallsAt(at, time) if number == at => thread::sleep(time),
            _ => {}
        }
        let mut output = stream;
        let pieces = if fault == Fault::Dribbles { 1 } else { reply.len() };
        if reply.chunks(pieces).any(|piece| output.write_all(piece).is_err()) {
            return;
        }
    }
}

impl State {
    /// The request's number, from 1, and its reply.
    fn answer(&mut self, words: &[&str], payload: Vec<u8>, fault: Fault) -> (u64, Vec<u8>) {
        self.lines.push(words.join(" "));
        let number = self.lines.len() as u64;
        let refused = fault == Fault::RefusesThirds && number.is_multiple_of(3);
        let reply = match words {
            ["GET", key] => {
                self.gets += 1;
                match self.values.get(*key) {
                    _ if refused => b"ERR INTERNAL no\r\n".to_vec(),
                    _ if fault == Fault::MixesUp => b"OK 1\r\n".to_vec(),
                    None => b"NOT_FOUND\r\n".to_vec(),
                    Some(value) => {
                        let extra: &[u8] = if fault == Fault::Lengthens { b"x" } else { b"" };
                        let head = format!("VALUE {} 1 -1\r\n", value.len() + extra.len());
                        [head.as_bytes(), value, extra, b"\r\n"].concat()
                    }
                }
            }
            ["SET", key, ..] => {
                self.sets += 1;
                if refused {
                    b"ERR OOM full\r\n".to_vec()
                } else {
                    self.values.insert((*key).to_owned(), payload);
                    b"OK 1\r\n".to_vec()
                }
            }
            ["INCR", key, "1"] => {
                self.increments += 1;
                let value = self.values.entry((*key).to_owned()).or_insert_with(|| b"0".to_vec());
                let sum = String::from_utf8_lossy(value).parse::<i64>().expect("a number") + 1;
                *value = sum.to_string().into_bytes();
                format!("{sum}\r\n").into_bytes()
            }
            other => panic!("the load generator sent {other:?}"),
        };
        (number, reply)
    }
}
