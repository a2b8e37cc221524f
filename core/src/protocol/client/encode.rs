//! Requests to bytes: a function for each command, which appends one whole request or nothing.

use alloc::vec::Vec;
use core::fmt;

use crate::protocol::command::{Presence, SetExpiry, SetOptions};
use crate::protocol::line::is_key;
use crate::record::KEY_BYTES_MAX;
use crate::units::{Millis, Version};

/// Why a request can't be written. Nothing was appended.
///
/// ```
/// use osprey_core::protocol::client::{self, EncodeError};
///
/// let mut out = b"PING\r\n".to_vec();
/// assert_eq!(client::get(&mut out, b"two words"), Err(EncodeError::Key));
/// assert_eq!(client::mget(&mut out, []), Err(EncodeError::NoKeys));
/// assert_eq!(out, b"PING\r\n", "a request is whole or isn't there");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// A key (or prefix) that would break the request's line: longer than 65,535 bytes, or with a byte 0x00–0x20 or 0x7F in it; a key that is empty.
    Key,
    /// A list of keys without any.
    NoKeys,
    /// A time that no server takes: `EX` or `PXAT` of 0, or above 2^63 − 1 ms.
    Time,
    /// A `COUNT` of 0.
    Count,
    /// No memory.
    OutOfMemory,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "a key has 1 to 65535 bytes, none of them a space or control character",
            Self::NoKeys => "at least one key is needed",
            Self::Time => "a time to expire, EX or PXAT, is 1 to 9223372036854775807 ms",
            Self::Count => "COUNT, how many keys a SCAN looks at, is at least 1",
            Self::OutOfMemory => "no memory for the request",
        })
    }
}

impl core::error::Error for EncodeError {}

type Encoded = Result<(), EncodeError>;

/// Appends `PING`.
///
/// # Errors
/// No memory.
///
/// ```
/// use osprey_core::protocol::client;
///
/// let mut out = Vec::new();
/// client::ping(&mut out)?;
/// assert_eq!(out, b"PING\r\n");
/// # Ok::<(), client::EncodeError>(())
/// ```
pub fn ping(out: &mut Vec<u8>) -> Encoded {
    request(out, |line| line.bytes(b"PING")?.end())
}

/// Appends a `GET`; expect [`Value`](super::Expect::Value).
///
/// # Errors
/// See [`EncodeError`].
///
/// ```
/// use osprey_core::protocol::client;
///
/// let mut out = Vec::new();
/// client::get(&mut out, b"user:1")?;
/// assert_eq!(out, b"GET user:1\r\n");
/// # Ok::<(), client::EncodeError>(())
/// ```
pub fn get(out: &mut Vec<u8>, key: &[u8]) -> Encoded {
    request(out, |line| line.bytes(b"GET")?.key(key)?.end())
}

/// Appends a `SET` with its payload; expect [`Stored`](super::Expect::Stored).
///
/// # Errors
/// See [`EncodeError`].
///
/// ```
/// use osprey_core::protocol::client;
/// use osprey_core::protocol::command::SetOptions;
///
/// let mut out = Vec::new();
/// client::set(&mut out, b"user:1", b"Ada", &SetOptions::default())?;
/// assert_eq!(out, b"SET user:1 3\r\nAda\r\n");
/// # Ok::<(), client::EncodeError>(())
/// ```
pub fn set(out: &mut Vec<u8>, key: &[u8], value: &[u8], options: &SetOptions) -> Encoded {
    request(out, |line| {
        let line = line.bytes(b"SET")?.key(key)?.number(value.len())?;
        let line = match options.expiry {
            SetExpiry::Clear => line,
            SetExpiry::In(ms) => line.bytes(b" EX")?.time(Millis(ms))?,
            SetExpiry::At(at) => line.bytes(b" PXAT")?.time(at)?,
            SetExpiry::Keep => line.bytes(b" KEEPTTL")?,
        };
        let line = match options.presence {
            Presence::Any => line,
            Presence::Absent => line.bytes(b" NX")?,
            Presence::Present => line.bytes(b" XX")?,
        };
        line.version(options.version)?.end()?;
        line.bytes(value)?.end()
    })
}

/// Appends a `DEL`; expect [`Deleted`](super::Expect::Deleted).
///
/// # Errors
/// See [`EncodeError`].
///
/// ```
/// use osprey_core::protocol::client;
/// use osprey_core::units::Version;
///
/// let mut out = Vec::new();
/// client::del(&mut out, b"user:1", Some(Version(7)))?;
/// assert_eq!(out, b"DEL user:1 VER 7\r\n");
/// # Ok::<(), client::EncodeError>(())
/// ```
pub fn del(out: &mut Vec<u8>, key: &[u8], version: Option<Version>) -> Encoded {
    request(out, |line| line.bytes(b"DEL")?.key(key)?.version(version)?.end())
}

