//! A snapshot is read back: the new one before it counts as a generation, the newest before the older one makes room for the next.

use alloc::vec::Vec;

use super::{Phase, SnapshotFailure, Snapshots};
use crate::engine::retention::Generations;
use crate::museum::planted;
use crate::record::OutOfMemory;
use crate::recovery::SnapshotInfo;
use crate::snapshot::reader::Decoded;
use crate::snapshot::{Decoder, SnapshotError};
use crate::storage::{SnapshotName, SnapshotOp};
use crate::units::{Lsn, Millis};

impl Snapshots {
    pub(super) fn read(&mut self, name: SnapshotName, offset: u64) -> Result<SnapshotOp, OutOfMemory> {
        let mut buffer = self.buffers.take();
        buffer.clear();
        buffer.try_reserve(self.chunk.get()).map_err(|_| OutOfMemory)?;
        buffer.resize(self.chunk.get(), 0);
        Ok(SnapshotOp::Read { name, offset, buffer })
    }

    pub(super) fn verify(&mut self, buffer: Vec<u8>, now: Millis) {
        let chunk = self.chunk.get();
        let Phase::Verifying { offset, decoder } = &mut self.phase else { return };
        *offset += buffer.len() as u64;
        let checked = decode(decoder, &buffer, chunk);
        let Some(taking) = &self.taking else { return };
        let checked = if planted("snapshot_not_verified") { Ok(Some(taking.end)) } else { checked };
        match checked {
            Ok(None) => {}
            Ok(Some(end)) if end == taking.end => {
                let (name, bytes) = (taking.name(), taking.offset);
                if self.kept.try_reserve(1).is_err() {
                    return self.fail(SnapshotFailure::OutOfMemory, now);
                }
                // One of this name was of no use; its file was replaced.
                if !planted("snapshot_taken_twice") && !planted("damaged_one_not_forgotten") {
                    self.kept.retain(|snapshot| snapshot.name != name);
                }
                self.kept.push(SnapshotInfo { name, bytes, unusable: false });
                self.room_made = false;
                self.stats.total += 1;
                self.stats.last_took_ms = now.since(taking.begun);
                self.stats.last_good_at = now;
                self.stats.last_failure = None;
                self.failures_in_a_row = 0;
                (self.recovered_bytes, self.log_bytes_base) = (0, taking.log_bytes);
                self.ended(Ok(()));
                self.plan_removals(Generations::Two, now);
                self.enter(Phase::Clearing);
            }
            Ok(Some(_)) => self.fail(SnapshotFailure::Unverified(SnapshotError::Misnamed), now),
            Err(SnapshotError::OutOfMemory) => self.fail(SnapshotFailure::OutOfMemory, now),
            Err(error) => self.fail(SnapshotFailure::Unverified(error), now),
        }
        self.buffers.keep(buffer);
    }

    /// The newest snapshot is looked at before the older generation goes: that stays, if there is the least doubt.
    pub(super) fn check(&mut self, buffer: Vec<u8>, failed: Option<SnapshotFailure>, now: Millis) {
        let chunk = self.chunk.get();
        let Phase::Checking { name, offset, decoder } = &mut self.phase else { return };
        let name = *name;
        *offset += buffer.len() as u64;
        let checked = decode(decoder, &buffer, chunk);
        let checked = if planted("spare_gone_unchecked") { Ok(Some(name.end)) } else { checked };
        self.buffers.keep(buffer);
        let next = match (failed, checked) {
            (None, Ok(None)) if !self.stopping => return,
            (None, Ok(Some(end))) if end == name.end && !self.stopping => {
                self.plan_removals(Generations::Newest, now);
                Phase::Clearing
            }
            (None, Ok(Some(_)) | Err(_)) if !self.stopping && !matches!(checked, Err(SnapshotError::OutOfMemory)) => {
                // It is no generation any more, and another is needed at once.
                self.kept.iter_mut().filter(|snapshot| snapshot.name == name).for_each(|snapshot| snapshot.unusable = true);
                self.stats.failures += 1;
                self.stats.last_failure = Some(SnapshotFailure::Damaged(name, checked.err().unwrap_or(SnapshotError::Misnamed)));
                self.requested = true;
                Phase::Idle
            }
            _ => Phase::Idle,
        };
        self.enter(next);
    }
}

/// Takes a piece of a snapshot apart; says at the end, which is where less was read than a chunk, how far it reaches.
fn decode(decoder: &mut Decoder, piece: &[u8], chunk: usize) -> Result<Option<Lsn>, SnapshotError> {
    decoder.feed(piece)?;
    while !matches!(decoder.next()?, Decoded::More) {}
    if piece.len() < chunk { decoder.end().map(|footer| Some(footer.end)) } else { Ok(None) }
}
