//! What a client takes for a reply: exactly what `docs/PROTOCOL.md` lets a server send. Anything else is refused, at a place.

use osprey_core::protocol::client::{Expect, Found, Malformed, Reply, ReplyLimits, Step, parse_reply};
use osprey_core::protocol::error::ErrorCode;
use osprey_core::protocol::reply;
use osprey_core::units::{Millis, Version};

const NARROW: ReplyLimits = ReplyLimits { line_bytes_max: 32, value_bytes_max: 10 };

/// What the parser says to all of `wire`. With less of it, it says the same or that more is needed, and never asks for too much.
fn parse<'a>(expect: Expect, wire: &'a str, limits: &ReplyLimits) -> Result<Step<'a>, Malformed> {
    let wire = wire.as_bytes();
    let whole = parse_reply(expect, wire, limits);
    let mut wanted = 0;
    for arrived in 0..wire.len() {
        match parse_reply(expect, &wire[..arrived], limits) {
            Ok(Step::Incomplete { at_least }) => {
                assert!(at_least > arrived, "asks for {at_least} bytes and has {arrived}");
                wanted = at_least;
            }
            decided => assert_eq!(decided, whole, "with {arrived} bytes of {:?}", wire.escape_ascii().to_string()),
        }
    }
    if let Ok(Step::Complete { consumed, .. }) = whole {
        assert!(consumed >= wanted, "asks for {wanted} bytes and needs {consumed}");
    }
    whole
}

fn found(value: &[u8], version: u64, expiry: Option<Millis>) -> Found<'_> {
    Found { value, version: Version(version), expiry }
}

#[test]
fn each_reply_of_the_protocol_is_understood() {
    let error = |code, message| Reply::Error { code, message };
    for (expect, wire, reply) in [
        (Expect::Pong, "PONG\r\n", Reply::Pong),
        (Expect::Stored, "OK 1\r\n", Reply::Stored(Version(1))),
        (Expect::Stored, "OK 18446744073709551615\r\n", Reply::Stored(Version(u64::MAX))),
        (Expect::Value, "VALUE 5 1 -1\r\nhello\r\n", Reply::Value(found(b"hello", 1, None))),
        (Expect::Value, "VALUE 0 2 9223372036854775807\r\n\r\n", Reply::Value(found(b"", 2, Some(Millis::MAX)))),
        (Expect::Value, "VALUE 4 1 1\r\n\r\n\r\n\r\n", Reply::Value(found(b"\r\n\r\n", 1, Some(Millis(1))))),
        (Expect::Value, "NOT_FOUND\r\n", Reply::NotFound),
        (Expect::Deleted, "DELETED 0\r\n", Reply::Deleted(false)),
        (Expect::Deleted, "DELETED 1\r\n", Reply::Deleted(true)),
        (Expect::Exists, "EXISTS 0\r\n", Reply::Exists(false)),
        (Expect::Exists, "EXISTS 1\r\n", Reply::Exists(true)),
        (Expect::Changed, "OK\r\n", Reply::Changed),
        (Expect::Changed, "NOT_FOUND\r\n", Reply::NotFound),
        (Expect::Integer, "-2\r\n", Reply::Integer(-2)),
        (Expect::Integer, "0\r\n", Reply::Integer(0)),
        (Expect::Integer, "-9223372036854775808\r\n", Reply::Integer(i64::MIN)),
        (Expect::Item, "VALUE k 1 7 -1\r\nv\r\n", Reply::Item { key: b"k", found: Some(found(b"v", 7, None)) }),
        (Expect::Item, "VALUE 5 1 7 -1\r\nv\r\n", Reply::Item { key: b"5", found: Some(found(b"v", 7, None)) }),
        (Expect::Item, "NOT_FOUND NOT_FOUND\r\n", Reply::Item { key: b"NOT_FOUND", found: None }),
        (Expect::Count, "OK 3\r\n", Reply::Count(3)),
        (Expect::Cursor, "CURSOR 0\r\n", Reply::Cursor(0)),
        (Expect::ScanItem, "END\r\n", Reply::End),
        (Expect::ScanItem, "\u{e9}\r\n", Reply::Key("\u{e9}".as_bytes())),
        // No reserved words: only `END` stands for something else.
        (Expect::ScanItem, "ENDS\r\n", Reply::Key(b"ENDS")),
        (Expect::ScanItem, "EN\r\n", Reply::Key(b"EN")),
        (Expect::ScanItem, "ERR\r\n", Reply::Key(b"ERR")),
        (Expect::ScanItem, "CURSOR\r\n", Reply::Key(b"CURSOR")),
        (Expect::Stat, "wal_current=wal-1.oswal\r\n", Reply::Stat { name: b"wal_current", value: b"wal-1.oswal" }),
        (Expect::Stat, "ERR=a=b c\r\n", Reply::Stat { name: b"ERR", value: b"a=b c" }),
        (Expect::Stat, "ENDED=\r\n", Reply::Stat { name: b"ENDED", value: b"" }),
        (Expect::Stat, "END\r\n", Reply::End),
        (Expect::Bye, "BYE\r\n", Reply::Bye),
        // An error in every place. A later server may have other codes.
        (Expect::Pong, "ERR BUSY too many clients\r\n", error(ErrorCode::Busy, b"too many clients")),
        (Expect::Item, "ERR TOOLARGE  x \r\n", error(ErrorCode::TooLarge, b" x ")),
        (Expect::ScanItem, "ERR LATER than=this\r\n", error(ErrorCode::Other, b"than=this")),
        (Expect::Stat, "ERR LATER than=this\r\n", error(ErrorCode::Other, b"than=this")),
    ] {
        let complete = Step::Complete { reply, consumed: wire.len() };
        let followed = format!("{wire}\r\nOK 1");
        assert_eq!(parse(expect, &followed, &NARROW), Ok(complete), "{followed:?}");
    }
}