/// Appends an `EXISTS`; expect [`Exists`](super::Expect::Exists).
///
/// # Errors
/// See [`EncodeError`].
///
/// ```
/// use osprey_core::protocol::client;
///
/// let mut out = Vec::new();
/// client::exists(&mut out, b"user:1")?;
/// assert_eq!(out, b"EXISTS user:1\r\n");
/// # Ok::<(), client::EncodeError>(())
/// ```
pub fn exists(out: &mut Vec<u8>, key: &[u8]) -> Encoded {
    request(out, |line| line.bytes(b"EXISTS")?.key(key)?.end())
}

/// Appends an `EXPIRE`; expect [`Changed`](super::Expect::Changed).
///
/// # Errors
/// See [`EncodeError`].
///
/// ```
/// use osprey_core::protocol::client;
///
/// let mut out = Vec::new();
/// client::expire(&mut out, b"user:1", 60_000, None)?;
/// assert_eq!(out, b"EXPIRE user:1 60000\r\n");
/// # Ok::<(), client::EncodeError>(())
/// ```
pub fn expire(out: &mut Vec<u8>, key: &[u8], ms: i64, version: Option<Version>) -> Encoded {
    request(out, |line| line.bytes(b"EXPIRE")?.key(key)?.number(ms)?.version(version)?.end())
}

/// Appends a `PERSIST`; expect [`Changed`](super::Expect::Changed).
///
/// # Errors
/// See [`EncodeError`].
///
/// ```
/// use osprey_core::protocol::client;
///
/// let mut out = Vec::new();
/// client::persist(&mut out, b"user:1")?;
/// assert_eq!(out, b"PERSIST user:1\r\n");
/// # Ok::<(), client::EncodeError>(())
/// ```
pub fn persist(out: &mut Vec<u8>, key: &[u8]) -> Encoded {
    request(out, |line| line.bytes(b"PERSIST")?.key(key)?.end())
}

/// Appends a `TTL`; expect [`Integer`](super::Expect::Integer).
///
/// # Errors
/// See [`EncodeError`].
///
/// ```
/// use osprey_core::protocol::client;
///
/// let mut out = Vec::new();
/// client::ttl(&mut out, b"user:1")?;
/// assert_eq!(out, b"TTL user:1\r\n");
/// # Ok::<(), client::EncodeError>(())
/// ```
pub fn ttl(out: &mut Vec<u8>, key: &[u8]) -> Encoded {
    request(out, |line| line.bytes(b"TTL")?.key(key)?.end())
}

/// Appends an `INCR`; expect [`Integer`](super::Expect::Integer).
///
/// # Errors
/// See [`EncodeError`].
///
/// ```
/// use osprey_core::protocol::client;
///
/// let mut out = Vec::new();
/// client::incr(&mut out, b"visits", 1)?;
/// assert_eq!(out, b"INCR visits 1\r\n");
/// # Ok::<(), client::EncodeError>(())
/// ```
pub fn incr(out: &mut Vec<u8>, key: &[u8], delta: i64) -> Encoded {
    request(out, |line| line.bytes(b"INCR")?.key(key)?.number(delta)?.end())
}

/// Appends a `DECR`; expect [`Integer`](super::Expect::Integer).
///
/// # Errors
/// See [`EncodeError`].
///
/// ```
/// use osprey_core::protocol::client;
///
/// let mut out = Vec::new();
/// client::decr(&mut out, b"stock", 2)?;
/// assert_eq!(out, b"DECR stock 2\r\n");
/// # Ok::<(), client::EncodeError>(())
/// ```
pub fn decr(out: &mut Vec<u8>, key: &[u8], delta: i64) -> Encoded {
    request(out, |line| line.bytes(b"DECR")?.key(key)?.number(delta)?.end())
}

/// Appends an `MGET`; expect an [`Item`](super::Expect::Item) for each key, or one error for all.
///
/// # Errors
/// See [`EncodeError`].
///
/// ```
/// use osprey_core::protocol::client;
///
/// let mut out = Vec::new();
/// client::mget(&mut out, [&b"one"[..], b"three"])?;
/// assert_eq!(out, b"MGET one three\r\n");
/// # Ok::<(), client::EncodeError>(())
/// ```
pub fn mget<'k>(out: &mut Vec<u8>, keys: impl IntoIterator<Item = &'k [u8]>) -> Encoded {
    request(out, |line| {
        line.bytes(b"MGET")?;
        let mut keys = keys.into_iter().peekable();
        keys.peek().ok_or(EncodeError::NoKeys)?;
        for key in keys {
            line.key(key)?;
        }
        line.end()
    })
}

/// Appends an `MSET` with its payloads; expect [`Count`](super::Expect::Count).
///
/// # Errors
/// See [`EncodeError`].
///
/// ```
/// use osprey_core::protocol::client;
///
/// let mut out = Vec::new();
/// client::mset(&mut out, [(&b"one"[..], &b"1"[..]), (b"three", b"333")])?;
/// assert_eq!(out, b"MSET one 1 three 3\r\n1333\r\n");
/// # Ok::<(), client::EncodeError>(())
/// ```
pub fn mset<'k>(out: &mut Vec<u8>, pairs: impl IntoIterator<Item = (&'k [u8], &'k [u8])> + Clone) -> Encoded {
    request(out, |line| {
        line.bytes(b"MSET")?;
        let mut lengths = pairs.clone().into_iter().peekable();
        lengths.peek().ok_or(EncodeError::NoKeys)?;
        for (key, value) in lengths {
            line.key(key)?.number(value.len())?;
        }
        line.end()?;
        for (_, value) in pairs {
            line.bytes(value)?;
        }
        line.end()
    })
}

