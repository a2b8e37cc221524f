//! The client's parser of replies, over any bytes.
//!
//! - It doesn't panic, and takes no more than there is.
//! - It doesn't change its mind: with less of the stream it says the same or [`Step::Incomplete`], and then `at_least` is
//!   more than there was and no more than what completes the piece.
//! - What it accepts is what a server writes: written again, the reply has the same bytes.
//!
//! Input: a byte that chooses the limits and what is expected, four lengths of fragments, the stream.

use osprey_core::protocol::client::{Expect, Reply, ReplyLimits, Step, parse_reply};
use osprey_core::protocol::error::ErrorCode;
use osprey_core::protocol::reply;
use osprey_core::record::OutOfMemory;

use super::fragments::Fragmented;

const NARROW: ReplyLimits = ReplyLimits { line_bytes_max: 40, value_bytes_max: 12 };

const EXPECTATIONS: [Expect; 13] = [
    Expect::Pong,
    Expect::Stored,
    Expect::Value,
    Expect::Deleted,
    Expect::Exists,
    Expect::Changed,
    Expect::Integer,
    Expect::Item,
    Expect::Count,
    Expect::Cursor,
    Expect::ScanItem,
    Expect::Stat,
    Expect::Bye,
];

/// See the module.
pub fn check(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else { return };
    let Some(mut input) = Fragmented::new(data) else { return };
    let limits = if choice & 0x80 == 0 { NARROW } else { ReplyLimits::default() };
    let expect = EXPECTATIONS[usize::from(choice & 0x7F) % EXPECTATIONS.len()];
    // Piece by piece, as a client reads a list.
    while let Some(consumed) = check_piece(expect, input, &limits) {
        input.stream = &input.stream[consumed..];
    }
}

/// Checks the piece at the beginning of the stream; returns its length, `None` if there is none.
fn check_piece(expect: Expect, input: Fragmented<'_>, limits: &ReplyLimits) -> Option<usize> {
    let whole = parse_reply(expect, input.stream, limits);
    if let Ok(Step::Complete { reply, consumed }) = whole {
        assert!(consumed > 0 && consumed <= input.stream.len(), "takes {consumed} of {} bytes", input.stream.len());
        assert_written_the_same(reply, &input.stream[..consumed]);
    }
    let mut decided = false;
    for arrived in input.arrivals() {
        let step = parse_reply(expect, &input.stream[..arrived], limits);
        match (step, whole) {
            (Ok(Step::Incomplete { at_least }), whole) => {
                assert!(!decided, "forgets what it knew");
                assert!(at_least > arrived, "asks for {at_least} bytes and has {arrived}");
                if let Ok(Step::Complete { consumed, .. }) = whole {
                    assert!(at_least <= consumed, "asks for {at_least} bytes of a piece of {consumed}");
                }
            }
            (step @ (Ok(Step::Complete { .. }) | Err(_)), whole) => {
                assert_eq!(step, whole, "with {arrived} bytes and with all");
                decided = true;
            }
        }
    }
    match whole {
        Ok(Step::Complete { consumed, .. }) => Some(consumed),
        Ok(Step::Incomplete { .. }) | Err(_) => None,
    }
}

fn assert_written_the_same(reply: Reply<'_>, bytes: &[u8]) {
    let mut out = Vec::new();
    match reply {
        Reply::Pong => reply::pong(&mut out),
        Reply::Stored(version) => reply::ok_version(&mut out, version),
        Reply::Value(found) => reply::value(&mut out, found.value, found.version, found.expiry),
        Reply::NotFound => reply::not_found(&mut out),
        Reply::Deleted(deleted) => reply::deleted(&mut out, deleted),
        Reply::Exists(exists) => reply::exists(&mut out, exists),
        Reply::Changed => reply::ok(&mut out),
        Reply::Integer(integer) => reply::integer(&mut out, integer),
        Reply::Item { key, found: Some(found) } => reply::item_found(&mut out, key, found.value, found.version, found.expiry),
        Reply::Item { key, found: None } => reply::item_missing(&mut out, key),
        Reply::Count(count) => reply::count(&mut out, count),
        Reply::Cursor(next) => reply::cursor(&mut out, next),
        Reply::Key(key) => reply::key_line(&mut out, key),
        Reply::End => reply::end(&mut out),
        Reply::Bye => reply::bye(&mut out),
        // A server writes these from texts. They need not be UTF-8 here.
        Reply::Stat { name, value } => write(&mut out, &[name, b"=", value, b"\r\n"]),
        // Which one isn't kept.
        Reply::Error { code: ErrorCode::Other, .. } => return,
        Reply::Error { code, message } => write(&mut out, &[b"ERR ", code.as_str().as_bytes(), b" ", message, b"\r\n"]),
    }
    .expect("so little memory is there");
    assert_eq!(out.escape_ascii().to_string(), bytes.escape_ascii().to_string(), "{reply:?}");
}

fn write(out: &mut Vec<u8>, parts: &[&[u8]]) -> Result<(), OutOfMemory> {
    out.extend(parts.concat());
    Ok(())
}