/// A limit of the protocol: whoever waited here for what tells an `END` from the end would wait for ever where it is the end.
#[test]
fn a_key_called_end_ends_its_list() {
    let end_of = |wire| parse(Expect::ScanItem, wire, &NARROW);
    let end = Step::Complete { reply: Reply::End, consumed: "END\r\n".len() };
    assert_eq!(end_of("END\r\n"), Ok(end), "the end, and nothing else will come");
    assert_eq!(end_of("END\r\n5\r\n"), Ok(end), "the end and the reply to a TTL; or two keys, END and 5, of a list that goes on");
    assert_eq!(end_of("END\r\nEND\r\n"), Ok(end), "a key and the end; or the beginning of something else");
}

#[test]
fn what_no_server_sends_is_refused_where_it_departs() {
    for (expect, wire, at) in [
        // Another word, or more or less of it.
        (Expect::Pong, "pong\r\n", 0),
        (Expect::Pong, "OK\r\n", 0),
        (Expect::Pong, "\r\n", 0),
        (Expect::Pong, "PONGS\r\n", 4),
        (Expect::Pong, "PONG \r\n", 4),
        (Expect::Bye, "BYE 1\r\n", 3),
        (Expect::Changed, "OK 1\r\n", 2),
        (Expect::Changed, "NOT_FOUND k\r\n", 9),
        (Expect::Value, "HTTP/1.1 400 Bad Request\r\n", 0),
        // One space between words, none elsewhere.
        (Expect::Stored, "OK\r\n", 0),
        (Expect::Stored, "OK5\r\n", 0),
        (Expect::Stored, "OK  5\r\n", 3),
        (Expect::Stored, "OK\t5\r\n", 0),
        (Expect::Stored, "OK 5 \r\n", 4),
        (Expect::Deleted, "DELETED1\r\n", 0),
        (Expect::Exists, "EXISTS1\r\n", 0),
        (Expect::Cursor, "CURSOR1\r\n", 0),
        (Expect::Integer, " 1\r\n", 0),
        (Expect::Value, "VALUE1 1 -1\r\nx\r\n", 0),
        (Expect::Value, "VALUE 1  1 -1\r\nx\r\n", 8),
        (Expect::Item, "VALUEk 1 1 -1\r\nx\r\n", 0),
        (Expect::Item, "NOT_FOUNDk\r\n", 0),
        // One way to write each number, within its range.
        (Expect::Stored, "OK x\r\n", 3),
        (Expect::Stored, "OK 05\r\n", 3),
        (Expect::Stored, "OK +5\r\n", 3),
        (Expect::Stored, "OK -1\r\n", 3),
        (Expect::Stored, "OK 5x\r\n", 4),
        (Expect::Stored, "OK 18446744073709551616\r\n", 3),
        (Expect::Count, "OK 1 2\r\n", 4),
        (Expect::Deleted, "DELETED 2\r\n", 8),
        (Expect::Deleted, "DELETED 01\r\n", 9),
        (Expect::Exists, "EXISTS 10\r\n", 8),
        (Expect::Integer, "-0\r\n", 0),
        (Expect::Integer, "9223372036854775808\r\n", 0),
        (Expect::Value, "VALUE 1 1 -2\r\nx\r\n", 10),
        (Expect::Value, "VALUE 1 1 -12\r\nx\r\n", 12),
        (Expect::Value, "VALUE 1 1 9223372036854775808\r\n", 10),
        // What is there has a version and, if any, a time; what was set are some keys; an error says why.
        (Expect::Stored, "OK 0\r\n", 3),
        (Expect::Count, "OK 0\r\n", 3),
        (Expect::Value, "VALUE 1 0 -1\r\nx\r\n", 8),
        (Expect::Value, "VALUE 1 1 0\r\nx\r\n", 10),
        (Expect::Item, "VALUE k 1 0 -1\r\nx\r\n", 10),
        (Expect::Pong, "ERR BUSY \r\n", 9),
        // All parts, in their order.
        (Expect::Value, "VALUE 1 1\r\n", 9),
        (Expect::Value, "VALUE k 1 1 -1\r\nx\r\n", 6),
        (Expect::Value, "VALUE 1 1 -1 1\r\nx\r\n", 12),
        (Expect::Value, "NOT_FOUND k\r\n", 9),
        (Expect::Item, "VALUE 1 1 -1\r\nx\r\n", 10),
        (Expect::Item, "NOT_FOUND\r\n", 0),
        (Expect::Item, "NOT_FOUND a b\r\n", 11),
        // Keys and names without blanks and control characters, texts without control characters.
        (Expect::Item, "NOT_FOUND \x7F\r\n", 10),
        (Expect::ScanItem, "\r\n", 0),
        (Expect::ScanItem, "a b\r\n", 1),
        (Expect::ScanItem, "a\rb\r\n", 1),
        (Expect::ScanItem, "END \r\n", 3),
        (Expect::Stat, "name\r\n", 4),
        (Expect::Stat, "a name=1\r\n", 1),
        (Expect::Stat, "=1\r\n", 0),
        (Expect::Stat, "name=\t\r\n", 5),
        (Expect::Pong, "ERR\r\n", 0),
        (Expect::Pong, "ERROR\r\n", 0),
        (Expect::Pong, "ERR \r\n", 4),
        (Expect::Pong, "ERR busy x\r\n", 4),
        (Expect::Pong, "ERR BUSY\r\n", 8),
        (Expect::Pong, "ERR BUSY a\rb\r\n", 10),
        // CRLF, behind lines and values.
        (Expect::Pong, "PONG\n", 4),
        (Expect::Pong, "PONG\r\r\n", 4),
        (Expect::Value, "VALUE 1 1 -1\nx\r\n", 12),
        (Expect::Value, "VALUE 1 1 -1\r\nxy\r\n", 15),
        (Expect::Value, "VALUE 1 1 -1\r\nx\n", 15),
        (Expect::Value, "VALUE 1 1 -1\r\nx\r\r\n", 16),
    ] {
        assert_eq!(parse(expect, wire, &NARROW), Err(Malformed::Form { expect, at }), "{wire:?}");
    }
}