/// Appends a `SCAN`; expect [`Cursor`](super::Expect::Cursor), then [`ScanItem`](super::Expect::ScanItem)s up to
/// [`End`](super::Reply::End). An empty prefix stands for none.
///
/// # Errors
/// See [`EncodeError`].
///
/// ```
/// use osprey_core::protocol::client;
///
/// let mut out = Vec::new();
/// client::scan(&mut out, 0, Some(100), b"user:")?;
/// assert_eq!(out, b"SCAN 0 COUNT 100 PREFIX user:\r\n");
/// # Ok::<(), client::EncodeError>(())
/// ```
pub fn scan(out: &mut Vec<u8>, cursor: u64, count: Option<u64>, prefix: &[u8]) -> Encoded {
    request(out, |line| {
        line.bytes(b"SCAN")?.number(cursor)?;
        if let Some(count) = count {
            if count == 0 {
                return Err(EncodeError::Count);
            }
            line.bytes(b" COUNT")?.number(count)?;
        }
        if !prefix.is_empty() {
            line.bytes(b" PREFIX")?.key(prefix)?;
        }
        line.end()
    })
}

/// Appends `STATS`; expect [`Stat`](super::Expect::Stat)s up to [`End`](super::Reply::End).
///
/// # Errors
/// No memory.
///
/// ```
/// use osprey_core::protocol::client;
///
/// let mut out = Vec::new();
/// client::stats(&mut out)?;
/// assert_eq!(out, b"STATS\r\n");
/// # Ok::<(), client::EncodeError>(())
/// ```
pub fn stats(out: &mut Vec<u8>) -> Encoded {
    request(out, |line| line.bytes(b"STATS")?.end())
}

/// Appends `SNAPSHOT`; expect [`Changed`](super::Expect::Changed).
///
/// # Errors
/// No memory.
///
/// ```
/// use osprey_core::protocol::client;
///
/// let mut out = Vec::new();
/// client::snapshot(&mut out)?;
/// assert_eq!(out, b"SNAPSHOT\r\n");
/// # Ok::<(), client::EncodeError>(())
/// ```
pub fn snapshot(out: &mut Vec<u8>) -> Encoded {
    request(out, |line| line.bytes(b"SNAPSHOT")?.end())
}

/// Appends `QUIT`; expect [`Bye`](super::Expect::Bye).
///
/// # Errors
/// No memory.
///
/// ```
/// use osprey_core::protocol::client;
///
/// let mut out = Vec::new();
/// client::quit(&mut out)?;
/// assert_eq!(out, b"QUIT\r\n");
/// # Ok::<(), client::EncodeError>(())
/// ```
pub fn quit(out: &mut Vec<u8>) -> Encoded {
    request(out, |line| line.bytes(b"QUIT")?.end())
}

/// Appends what `write` writes, or nothing if it fails.
#[inline]
fn request(out: &mut Vec<u8>, write: impl FnOnce(&mut Line<'_>) -> Encoded) -> Encoded {
    let begin = out.len();
    write(&mut Line(out)).inspect_err(|_| out.truncate(begin))
}

/// A line at the end of what has been written.
struct Line<'a>(&'a mut Vec<u8>);

impl Line<'_> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) -> Result<&mut Self, EncodeError> {
        self.0.try_reserve(bytes.len()).map_err(|_| EncodeError::OutOfMemory)?;
        self.0.extend_from_slice(bytes);
        Ok(self)
    }

    /// A space and the key.
    #[inline]
    fn key(&mut self, key: &[u8]) -> Result<&mut Self, EncodeError> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX || !is_key(key) {
            return Err(EncodeError::Key);
        }
        self.bytes(b" ")?.bytes(key)
    }

    /// A space and the number.
    #[inline]
    fn number(&mut self, number: impl itoa::Integer) -> Result<&mut Self, EncodeError> {
        self.bytes(b" ")?.bytes(itoa::Buffer::new().format(number).as_bytes())
    }

    /// A space and the time to expire.
    #[inline]
    fn time(&mut self, ms: Millis) -> Result<&mut Self, EncodeError> {
        if ms == Millis(0) || ms > Millis::MAX {
            return Err(EncodeError::Time);
        }
        self.number(ms.0)
    }

    #[inline]
    fn version(&mut self, version: Option<Version>) -> Result<&mut Self, EncodeError> {
        match version {
            Some(version) => self.bytes(b" VER")?.number(version.0),
            None => Ok(self),
        }
    }

    /// The line's end, or a payload's.
    #[inline]
    fn end(&mut self) -> Encoded {
        self.bytes(b"\r\n").map(|_| ())
    }
}
