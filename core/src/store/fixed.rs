//! A store whose memory is set aside at the beginning, and never is more or less.
//!
//! What it can hold depends on what it holds, and never on how that came to be: a number of keys, and entries that fill no more slabs than there are when they are packed by size. So a set of keys that was
//! there once is there again after the log has been replayed, in whatever order, as long as no more is there together meanwhile:
//! - What has expired was removed without a record. The replay removes it, too, where it needs the room: all that had expired at the [time](Store::pass) of the frame before. The sweep waited
//!   for that frame.
//! - A snapshot's entries are of different moments. So while one is taken, what is removed goes on [counting](Store::count_removed): all that was there at any time between its two LSNs has room together.

use super::Store;
use super::cells::Cells;
use super::index::Index;
use super::slabs::{self, SHARED_BYTES_MAX, Slabs};
use crate::record::OutOfMemory;
use crate::units::Millis;

pub(crate) use super::cells::{KEYS_MAX, STEP_KEYS_MAX};

/// The longest slab, bytes: with more, slots of few bytes would be too many for a slot's name.
pub(crate) const SLAB_BYTES_MAX: usize = 32 << 10;

/// The largest record that fits into a slot, bytes.
pub(crate) const ENTRY_BYTES_MAX: usize = SHARED_BYTES_MAX - size_of::<u16>();

/// How large a slab must be for a record of this length, bytes.
pub(crate) fn slab_bytes_for(record_bytes: usize) -> usize {
    slabs::slot_bytes(record_bytes)
}

/// How many records of this length a slab of this size holds; 0: it is too small.
pub(crate) fn records_of(slab_bytes: usize, record_bytes: usize) -> usize {
    let slot = slabs::slot_bytes(record_bytes);
    if slot > SHARED_BYTES_MAX { 0 } else { slabs::slots_of(slab_bytes, slot) }
}

impl Store {
    /// An empty store for so many keys, with so many slabs of this size for their entries.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn fixed(hash_key: [u8; 16], keys_max: usize, slabs: usize, slab_bytes: usize) -> Result<Self, OutOfMemory> {
        Ok(Self::of(Index::fixed(hash_key, keys_max)?, Slabs::fixed(slabs, slab_bytes)?))
    }

    /// What that takes, bytes.
    pub(crate) const fn fixed_bytes(keys_max: usize, slabs: usize, slab_bytes: usize) -> usize {
        Cells::bytes_for(keys_max).saturating_add(Slabs::fixed_bytes(slabs, slab_bytes))
    }

    /// Whether its memory is fixed.
    pub(crate) fn is_fixed(&self) -> bool {
        self.index.is_fixed()
    }

    /// Takes a slab from a size that can do without: moves one slab's entries at most. Returns whether there was one; then slots may have other names.
    pub(super) fn gather_slab(&mut self) -> bool {
        let Some(slab) = self.slabs.superfluous() else { return false };
        self.dissolve(slab);
        true
    }

    /// Packs all entries. Returns whether any slab is free for another size now that wasn't.
    pub(crate) fn gather_slabs(&mut self) -> bool {
        let mut gathered = false;
        while self.gather_slab() {
            gathered = true;
        }
        gathered
    }

    /// Whether what is removed goes on counting, as if it were there: what was there at any time since must have room together. For a store whose memory is fixed.
    pub(crate) fn count_removed(&mut self, counts: bool) {
        if counts == self.counts_removed() || !self.is_fixed() {
            return;
        }
        if counts {
            self.slabs.charge_all();
            self.index.cells_mut().charge_all();
        } else {
            self.slabs.release_charges();
            self.index.cells_mut().release_charges();
        }
    }

    /// See [`Store::count_removed`].
    pub(crate) fn counts_removed(&self) -> bool {
        self.slabs.charges()
    }

    /// What is replayed from here on happened at this time or later: what had expired by then may go.
    pub(crate) fn pass(&mut self, time: Millis) {
        self.passed = self.passed.max(time);
    }

    /// Makes room for what is replayed; returns whether there may be more.
    pub(super) fn make_room(&mut self) -> bool {
        let passed = self.passed;
        self.is_fixed() && self.purge(passed)
    }
}
