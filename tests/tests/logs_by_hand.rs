//! Logs put together by hand, byte by byte where no run of a server would: what recovery learns beside the records, how far it looks, and what it
//! refuses.

#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use osprey_core::checksum::crc32c;
use osprey_core::record::{Kind, Record};
use osprey_core::recovery::{Recovered, RecoveryError, recover};
use osprey_core::storage::{ChunkBytes, LogFiles, SegmentNumber, StorageDone, StorageError};
use osprey_core::store::Store;
use osprey_core::units::{Lsn, Millis, Version};
use osprey_core::wal::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameType};
use osprey_core::wal::segment::{DatabaseId, HEADER_BYTES, SegmentHeader};
use osprey_core::wal::writer::{LogPosition, LogWriter, SyncPolicy, WriterOptions};
use osprey_tests::memory_log::MemoryLog;

const SALT: u64 = 1;

/// How much recovery reads at once, bytes.
const CHUNK_BYTES: usize = 256 << 10;

fn header(number: u64) -> SegmentHeader {
    SegmentHeader {
        database: DatabaseId([7; 16]),
        epoch: 1,
        salt: SALT,
        number: SegmentNumber(number),
        first_lsn: Lsn(1),
        durable: Lsn(0),
        time: Millis(1000),
        floor: Version(0),
        chain: 0,
    }
}

fn frame(first_lsn: u64, durable: u64, previous: u32, records: &[Record<'_>]) -> (Vec<u8>, u32) {
    let mut payload = Vec::new();
    for record in records {
        payload.extend_from_slice(&u32::try_from(record.encoded_len()).unwrap().to_le_bytes());
        record.encode(&mut payload);
    }
    let mut header = FrameHeader {
        kind: FrameType::Data,
        payload_len: u32::try_from(payload.len()).unwrap(),
        records: u32::try_from(records.len()).unwrap(),
        first_lsn: Lsn(first_lsn),
        durable: Lsn(durable),
        time: Millis(1000),
        floor: Version(0),
        previous,
        payload_crc: 0,
        crc: 0,
    };
    let mut bytes = header.seal(SALT, &payload, crc32c).to_vec();
    bytes.extend_from_slice(&payload);
    assert!(bytes.len().is_multiple_of(8), "or the next frame would begin elsewhere");
    (bytes, header.crc)
}

fn set<'a>(value: &'a [u8]) -> Record<'a> {
    Record { kind: Kind::Set, version: Version(1), expiry: None, key: b"key", value }
}

/// A log of one segment with one record of LSN 1, and the frame's checksum.
fn one_record() -> (MemoryLog, u32) {
    let mut log = MemoryLog::default();
    let mut segment = header(1).encode(crc32c).unwrap();
    let (bytes, crc) = frame(1, 0, 0, &[set(b"values")]);
    segment.extend_from_slice(&bytes);
    log.0.insert(SegmentNumber(1), segment);
    (log, crc)
}

fn recovered(log: &mut MemoryLog) -> Result<(Recovered, Store), RecoveryError> {
    let mut store = Store::new([0; 16]).unwrap();
    recover(log, &mut store, crc32c, ChunkBytes::default(), &mut |_| ()).map(|recovered| (recovered, store))
}

/// What the writer makes of some records, of this value, when nothing fails.
fn written(segments: usize, value: &[u8]) -> MemoryLog {
    let options = WriterOptions {
        database: DatabaseId([7; 16]),
        epoch: 1,
        salt: SALT,
        segment_bytes: 8 << 10,
        policy: SyncPolicy::Os,
        checksum: crc32c,
    };
    let mut log = LogWriter::new(options, LogPosition { next_segment: SegmentNumber(1), last_lsn: Lsn(0), chain: 0, time: Millis(0) });
    let mut files = MemoryLog::default();
    loop {
        while let Some(op) = log.poll(Millis(1), Version(0)) {
            files.execute(&op).unwrap();
            log.done(StorageDone { op, result: Ok(()) }, Millis(1)).expect("nothing fails");
        }
        if files.0.len() == segments {
            return files;
        }
        let record = set(value);
        log.make_room(1, record.encoded_len()).expect("storage ends everything at once");
        log.log(&record);
    }
}

