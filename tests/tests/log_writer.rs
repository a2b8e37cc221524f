//! The log's writing half against a disk that ends its operations in any order.
//!
//! Two things must hold in every order. What is being synced and what is still being written share no sector: otherwise a torn write
//! reaches bytes that were promised. And a record that was accepted has a place: it gets on disk even if no space is ever free again.

use std::collections::VecDeque;

use osprey_core::checksum::crc32c;
use osprey_core::record::{Kind, Record};
use osprey_core::storage::{SegmentNumber, StorageDone, StorageError, StorageOp};
use osprey_core::units::{Lsn, Millis, Version};
use osprey_core::wal::SECTOR_BYTES;
use osprey_core::wal::frame::{FRAME_HEADER_BYTES, RECORD_LENGTH_BYTES};
use osprey_core::wal::segment::{DatabaseId, HEADER_BYTES};
use osprey_core::wal::writer::{FRAME_BYTES_SOFT_MAX, LogPosition, LogWriter, NoRoom, SyncPolicy, WriterOptions};

const SEGMENT_BYTES: u64 = 16 << 10;

fn writer(policy: SyncPolicy, segment_bytes: u64) -> LogWriter {
    let options = WriterOptions { database: DatabaseId([7; 16]), epoch: 1, salt: 1, segment_bytes, policy, checksum: crc32c };
    LogWriter::new(options, LogPosition { next_segment: SegmentNumber(1), last_lsn: Lsn(0), chain: 0, time: Millis(0) })
}

/// Operations under way, and where the segment that is written to was synced.
struct Disk {
    log: LogWriter,
    now: Millis,
    under_way: VecDeque<StorageOp>,
    /// Of the segment: behind the last byte that was written, and behind the last that a sync covers.
    written: (SegmentNumber, u64),
    synced: (SegmentNumber, u64),
    full: bool,
}

impl Disk {
    fn new(policy: SyncPolicy, segment_bytes: u64) -> Self {
        let nowhere = (SegmentNumber(0), 0);
        Self {
            log: writer(policy, segment_bytes),
            now: Millis(1000),
            under_way: VecDeque::new(),
            written: nowhere,
            synced: nowhere,
            full: false,
        }
    }

    fn accept(&mut self) {
        while let Some(op) = self.log.poll(self.now, Version(0)) {
            if let StorageOp::Sync { segment, .. } = op
                && segment == self.written.0
            {
                self.synced = self.written;
            }
            self.under_way.push_back(op);
            self.check_sectors();
        }
    }

    fn check_sectors(&self) {
        for op in &self.under_way {
            if let StorageOp::Append { segment, offset, .. } = op
                && *segment == self.synced.0
            {
                let first_sector = offset / SECTOR_BYTES;
                let last_synced = (self.synced.1 - 1) / SECTOR_BYTES;
                assert!(first_sector > last_synced, "{segment}: a frame at {offset} shares a sector with bytes before {}", self.synced.1);
            }
        }
    }

    /// Ends the operation at `at` in the queue.
    fn end(&mut self, at: usize) {
        let Some(op) = self.under_way.remove(at) else { return };
        let mut result = Ok(());
        match &op {
            StorageOp::Reserve { .. } if self.full => result = Err(StorageError::NoSpace),
            StorageOp::Start { segment, header } => self.written = (*segment, header.len() as u64),
            StorageOp::Append { segment, offset, data, sync } => {
                self.written = (*segment, offset + data.len() as u64);
                if *sync {
                    self.synced = self.written;
                }
            }
            StorageOp::Reserve { .. } | StorageOp::Sync { .. } | StorageOp::Snapshot(_) => {}
        }
        self.log.done(StorageDone { op, result }, self.now).expect("nothing fails but reservations");
        self.accept();
    }

    fn log(&mut self, value: &[u8]) -> bool {
        let record = Record { kind: Kind::Set, version: Version(1), expiry: None, key: b"key", value };
        let room = self.log.make_room(1, record.encoded_len()).is_ok();
        if room {
            self.log.log(&record);
        }
        room
    }

