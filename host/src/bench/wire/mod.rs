//! What the three servers read and write, as far as load needs it: a request of each kind, and one reply.
//!
//! Every reply is parsed whole and checked for its shape; none is merely counted. The parsers take any prefix of a reply and
//! say how much input they need before another try can succeed.

mod memcached;
mod osprey;
mod redis;

use std::fmt;

use serde::Serialize;

/// The server's language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Osprey's text protocol.
    Osprey,
    /// RESP, as Redis and its relatives speak it.
    Redis,
    /// memcached's classic text protocol; never `noreply`.
    Memcached,
}

/// What one request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Set,
    Incr,
}

/// One whole reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// To a set.
    Stored,
    /// To a get: a value of this many bytes.
    Value { bytes: usize },
    /// To a get, or memcached's incr: there is no such key.
    Missing,
    /// To an incr.
    Number,
    /// The server's error, its line.
    Refused(&'a [u8]),
    /// A reply of the protocol, but none to this operation; its first line.
    Unexpected(&'a [u8]),
}

/// What is at the start of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// A part of a reply; it cannot be whole with less than `at_least` bytes of input.
    Incomplete { at_least: usize },
    /// A reply of `consumed` bytes.
    Complete { reply: Reply<'a>, consumed: usize },
}

/// No reply of this protocol: what follows cannot be told apart any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A request that the protocol cannot express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unencodable(pub(crate) String);

/// Longest value that a reply may announce. The receiving buffer follows the bytes that arrive, never this number.
const VALUE_BYTES_MAX: usize = 1 << 30;
/// Longest line of a reply.
const LINE_BYTES_MAX: usize = 1 << 16;

impl Protocol {
    /// The port that the server listens on unless told otherwise.
    pub(crate) fn default_port(self) -> u16 {
        match self {
            Self::Osprey => 7070,
            Self::Redis => 6379,
            Self::Memcached => 11211,
        }
    }

    /// Longest key that the server takes as it comes from its makers, in bytes.
    pub(crate) fn key_bytes_max(self) -> usize {
        match self {
            Self::Osprey => 256,
            Self::Redis => LINE_BYTES_MAX,
            Self::Memcached => 250,
        }
    }

    /// Appends a request to read `key`.
    pub(crate) fn encode_get(self, out: &mut Vec<u8>, key: &[u8]) -> Result<(), Unencodable> {
        match self {
            Self::Osprey => osprey::encode_get(out, key)?,
            Self::Redis => redis::encode(out, &[b"GET", key]),
            Self::Memcached => memcached::encode_get(out, key),
        }
        Ok(())
    }

    /// Appends a request to store `value`, for `ttl_ms` milliseconds if given.
    pub(crate) fn encode_set(self, out: &mut Vec<u8>, key: &[u8], value: &[u8], ttl_ms: Option<u64>) -> Result<(), Unencodable> {
        match self {
            Self::Osprey => osprey::encode_set(out, key, value, ttl_ms)?,
            Self::Redis => redis::encode_set(out, key, value, ttl_ms),
            Self::Memcached => memcached::encode_set(out, key, value, ttl_ms)?,
        }
        Ok(())
    }

    /// Appends a request to add 1 to the number at `key`.
    pub(crate) fn encode_incr(self, out: &mut Vec<u8>, key: &[u8]) -> Result<(), Unencodable> {
        match self {
            Self::Osprey => osprey::encode_incr(out, key)?,
            Self::Redis => redis::encode(out, &[b"INCR", key]),
            Self::Memcached => memcached::encode_incr(out, key),
        }
        Ok(())
    }

    /// Parses the reply to `operation` at the start of `input`.
    pub(crate) fn parse(self, operation: Operation, input: &[u8]) -> Result<Step<'_>, Malformed> {
        match self {
            Self::Osprey => osprey::parse(operation, input),
            Self::Redis => redis::parse(operation, input),
            Self::Memcached => memcached::parse(operation, input),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Osprey => "osprey",
            Self::Redis => "redis",
            Self::Memcached => "memcached",
        })
    }
}

/// The first line of `input` without its CRLF, and how many bytes it takes; `None` if it is not whole yet.
fn line(input: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    let Some(end) = input.iter().take(LINE_BYTES_MAX).position(|&byte| byte == b'\n') else {
        return if input.len() < LINE_BYTES_MAX { Ok(None) } else { Err(Malformed) };
    };
    let text = input[..end].strip_suffix(b"\r").ok_or(Malformed)?;
    Ok(Some((text, end + 1)))
}

/// A length in decimal, at most [`VALUE_BYTES_MAX`].
fn length(digits: &[u8]) -> Result<usize, Malformed> {
    if digits.is_empty() {
        return Err(Malformed);
    }
    digits.iter().try_fold(0_usize, |length, byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit <= 9).ok_or(Malformed)?;
        let length = length * 10 + usize::from(digit);
        if length <= VALUE_BYTES_MAX { Ok(length) } else { Err(Malformed) }
    })
}

/// Whether `text` is a decimal integer.
fn is_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod split_replies {
    //! For the protocols' own tests.

    use super::*;

    /// Parses the replies in `input` to requests of `operation`, from every prefix of each: a prefix must be incomplete, and
    /// truthful in what it says it needs.
    pub(super) fn parse_at_every_split(protocol: Protocol, operation: Operation, input: &[u8]) -> Vec<Reply<'_>> {
        let mut replies = Vec::new();
        let mut rest = input;
        while !rest.is_empty() {
            let (reply, whole) = match protocol.parse(operation, rest) {
                Ok(Step::Complete { reply, consumed }) => (reply, consumed),
                end => panic!("{end:?} at {:?}", String::from_utf8_lossy(rest)),
            };
            for part in 0..whole {
                match protocol.parse(operation, &rest[..part]) {
                    Ok(Step::Incomplete { at_least }) => {
                        assert!(part < at_least && at_least <= whole, "{part} of {whole} bytes: at least {at_least}");
                    }
                    end => panic!("{end:?} from {part} of {whole} bytes"),
                }
            }
            replies.push(reply);
            rest = &rest[whole..];
        }
        replies
    }
}
