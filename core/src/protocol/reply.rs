//! Replies to bytes. Every function appends one whole line or value to `out`, or, without memory, fails; what it has
//! appended then is for the caller to cut off.
//!
//! ```
//! use osprey_core::protocol::error::ErrorCode;
//! use osprey_core::protocol::reply;
//! use osprey_core::units::{Millis, Version};
//!
//! let mut out = Vec::new();
//! reply::value(&mut out, b"hello", Version(3), Some(Millis(1_000))).expect("there is memory");
//! reply::error(&mut out, ErrorCode::BadReq, "what\nis that?").expect("there is memory");
//! assert_eq!(out, b"VALUE 5 3 1000\r\nhello\r\nERR BADREQ what?is that?\r\n");
//! ```

use alloc::vec::Vec;
use core::fmt;

use super::error::ErrorCode;
use crate::record::OutOfMemory;
use crate::units::{Millis, Version};

type Written = Result<(), OutOfMemory>;

/// A `VALUE` line takes so much beside key and payload, at most.
const VALUE_LINE_BYTES_MAX: usize = 96;

#[inline]
fn put(out: &mut Vec<u8>, bytes: &[u8]) -> Written {
    out.try_reserve(bytes.len()).map_err(|_| OutOfMemory)?;
    out.extend_from_slice(bytes);
    Ok(())
}

#[inline]
fn put_integer(out: &mut Vec<u8>, integer: impl itoa::Integer) -> Written {
    put(out, itoa::Buffer::new().format(integer).as_bytes())
}

/// `PONG`
pub fn pong(out: &mut Vec<u8>) -> Written {
    put(out, b"PONG\r\n")
}

/// `OK`
pub fn ok(out: &mut Vec<u8>) -> Written {
    put(out, b"OK\r\n")
}

/// `OK <version>`
#[inline]
pub fn ok_version(out: &mut Vec<u8>, version: Version) -> Written {
    count(out, version.0)
}

/// `OK <count>`
#[inline]
pub fn count(out: &mut Vec<u8>, count: u64) -> Written {
    put(out, b"OK ")?;
    put_integer(out, count)?;
    put(out, b"\r\n")
}

/// `VALUE <len> <version> <expiry>` and the payload.
#[inline]
pub fn value(out: &mut Vec<u8>, value: &[u8], version: Version, expiry: Option<Millis>) -> Written {
    put_value(out, None, value, version, expiry)
}

/// `VALUE <len> <version> <expiry>`, which a payload of `len` bytes is to follow.
pub(crate) fn value_line(out: &mut Vec<u8>, len: usize, version: Version, expiry: Option<Millis>) -> Written {
    put_value_line(out, None, len, version, expiry)
}

/// How much one of an `MGET`'s keys takes at most, bytes.
#[must_use]
pub(crate) fn item_bytes_max(key: &[u8], value: &[u8]) -> usize {
    VALUE_LINE_BYTES_MAX + key.len() + value.len()
}

/// `VALUE <key> <len> <version> <expiry>` and the payload: one of an `MGET`'s.
pub fn item_found(out: &mut Vec<u8>, key: &[u8], value: &[u8], version: Version, expiry: Option<Millis>) -> Written {
    put_value(out, Some(key), value, version, expiry)
}

#[inline]
fn put_value(out: &mut Vec<u8>, key: Option<&[u8]>, value: &[u8], version: Version, expiry: Option<Millis>) -> Written {
    out.try_reserve(VALUE_LINE_BYTES_MAX + key.map_or(0, <[u8]>::len) + value.len()).map_err(|_| OutOfMemory)?;
    put_value_line(out, key, value.len(), version, expiry)?;
    put(out, value)?;
    put(out, b"\r\n")
}

#[inline]
fn put_value_line(out: &mut Vec<u8>, key: Option<&[u8]>, len: usize, version: Version, expiry: Option<Millis>) -> Written {
    put(out, b"VALUE ")?;
    if let Some(key) = key {
        put(out, key)?;
        put(out, b" ")?;
    }
    put_integer(out, len)?;
    put(out, b" ")?;
    put_integer(out, version.0)?;
    match expiry {
        None => put(out, b" -1\r\n"),
        Some(expiry) => {
            put(out, b" ")?;
            put_integer(out, expiry.0)?;
            put(out, b"\r\n")
        }
    }
}

/// `NOT_FOUND`
pub fn not_found(out: &mut Vec<u8>) -> Written {
    put(out, b"NOT_FOUND\r\n")
}

/// `NOT_FOUND <key>`: one of an `MGET`'s.
pub fn item_missing(out: &mut Vec<u8>, key: &[u8]) -> Written {
    put(out, b"NOT_FOUND ")?;
    key_line(out, key)
}

/// `DELETED 1` or `DELETED 0`
pub fn deleted(out: &mut Vec<u8>, deleted: bool) -> Written {
    put(out, if deleted { b"DELETED 1\r\n" } else { b"DELETED 0\r\n" })
}

/// `EXISTS 1` or `EXISTS 0`
pub fn exists(out: &mut Vec<u8>, exists: bool) -> Written {
    put(out, if exists { b"EXISTS 1\r\n" } else { b"EXISTS 0\r\n" })
}

/// An integer.
pub fn integer(out: &mut Vec<u8>, integer: i64) -> Written {
    put_integer(out, integer)?;
    put(out, b"\r\n")
}

/// `CURSOR <next>`
pub fn cursor(out: &mut Vec<u8>, next: u64) -> Written {
    put(out, b"CURSOR ")?;
    put_integer(out, next)?;
    put(out, b"\r\n")
}

/// A key on a line.
pub fn key_line(out: &mut Vec<u8>, key: &[u8]) -> Written {
    put(out, key)?;
    put(out, b"\r\n")
}

/// `name=number`
pub fn stat_number(out: &mut Vec<u8>, name: &str, number: u64) -> Written {
    put(out, name.as_bytes())?;
    put(out, b"=")?;
    put_integer(out, number)?;
    put(out, b"\r\n")
}

/// `name=text`; a control character in the text becomes `?`.
pub fn stat_text(out: &mut Vec<u8>, name: &str, text: impl fmt::Display) -> Written {
    text_line(out, format_args!("{name}={text}"))
}

/// `END`
pub fn end(out: &mut Vec<u8>) -> Written {
    put(out, b"END\r\n")
}

/// `BYE`
pub fn bye(out: &mut Vec<u8>) -> Written {
    put(out, b"BYE\r\n")
}

/// `ERR <CODE> <message>`; a control character in the message becomes `?`.
pub fn error(out: &mut Vec<u8>, code: ErrorCode, message: impl fmt::Display) -> Written {
    text_line(out, format_args!("ERR {code} {message}"))
}

/// Whatever the text is, it can't end its line: what it would smuggle in would pass for the next reply.
fn text_line(out: &mut Vec<u8>, text: fmt::Arguments<'_>) -> Written {
    struct Printable<'a>(&'a mut Vec<u8>);
    impl fmt::Write for Printable<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.try_reserve(text.len()).map_err(|_| fmt::Error)?;
            self.0.extend(text.bytes().map(|byte| if byte.is_ascii_control() { b'?' } else { byte }));
            Ok(())
        }
    }
    fmt::Write::write_fmt(&mut Printable(out), text).map_err(|fmt::Error| OutOfMemory)?;
    put(out, b"\r\n")
}
