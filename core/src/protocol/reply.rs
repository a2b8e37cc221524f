//! Replies to bytes. Every function appends one whole line or value to `out`, or, without memory, fails; what it has
//! appended then is for the caller to cut off. Time and memory are those of the bytes that are appended.
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
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::reply;
///
/// let mut out = Vec::new();
/// reply::pong(&mut out)?;
/// assert_eq!(out, b"PONG\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
pub fn pong(out: &mut Vec<u8>) -> Written {
    put(out, b"PONG\r\n")
}

/// `OK`
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::reply;
///
/// let mut out = Vec::new();
/// reply::ok(&mut out)?;
/// assert_eq!(out, b"OK\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
pub fn ok(out: &mut Vec<u8>) -> Written {
    put(out, b"OK\r\n")
}

/// `OK <version>`
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::reply;
/// use osprey_core::units::Version;
///
/// let mut out = Vec::new();
/// reply::ok_version(&mut out, Version(7))?;
/// assert_eq!(out, b"OK 7\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
#[inline]
pub fn ok_version(out: &mut Vec<u8>, version: Version) -> Written {
    count(out, version.0)
}

/// `OK <count>`
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::reply;
///
/// let mut out = Vec::new();
/// reply::count(&mut out, 3)?;
/// assert_eq!(out, b"OK 3\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
#[inline]
pub fn count(out: &mut Vec<u8>, count: u64) -> Written {
    put(out, b"OK ")?;
    put_integer(out, count)?;
    put(out, b"\r\n")
}

/// `VALUE <len> <version> <expiry>` and the payload.
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::reply;
/// use osprey_core::units::Version;
///
/// let mut out = Vec::new();
/// reply::value(&mut out, b"Ada", Version(7), None)?;
/// assert_eq!(out, b"VALUE 3 7 -1\r\nAda\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
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
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::reply;
/// use osprey_core::units::{Millis, Version};
///
/// let mut out = Vec::new();
/// reply::item_found(&mut out, b"user:1", b"Ada", Version(7), Some(Millis(1_000)))?;
/// assert_eq!(out, b"VALUE user:1 3 7 1000\r\nAda\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
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
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::reply;
///
/// let mut out = Vec::new();
/// reply::not_found(&mut out)?;
/// assert_eq!(out, b"NOT_FOUND\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
pub fn not_found(out: &mut Vec<u8>) -> Written {
    put(out, b"NOT_FOUND\r\n")
}

/// `NOT_FOUND <key>`: one of an `MGET`'s.
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::reply;
///
/// let mut out = Vec::new();
/// reply::item_missing(&mut out, b"user:2")?;
/// assert_eq!(out, b"NOT_FOUND user:2\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
pub fn item_missing(out: &mut Vec<u8>, key: &[u8]) -> Written {
    put(out, b"NOT_FOUND ")?;
    key_line(out, key)
}

/// `DELETED 1` or `DELETED 0`
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::reply;
///
/// let mut out = Vec::new();
/// reply::deleted(&mut out, true)?;
/// assert_eq!(out, b"DELETED 1\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
pub fn deleted(out: &mut Vec<u8>, deleted: bool) -> Written {
    put(out, if deleted { b"DELETED 1\r\n" } else { b"DELETED 0\r\n" })
}

/// `EXISTS 1` or `EXISTS 0`
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::reply;
///
/// let mut out = Vec::new();
/// reply::exists(&mut out, false)?;
/// assert_eq!(out, b"EXISTS 0\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
pub fn exists(out: &mut Vec<u8>, exists: bool) -> Written {
    put(out, if exists { b"EXISTS 1\r\n" } else { b"EXISTS 0\r\n" })
}

/// An integer.
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::reply;
///
/// let mut out = Vec::new();
/// reply::integer(&mut out, -1)?;
/// assert_eq!(out, b"-1\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
pub fn integer(out: &mut Vec<u8>, integer: i64) -> Written {
    put_integer(out, integer)?;
    put(out, b"\r\n")
}

/// `CURSOR <next>`
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::reply;
///
/// let mut out = Vec::new();
/// reply::cursor(&mut out, 0)?;
/// assert_eq!(out, b"CURSOR 0\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
pub fn cursor(out: &mut Vec<u8>, next: u64) -> Written {
    put(out, b"CURSOR ")?;
    put_integer(out, next)?;
    put(out, b"\r\n")
}

/// A key on a line.
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::reply;
///
/// let mut out = Vec::new();
/// reply::key_line(&mut out, b"user:1")?;
/// assert_eq!(out, b"user:1\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
pub fn key_line(out: &mut Vec<u8>, key: &[u8]) -> Written {
    put(out, key)?;
    put(out, b"\r\n")
}

/// `name=number`
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::reply;
///
/// let mut out = Vec::new();
/// reply::stat_number(&mut out, "keys", 3)?;
/// assert_eq!(out, b"keys=3\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
pub fn stat_number(out: &mut Vec<u8>, name: &str, number: u64) -> Written {
    put(out, name.as_bytes())?;
    put(out, b"=")?;
    put_integer(out, number)?;
    put(out, b"\r\n")
}

/// `name=text`; a control character in the text becomes `?`.
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::reply;
///
/// let mut out = Vec::new();
/// reply::stat_text(&mut out, "version", "0.1.0\n")?;
/// assert_eq!(out, b"version=0.1.0?\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
pub fn stat_text(out: &mut Vec<u8>, name: &str, text: impl fmt::Display) -> Written {
    text_line(out, format_args!("{name}={text}"))
}

/// `END`
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::reply;
///
/// let mut out = Vec::new();
/// reply::end(&mut out)?;
/// assert_eq!(out, b"END\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
pub fn end(out: &mut Vec<u8>) -> Written {
    put(out, b"END\r\n")
}

/// `BYE`
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::reply;
///
/// let mut out = Vec::new();
/// reply::bye(&mut out)?;
/// assert_eq!(out, b"BYE\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
pub fn bye(out: &mut Vec<u8>) -> Written {
    put(out, b"BYE\r\n")
}

/// `ERR <CODE> <message>`; a control character in the message becomes `?`.
///
/// # Errors
/// No memory; what was appended until then is for the caller to cut off.
///
/// ```
/// use osprey_core::protocol::error::ErrorCode;
/// use osprey_core::protocol::reply;
///
/// let mut out = Vec::new();
/// reply::error(&mut out, ErrorCode::BadReq, "unknown command")?;
/// assert_eq!(out, b"ERR BADREQ unknown command\r\n");
/// # Ok::<(), osprey_core::record::OutOfMemory>(())
/// ```
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
