//! One slab: slots of one size in one allocation, each with the length of what it holds.
//!
//! ```text
//!  slot:  record │ padding │ padding's length, 16 bits          free slot:  next free slot, 16 bits │ … │ FREE
//! ```

use alloc::vec::Vec;

/// Every slot ends with the length of its padding.
pub(super) const TRAILER_BYTES: usize = size_of::<u16>();

/// In place of a padding's length: the slot is free.
const FREE: u16 = u16::MAX;

/// No slot.
pub(super) const NONE: u16 = u16::MAX;

#[derive(Debug, Default)]
pub(super) struct Slab {
    /// The slots that have been used so far; room for all is allocated.
    pub(super) bytes: Vec<u8>,
    pub(super) slot_bytes: u32,
    pub(super) slots: u16,
    pub(super) used: u16,
    /// The first of the slots that were used and are free.
    pub(super) free: u16,
    /// Its neighbours in its class's list of slabs with room.
    pub(super) next: u32,
    pub(super) previous: u32,
}

impl Slab {
    pub(super) fn is_full(&self) -> bool {
        self.used == self.slots
    }

    /// So many slots have been used at some time: the first ones.
    pub(super) fn reached(&self) -> u16 {
        let slots = self.bytes.len().checked_div(self.slot_bytes as usize).unwrap_or(0);
        u16::try_from(slots).unwrap_or(u16::MAX)
    }

    pub(super) fn get(&self, index: usize) -> &[u8] {
        let bytes = self.slot_bytes as usize;
        self.bytes.get(index * bytes..(index + 1) * bytes).unwrap_or_default()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> &mut [u8] {
        let bytes = self.slot_bytes as usize;
        self.bytes.get_mut(index * bytes..(index + 1) * bytes).unwrap_or_default()
    }

    /// Takes a slot; there must be one.
    pub(super) fn take(&mut self) -> u16 {
        self.used += 1;
        let index = self.free;
        if index == NONE {
            // Within what was allocated with the slab.
            let end = self.bytes.len() + self.slot_bytes as usize;
            self.bytes.resize(end, 0);
            return self.used - 1;
        }
        self.free = self.get(usize::from(index)).first_chunk().map_or(NONE, |next| u16::from_le_bytes(*next));
        index
    }

    pub(super) fn give_back(&mut self, index: usize) {
        let next = core::mem::replace(&mut self.free, u16::try_from(index).unwrap_or(NONE));
        let slot = self.get_mut(index);
        if let Some(first) = slot.first_chunk_mut() {
            *first = next.to_le_bytes();
        }
        set_trailer(slot, FREE);
        self.used -= 1;
    }
}

/// A slot's record.
pub(super) fn content(slot: &[u8]) -> &[u8] {
    let Some((rest, trailer)) = slot.split_last_chunk() else { return &[] };
    rest.get(..rest.len().saturating_sub(usize::from(u16::from_le_bytes(*trailer)))).unwrap_or_default()
}

pub(super) fn is_free(slot: &[u8]) -> bool {
    slot.last_chunk().is_some_and(|trailer| u16::from_le_bytes(*trailer) == FREE)
}

/// Notes the length of a slot's record.
pub(super) fn set_len(slot: &mut [u8], len: usize) {
    let padding = slot.len().saturating_sub(TRAILER_BYTES + len);
    set_trailer(slot, u16::try_from(padding).unwrap_or(FREE));
}

fn set_trailer(slot: &mut [u8], trailer: u16) {
    if let Some(last) = slot.last_chunk_mut() {
        *last = trailer.to_le_bytes();
    }
}

pub(super) fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(room) = into.get_mut(at..at + bytes.len()) {
        room.copy_from_slice(bytes);
    }
}
