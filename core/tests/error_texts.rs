//! What people are told, word for word: what is wrong, where, and what to do. (What a server answers stands in the project's `tests/transcripts`.)

use std::collections::BTreeSet;

use osprey_core::protocol::client::{EncodeError, Expect, ReplyLimits, parse_reply};
use osprey_core::protocol::error::ErrorCode;
use osprey_core::recovery::RecoveryError;
use osprey_core::storage::{SegmentNumber, StorageError};
use osprey_core::units::Lsn;
use osprey_core::wal::segment::{DatabaseId, HeaderError};
use osprey_core::wal::writer::Poisoned;

#[test]
fn of_a_request_that_no_server_takes() {
    for (error, text) in [
        (EncodeError::Key, "a key has 1 to 65535 bytes, none of them a space or control character"),
        (EncodeError::NoKeys, "at least one key is needed"),
        (EncodeError::Time, "a time to expire, EX or PXAT, is 1 to 9223372036854775807 ms"),
        (EncodeError::Count, "COUNT, how many keys a SCAN looks at, is at least 1"),
        (EncodeError::OutOfMemory, "no memory for the request"),
    ] {
        assert_eq!(error.to_string(), text);
    }
}

fn malformed(expect: Expect, wire: &str) -> String {
    let limits = ReplyLimits { line_bytes_max: 20, value_bytes_max: 10 };
    parse_reply(expect, wire.as_bytes(), &limits).expect_err(wire).to_string()
}

#[test]
fn of_a_reply_that_no_server_sends() {
    for (expect, form) in [
        (Expect::Pong, "'PONG'"),
        (Expect::Stored, "'OK <version>'"),
        (Expect::Value, "'VALUE <length> <version> <expiry>, payload' or 'NOT_FOUND'"),
        (Expect::Deleted, "'DELETED 1' or 'DELETED 0'"),
        (Expect::Exists, "'EXISTS 1' or 'EXISTS 0'"),
        (Expect::Changed, "'OK' or 'NOT_FOUND'"),
        (Expect::Integer, "'<number>'"),
        (Expect::Item, "'VALUE <key> <length> <version> <expiry>, payload' or 'NOT_FOUND <key>'"),
        (Expect::Count, "'OK <count>'"),
        (Expect::Cursor, "'CURSOR <next>'"),
        (Expect::ScanItem, "'<key>' or 'END'"),
        (Expect::Stat, "'<name>=<value>' or 'END'"),
        (Expect::Bye, "'BYE'"),
    ] {
        let text = format!("the server's reply is not {form}, from byte 4 on; is it an Osprey server?");
        assert_eq!(malformed(expect, "ERR \r\n"), text, "{expect:?}");
    }
    let text = "a line of the server's reply is longer than 20 bytes; is it an Osprey server?";
    assert_eq!(malformed(Expect::Stat, "a-name-of-many-bytes=1\r\n"), text);
    assert_eq!(malformed(Expect::Value, "VALUE 11 1 -1\r\n"), "a value in the server's reply has 11 bytes, the limit is 10");
}

#[test]
fn every_code_is_read_as_it_is_shown() {
    const WORDS: [&str; 12] =
        ["BADREQ", "TOOLARGE", "EXISTS", "NEXISTS", "VER", "TYPE", "RANGE", "OOM", "READONLY", "BUSY", "NOAUTH", "INTERNAL"];
    let codes: BTreeSet<String> = WORDS.iter().map(|word| format!("{:?}", ErrorCode::from_word(word.as_bytes()))).collect();
    assert_eq!(codes.len(), WORDS.len(), "two words have the same code: {codes:?}");
    for word in WORDS {
        assert_eq!(ErrorCode::from_word(word.as_bytes()).to_string(), word);
    }
    for unknown in ["LATER", "OTHER", "badreq", ""] {
        assert_eq!(ErrorCode::from_word(unknown.as_bytes()), ErrorCode::Other, "{unknown:?}");
    }
    assert_eq!(ErrorCode::Other.to_string(), "OTHER");
}

#[test]
fn of_storage_that_fails() {
    let poisoned = |error| Poisoned { segment: SegmentNumber(7), during: "append to the log segment", error }.to_string();
    for (error, text) in [
        (StorageError::NoSpace, "cannot append to the log segment wal-00000007.oswal: no space left on the device"),
        (StorageError::Io(Some(5)), "cannot append to the log segment wal-00000007.oswal: I/O error (system error 5)"),
        (StorageError::Io(None), "cannot append to the log segment wal-00000007.oswal: I/O error"),
        (
            StorageError::NotAskedFor,
            "cannot append to the log segment wal-00000007.oswal: storage says that it has ended what it was not asked for",
        ),
    ] {
        assert_eq!(poisoned(error), text);
    }
}

#[test]
fn of_a_log_that_cannot_be_recovered() {
    const SEGMENT: SegmentNumber = SegmentNumber(12);
    let header = |error| RecoveryError::Header(SEGMENT, error);
    let [expected, found] = [0x0A, 0xF1].map(|byte| DatabaseId([byte; 16]));
    let (first_lsn, last_lsn) = (Lsn(100), Lsn(250));
    for (error, text) in [
        (RecoveryError::Storage(None, StorageError::Io(Some(13))), "cannot list the log's segments: I/O error (system error 13)"),
        (RecoveryError::Storage(Some(SEGMENT), StorageError::Io(Some(5))), "wal-00000012.oswal: I/O error (system error 5)"),
        (RecoveryError::OutOfMemory, "not enough memory to load the data"),
        (header(HeaderError::NotASegment), "wal-00000012.oswal: it does not begin with a segment header"),
        (header(HeaderError::Format(2)), "wal-00000012.oswal: its format is 2, this version reads format 1"),
        (header(HeaderError::Sector(4096)), "wal-00000012.oswal: its sector size is 4096, this version knows 512"),
        (header(HeaderError::Checksum), "wal-00000012.oswal: the checksum of its header does not match"),
        (
            header(HeaderError::OutOfRange),
            "wal-00000012.oswal: its header is whole, but names a segment number, epoch or LSN that cannot be",
        ),
        (
            RecoveryError::Misnamed { segment: SEGMENT, header: SegmentNumber(3) },
            "wal-00000012.oswal: its header says that it is wal-00000003.oswal",
        ),
        (RecoveryError::Missing(SEGMENT), "wal-00000012.oswal is missing, but segments after it are there"),
        (
            RecoveryError::OtherDatabase { segment: SEGMENT, expected, found },
            "wal-00000012.oswal belongs to database f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1, \
             the segments before it to 0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
        ),
        (
            RecoveryError::Corrupt { segment: SEGMENT, offset: 8704, first_lsn, last_lsn },
            "wal-00000012.oswal is damaged at byte 8704: records 100 to 250 were on disk and cannot be read",
        ),
        (
            RecoveryError::Malformed { segment: SEGMENT, offset: 8704 },
            "wal-00000012.oswal: the frame at byte 8704 is whole, but holds records that this version cannot read",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}
