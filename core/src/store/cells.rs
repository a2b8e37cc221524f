//! An index of fixed size, for a store whose memory is bounded: one table that never grows and never needs to be put in order.
//!
//! Open addressing with linear probing; what is removed is filled up from behind (Knuth, The Art of Computer Programming, vol. 3, 6.4, algorithm R), so that nothing remembers what was. Five
//! bytes a cell, and a quarter more cells than keys. A cursor is a position, as in [`super::index`]: a key's home never changes, wherever its cell is.

use alloc::vec::Vec;
use core::ops::Range;

use siphasher::sip::SipHasher13;

use super::index::{CURSOR_END, Hash, POSITION_BITS, position};
use super::slabs::{Slabs, Slot};
use crate::record::OutOfMemory;
use crate::units::Millis;

/// More keys than this have no place of their own in the order of cursors.
pub(crate) const KEYS_MAX: usize = 1 << 24;

/// One step of a walk visits the keys of so many homes: few, as a list of them has little room.
const STEP_CELLS: usize = 2;

/// So many keys are not expected to have the homes of one step: 1.6 on average, and more than this with less than 10^-18.
pub(crate) const STEP_KEYS_MAX: usize = 24;

#[derive(Debug, Default)]
pub(super) struct Cells {
    slots: Vec<Slot>,
    /// Eight bits of the hash of what is in each cell.
    tags: Vec<u8>,
    len: usize,
    keys_max: usize,
    /// While removals don't count: how many keys there were at first, and have come since.
    charged: Option<usize>,
}

/// How many cells so many keys need.
const fn cells(keys_max: usize) -> usize {
    keys_max + keys_max / 4 + 1
}

fn tag(hash: Hash) -> u8 {
    hash.0.to_le_bytes().first().copied().unwrap_or_default()
}

impl Cells {
    pub(super) fn new(keys_max: usize) -> Result<Self, OutOfMemory> {
        let mut new = Self { keys_max: keys_max.min(KEYS_MAX), ..Self::default() };
        let cells = cells(new.keys_max);
        new.slots.try_reserve_exact(cells).map_err(|_| OutOfMemory)?;
        new.tags.try_reserve_exact(cells).map_err(|_| OutOfMemory)?;
        new.slots.resize(cells, Slot::NONE);
        new.tags.resize(cells, 0);
        Ok(new)
    }

    /// What that takes, bytes.
    pub(super) const fn bytes_for(keys_max: usize) -> usize {
        cells(keys_max) * (size_of::<Slot>() + size_of::<u8>())
    }

    /// Whether there are any cells at all.
    pub(super) fn exist(&self) -> bool {
        !self.slots.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.tags.capacity()
    }

    pub(super) fn clear(&mut self) {
        self.slots.fill(Slot::NONE);
        (self.len, self.charged) = (0, None);
    }

    /// From now on keys that go are still counted, until [`Cells::release_charges`].
    pub(super) fn charge_all(&mut self) {
        self.charged = self.exist().then_some(self.len);
    }

    pub(super) fn release_charges(&mut self) {
        self.charged = None;
    }

    fn home(&self, hash: Hash) -> usize {
        let home = ((position(hash) >> (u64::BITS - POSITION_BITS)) * self.slots.len() as u64) >> POSITION_BITS;
        usize::try_from(home).unwrap_or(0)
    }

    /// The first position whose home is this cell, or behind it.
    fn position_of(&self, cell: usize) -> u64 {
        ((cell as u64) << POSITION_BITS).div_ceil(self.slots.len().max(1) as u64)
    }

    fn cell_of(&self, position: u64) -> usize {
        usize::try_from((position.min(CURSOR_END) * self.slots.len() as u64) >> POSITION_BITS).unwrap_or(usize::MAX)
    }

    fn behind(&self, cell: usize) -> usize {
        if cell + 1 < self.slots.len() { cell + 1 } else { 0 }
    }

