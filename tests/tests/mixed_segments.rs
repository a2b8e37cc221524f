//! Segments of one database that don't belong together, as after restoring one of them from an old backup.

use std::collections::BTreeMap;

use osprey_core::checksum::crc32c;
use osprey_core::record::{Kind, Record};
use osprey_core::recovery::{RecoveryError, recover};
use osprey_core::storage::{LogFiles, SegmentNumber, StorageDone, StorageError, StorageOp};
use osprey_core::store::Store;
use osprey_core::units::{Lsn, Millis, Version};
use osprey_core::wal::segment::DatabaseId;
use osprey_core::wal::writer::{LogPosition, LogWriter, SyncPolicy, WriterOptions};

#[derive(Clone, Default, PartialEq, Debug)]
struct Files(BTreeMap<SegmentNumber, Vec<u8>>);

impl Files {
    fn perform(&mut self, op: &StorageOp) {
        match op {
            StorageOp::Reserve { .. } => {}
            StorageOp::Start { segment, header } => drop(self.0.insert(*segment, header.clone())),
            StorageOp::Append { segment, offset, data, .. } => {
                let bytes = self.0.get_mut(segment).expect("it was started");
                bytes.resize(usize::try_from(*offset).expect("small"), 0);
                bytes.extend_from_slice(data);
            }
            StorageOp::Sync { .. } => {}
        }
    }

    fn bytes(&mut self, segment: SegmentNumber) -> Result<&mut Vec<u8>, StorageError> {
        self.0.get_mut(&segment).ok_or(StorageError::Io(None))
    }
}

impl LogFiles for Files {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        Ok(self.0.iter().map(|(&number, bytes)| (number, bytes.len() as u64)).collect())
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let offset = usize::try_from(offset).expect("small");
        let rest = self.bytes(segment)?.get(offset..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        self.bytes(segment)?.truncate(usize::try_from(length).expect("small"));
        Ok(())
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.0.remove(&segment).map(drop).ok_or(StorageError::Io(None))
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.bytes(segment).map(drop)
    }
}

/// A log of two segments and some records, each with this value.
fn log_of(value: &[u8]) -> Files {
    let options = WriterOptions {
        database: DatabaseId([7; 16]),
        epoch: 1,
        salt: 1,
        segment_bytes: 8 << 10,
        policy: SyncPolicy::Os,
        checksum: crc32c,
    };
    let mut log = LogWriter::new(options, LogPosition { next_segment: SegmentNumber(1), last_lsn: Lsn(0), chain: 0, time: Millis(0) });
    let mut files = Files::default();
    loop {
        while let Some(op) = log.poll(Millis(1), Version(0)) {
            files.perform(&op);
            log.done(StorageDone { op, result: Ok(()) }, Millis(1)).expect("nothing fails");
        }
        if files.0.len() == 2 {
            return files;
        }
        let record = Record { kind: Kind::Set, version: Version(1), expiry: None, key: b"key", value };
        log.make_room(1, record.encoded_len()).expect("storage ends everything at once");
        log.log(&record);
    }
}

#[test]
fn a_segment_that_does_not_continue_a_sealed_one_is_refused_and_kept() {
    let mut files = log_of(&[b'a'; 1000]);
    let other = log_of(&[b'b'; 1000]);
    files.0.insert(SegmentNumber(2), other.0[&SegmentNumber(2)].clone());
    let before = files.clone();
    let mut store = Store::new([0; 16]).expect("memory");
    let refused = recover(&mut files, &mut store, crc32c).map(|recovered| recovered.report);
    assert!(matches!(refused, Err(RecoveryError::Corrupt { segment: SegmentNumber(1), .. })), "{refused:?}");
    assert_eq!(files, before, "nothing was changed");
}
