//! RESP2: requests as arrays of bulk strings, replies told apart by their first byte.

use std::io::Write;

use super::{Malformed, Operation, Reply, Step, is_integer, length, line};

pub(super) fn encode(out: &mut Vec<u8>, words: &[&[u8]]) {
    header(out, b'*', words.len());
    for word in words {
        header(out, b'$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

pub(super) fn encode_set(out: &mut Vec<u8>, key: &[u8], value: &[u8], ttl_ms: Option<u64>) {
    match ttl_ms {
        None => encode(out, &[b"SET", key, value]),
        Some(ttl_ms) => encode(out, &[b"SET", key, value, b"PX", ttl_ms.to_string().as_bytes()]),
    }
}

fn header(out: &mut Vec<u8>, kind: u8, count: usize) {
    out.push(kind);
    write!(out, "{count}\r\n").expect("writing to memory does not fail");
}

pub(super) fn parse(operation: Operation, input: &[u8]) -> Result<Step<'_>, Malformed> {
    let Some((text, consumed)) = line(input)? else {
        return Ok(Step::Incomplete { at_least: input.len() + 1 });
    };
    let (&kind, rest) = text.split_first().ok_or(Malformed)?;
    let complete = |reply| Ok(Step::Complete { reply, consumed });
    match (kind, operation) {
        (b'-', _) => complete(Reply::Refused(text)),
        (b'+', Operation::Set) if rest == b"OK" => complete(Reply::Stored),
        (b':', Operation::Incr) if is_integer(rest) => complete(Reply::Number),
        (b'$', Operation::Get) if rest == b"-1" => complete(Reply::Missing),
        (b'+', _) => complete(Reply::Unexpected(text)),
        (b':', _) if is_integer(rest) => complete(Reply::Unexpected(text)),
        (b'$', _) if rest == b"-1" => complete(Reply::Unexpected(text)),
        (b'$', _) => {
            let bytes = length(rest)?;
            let whole = consumed + bytes + b"\r\n".len();
            if input.len() < whole {
                return Ok(Step::Incomplete { at_least: whole });
            }
            if &input[consumed + bytes..whole] != b"\r\n" {
                return Err(Malformed);
            }
            let reply = if operation == Operation::Get { Reply::Value { bytes } } else { Reply::Unexpected(text) };
            Ok(Step::Complete { reply, consumed: whole })
        }
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Protocol, split_replies::parse_at_every_split};
    use super::*;

    fn replies(operation: Operation, input: &str) -> Vec<Reply<'_>> {
        parse_at_every_split(Protocol::Redis, operation, input.as_bytes())
    }

    #[test]
    fn requests_are_these_bytes() {
        let mut out = Vec::new();
        Protocol::Redis.encode_get(&mut out, b"k1").unwrap();
        Protocol::Redis.encode_set(&mut out, b"k1", b"hello\n", None).unwrap();
        Protocol::Redis.encode_set(&mut out, b"k1", b"", Some(1500)).unwrap();
        Protocol::Redis.encode_incr(&mut out, b"k1").unwrap();
        let expected = "*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n\
                        *3\r\n$3\r\nSET\r\n$2\r\nk1\r\n$6\r\nhello\n\r\n\
                        *5\r\n$3\r\nSET\r\n$2\r\nk1\r\n$0\r\n\r\n$2\r\nPX\r\n$4\r\n1500\r\n\
                        *2\r\n$4\r\nINCR\r\n$2\r\nk1\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn replies_are_the_same_however_they_are_split() {
        let values = replies(Operation::Get, "$5\r\nhello\r\n$-1\r\n$0\r\n\r\n$4\r\n\r\n\r\n\r\n");
        assert_eq!(values, [Reply::Value { bytes: 5 }, Reply::Missing, Reply::Value { bytes: 0 }, Reply::Value { bytes: 4 }]);
        assert_eq!(replies(Operation::Set, "+OK\r\n-OOM no\r\n"), [Reply::Stored, Reply::Refused(b"-OOM no")]);
        assert_eq!(replies(Operation::Incr, ":-12\r\n:0\r\n"), [Reply::Number, Reply::Number]);
    }

    #[test]
    fn a_reply_to_another_question_is_unexpected() {
        assert_eq!(replies(Operation::Get, ":1\r\n+OK\r\n"), [Reply::Unexpected(b":1"), Reply::Unexpected(b"+OK")]);
        assert_eq!(replies(Operation::Set, "$1\r\nx\r\n$-1\r\n"), [Reply::Unexpected(b"$1"), Reply::Unexpected(b"$-1")]);
    }

    #[test]
    fn what_is_no_reply_is_malformed() {
        for input in ["STORED\r\n", "$x\r\n", "$99999999999999999999\r\n", "$1\r\nabc", ":1x\r\n", "+OK\n", "\r\n"] {
            assert_eq!(parse(Operation::Get, input.as_bytes()), Err(Malformed), "{input:?}");
        }
    }
}
