//! The buffers of snapshots: two at most, one on its way while the other is filled, or one that is read into and one that is taken apart.

use alloc::vec::Vec;

use super::{Phase, Snapshots};
use crate::record::OutOfMemory;
use crate::storage::SnapshotOp;

#[derive(Debug, Default)]
pub(crate) struct Buffers {
    spare: Vec<u8>,
    /// The other one, where both were there at the beginning, and there are no others.
    set_aside: Option<Vec<u8>>,
}

impl Buffers {
    /// Both of them, now, of so many bytes each.
    pub(crate) fn set_aside(bytes: usize) -> Result<Self, OutOfMemory> {
        let [mut spare, mut other] = [Vec::new(), Vec::new()];
        for buffer in [&mut spare, &mut other] {
            buffer.try_reserve_exact(bytes).map_err(|_| OutOfMemory)?;
        }
        Ok(Self { spare, set_aside: Some(other) })
    }

    /// The spare one, or where there is none, one without room.
    pub(super) fn take(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.spare)
    }

    /// One of those that were there at the beginning, if there were; else one without room.
    pub(super) fn take_set_aside(&mut self) -> Vec<u8> {
        self.set_aside.as_mut().map(core::mem::take).unwrap_or_default()
    }

    /// The spare one is there again.
    pub(super) fn keep(&mut self, buffer: Vec<u8>) {
        match &mut self.set_aside {
            Some(_) => self.keep_set_aside(buffer),
            None => self.spare = buffer,
        }
    }

    /// What need not be kept, unless it was there at the beginning.
    pub(super) fn keep_set_aside(&mut self, buffer: Vec<u8>) {
        let Some(other) = &mut self.set_aside else { return };
        if buffer.capacity() == 0 {
            return;
        }
        if self.spare.capacity() == 0 {
            self.spare = buffer;
        } else if other.capacity() == 0 {
            *other = buffer;
        }
    }
}

impl Snapshots {
    /// Goes on to another phase; the buffer that was taken apart in the last one is free.
    pub(super) fn enter(&mut self, phase: Phase) {
        if let Phase::Verifying { decoder, .. } | Phase::Checking { decoder, .. } = core::mem::replace(&mut self.phase, phase) {
            self.buffers.keep_set_aside(decoder.into_buffer());
        }
    }

    /// An operation has come back that nobody needs any more.
    pub(super) fn keep_of(&mut self, op: SnapshotOp) {
        if let SnapshotOp::Append { data: buffer, .. } | SnapshotOp::Read { buffer, .. } = op {
            self.buffers.keep_set_aside(buffer);
        }
    }
}
