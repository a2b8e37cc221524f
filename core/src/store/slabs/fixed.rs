//! Slabs of one size, all allocated at the beginning, which the classes share.
//!
//! A slab that its class can do without is taken from it when another class needs one and none is vacant, so what fits depends on what is there, and not on how it came there: a set of
//! entries fits if, packed class by class, it fills no more slabs than there are. Moving one slab's entries is enough each time, since all slabs have the same size.

use alloc::vec::Vec;

use super::size::{CLASSES, SHARED_BYTES_MAX, class_of, slot_bytes, slot_bytes_of};
use super::slab::{NONE, Slab};
use super::{Class, NOWHERE, SEARCHED_SLABS, SLOTS_LOG2, Slabs, Sparse, emptiest};
use crate::record::OutOfMemory;

/// How many slots of a size a slab of fixed size has.
pub(in crate::store) const fn slots_of(slab_bytes: usize, slot_bytes: usize) -> usize {
    let slots = slab_bytes / slot_bytes;
    if slots > 1 << SLOTS_LOG2 { 1 << SLOTS_LOG2 } else { slots }
}

impl Slabs {
    /// So many slabs of this size, now, and never others.
    ///
    /// # Errors
    /// No memory.
    pub(in crate::store) fn fixed(slabs: usize, slab_bytes: usize) -> Result<Self, OutOfMemory> {
        let mut fixed = Self { slab_bytes, ..Self::new() };
        fixed.slabs.try_reserve_exact(slabs).map_err(|_| OutOfMemory)?;
        fixed.vacant.try_reserve_exact(slabs).map_err(|_| OutOfMemory)?;
        for _ in 0..slabs {
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(slab_bytes).map_err(|_| OutOfMemory)?;
            fixed.slabs.push(Slab { bytes, ..Slab::default() });
        }
        fixed.empty();
        Ok(fixed)
    }

    /// What that takes, bytes.
    pub(in crate::store) const fn fixed_bytes(slabs: usize, slab_bytes: usize) -> usize {
        slabs.saturating_mul(slab_bytes.saturating_add(size_of::<Slab>() + size_of::<u32>()))
    }

    /// Forgets all entries.
    pub(in crate::store) fn clear(&mut self) {
        if self.slab_bytes == 0 {
            *self = Self::new();
        } else {
            self.empty();
        }
    }

    /// All slabs are vacant.
    fn empty(&mut self) {
        self.classes = core::array::from_fn(|_| Class::default());
        self.vacant.clear();
        // Room for all of them was reserved.
        self.vacant.extend((0..self.slabs.len()).rev().filter_map(|number| u32::try_from(number).ok()));
        self.slabs.iter_mut().for_each(|slab| {
            let mut bytes = core::mem::take(&mut slab.bytes);
            bytes.clear();
            *slab = Slab { bytes, ..Slab::default() };
        });
        (self.used_bytes, self.held_bytes, self.charged_slabs) = (0, 0, None);
    }

    pub(super) fn take_vacant(&mut self, slot_bytes: usize, slots: usize) -> Result<u32, OutOfMemory> {
        if slot_bytes > SHARED_BYTES_MAX || slots == 0 {
            return Err(OutOfMemory);
        }
        let number = *self.vacant.last().ok_or(OutOfMemory)?;
        let slab = self.slabs.get_mut(number as usize).ok_or(OutOfMemory)?;
        slab.slot_bytes = u32::try_from(slot_bytes).map_err(|_| OutOfMemory)?;
        slab.slots = u16::try_from(slots).map_err(|_| OutOfMemory)?;
        (slab.used, slab.free, slab.next, slab.previous) = (0, NONE, NOWHERE, NOWHERE);
        self.vacant.pop();
        self.held_bytes += slot_bytes * slots;
        Ok(number)
    }

    /// A slab that no class has any more keeps its memory.
    pub(super) fn keep(&mut self, number: u32, Slab { mut bytes, .. }: Slab) {
        bytes.clear();
        if let Some(slab) = self.slabs.get_mut(number as usize) {
            slab.bytes = bytes;
        }
    }

    /// A slab whose class has room for its entries in others.
    pub(in crate::store) fn superfluous(&self) -> Option<Sparse> {
        if self.slab_bytes == 0 {
            return None;
        }
        let (at, class) = self
            .classes
            .iter()
            .enumerate()
            .find(|(at, class)| class.free() >= slots_of(self.slab_bytes, slot_bytes_of(*at)) && class.slots > 0)?;
        let (slab, _) = emptiest(&self.slabs, class.roomy, SEARCHED_SLABS);
        Some(Sparse { class: at, slab: slab? })
    }

    /// From now on what is freed is still counted, until [`Slabs::release_charges`]: entries are only taken as long as all that were there at some time since would have room together.
    pub(in crate::store) fn charge_all(&mut self) {
        let mut slabs = 0;
        for at in 0..CLASSES {
            let Some(class) = self.classes.get_mut(at) else { break };
            class.charged = class.used;
            slabs += class.used.div_ceil(slots_of(self.slab_bytes, slot_bytes_of(at)).max(1));
        }
        self.charged_slabs = (self.slab_bytes > 0).then_some(slabs);
    }

    /// Whether frees don't count.
    pub(in crate::store) fn charges(&self) -> bool {
        self.charged_slabs.is_some()
    }

    /// What is free is free again.
    pub(in crate::store) fn release_charges(&mut self) {
        self.charged_slabs = None;
    }

    /// Counts one more entry of this length, if frees don't count.
    #[inline]
    pub(super) fn charge(&mut self, len: usize) -> Result<(), OutOfMemory> {
        match self.charged_slabs {
            None => Ok(()),
            Some(slabs) => self.charge_slot(len, slabs),
        }
    }

    #[cold]
    fn charge_slot(&mut self, len: usize, slabs: usize) -> Result<(), OutOfMemory> {
        let slot_bytes = slot_bytes(len);
        let class = self.classes.get_mut(class_of(slot_bytes)).ok_or(OutOfMemory)?;
        let slabs = slabs + usize::from(class.charged.is_multiple_of(slots_of(self.slab_bytes, slot_bytes).max(1)));
        if slabs > self.slabs.len() {
            return Err(OutOfMemory);
        }
        class.charged += 1;
        self.charged_slabs = Some(slabs);
        Ok(())
    }
}
