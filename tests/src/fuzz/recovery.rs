//! What recovery owes to any directory of segments and snapshots, whatever is in them.
//!
//! - It doesn't panic, and no claimed length makes it allocate: what it asks for at once is bounded by what is there.
//! - It refuses with a message and without having changed a byte, or it succeeds.
//! - After it has succeeded, it succeeds again, and gives the same bytes and the same data (invariant 7).
//! - And the log goes on: what is written now is there, with all that was there, after the next recovery.

use osprey_core::checksum::crc32c;
use osprey_core::recovery::RecoveryError;
use osprey_core::units::Millis;
use osprey_core::wal::segment::SegmentHeader;
use osprey_core::wal::writer::SyncPolicy;

use super::allocation::largest_request;
use super::server::Server;
use crate::memory_log::MemoryLog;

/// What a recovery may ask for at once when there is nothing: buffers and tables of a fixed size.
pub(super) const REQUEST_BYTES_MAX: usize = 1 << 20;

/// A key that no directory has.
const PROBE: &[u8] = b"probe\xFF";

/// Checks all of it.
pub(super) fn assert_recovers_well(log: &MemoryLog, now: Millis) {
    let bytes: usize = log.0.values().chain(log.1.values()).map(Vec::len).sum();
    let ((files, first), request) = largest_request(|| Server::recover(log.clone(), SyncPolicy::Always, 1, now));
    assert!(request <= REQUEST_BYTES_MAX + 4 * bytes, "asks for {request} bytes at once to read a log of {bytes}");
    let first = match first {
        Ok((first, _)) => first,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert_ne!(error, RecoveryError::OutOfMemory, "for a log of {bytes} bytes");
            assert_eq!(&files, log, "refused and changed: {error}");
            return;
        }
    };
    let (again, second) = Server::recover(files.clone(), SyncPolicy::Always, 2, now);
    let (mut second, report) = second.unwrap_or_else(|error| panic!("recovered once, and then: {error}"));
    assert_eq!(report.torn, None, "cut twice");
    assert_eq!(again, files, "another recovery leaves other bytes");
    assert_same(&first, &second);

    let snapshot_near_the_end = files.1.iter().any(|(name, file)| super::snapshot::is_near_the_end(*name, file));
    if snapshot_near_the_end || files.0.values().any(|file| is_near_the_end(file)) {
        return;
    }
    let before = without_probe(&second);
    let reply = second.ask_and_store(b"SET probe\xFF 5\r\nvalue\r\n", now);
    let (_, third) = Server::recover(second.log, SyncPolicy::Always, 3, now);
    let (mut third, _) = third.unwrap_or_else(|error| panic!("recovered, written to, and then: {error}"));
    assert_eq!(without_probe(&third), before, "a write changes what else is there");
    let probe = third.ask_and_store(b"GET probe\xFF\r\n", now);
    match reply.strip_prefix(b"OK ".as_slice()).and_then(|rest| rest.strip_suffix(b"\r\n".as_slice())) {
        Some(version) => assert_eq!(probe, [b"VALUE 5 ".as_slice(), version, b" -1\r\nvalue\r\n"].concat(), "written, and then"),
        None => assert!(reply.starts_with(b"ERR INTERNAL "), "{}", reply.escape_ascii()),
    }
}

/// Whether the segment's number or epoch is near the highest that is accepted, where a log that goes on must end. None gets there by counting.
fn is_near_the_end(segment: &[u8]) -> bool {
    SegmentHeader::decode(segment, crc32c).is_ok_and(|header| header.number.0.max(header.epoch) > 1 << 62)
}

fn without_probe(server: &Server) -> Vec<super::server::EntryCopy> {
    server.entries().into_iter().filter(|(key, ..)| key != PROBE).collect()
}

fn assert_same(first: &Server, second: &Server) {
    assert_eq!(first.entries(), second.entries(), "another recovery gives other data");
    assert_eq!(first.engine.store().floor(), second.engine.store().floor());
    assert_eq!(first.engine.now(), second.engine.now());
    assert_eq!(first.engine.last_lsn(), second.engine.last_lsn());
}