    /// How far a cell is behind another one.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.slots.len() - from }
    }

    pub(super) fn slot(&self, cell: usize) -> Option<Slot> {
        self.slots.get(cell).copied().filter(|&slot| slot != Slot::NONE)
    }

    /// From a hash's home on, up to the first empty cell.
    fn probe(&self, hash: Hash) -> impl Iterator<Item = (usize, Slot)> + '_ {
        let mut cell = self.home(hash);
        (0..self.slots.len()).map_while(move |_| {
            let at = cell;
            cell = self.behind(cell);
            self.slot(at).map(|slot| (at, slot))
        })
    }

    pub(super) fn find(&self, hash: Hash, is_it: impl Fn(Slot) -> bool) -> Option<(usize, Slot)> {
        let tag = tag(hash);
        self.probe(hash).find(|&(cell, slot)| self.tags.get(cell) == Some(&tag) && is_it(slot))
    }

    pub(super) fn replace(&mut self, cell: usize, slot: Slot) {
        self.slots.get_mut(cell).into_iter().for_each(|noted| *noted = slot);
    }

    /// Notes a slot for a key that isn't there.
    pub(super) fn insert(&mut self, hash: Hash, slot: Slot) -> Result<(), OutOfMemory> {
        let charged = self.charged.map_or(self.len, |charged| charged);
        if charged >= self.keys_max {
            return Err(OutOfMemory);
        }
        let last = self.probe(hash).last();
        let cell = last.map_or_else(|| self.home(hash), |(last, _)| self.behind(last));
        if let (Some(noted), Some(noted_tag)) = (self.slots.get_mut(cell), self.tags.get_mut(cell)) {
            (*noted, *noted_tag) = (slot, tag(hash));
            self.len += 1;
            self.charged = self.charged.map(|charged| charged + 1);
        }
        Ok(())
    }

    /// Empties a cell; what stands behind it and belongs before moves up.
    pub(super) fn remove(&mut self, hasher: SipHasher13, slabs: &Slabs, cell: usize) {
        let (mut hole, mut at) = (cell, self.behind(cell));
        while let Some(slot) = self.slot(at).filter(|_| at != cell) {
            let home = self.home(Hash(hasher.hash(slabs.peek(slot).key())));
            if self.distance(home, at) >= self.distance(hole, at) {
                let tag = self.tags.get(at).copied().unwrap_or_default();
                self.replace(hole, slot);
                self.tags.get_mut(hole).into_iter().for_each(|noted| *noted = tag);
                hole = at;
            }
            at = self.behind(at);
        }
        self.replace(hole, Slot::NONE);
        self.len -= 1;
    }

    /// The cells from the beginning of a range on in which keys may be that belong there.
    fn around(&self, homes: Range<usize>) -> impl Iterator<Item = (usize, Slot)> + '_ {
        let mut cell = homes.start;
        let within = homes.len();
        (0..self.slots.len())
            .map_while(move |steps| {
                let at = cell;
                cell = self.behind(cell);
                match self.slot(at) {
                    None if steps >= within => None,
                    slot => Some(slot.map(|slot| (at, slot))),
                }
            })
            .flatten()
    }

    fn visit(&self, hasher: SipHasher13, slabs: &Slabs, homes: Range<usize>, mut visit: impl FnMut(Slot)) {
        for (_, slot) in self.around(homes.clone()) {
            if homes.contains(&self.home(Hash(hasher.hash(slabs.peek(slot).key())))) {
                visit(slot);
            }
        }
    }

    /// As [`super::index::Index::walk`].
    pub(super) fn walk(&self, hasher: SipHasher13, slabs: &Slabs, cursor: u64, visit: impl FnMut(Slot)) -> u64 {
        let begin = self.cell_of(cursor);
        let end = begin.saturating_add(STEP_CELLS).min(self.slots.len());
        self.visit(hasher, slabs, begin.min(end)..end, visit);
        if end < self.slots.len() { self.position_of(end) } else { CURSOR_END }
    }

    /// As [`super::index::Index::walk_bounded`].
    pub(super) fn walk_bounded(
        &self,
        hasher: SipHasher13,
        slabs: &Slabs,
        from: u64,
        bytes_max: usize,
        mut visit: impl FnMut(Slot),
    ) -> Option<u64> {
        let mut used = 0;
        for cell in self.cell_of(from >> (u64::BITS - POSITION_BITS))..self.slots.len() {
            if used >= bytes_max {
                return Some(self.position_of(cell) << (u64::BITS - POSITION_BITS));
            }
            self.visit(hasher, slabs, cell..cell + 1, |slot| {
                used += slabs.bytes_of(slot);
                visit(slot);
            });
        }
        None
    }

    /// The first cell from these homes on whose key has expired at `now`; and the earliest expiry of those that have not.
    pub(super) fn expired(&self, slabs: &Slabs, homes: Range<usize>, now: Millis) -> (Option<(usize, Slot)>, Option<Millis>) {
        let mut earliest = None;
        let expired = self.around(homes).find(|&(_, slot)| {
            let expiry = slabs.peek(slot).expiry();
            let expired = expiry.is_some_and(|expiry| expiry <= now);
            if !expired {
                earliest = earliest.into_iter().chain(expiry).min();
            }
            expired
        });
        (expired, earliest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::index::Index;
    use super::*;
    use crate::record::{Kind, Record};
    use crate::units::Version;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    /// Keys put, moved and removed at random, in an index that is full most of the time: what is found and walked over is what there is.
    #[test]
    fn keys_are_found_and_walked_over() {
        const KEYS_MAX: usize = 100;
        let mut random = 1_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut slabs = Slabs::new();
        let mut index = Index::fixed([7; 16], KEYS_MAX).unwrap();
        let mut model = BTreeMap::new();
        let mut refused = 0;
        for step in 0..40_000 {
            let key = u32::try_from(next(130)).unwrap().to_le_bytes();
            let hash = index.hash(&key);
            let found = index.find(&slabs, hash, &key);
            assert_eq!(found.map(|(_, slot)| slot), model.get(&key).copied());
            let slot = slabs.insert(&Record { kind: Kind::Set, version: Version(1), expiry: None, key: &key, value: &[] }).unwrap();
            match found {
                None if next(4) > 0 => match index.insert(&slabs, hash, slot) {
                    Ok(()) => {
                        model.insert(key, slot);
                    }
                    Err(OutOfMemory) => {
                        assert_eq!(model.len(), KEYS_MAX);
                        slabs.free(slot);
                        refused += 1;
                    }
                },
                Some((place, old)) if next(10) > 0 => {
                    if next(2) == 0 {
                        index.replace(place, slot);
                    } else {
                        index.moved(hash, old, slot);
                    }
                    model.insert(key, slot);
                    slabs.free(old);
                }
                Some((_, old)) => {
                    slabs.free(slot);
                    assert_eq!(index.remove(&slabs, hash, &key), Some(old));
                    slabs.free(old);
                    model.remove(&key);
                }
                None => slabs.free(slot),
            }
            assert_eq!(index.len(), model.len());
            if step % 100 == 0 {
                let mut expected: Vec<Slot> = model.values().copied().collect();
                expected.sort_unstable_by_key(|slot| slot.0);
                for bytes_max in [None, Some(1), Some(100), Some(100_000)] {
                    let (mut walked, mut cursor) = (Vec::new(), Some(0));
                    while let Some(at) = cursor {
                        let visit = |slot| walked.push(slot);
                        cursor = match bytes_max {
                            None => Some(index.walk(&slabs, at, visit)).filter(|&next| next < CURSOR_END),
                            Some(bytes_max) => index.walk_bounded(&slabs, at, bytes_max, visit).unwrap(),
                        };
                        assert!(cursor.is_none_or(|next| next > at));
                    }
                    walked.sort_unstable_by_key(|slot| slot.0);
                    assert_eq!(walked, expected, "each once");
                }
            }
        }
        assert!(refused > 100);
        index.clear();
        assert_eq!((index.len(), index.find(&slabs, Hash(1), b"key").is_none()), (0, true));
    }

    #[test]
    fn positions_and_cells_agree() {
        for keys_max in [1, 2, 7, 100, 1000, 12_345] {
            let cells = Cells::new(keys_max).unwrap();
            for cell in 0..cells.count() {
                assert_eq!(cells.cell_of(cells.position_of(cell)), cell);
            }
        }
    }

    /// What a snapshot's walk has passed must not be visited again, nor what it hasn't be missed, while keys come and go.
    #[test]
    fn a_walk_misses_nothing_that_stays() {
        let mut slabs = Slabs::new();
        let mut index = Index::fixed([3; 16], 500).unwrap();
        let mut slot_of = |index: &mut Index, key: u32| {
            let key = key.to_le_bytes();
            let slot = slabs.insert(&Record { kind: Kind::Set, version: Version(1), expiry: None, key: &key, value: &[] }).unwrap();
            let hash = index.hash(&key);
            index.insert(&slabs, hash, slot).unwrap();
            slot
        };
        let staying: Vec<Slot> = (0..200).map(|key| slot_of(&mut index, key)).collect();
        for key in 1000..1300 {
            slot_of(&mut index, key);
        }
        let (mut walked, mut cursor, mut key) = (Vec::new(), Some(0), 1000_u32);
        while let Some(at) = cursor {
            cursor = index.walk_bounded(&slabs, at, 1, |slot| walked.push(slot)).unwrap();
            for _ in 0..2 {
                let bytes = key.to_le_bytes();
                index.remove(&slabs, index.hash(&bytes), &bytes);
                key += u32::from(key < 1299);
            }
        }
        for slot in staying {
            assert_eq!(walked.iter().filter(|&&walked| walked == slot).count(), 1);
        }
    }
}