#[test]
fn a_segment_that_does_not_continue_a_sealed_one_is_refused_and_kept() {
    let mut log = written(2, &[b'a'; 1000]);
    let other = written(2, &[b'b'; 1000]);
    log.0.insert(SegmentNumber(2), other.0[&SegmentNumber(2)].clone());
    let before = log.clone();
    let refused = recovered(&mut log).map(|(recovered, _)| recovered.report);
    assert!(matches!(refused, Err(RecoveryError::Corrupt { segment: SegmentNumber(1), .. })), "{refused:?}");
    assert_eq!(log, before, "nothing was changed");
}

#[test]
fn a_gap_between_segments_is_refused() {
    let mut log = written(3, &[b'a'; 1000]);
    log.0.remove(&SegmentNumber(2));
    let before = log.clone();
    assert_eq!(recovered(&mut log).map(|_| ()), Err(RecoveryError::Missing(SegmentNumber(2))));
    assert_eq!(log, before, "nothing was changed");
}

/// A frame whose checksums are right, and that follows another frame than the one before it.
#[test]
fn a_frame_of_another_history_is_not_taken() {
    let (mut log, crc) = one_record();
    let follower = |previous| frame(2, 0, previous, &[set(b"second")]).0;
    let mut other = log.clone();
    log.0.get_mut(&SegmentNumber(1)).unwrap().extend_from_slice(&follower(crc));
    other.0.get_mut(&SegmentNumber(1)).unwrap().extend_from_slice(&follower(crc ^ 1));
    let (all, _) = recovered(&mut log).unwrap();
    assert_eq!((all.position.last_lsn, all.report.records), (Lsn(2), 2));
    let (first, _) = recovered(&mut other).unwrap();
    assert_eq!((first.position.last_lsn, first.report.records), (Lsn(1), 1));
}

/// The first segment begins with the first record, and follows nothing.
#[test]
fn a_log_without_its_beginning_is_refused() {
    for first in [SegmentHeader { chain: 9, ..header(4) }, SegmentHeader { first_lsn: Lsn(9), ..header(4) }] {
        let mut log = MemoryLog::default();
        log.0.insert(SegmentNumber(4), first.encode(crc32c).unwrap());
        assert_eq!(recovered(&mut log).map(|_| ()), Err(RecoveryError::Missing(SegmentNumber(3))), "{first:?}");
    }
}

/// A segment in which no frame got on disk was started all the same, with all that was known then.
#[test]
fn a_header_without_frames_tells_time_and_floor() {
    let (mut log, crc) = one_record();
    let second = SegmentHeader { first_lsn: Lsn(2), durable: Lsn(1), time: Millis(5000), floor: Version(77), chain: crc, ..header(2) };
    log.0.insert(SegmentNumber(2), second.encode(crc32c).unwrap());
    let (recovered, store) = recovered(&mut log).unwrap();
    assert_eq!((recovered.position.time, store.floor()), (Millis(5000), Version(77)));
    assert_eq!(recovered.position.next_segment, SegmentNumber(2), "it is replaced");
}

#[test]
fn the_report_counts_what_was_read() {
    let mut log = written(3, &[b'a'; 500]);
    let lengths: Vec<usize> = log.0.values().map(Vec::len).collect();
    let (recovered, _) = recovered(&mut log).unwrap();
    let report = recovered.report;
    let last = recovered.position.last_lsn.0;
    // Each record in a frame of its own, and two SEALs.
    assert_eq!((report.segments, report.frames, report.records), (3, last + 2, last));
    assert_eq!(report.bytes, lengths.iter().sum::<usize>() as u64, "{lengths:?}");
    assert!(report.torn.is_none() && !report.sealed);
}