    /// Lets everything under way end, in order.
    fn settle(&mut self) {
        self.accept();
        while !self.under_way.is_empty() {
            self.end(0);
        }
    }
}

#[test]
fn whatever_the_order_sectors_are_not_shared_and_what_is_accepted_is_written() {
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let policy = match seed % 3 {
            0 => SyncPolicy::Os,
            1 => SyncPolicy::Always,
            _ => SyncPolicy::Batch { delay_ms: random.u64(1..20), bytes: random.u64(100..4000) },
        };
        let mut disk = Disk::new(policy, SEGMENT_BYTES);
        disk.settle();
        for _ in 0..random.u32(10..300) {
            match random.u32(0..10) {
                0..4 => {
                    let len_max = if random.bool() { 60 } else { 1500 };
                    disk.log(&vec![b'v'; random.usize(0..len_max)]);
                }
                4..8 => disk.end(random.usize(0..3)),
                8 => disk.full = random.bool(),
                _ => {
                    disk.now.0 += random.u64(1..15);
                    let _ = disk.log.tick(disk.now);
                }
            }
            if random.bool() {
                disk.accept();
            }
        }
        // No space from here on, and nobody looks at the clock: as when a server ends.
        disk.full = true;
        disk.log.close();
        disk.settle();
        assert!(disk.log.closed(), "seed {seed}: the log can't be closed, {:?} is stuck", disk.log);
    }
}

/// Whoever reads what is in a frame waits for the frame: it is written, and synced, as a whole.
#[test]
fn the_records_of_a_frame_are_secured_together() {
    let mut disk = Disk::new(SyncPolicy::Always, SEGMENT_BYTES);
    disk.settle();
    let frames_of = |disk: &Disk| [1, 2, 3].map(|lsn| disk.log.frame_of(Lsn(lsn)).0);
    assert!(disk.log(b"1") && disk.log(b"2"));
    assert_eq!(frames_of(&disk)[..2], [1, 1], "both are pending");
    disk.accept();
    assert!(disk.log(b"3"));
    assert_eq!(frames_of(&disk), [1, 1, 3], "two are being written, the third is pending");
    disk.end(0);
    assert_eq!(frames_of(&disk), [1, 2, 3], "two are secured, and wait for nobody");
}

/// A frame grows while the one before it is being written, but not without end: whoever is in it waits until all of it is written.
#[test]
fn a_large_frame_takes_no_more() {
    let value = vec![b'v'; FRAME_BYTES_SOFT_MAX * 2 / 3];
    let mut disk = Disk::new(SyncPolicy::Always, 64 << 20);
    disk.settle();
    assert!(disk.log(&value));
    let large = Record { kind: Kind::Set, version: Version(1), expiry: None, key: b"key", value: &value };
    assert_eq!(disk.log.make_room(1, large.encoded_len()), Err(NoRoom::Busy));
    assert!(disk.log(b"a small one"));
    disk.settle();
    assert!(disk.log(&value), "in the next frame");
}

/// What an operator reads of the log is what storage was told.
#[test]
fn the_log_tells_what_it_has_done() {
    let mut disk = Disk::new(SyncPolicy::Always, SEGMENT_BYTES);
    disk.full = true;
    assert!(disk.log.starting() && !disk.log.read_only());
    disk.settle();
    assert!(!disk.log.starting() && disk.log.read_only(), "there is no space for the first segment");
    assert_eq!(disk.log.active_segment(), None);
    disk.full = false;
    disk.now.0 += 1000;
    let _ = disk.log.tick(disk.now);
    disk.accept();
    assert!(disk.log.starting(), "it is being reserved");
    disk.end(0);
    assert!(disk.log.starting() && !disk.log.read_only(), "it is being started");
    disk.settle();
    assert!(!disk.log.starting());
    assert_eq!((disk.log.active_segment(), disk.log.appended_bytes(), disk.log.syncs()), (Some(SegmentNumber(1)), 0, 0));
    let mut appended = 0;
    for syncs in 1..=3 {
        assert!(disk.log(&[b'v'; 1000]));
        assert!(disk.log.buffer_bytes() > 1000, "pending");
        disk.accept();
        let Some(StorageOp::Append { data, .. }) = disk.under_way.front() else { panic!("{:?}", disk.under_way) };
        appended += data.len() as u64;
        disk.settle();
        assert_eq!((disk.log.appended_bytes(), disk.log.syncs()), (appended, syncs));
        assert!((1000..10_000).contains(&disk.log.buffer_bytes()), "{} bytes are kept for the next", disk.log.buffer_bytes());
    }
}

