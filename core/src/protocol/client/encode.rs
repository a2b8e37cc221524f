//! Requests to bytes: a function for each command, which appends one whole request or nothing.

use alloc::vec::Vec;
use core::fmt;

use crate::protocol::command::{Presence, SetExpiry, SetOptions};
use crate::protocol::line::is_key_byte;
use crate::record::KEY_BYTES_MAX;
use crate::units::Version;

/// Why a request can't be written. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// A key (or prefix) that would break the request's line: longer than 65,535 bytes, or with a byte 0x00–0x20 or 0x7F in it; a key that is empty.
    Key,
    /// A list of keys without any.
    NoKeys,
    /// No memory.
    OutOfMemory,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "a key has 1 to 65535 bytes, none of them a space or control character",
            Self::NoKeys => "at least one key is needed",
            Self::OutOfMemory => "no memory for the request",
        })
    }
}

impl core::error::Error for EncodeError {}

type Encoded = Result<(), EncodeError>;

/// Builds one request; what a failed one has appended is taken back.
struct Request<'a> {
    out: &'a mut Vec<u8>,
    begin: usize,
    state: Encoded,
}

impl<'a> Request<'a> {
    fn new(out: &'a mut Vec<u8>, command: &str) -> Self {
        let begin = out.len();
        Self { out, begin, state: Ok(()) }.bytes(command.as_bytes())
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        if self.state.is_ok() {
            match self.out.try_reserve(bytes.len()) {
                Ok(()) => self.out.extend_from_slice(bytes),
                Err(_) => self.state = Err(EncodeError::OutOfMemory),
            }
        }
        self
    }

    fn word(self, word: &[u8]) -> Self {
        self.bytes(b" ").bytes(word)
    }

    fn number(self, number: impl itoa::Integer) -> Self {
        self.word(itoa::Buffer::new().format(number).as_bytes())
    }

    fn key(mut self, key: &[u8]) -> Self {
        if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.iter().all(|&byte| is_key_byte(byte)) {
            self.state = self.state.and(Err(EncodeError::Key));
        }
        self.word(key)
    }

    fn version(self, version: Option<Version>) -> Self {
        match version {
            Some(version) => self.word(b"VER").number(version.0),
            None => self,
        }
    }

    fn line_end(self) -> Self {
        self.bytes(b"\r\n")
    }

    fn end(self) -> Encoded {
        let Self { out, begin, state } = self.line_end();
        if state.is_err() {
            out.truncate(begin);
        }
        state
    }
}

/// Appends `PING`.
///
/// # Errors
/// This and the other functions for requests: see [`EncodeError`].
pub fn ping(out: &mut Vec<u8>) -> Encoded {
    Request::new(out, "PING").end()
}

/// Appends a `GET`; expect [`Value`](super::Expect::Value).
pub fn get(out: &mut Vec<u8>, key: &[u8]) -> Encoded {
    Request::new(out, "GET").key(key).end()
}

/// Appends a `SET` with its payload; expect [`Stored`](super::Expect::Stored).
pub fn set(out: &mut Vec<u8>, key: &[u8], value: &[u8], options: &SetOptions) -> Encoded {
    let request = Request::new(out, "SET").key(key).number(value.len());
    let request = match options.expiry {
        SetExpiry::Clear => request,
        SetExpiry::In(ms) => request.word(b"EX").number(ms),
        SetExpiry::At(at) => request.word(b"PXAT").number(at.0),
        SetExpiry::Keep => request.word(b"KEEPTTL"),
    };
    let request = match options.presence {
        Presence::Any => request,
        Presence::Absent => request.word(b"NX"),
        Presence::Present => request.word(b"XX"),
    };
    request.version(options.version).line_end().bytes(value).end()
}

/// Appends a `DEL`; expect [`Deleted`](super::Expect::Deleted).
pub fn del(out: &mut Vec<u8>, key: &[u8], version: Option<Version>) -> Encoded {
    Request::new(out, "DEL").key(key).version(version).end()
}

/// Appends an `EXISTS`; expect [`Exists`](super::Expect::Exists).
pub fn exists(out: &mut Vec<u8>, key: &[u8]) -> Encoded {
    Request::new(out, "EXISTS").key(key).end()
}

/// Appends an `EXPIRE`; expect [`Changed`](super::Expect::Changed).
pub fn expire(out: &mut Vec<u8>, key: &[u8], ms: i64, version: Option<Version>) -> Encoded {
    Request::new(out, "EXPIRE").key(key).number(ms).version(version).end()
}

/// Appends a `PERSIST`; expect [`Changed`](super::Expect::Changed).
pub fn persist(out: &mut Vec<u8>, key: &[u8]) -> Encoded {
    Request::new(out, "PERSIST").key(key).end()
}

/// Appends a `TTL`; expect [`Integer`](super::Expect::Integer).
pub fn ttl(out: &mut Vec<u8>, key: &[u8]) -> Encoded {
    Request::new(out, "TTL").key(key).end()
}

/// Appends an `INCR`; expect [`Integer`](super::Expect::Integer).
pub fn incr(out: &mut Vec<u8>, key: &[u8], delta: i64) -> Encoded {
    Request::new(out, "INCR").key(key).number(delta).end()
}

/// Appends a `DECR`; expect [`Integer`](super::Expect::Integer).
pub fn decr(out: &mut Vec<u8>, key: &[u8], delta: i64) -> Encoded {
    Request::new(out, "DECR").key(key).number(delta).end()
}

/// Appends an `MGET`; expect an [`Item`](super::Expect::Item) for each key, or one error for all.
pub fn mget<'k>(out: &mut Vec<u8>, keys: impl IntoIterator<Item = &'k [u8]>) -> Encoded {
    let mut none = true;
    let mut request = Request::new(out, "MGET");
    for key in keys {
        none = false;
        request = request.key(key);
    }
    if none {
        request.state = Err(EncodeError::NoKeys);
    }
    request.end()
}

/// Appends an `MSET` with its payloads; expect [`Count`](super::Expect::Count).
pub fn mset<'k>(out: &mut Vec<u8>, pairs: impl IntoIterator<Item = (&'k [u8], &'k [u8])> + Clone) -> Encoded {
    let mut none = true;
    let mut request = Request::new(out, "MSET");
    for (key, value) in pairs.clone() {
        none = false;
        request = request.key(key).number(value.len());
    }
    if none {
        request.state = Err(EncodeError::NoKeys);
    }
    request = request.line_end();
    for (_, value) in pairs {
        request = request.bytes(value);
    }
    request.end()
}

/// Appends a `SCAN`; expect [`Cursor`](super::Expect::Cursor), then [`ScanItem`](super::Expect::ScanItem)s up to [`End`](super::Reply::End). An empty prefix stands for none.
pub fn scan(out: &mut Vec<u8>, cursor: u64, count: Option<u64>, prefix: &[u8]) -> Encoded {
    let mut request = Request::new(out, "SCAN").number(cursor);
    if let Some(count) = count {
        request = request.word(b"COUNT").number(count);
    }
    if !prefix.is_empty() {
        request = request.word(b"PREFIX").key(prefix);
    }
    request.end()
}

/// Appends `STATS`; expect [`Stat`](super::Expect::Stat)s up to [`End`](super::Reply::End).
pub fn stats(out: &mut Vec<u8>) -> Encoded {
    Request::new(out, "STATS").end()
}

/// Appends `QUIT`; expect [`Bye`](super::Expect::Bye).
pub fn quit(out: &mut Vec<u8>) -> Encoded {
    Request::new(out, "QUIT").end()
}
