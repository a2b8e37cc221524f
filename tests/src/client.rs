//! A blocking connection to a server: the core's client half over a socket.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use osprey_core::protocol::client::{self as encode, Expect, Reply, ReplyLimits, Step, parse_reply};
use osprey_core::protocol::command::SetOptions;
use osprey_core::units::Version;

/// No reply takes so long, unless something is broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A connection.
#[derive(Debug)]
pub struct Client {
    /// The socket; reads give up after [`PATIENCE`].
    pub socket: TcpStream,
    input: Vec<u8>,
    taken: usize,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// This and all others: the socket's; `InvalidData` for what is no reply; `UnexpectedEof` at the end.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, input: Vec::new(), taken: 0 })
    }

    /// Sends requests.
    ///
    /// # Errors
    /// As above.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Waits for one piece of a reply.
    ///
    /// # Errors
    /// As above.
    pub fn receive(&mut self, expect: Expect) -> io::Result<Reply<'_>> {
        let consumed = loop {
            match parse_reply(expect, &self.input[self.taken..], &ReplyLimits::default()) {
                Ok(Step::Complete { consumed, .. }) => break consumed,
                Ok(Step::Incomplete { .. }) => self.read_more()?,
                Err(malformed) => return Err(io::Error::new(io::ErrorKind::InvalidData, malformed)),
            }
        };
        let begin = self.taken;
        self.taken += consumed;
        match parse_reply(expect, &self.input[begin..], &ReplyLimits::default()) {
            Ok(Step::Complete { reply, .. }) => Ok(reply),
            _ => unreachable!("the same bytes were a reply"),
        }
    }

    fn read_more(&mut self) -> io::Result<()> {
        self.input.drain(..self.taken);
        self.taken = 0;
        let mut buffer = [0; 16 << 10];
        let read = self.socket.read(&mut buffer)?;
        self.input.extend_from_slice(&buffer[..read]);
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Waits for the server to close the connection.
    ///
    /// # Panics
    /// It doesn't, or sends something else first.
    pub fn expect_end(&mut self) {
        let end = self.read_more().map(|()| self.input[self.taken..].escape_ascii().to_string());
        assert_eq!(end.map_err(|error| error.kind()), Err(io::ErrorKind::UnexpectedEof));
    }

    /// Whether the server answers.
    ///
    /// # Errors
    /// As above.
    pub fn ping(&mut self) -> io::Result<()> {
        let mut request = Vec::new();
        encode::ping(&mut request).unwrap();
        self.send(&request)?;
        self.receive(Expect::Pong).map(drop)
    }

    /// Sets a key and returns its version, or the refusal as [`io::Error::other`].
    ///
    /// # Errors
    /// As above.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> io::Result<Version> {
        let mut request = Vec::new();
        encode::set(&mut request, key, value, &SetOptions::default()).unwrap();
        self.send(&request)?;
        match self.receive(Expect::Stored)? {
            Reply::Stored(version) => Ok(version),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    /// Removes a key; whether it was there.
    ///
    /// # Errors
    /// As above.
    pub fn del(&mut self, key: &[u8]) -> io::Result<bool> {
        let mut request = Vec::new();
        encode::del(&mut request, key, None).unwrap();
        self.send(&request)?;
        match self.receive(Expect::Deleted)? {
            Reply::Deleted(was_there) => Ok(was_there),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    /// Has a snapshot taken, and waits until it is there; why not as [`io::Error::other`].
    ///
    /// # Errors
    /// As above.
    pub fn snapshot(&mut self) -> io::Result<()> {
        let mut request = Vec::new();
        encode::snapshot(&mut request).unwrap();
        self.send(&request)?;
        match self.receive(Expect::Changed)? {
            Reply::Changed => Ok(()),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    /// A key's value and version.
    ///
    /// # Errors
    /// As above.
    pub fn get(&mut self, key: &[u8]) -> io::Result<Option<(Vec<u8>, Version)>> {
        let mut request = Vec::new();
        encode::get(&mut request, key).unwrap();
        self.send(&request)?;
        match self.receive(Expect::Value)? {
            Reply::Value(found) => Ok(Some((found.value.to_vec(), found.version))),
            Reply::NotFound => Ok(None),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }
}
