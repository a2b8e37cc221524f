//! The walk: the file is begun, entries are copied in slices, chunk by chunk.

use super::{Phase, SnapshotFailure, Snapshots, Taking};
use crate::museum::planted;
use crate::record::OutOfMemory;
use crate::snapshot::Header;
use crate::snapshot::writer::SnapshotWriter;
use crate::storage::SnapshotOp;
use crate::store::Store;
use crate::units::{Millis, Version};
use crate::wal::writer::LogWriter;

/// A step of the walk copies about so much, bytes, beside one entry's; less, where chunks are smaller.
const STEP_BYTES: usize = 16 << 10;

impl Snapshots {
    pub(super) fn begin(&mut self, now: Millis, log: &LogWriter, store: &Store) -> Option<SnapshotOp> {
        let (space, options) = (self.space(log, store), self.options?);
        if space.passes(&options, space.coming) && self.make_room(now) {
            return None;
        }
        if let (true, [oldest, _, ..]) = (planted("older_generation_removed_first"), self.kept.as_slice()) {
            self.removals.only(oldest.name);
        }
        self.requested = false;
        self.started += 1;
        let begin = log.last_lsn();
        let header = Header { database: self.database, epoch: self.epoch, salt: self.salt, begin };
        let buffer = self.buffers.take_set_aside();
        let Ok(writer) = SnapshotWriter::within(buffer, &header, self.checksum, self.chunk) else {
            self.fail(SnapshotFailure::OutOfMemory, now);
            return None;
        };
        let (end, floor, time) = (begin, Version::NONE, now);
        self.taking = Some(Taking { begun: now, begin, end, floor, time, log_bytes: log.appended_bytes(), writer, offset: 0 });
        self.phase = Phase::Creating;
        Some(SnapshotOp::Create { begin, bytes: space.coming })
    }

    /// Whether the walk can go on.
    pub(crate) fn wants_slice(&self) -> bool {
        let room = self.taking.as_ref().is_some_and(|taking| taking.writer.pending() < self.chunk.get());
        room && matches!(self.phase, Phase::Walking { .. })
    }

    /// Copies entries, step by step as long as `within` says so, or until the chunk is full.
    pub(crate) fn slice(&mut self, now: Millis, log: &LogWriter, store: &Store, mut within: impl FnMut() -> bool) {
        let step = STEP_BYTES.min(self.chunk.get());
        while self.wants_slice() && within() {
            let (Phase::Walking { position }, Some(taking)) = (&mut self.phase, &mut self.taking) else { return };
            let mut added = Ok(());
            let next = store.copy_from(*position, step, |record| added = added.and_then(|()| taking.writer.add(record)));
            match (next, added) {
                (Ok(Some(next)), Ok(())) => *position = next,
                (Ok(None), Ok(())) => {
                    (taking.end, taking.floor, taking.time) = (log.last_lsn(), store.floor(), now);
                    self.phase = Phase::Securing;
                }
                (Err(OutOfMemory), _) | (_, Err(OutOfMemory)) => return self.fail(SnapshotFailure::OutOfMemory, now),
            }
        }
    }

    pub(super) fn append(&mut self) -> Option<SnapshotOp> {
        let spare = self.buffers.take();
        let taking = self.taking.as_mut()?;
        let offset = taking.offset;
        let data = taking.writer.take(spare);
        taking.offset += data.len() as u64;
        Some(SnapshotOp::Append { offset, data })
    }
}
