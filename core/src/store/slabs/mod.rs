//! Where entries live: slots of some seventy sizes, many of one size in a slab.
//!
//! The slab allocator of Bonwick (USENIX 1994), as memcached uses it: a slot's name takes 4 bytes where a pointer with a length takes 16, and an
//! allocator's header is saved. Sizes grow by an eighth, so that an entry wastes a sixteenth on average. What slab allocators
//! are blamed for, slabs that stay because of a few entries each, is mended by moving these: see [`Slabs::sparse`].
//! An entry too large to share a slab has one of its own, of exactly its size. Knows nothing of keys.

mod fixed;
mod size;
mod slab;

use alloc::vec::Vec;

use crate::museum::planted;
use crate::record::{Encoded, OutOfMemory, Record};
use crate::units::Millis;
use size::{CLASSES, SLAB_BYTES, class_of, slot_bytes_of};
use slab::{NONE, Slab, TRAILER_BYTES, content, is_free, put, set_len};

pub(super) use fixed::slots_of;
pub(super) use size::{SHARED_BYTES_MAX, slot_bytes};

/// A slab has at most 2^9 slots: so slots of 16 bytes and entries of megabytes both fit into what 32 bits can name.
const SLOTS_LOG2: u32 = 9;

/// The first slab of a class has so many slots; later ones a quarter of what the class has already.
const SLOTS_MIN: usize = 4;

/// A search for a sparse slab looks at so many of a class.
const SEARCHED_SLABS: usize = 16;

/// Where an entry is. Must be given back with [`Slabs::free`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(pub(super) u32);

impl Slot {
    /// None: there are never so many slabs.
    pub(super) const NONE: Self = Self(u32::MAX);

    fn new(slab: u32, index: u16) -> Self {
        Self(slab << SLOTS_LOG2 | u32::from(index))
    }

    fn slab(self) -> usize {
        (self.0 >> SLOTS_LOG2) as usize
    }

    fn index(self) -> usize {
        (self.0 & ((1 << SLOTS_LOG2) - 1)) as usize
    }
}

/// A slab that would better be dissolved, of a class. Good until anything else changes.
#[derive(Debug)]
pub(super) struct Sparse {
    class: usize,
    slab: u32,
}

/// No slab.
const NOWHERE: u32 = u32::MAX;

/// All slabs whose slots have the same size.
#[derive(Debug)]
struct Class {
    /// The first of the slabs with free slots.
    roomy: u32,
    slots: usize,
    used: usize,
    /// Where the search for a sparse slab goes on.
    searched: u32,
    /// While frees don't count: how many slots were in use at first, and have been taken since.
    charged: usize,
}

impl Default for Class {
    fn default() -> Self {
        Self { roomy: NOWHERE, slots: 0, used: 0, searched: NOWHERE, charged: 0 }
    }
}

impl Class {
    fn free(&self) -> usize {
        self.slots - self.used
    }

    /// How many slots the next slab has.
    fn next_slots(&self, slot_bytes: usize) -> usize {
        (self.slots / 4).clamp(SLOTS_MIN, (SLAB_BYTES / slot_bytes).min(1 << SLOTS_LOG2))
    }

    /// Whether more slots are free than an eighth of those in use and two slabs' worth.
    fn is_wasteful(&self, at: usize) -> bool {
        self.free() > self.used / 8 + 2 * self.next_slots(slot_bytes_of(at))
    }
}

/// All entries.
#[derive(Debug)]
pub(super) struct Slabs {
    slabs: Vec<Slab>,
    /// Numbers of slabs that don't exist any more; or, where their number is fixed, that no class has.
    vacant: Vec<u32>,
    classes: [Class; CLASSES],
    used_bytes: usize,
    held_bytes: usize,
    /// The size of all slabs, bytes, where they have been allocated at the beginning; 0: each is allocated when it is needed.
    slab_bytes: usize,
    /// While frees don't count: how many slabs what is charged would fill.
    charged_slabs: Option<usize>,
}

impl Slabs {
    pub(super) fn new() -> Self {
        let classes = core::array::from_fn(|_| Class::default());
        Self { slabs: Vec::new(), vacant: Vec::new(), classes, used_bytes: 0, held_bytes: 0, slab_bytes: 0, charged_slabs: None }
    }

    /// What the entries take, each as much as its slot has, bytes.
    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// What has been allocated for entries, bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// What the administration of slabs takes, bytes.
    pub(super) fn overhead_bytes(&self) -> usize {
        self.slabs.capacity() * size_of::<Slab>() + self.vacant.capacity() * size_of::<u32>()
    }

