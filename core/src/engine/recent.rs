//! Which keys were written so recently that what they show may still be lost.
//!
//! A table of LSNs by key hash: the last write to any key of that slot. A reply that shows a key waits until the log has
//! secured that LSN. Two keys that share a slot make a reply wait a little longer than needed, never less; nothing is ever cleared.

use alloc::vec::Vec;

use crate::record::OutOfMemory;
use crate::store::Hash;
use crate::units::Lsn;

#[derive(Debug)]
pub(super) struct RecentWrites(Vec<Lsn>);

impl RecentWrites {
    /// A table of 2^`slots_log2` slots, 8 bytes each.
    pub(super) fn new(slots_log2: u32) -> Result<Self, OutOfMemory> {
        let slots = 1_usize.checked_shl(slots_log2).ok_or(OutOfMemory)?;
        let mut table = Vec::new();
        table.try_reserve_exact(slots).map_err(|_| OutOfMemory)?;
        table.resize(slots, Lsn(0));
        Ok(Self(table))
    }

    #[inline]
    pub(super) fn note(&mut self, hash: Hash, lsn: Lsn) {
        let slot = self.slot(hash);
        if let Some(last) = self.0.get_mut(slot) {
            *last = lsn;
        }
    }

    /// The last write that a reply about this key may depend on.
    #[inline]
    pub(super) fn last_write(&self, hash: Hash) -> Lsn {
        self.0.get(self.slot(hash)).copied().unwrap_or_default()
    }

    #[inline]
    fn slot(&self, hash: Hash) -> usize {
        // Middle bits: the top ones tag entries, and the next choose the table.
        (hash.0 >> 8) as usize & (self.0.len() - 1)
    }
}
