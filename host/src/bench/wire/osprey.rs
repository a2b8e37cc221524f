//! Osprey's protocol, by the core's client half.

use osprey_core::protocol::client::{self, EncodeError, Expect, ReplyLimits};
use osprey_core::protocol::command::{SetExpiry, SetOptions};

use super::{LINE_BYTES_MAX, Malformed, Operation, Reply, Step, Unencodable, VALUE_BYTES_MAX};

const LIMITS: ReplyLimits = ReplyLimits { value_bytes_max: VALUE_BYTES_MAX, line_bytes_max: LINE_BYTES_MAX };

pub(super) fn encode_get(out: &mut Vec<u8>, key: &[u8]) -> Result<(), Unencodable> {
    Ok(client::get(out, key)?)
}

pub(super) fn encode_set(out: &mut Vec<u8>, key: &[u8], value: &[u8], ttl_ms: Option<u64>) -> Result<(), Unencodable> {
    let expiry = ttl_ms.map_or(SetExpiry::Clear, SetExpiry::In);
    Ok(client::set(out, key, value, &SetOptions { expiry, ..SetOptions::default() })?)
}

pub(super) fn encode_incr(out: &mut Vec<u8>, key: &[u8]) -> Result<(), Unencodable> {
    Ok(client::incr(out, key, 1)?)
}

pub(super) fn parse(operation: Operation, input: &[u8]) -> Result<Step<'_>, Malformed> {
    let expect = match operation {
        Operation::Get => Expect::Value,
        Operation::Set => Expect::Stored,
        Operation::Incr => Expect::Integer,
    };
    let (reply, consumed) = match client::parse_reply(expect, input, &LIMITS).map_err(|_| Malformed)? {
        client::Step::Incomplete { at_least } => return Ok(Step::Incomplete { at_least }),
        client::Step::Complete { reply, consumed } => (reply, consumed),
    };
    let reply = match reply {
        client::Reply::Stored(_) => Reply::Stored,
        client::Reply::Value(found) => Reply::Value { bytes: found.value.len() },
        client::Reply::NotFound => Reply::Missing,
        client::Reply::Integer(_) => Reply::Number,
        client::Reply::Error { .. } => Reply::Refused(input[..consumed].trim_ascii_end()),
        _ => Reply::Unexpected(input[..consumed].trim_ascii_end()),
    };
    Ok(Step::Complete { reply, consumed })
}

impl From<EncodeError> for Unencodable {
    fn from(error: EncodeError) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Protocol, split_replies::parse_at_every_split};
    use super::*;

    fn replies(operation: Operation, input: &str) -> Vec<Reply<'_>> {
        parse_at_every_split(Protocol::Osprey, operation, input.as_bytes())
    }

    #[test]
    fn requests_are_these_bytes() {
        let mut out = Vec::new();
        Protocol::Osprey.encode_get(&mut out, b"k1").unwrap();
        Protocol::Osprey.encode_set(&mut out, b"k1", b"hello", None).unwrap();
        Protocol::Osprey.encode_set(&mut out, b"k1", b"", Some(1500)).unwrap();
        Protocol::Osprey.encode_incr(&mut out, b"k1").unwrap();
        let expected = "GET k1\r\nSET k1 5\r\nhello\r\nSET k1 0 EX 1500\r\n\r\nINCR k1 1\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn replies_are_the_same_however_they_are_split() {
        let values = replies(Operation::Get, "VALUE 5 3 -1\r\nhello\r\nNOT_FOUND\r\nVALUE 0 1 1700000000000\r\n\r\n");
        assert_eq!(values, [Reply::Value { bytes: 5 }, Reply::Missing, Reply::Value { bytes: 0 }]);
        assert_eq!(replies(Operation::Set, "OK 7\r\nERR OOM full\r\n"), [Reply::Stored, Reply::Refused(b"ERR OOM full")]);
        assert_eq!(replies(Operation::Incr, "-3\r\n"), [Reply::Number]);
    }

    #[test]
    fn what_is_no_reply_to_the_request_is_malformed() {
        for input in ["+OK\r\n", "OK 1\r\n", "VALUE x 1 -1\r\n", "STORED\r\n"] {
            assert_eq!(parse(Operation::Get, input.as_bytes()), Err(Malformed), "{input:?}");
        }
    }
}