    fn slab(&self, slot: Slot) -> Option<&Slab> {
        self.slabs.get(slot.slab())
    }

    /// An entry.
    #[inline]
    pub(super) fn get(&self, slot: Slot) -> Encoded<'_> {
        Encoded::new(content(self.peek(slot).bytes()))
    }

    /// An entry's header and key. Its value may be longer here than it is, as the end of its slot isn't looked at.
    #[inline]
    pub(super) fn peek(&self, slot: Slot) -> Encoded<'_> {
        Encoded::new(self.slab(slot).map_or(&[][..], |slab| slab.get(slot.index())))
    }

    /// Whether an entry is `key`'s.
    #[inline]
    pub(super) fn has_key(&self, slot: Slot, key: &[u8]) -> bool {
        self.peek(slot).has_key(key)
    }

    /// Loads an entry into the processor's caches, its first lines and its end at least.
    #[inline]
    pub(super) fn touch(&self, slot: Slot) {
        const LINE_BYTES: usize = 64;
        let bytes = self.peek(slot).bytes();
        let lines = [bytes.first(), bytes.get(LINE_BYTES), bytes.get(2 * LINE_BYTES), bytes.last()];
        core::hint::black_box(lines.iter().flatten().fold(0, |sum, &&byte| sum ^ byte));
    }

    /// Loads an entry's beginning into the processor's caches.
    #[inline]
    pub(super) fn touch_first(&self, slot: Slot) {
        core::hint::black_box(self.peek(slot).bytes().first().copied());
    }

    /// How many bytes an entry takes.
    pub(super) fn bytes_of(&self, slot: Slot) -> usize {
        self.slab(slot).map_or(0, |slab| slab.slot_bytes as usize)
    }

    /// Stores a record.
    ///
    /// # Errors
    /// No memory; nothing has changed.
    pub(super) fn insert(&mut self, record: &Record<'_>) -> Result<Slot, OutOfMemory> {
        self.charge(record.encoded_len())?;
        let slot = self.allocate(record.encoded_len())?;
        self.write(slot, record);
        Ok(slot)
    }

    /// Makes an entry what `record` says, where it is; `false`, and nothing changed, if it needs a slot of another size.
    #[must_use]
    pub(super) fn overwrite(&mut self, slot: Slot, record: &Record<'_>) -> bool {
        let fits = slot_bytes(record.encoded_len()) == self.bytes_of(slot);
        if fits {
            self.write(slot, record);
        }
        fits
    }

    fn write(&mut self, slot: Slot, record: &Record<'_>) {
        let Some(slab) = self.slabs.get_mut(slot.slab()) else { return };
        let bytes = slab.get_mut(slot.index());
        let old_len = content(bytes).len();
        record.encode_into(bytes);
        set_len(bytes, if planted("length_not_noted") && old_len > 0 { old_len } else { record.encoded_len() });
    }

    /// Gives an entry another expiry, or none, and says where it is now.
    ///
    /// # Errors
    /// No memory; nothing has changed.
    pub(super) fn set_expiry(&mut self, slot: Slot, expiry: Option<Millis>) -> Result<Slot, OutOfMemory> {
        let entry = self.get(slot);
        let (record, replaced) = (Record { expiry, ..entry.record() }, entry.header_len());
        let (header, old_len, len) = (record.header(), entry.bytes().len(), record.encoded_len());
        let body = replaced..old_len;
        if slot_bytes(len) == self.bytes_of(slot) {
            let bytes = self.slabs.get_mut(slot.slab()).ok_or(OutOfMemory)?.get_mut(slot.index());
            bytes.copy_within(body, header.bytes().len());
            put(bytes, 0, header.bytes());
            set_len(bytes, len);
            return Ok(slot);
        }
        self.charge(len)?;
        let to = self.allocate(len)?;
        // Slots of different sizes are in different slabs.
        let [old, new] = self.slabs.get_disjoint_mut([slot.slab(), to.slab()]).map_err(|_| OutOfMemory)?;
        let bytes = new.get_mut(to.index());
        put(bytes, 0, header.bytes());
        put(bytes, header.bytes().len(), old.get(slot.index()).get(body).unwrap_or_default());
        set_len(bytes, len);
        self.free(slot);
        Ok(to)
    }

    fn allocate(&mut self, len: usize) -> Result<Slot, OutOfMemory> {
        let bytes = slot_bytes(len);
        let (number, class) = if bytes > SHARED_BYTES_MAX {
            (self.add_slab(bytes, 1)?, None)
        } else {
            let at = class_of(bytes);
            (self.roomy_slab(at, bytes)?, Some(at))
        };
        let slab = self.slabs.get_mut(number as usize).ok_or(OutOfMemory)?;
        let index = slab.take();
        let full = slab.is_full();
        self.used_bytes += bytes;
        if let Some(class) = class.and_then(|class| self.classes.get_mut(class)) {
            class.used += 1;
        }
        if let Some(at) = class.filter(|_| full) {
            self.unlist(at, number);
        }
        Ok(Slot::new(number, index))
    }

    /// The slab that this class's next slot is taken from: the first of its list.
    fn roomy_slab(&mut self, at: usize, slot_bytes: usize) -> Result<u32, OutOfMemory> {
        let class = self.classes.get(at).ok_or(OutOfMemory)?;
        if class.roomy != NOWHERE {
            return Ok(class.roomy);
        }
        let slots = if self.slab_bytes > 0 { slots_of(self.slab_bytes, slot_bytes) } else { class.next_slots(slot_bytes) };
        let number = self.add_slab(slot_bytes, slots)?;
        self.classes.get_mut(at).ok_or(OutOfMemory)?.slots += slots;
        self.list(at, number);
        Ok(number)
    }

    /// A slab of its own class, or for one large entry. It is on no list.
    fn add_slab(&mut self, slot_bytes: usize, slots: usize) -> Result<u32, OutOfMemory> {
        if self.slab_bytes > 0 {
            return self.take_vacant(slot_bytes, slots);
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(slot_bytes * slots).map_err(|_| OutOfMemory)?;
        let number = match self.vacant.last() {
            Some(&number) => number,
            None => {
                let number = u32::try_from(self.slabs.len()).map_err(|_| OutOfMemory)?;
                if number >= NOWHERE >> SLOTS_LOG2 {
                    return Err(OutOfMemory);
                }
                self.slabs.try_reserve(1).map_err(|_| OutOfMemory)?;
                // For every slab, so that giving back one needs no memory.
                self.vacant.try_reserve(self.slabs.len() + 1).map_err(|_| OutOfMemory)?;
                self.slabs.push(Slab::default());
                self.vacant.push(number);
                number
            }
        };
        let slab = Slab {
            bytes,
            slot_bytes: u32::try_from(slot_bytes).map_err(|_| OutOfMemory)?,
            slots: u16::try_from(slots).map_err(|_| OutOfMemory)?,
            used: 0,
            free: NONE,
            next: NOWHERE,
            previous: NOWHERE,
        };
        *self.slabs.get_mut(number as usize).ok_or(OutOfMemory)? = slab;
        self.vacant.pop();
        self.held_bytes += slot_bytes * slots;
        Ok(number)
    }

    /// Gives an entry's memory back.
    pub(super) fn free(&mut self, slot: Slot) {
        let Some(slab) = self.slabs.get_mut(slot.slab()) else { return };
        let (bytes, was_full) = (slab.slot_bytes as usize, slab.is_full());
        slab.give_back(slot.index());
        let empty = slab.used == 0;
        self.used_bytes -= bytes;
        let number = u32::try_from(slot.slab()).unwrap_or(u32::MAX);
        if bytes > SHARED_BYTES_MAX {
            return self.release(number);
        }
        let at = class_of(bytes);
        let Some(class) = self.classes.get_mut(at) else { return };
        class.used -= 1;
        if was_full {
            self.list(at, number);
        }
        // One empty slab is kept, so that a key that comes and goes doesn't take its slab along each time.
        if empty && !self.is_only_roomy(at, number) {
            self.unlist(at, number);
            self.release(number);
        }
    }

    /// Puts a slab at the beginning of its class's list of those with room.
    fn list(&mut self, class: usize, number: u32) {
        let Some(class) = self.classes.get_mut(class) else { return };
        let next = core::mem::replace(&mut class.roomy, number);
        if let Some(slab) = self.slabs.get_mut(number as usize) {
            (slab.next, slab.previous) = (next, NOWHERE);
        }
        if let Some(next) = self.slabs.get_mut(next as usize) {
            next.previous = number;
        }
    }

    /// Takes a slab off its class's list of those with room.
    fn unlist(&mut self, class: usize, number: u32) {
        let (Some(class), Some(slab)) = (self.classes.get_mut(class), self.slabs.get(number as usize)) else { return };
        let (next, previous) = (slab.next, slab.previous);
        if class.searched == number {
            class.searched = next;
        }
        match self.slabs.get_mut(previous as usize) {
            Some(previous) => previous.next = next,
            None => class.roomy = next,
        }
        if let Some(next) = self.slabs.get_mut(next as usize) {
            next.previous = previous;
        }
    }

    fn is_only_roomy(&self, class: usize, number: u32) -> bool {
        let first = self.classes.get(class).is_some_and(|class| class.roomy == number);
        first && self.slabs.get(number as usize).is_some_and(|slab| slab.next == NOWHERE)
    }

    /// Gives back a slab that is on no list.
    fn release(&mut self, number: u32) {
        let Some(slab) = self.slabs.get_mut(number as usize).map(core::mem::take) else { return };
        let (slot_bytes, slots) = (slab.slot_bytes as usize, usize::from(slab.slots));
        self.held_bytes -= slot_bytes * slots;
        if slot_bytes <= SHARED_BYTES_MAX
            && let Some(class) = self.classes.get_mut(class_of(slot_bytes))
        {
            class.slots -= slots;
        }
        if self.slab_bytes > 0 {
            self.keep(number, slab);
        }
        self.vacant.push(number);
    }

    /// A slab whose entries would better be elsewhere: its class has many more free slots than it needs, and it is no fuller than the average.
    /// Looks at a few slabs of each class; the next call goes on behind them.
    pub(super) fn sparse(&mut self) -> Option<Sparse> {
        if self.slab_bytes > 0 {
            return None;
        }
        let slabs = &self.slabs;
        self.classes.iter_mut().enumerate().filter(|(at, class)| class.is_wasteful(*at)).find_map(|(at, class)| {
            let begin = if class.searched == NOWHERE { class.roomy } else { class.searched };
            let (emptiest, behind) = emptiest(slabs, begin, SEARCHED_SLABS);
            class.searched = behind;
            let slab = slabs.get(emptiest? as usize)?;
            let (used, slots) = (usize::from(slab.used), usize::from(slab.slots));
            (used * class.slots <= slots * class.used).then_some(Sparse { class: at, slab: emptiest? })
        })
    }

    /// Whether there may be a [`Slabs::sparse`] slab.
    pub(super) fn is_wasteful(&self) -> bool {
        self.slab_bytes == 0 && self.classes.iter().enumerate().any(|(at, class)| class.is_wasteful(at))
    }

    /// Moves the entries of a [`Slabs::sparse`] slab into others and gives the slab back. Tells for each its key, where it was and where it is.
    pub(super) fn dissolve(&mut self, Sparse { class: at, slab: number }: Sparse, mut moved: impl FnMut(&[u8], Slot, Slot)) {
        let (slot_bytes, reached) = (slot_bytes_of(at), self.slabs.get(number as usize).map_or(0, Slab::reached));
        self.unlist(at, number);
        for from in (0..reached).map(|index| Slot::new(number, index)) {
            if self.slab(from).is_none_or(|slab| is_free(slab.get(from.index()))) {
                continue;
            }
            // If the others have no room, the slab that is added is smaller than this one: more than two slabs' worth was free.
            let Ok(to) = self.allocate(slot_bytes - TRAILER_BYTES) else { break };
            let Ok([old, new]) = self.slabs.get_disjoint_mut([from.slab(), to.slab()]) else { break };
            new.get_mut(to.index()).copy_from_slice(old.get(from.index()));
            moved(Encoded::new(content(new.get(to.index()))).key(), from, to);
            old.give_back(from.index());
            self.used_bytes -= slot_bytes;
            self.classes.get_mut(at).into_iter().for_each(|class| class.used -= 1);
        }
        match self.slabs.get(number as usize) {
            Some(slab) if slab.used > 0 => self.list(at, number),
            _ => self.release(number),
        }
    }
}

/// Of the slabs of a list from `begin` on, `count` at most, the one with the smallest part in use; and which comes behind them.
fn emptiest(slabs: &[Slab], begin: u32, count: usize) -> (Option<u32>, u32) {
    let mut at = begin;
    let listed = core::iter::from_fn(|| {
        let (number, slab) = (at, slabs.get(at as usize)?);
        at = slab.next;
        Some((number, slab))
    });
    let usage = |(_, slab): &(u32, &Slab)| usize::from(slab.used) * (1 << SLOTS_LOG2) / usize::from(slab.slots).max(1);
    let emptiest = listed.take(count).min_by_key(usage).map(|(number, _)| number);
    (emptiest, at)
}

#[cfg(test)]
mod tests;