/// Behind the last good frame, far away, something that is no frame: as much is reported as is cut.
#[test]
fn what_is_cut_is_measured_to_the_byte() {
    for far in [1, 100, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 70, 3 * CHUNK_BYTES + 5] {
        let (mut log, _) = one_record();
        let segment = log.0.get_mut(&SegmentNumber(1)).unwrap();
        let end = segment.len();
        segment.resize(end + far, 0);
        segment.push(b'x');
        segment.resize(end + far + 3000, 0);
        let (recovered, _) = recovered(&mut log).unwrap();
        let torn = recovered.report.torn.unwrap();
        assert_eq!((torn.segment, torn.offset, torn.bytes, torn.segments_removed), (SegmentNumber(1), end as u64, far as u64 + 1, 0));
        assert_eq!(log.0[&SegmentNumber(1)].len(), end, "it is cut");
    }
}

/// A frame that says that more was durable than can be read proves damage, however far behind it is: also across what is read at once.
#[test]
fn a_later_frame_proves_damage_wherever_it_is() {
    let header_bytes = usize::try_from(HEADER_BYTES).unwrap();
    let around = |chunks: usize| (0..FRAME_HEADER_BYTES + 16).step_by(8).map(move |before| chunks * CHUNK_BYTES - before);
    let (_, crc) = one_record();
    let (later, _) = frame(4, 3, crc, &[set(b"later!")]);
    for distance in [64, 512].into_iter().chain(around(1)).chain(around(2)).chain([3 * CHUNK_BYTES]) {
        let (mut log, _) = one_record();
        let segment = log.0.get_mut(&SegmentNumber(1)).unwrap();
        let end = segment.len();
        segment.resize(end + distance, 0);
        segment.extend_from_slice(&later);
        let before = log.clone();
        match recovered(&mut log).map(|_| ()) {
            Err(RecoveryError::Corrupt { segment, offset, first_lsn, last_lsn }) => {
                assert_eq!((segment, offset), (SegmentNumber(1), end as u64));
                assert_eq!((first_lsn, last_lsn), (Lsn(2), Lsn(3)));
            }
            other => panic!("a frame {distance} bytes behind is passed over: {other:?}; the segment begins at {header_bytes}"),
        }
        assert_eq!(log, before, "nothing was changed");
    }
}

/// A torn segment may be followed by one that was started beside it and holds nothing: it is removed, and that is told, also where the torn
/// segment itself ends in zeros.
#[test]
fn a_removed_segment_is_reported() {
    let (mut log, _) = one_record();
    log.0.insert(SegmentNumber(2), SegmentHeader { first_lsn: Lsn(3), chain: 5, ..header(2) }.encode(crc32c).unwrap());
    let (recovered, _) = recovered(&mut log).unwrap();
    let torn = recovered.report.torn.unwrap();
    assert_eq!((torn.segment, torn.bytes, torn.segments_removed), (SegmentNumber(1), 0, 1));
    assert_eq!(log.0.len(), 1);
}

/// A log that notes what is done to it.
struct Noted(MemoryLog, Vec<(&'static str, u64)>);

impl LogFiles for Noted {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        self.0.segments()
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        self.0.read(segment, offset, buffer)
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        self.1.push(("cut", segment.0));
        self.0.truncate(segment, length)
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.1.push(("remove", segment.0));
        self.0.remove(segment)
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.1.push(("sync", segment.0));
        self.0.sync(segment)
    }
}

/// What is behind goes first, so that a crash in between leaves a log that is judged the same; then comes the cut; and the new run begins only
/// when all of it is durable.
#[test]
fn a_tail_is_taken_off_from_its_end_and_synced() {
    let (mut log, _) = one_record();
    log.0.get_mut(&SegmentNumber(1)).unwrap().extend_from_slice(&[1; 100]);
    for number in [2, 3] {
        let header = SegmentHeader { first_lsn: Lsn(number + 1), chain: 5, ..header(number) };
        log.0.insert(SegmentNumber(number), header.encode(crc32c).unwrap());
    }
    let mut noted = Noted(log, Vec::new());
    recover(&mut noted, &mut Store::new([0; 16]).unwrap(), crc32c, ChunkBytes::default(), &mut |_| ()).unwrap();
    assert_eq!(noted.1, [("remove", 3), ("remove", 2), ("cut", 1), ("sync", 1)]);
}