/// Records find room up to the last byte of a segment, each with its length, and the SEAL behind them; not one more.
#[test]
fn a_segment_is_filled_to_the_last_byte() {
    // The segment's header, the frame's, and the SEAL, which may have to begin in a fresh sector.
    let around = HEADER_BYTES + FRAME_HEADER_BYTES as u64 + SECTOR_BYTES + FRAME_HEADER_BYTES as u64;
    let room = usize::try_from(SEGMENT_BYTES - around).expect("small");
    for records in [1, 100] {
        let mut disk = Disk::new(SyncPolicy::Os, SEGMENT_BYTES);
        disk.settle();
        let bytes = room - records * RECORD_LENGTH_BYTES;
        assert_eq!(disk.log.make_room(records, bytes + 1), Err(NoRoom::ReadOnly), "such a frame never fits");
        assert_eq!(disk.log.make_room(records, bytes), Ok(()));
    }
}

/// A frame that has records takes more up to its bound, and one that has none takes any.
#[test]
fn a_frame_is_filled_to_its_bound() {
    let mut disk = Disk::new(SyncPolicy::Os, 64 << 20);
    disk.settle();
    assert_eq!(disk.log.make_room(1, FRAME_BYTES_SOFT_MAX), Ok(()), "alone");
    assert!(disk.log(b"first"));
    let held = FRAME_HEADER_BYTES + RECORD_LENGTH_BYTES + 3 + 3 + 5;
    let left = FRAME_BYTES_SOFT_MAX - held - RECORD_LENGTH_BYTES;
    assert_eq!(disk.log.make_room(1, left + 1), Err(NoRoom::Busy));
    assert_eq!(disk.log.make_room(1, left), Ok(()));
}

/// Whoever ends needs no other segment.
#[test]
fn a_log_that_ends_reserves_nothing() {
    let mut disk = Disk::new(SyncPolicy::Os, SEGMENT_BYTES);
    disk.log.close();
    disk.accept();
    assert!(!disk.under_way.iter().any(|op| matches!(op, StorageOp::Reserve { .. })), "{:?}", disk.under_way);
    disk.settle();
    assert!(disk.log.closed());
}

/// A segment that was taken for reserved, and isn't, would be found out in the middle of an append.
#[test]
fn a_reservation_that_was_not_asked_for_does_not_count() {
    let ended = |segment| StorageDone { op: StorageOp::Reserve { segment, bytes: SEGMENT_BYTES }, result: Ok(()) };
    let mut log = writer(SyncPolicy::Os, SEGMENT_BYTES);
    assert!(matches!(log.poll(Millis(1), Version(0)), Some(StorageOp::Reserve { segment: SegmentNumber(1), .. })));
    let poisoned = log.done(ended(SegmentNumber(2)), Millis(1)).expect_err("it is another's");
    assert_eq!(
        poisoned.to_string(),
        "cannot count on the reservation of wal-00000002.oswal: storage says that it has ended what it was not asked for"
    );
    assert_eq!(log.poll(Millis(1), Version(0)), None);

    // The same once more, when the segment is in use and the next is asked for.
    let mut disk = Disk::new(SyncPolicy::Os, SEGMENT_BYTES);
    disk.accept();
    disk.end(0);
    assert!(matches!(disk.under_way.front(), Some(StorageOp::Start { segment: SegmentNumber(1), .. })));
    assert!(disk.log.done(ended(SegmentNumber(1)), Millis(1)).is_err());
}