#[test]
fn what_is_over_a_limit_is_refused_and_not_waited_for() {
    let (longest, longer) = (format!("n={}", "x".repeat(30)), format!("n={}", "x".repeat(31)));
    let line = Err(Malformed::LineTooLong { limit: 32 });
    assert!(matches!(parse(Expect::Stat, &format!("{longest}\r\n"), &NARROW), Ok(Step::Complete { .. })));
    assert_eq!(parse(Expect::Stat, &format!("{longer}\r\n"), &NARROW), line);
    assert_eq!(parse(Expect::Stat, &format!("{longer}x"), &NARROW), line, "without its end");

    let value = |bytes| Err(Malformed::ValueTooLong { bytes, limit: 10 });
    assert_eq!(parse(Expect::Value, "VALUE 10 1 -1\r\n", &NARROW), Ok(Step::Incomplete { at_least: 27 }));
    assert_eq!(parse(Expect::Value, "VALUE 11 1 -1\r\n", &NARROW), value(11));
    assert_eq!(parse(Expect::Item, "VALUE k 18446744073709551615 1 1\r\n", &NARROW), value(u64::MAX));
}

#[test]
fn the_message_says_what_was_expected_and_where_it_is_not() {
    let malformed = parse(Expect::Stored, "OK 5x\r\n", &NARROW).unwrap_err();
    let message = "the server's reply is not 'OK <version>', from byte 4 on; is it an Osprey server?";
    assert_eq!(malformed.to_string(), message);
}

#[test]
fn a_text_cannot_end_its_line() {
    let mut out = Vec::new();
    reply::error(&mut out, ErrorCode::Internal, "a\r\nOK 1\r\n\x7F\u{e9}").unwrap();
    reply::stat_text(&mut out, "name", "a\nEND\t").unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "ERR INTERNAL a??OK 1???\u{e9}\r\nname=a?END?\r\n");
}
