//! The log and its snapshots as bytes, for the host to keep: for each, kind, two numbers, length, content. Little-endian. What is in them is checked by recovery.

use alloc::vec;
use alloc::vec::Vec;

use osprey_core::storage::memory::MemoryStorage;
use osprey_core::storage::{LogFiles as _, SegmentNumber, SnapshotName, SnapshotOp, Storage as _, StorageOp};
use osprey_core::units::Lsn;

const SEGMENT: u8 = 1;
const SNAPSHOT: u8 = 2;

pub fn save(storage: &mut MemoryStorage, output: &mut Vec<u8>) {
    for (segment, length) in storage.segments().unwrap_or_default() {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let read = storage.read(segment, 0, &mut bytes).unwrap_or(0);
        put(output, SEGMENT, [segment.0, 0], bytes.get(..read).unwrap_or_default());
    }
    for (name, length) in storage.snapshots().unwrap_or_default() {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let read = storage.read_snapshot(name, 0, &mut bytes).unwrap_or(0);
        put(output, SNAPSHOT, [name.begin.0, name.end.0], bytes.get(..read).unwrap_or_default());
    }
}

fn put(output: &mut Vec<u8>, kind: u8, [first, second]: [u64; 2], bytes: &[u8]) {
    output.push(kind);
    for number in [first, second, bytes.len() as u64] {
        output.extend_from_slice(&number.to_le_bytes());
    }
    output.extend_from_slice(bytes);
}

pub fn restore(mut saved: &[u8]) -> Option<MemoryStorage> {
    let mut storage = MemoryStorage::new();
    while let Some((&kind, rest)) = saved.split_first() {
        let (first, rest) = rest.split_first_chunk()?;
        let (second, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (first, second) = (u64::from_le_bytes(*first), u64::from_le_bytes(*second));
        let (bytes, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        saved = rest;
        let (begin, name) = (Lsn(first), SnapshotName { begin: Lsn(first), end: Lsn(second) });
        let ops = match kind {
            SEGMENT => vec![StorageOp::Start { segment: SegmentNumber(first), header: bytes.to_vec() }],
            SNAPSHOT => vec![
                StorageOp::Snapshot(SnapshotOp::Create { begin, bytes: 0 }),
                StorageOp::Snapshot(SnapshotOp::Append { offset: 0, data: bytes.to_vec() }),
                StorageOp::Snapshot(SnapshotOp::Publish { name }),
            ],
            _ => return None,
        };
        for op in ops {
            storage.submit(op)?.result.ok()?;
        }
    }
    Some(storage)
}
