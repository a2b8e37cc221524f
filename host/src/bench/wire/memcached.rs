//! memcached's classic text protocol (its `doc/protocol.txt`): get, set and incr, each with a reply.

use std::io::Write;

use super::{Malformed, Operation, Reply, Step, Unencodable, is_integer, length, line};

/// Longer lifetimes, in seconds, are taken for points in time by memcached.
const RELATIVE_SECONDS_MAX: u64 = 60 * 60 * 24 * 30;

pub(super) fn encode_get(out: &mut Vec<u8>, key: &[u8]) {
    out.extend_from_slice(b"get ");
    out.extend_from_slice(key);
    out.extend_from_slice(b"\r\n");
}

/// memcached counts lifetimes in seconds: `ttl_ms` is rounded up.
pub(super) fn encode_set(out: &mut Vec<u8>, key: &[u8], value: &[u8], ttl_ms: Option<u64>) -> Result<(), Unencodable> {
    let seconds = ttl_ms.unwrap_or(0).div_ceil(1000);
    if seconds > RELATIVE_SECONDS_MAX {
        return Err(Unencodable("memcached takes a lifetime over 30 days for a point in time: choose a smaller --ttl-ms".into()));
    }
    out.extend_from_slice(b"set ");
    out.extend_from_slice(key);
    write!(out, " 0 {seconds} {}\r\n", value.len()).expect("writing to memory does not fail");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

pub(super) fn encode_incr(out: &mut Vec<u8>, key: &[u8]) {
    out.extend_from_slice(b"incr ");
    out.extend_from_slice(key);
    out.extend_from_slice(b" 1\r\n");
}

pub(super) fn parse(operation: Operation, input: &[u8]) -> Result<Step<'_>, Malformed> {
    let Some((text, consumed)) = line(input)? else {
        return Ok(Step::Incomplete { at_least: input.len() + 1 });
    };
    let complete = |reply| Ok(Step::Complete { reply, consumed });
    match (operation, text) {
        (Operation::Get, b"END") | (Operation::Incr, b"NOT_FOUND") => complete(Reply::Missing),
        (Operation::Set, b"STORED") => complete(Reply::Stored),
        (Operation::Incr, _) if is_integer(text) => complete(Reply::Number),
        (_, b"ERROR") => complete(Reply::Refused(text)),
        (_, _) if text.starts_with(b"CLIENT_ERROR ") || text.starts_with(b"SERVER_ERROR ") => complete(Reply::Refused(text)),
        (_, b"END" | b"STORED" | b"NOT_STORED" | b"EXISTS" | b"NOT_FOUND" | b"DELETED" | b"TOUCHED") => complete(Reply::Unexpected(text)),
        (Operation::Get, _) => value(text, consumed, input),
        _ => Err(Malformed),
    }
}

/// `VALUE <key> <flags> <bytes>`, the payload, and the `END` of a get of one key.
fn value<'a>(text: &[u8], header: usize, input: &'a [u8]) -> Result<Step<'a>, Malformed> {
    const CLOSING: &[u8] = b"\r\nEND\r\n";
    let mut words = text.split(|&byte| byte == b' ');
    let (Some(b"VALUE"), Some(_key), Some(_flags), Some(bytes), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Malformed);
    };
    let bytes = length(bytes)?;
    let whole = header + bytes + CLOSING.len();
    if input.len() < whole {
        return Ok(Step::Incomplete { at_least: whole });
    }
    if &input[header + bytes..whole] != CLOSING {
        return Err(Malformed);
    }
    Ok(Step::Complete { reply: Reply::Value { bytes }, consumed: whole })
}

#[cfg(test)]
mod tests {
    use super::super::{Protocol, split_replies::parse_at_every_split};
    use super::*;

    fn replies(operation: Operation, input: &str) -> Vec<Reply<'_>> {
        parse_at_every_split(Protocol::Memcached, operation, input.as_bytes())
    }

    #[test]
    fn requests_are_these_bytes() {
        let mut out = Vec::new();
        Protocol::Memcached.encode_get(&mut out, b"k1").unwrap();
        Protocol::Memcached.encode_set(&mut out, b"k1", b"hello", None).unwrap();
        Protocol::Memcached.encode_set(&mut out, b"k1", b"", Some(1500)).unwrap();
        Protocol::Memcached.encode_incr(&mut out, b"k1").unwrap();
        let expected = "get k1\r\nset k1 0 0 5\r\nhello\r\nset k1 0 2 0\r\n\r\nincr k1 1\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_lifetime_that_memcached_would_misread_is_refused() {
        let month_ms = 30 * 24 * 60 * 60 * 1000;
        assert!(encode_set(&mut Vec::new(), b"k", b"", Some(month_ms)).is_ok());
        assert!(encode_set(&mut Vec::new(), b"k", b"", Some(month_ms + 1)).is_err());
    }

    #[test]
    fn replies_are_the_same_however_they_are_split() {
        let values =
            replies(Operation::Get, "VALUE k1 0 5\r\nhello\r\nEND\r\nEND\r\nVALUE k 7 0\r\n\r\nEND\r\nVALUE k 0 5\r\nEND\r\n\r\nEND\r\n");
        assert_eq!(values, [Reply::Value { bytes: 5 }, Reply::Missing, Reply::Value { bytes: 0 }, Reply::Value { bytes: 5 }]);
        assert_eq!(replies(Operation::Set, "STORED\r\nSERVER_ERROR no\r\n"), [Reply::Stored, Reply::Refused(b"SERVER_ERROR no")]);
        assert_eq!(replies(Operation::Incr, "12\r\nNOT_FOUND\r\nERROR\r\n"), [Reply::Number, Reply::Missing, Reply::Refused(b"ERROR")]);
    }

    #[test]
    fn a_reply_to_another_question_is_unexpected() {
        assert_eq!(replies(Operation::Get, "STORED\r\n"), [Reply::Unexpected(b"STORED")]);
        assert_eq!(replies(Operation::Set, "NOT_STORED\r\n"), [Reply::Unexpected(b"NOT_STORED")]);
    }

    #[test]
    fn what_is_no_reply_is_malformed() {
        for input in ["$5\r\n", "VALUE k 0\r\n", "VALUE k 0 x\r\n", "VALUE k 0 1\r\nabcdefgh", "VALUE k 0 1 9 9\r\n", "END\n", "12\r\n"] {
            assert_eq!(parse(Operation::Get, input.as_bytes()), Err(Malformed), "{input:?}");
        }
    }
}
