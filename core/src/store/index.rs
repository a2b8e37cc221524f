//! The index: from a key's hash to its entry's slot, in tables that grow and split one at a time.
//!
//! Extendible hashing (Fagin, Nievergelt, Pippenger, Strong, 1979) over small hashbrown tables: a directory maps the first `depth` bits of a
//! hash's *position* to a table; a table that is full is split in two, and only then, and rarely, the directory doubles (a copy of
//! 4 bytes a table). So no operation moves more than one table's entries, and walking the tables in directory order is a
//! walk in the order of positions: a cursor is a position, and a split before or after it changes nothing.
//!
//! Knows nothing of versions, expiry or the log.

use alloc::vec::Vec;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use super::slabs::{Slabs, Slot};
use crate::museum::planted;
use crate::record::{Encoded, OutOfMemory};

/// A table with this many entries is split: 7/8 of 512 buckets, hashbrown's full load.
const TABLE_ENTRIES_MAX: usize = 448;

/// A table with this many entries is split where deleted ones have left it without room: clearing up would help for a short time only.
const CROWDED_ENTRIES: usize = 384;

/// The directory doubles up to 2^25 places (128 MiB, for 10^10 keys, more than there are slots for); after that, tables grow.
const DEPTH_MAX: u32 = 25;

/// hashbrown tags entries with a hash's top 7 bits. A table picked by those would hold one tag only, and find nothing quickly.
const TAG_BITS: u32 = 7;

/// A bound for the cursors of [`Index::walk`].
pub(super) const CURSOR_END: u64 = 1 << DEPTH_MAX;

#[derive(Debug)]
struct Table {
    slots: HashTable<Slot>,
    /// How many bits of the position all its entries share.
    depth: u32,
}

impl Table {
    /// Asks memory for what the hashes of all entries will need. One after the other, a split would wait for each of some hundred entries in turn.
    fn touch_entries(&self, slabs: &Slabs) {
        self.slots.iter().for_each(|&slot| slabs.touch_first(slot));
    }
}

/// A keyed hash of a key.
///
/// ```
/// use osprey_core::store::Store;
///
/// // Nobody who doesn't know the key can find keys that meet in one bucket.
/// let (ours, theirs) = (Store::new([7; 16])?, Store::new([8; 16])?);
/// assert_ne!(ours.hash(b"user:1"), theirs.hash(b"user:1"));
/// assert_eq!(ours.hash(b"user:1"), Store::new([7; 16])?.hash(b"user:1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub u64);

impl Hash {
    /// As much of it as finds the key, in 48 bits: tag and position come from its first 32 bits, the bucket in a table from its last.
    pub(super) fn short(self) -> ShortHash {
        ShortHash(self.0 >> 32 << 16 | self.0 & 0xFFFF)
    }
}

/// 48 bits of a hash: [`Hash::short`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShortHash(pub(super) u64);

impl ShortHash {
    /// A hash that is looked for in the same places.
    fn widened(self) -> Hash {
        Hash(self.0 >> 16 << 32 | self.0 & 0xFFFF)
    }
}

/// Where a slot is noted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    table: usize,
    bucket: usize,
}

#[derive(Debug)]
pub(super) struct Index {
    hasher: SipHasher13,
    directory: Vec<u32>,
    tables: Vec<Table>,
    depth: u32,
    len: usize,
    bytes: usize,
}

impl Index {
    pub(super) fn new(hash_key: [u8; 16]) -> Result<Self, OutOfMemory> {
        let mut index =
            Self { hasher: SipHasher13::new_with_key(&hash_key), directory: Vec::new(), tables: Vec::new(), depth: 0, len: 0, bytes: 0 };
        index.directory.try_reserve(1).map_err(|_| OutOfMemory)?;
        index.tables.try_reserve(1).map_err(|_| OutOfMemory)?;
        index.directory.push(0);
        index.tables.push(Table { slots: HashTable::new(), depth: 0 });
        Ok(index)
    }

    /// Forgets all entries.
    pub(super) fn clear(&mut self) {
        self.tables.truncate(1);
        self.directory.truncate(1);
        self.directory.iter_mut().for_each(|table| *table = 0);
        self.tables.iter_mut().for_each(|table| *table = Table { slots: HashTable::new(), depth: 0 });
        (self.depth, self.len, self.bytes) = (0, 0, 0);
    }

    pub(super) fn hash(&self, key: &[u8]) -> Hash {
        Hash(self.hasher.hash(key))
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Memory held by directory and tables, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.directory.capacity() * size_of::<u32>() + self.tables.capacity() * size_of::<Table>()
    }

    fn table_of(&self, hash: Hash) -> usize {
        self.directory.get(prefix(hash, self.depth)).map_or(0, |&table| table as usize)
    }

    /// The slot that a key of this hash most likely has.
    #[inline]
    pub(super) fn likely(&self, hash: Hash) -> Option<Slot> {
        self.tables.get(self.table_of(hash))?.slots.find(hash.0, |_| true).copied()
    }

    /// A key's slot, and where it is noted until something is added or removed.
    #[inline]
    pub(super) fn find(&self, slabs: &Slabs, hash: Hash, key: &[u8]) -> Option<(Place, Slot)> {
        let table = self.table_of(hash);
        let slots = &self.tables.get(table)?.slots;
        let bucket = slots.find_bucket_index(hash.0, |&slot| slabs.has_key(slot, key))?;
        Some((Place { table, bucket }, *slots.get_bucket(bucket)?))
    }

    /// Notes another slot at a place.
    #[inline]
    pub(super) fn replace(&mut self, place: Place, slot: Slot) {
        let noted = self.tables.get_mut(place.table).and_then(|table| table.slots.get_bucket_mut(place.bucket));
        noted.into_iter().for_each(|noted| *noted = slot);
    }

    /// The slot of an entry of this hash for which `due` holds (hashes of different keys may be the same).
    pub(super) fn find_by_hash(&self, slabs: &Slabs, hash: ShortHash, due: impl Fn(Encoded<'_>) -> bool) -> Option<Slot> {
        let wide = hash.widened();
        let slots = &self.tables.get(self.table_of(wide))?.slots;
        slots.find(wide.0, |&slot| self.is_it(slabs.get(slot), hash) && due(slabs.get(slot))).copied()
    }

    fn is_it(&self, entry: Encoded<'_>, hash: ShortHash) -> bool {
        self.hash(entry.key()).short() == hash
    }

    /// Notes a slot for a key that isn't there.
    pub(super) fn insert(&mut self, slabs: &Slabs, hash: Hash, slot: Slot) -> Result<(), OutOfMemory> {
        self.make_room(slabs, hash)?;
        let at = self.table_of(hash);
        let hasher = self.hasher;
        let table = self.tables.get_mut(at).ok_or(OutOfMemory)?;
        self.len += 1;
        table.slots.insert_unique(hash.0, slot, |&slot| hasher.hash(slabs.peek(slot).key()));
        Ok(())
    }

    /// Forgets a key's slot.
    pub(super) fn remove(&mut self, slabs: &Slabs, hash: Hash, key: &[u8]) -> Option<Slot> {
        self.remove_if(hash, |slot| slabs.has_key(slot, key))
    }

    /// Forgets the slot of an entry of this hash for which `due` holds.
    pub(super) fn remove_by_hash(&mut self, slabs: &Slabs, hash: ShortHash, due: impl Fn(Encoded<'_>) -> bool) -> Option<Slot> {
        let hasher = self.hasher;
        let is_it = |entry: Encoded<'_>| Hash(hasher.hash(entry.key())).short() == hash && due(entry);
        self.remove_if(hash.widened(), |slot| is_it(slabs.get(slot)))
    }

    /// An entry has moved.
    pub(super) fn moved(&mut self, hash: Hash, from: Slot, to: Slot) {
        let at = self.table_of(hash);
        if let Some(noted) = self.tables.get_mut(at).and_then(|table| table.slots.find_mut(hash.0, |&slot| slot == from)) {
            *noted = to;
        }
    }

    fn remove_if(&mut self, hash: Hash, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        let at = self.table_of(hash);
        let table = self.tables.get_mut(at)?;
        let (slot, _) = table.slots.find_entry(hash.0, |&slot| is_it(slot)).ok()?.remove();
        self.len -= 1;
        if table.slots.is_empty() {
            self.bytes -= table.slots.allocation_size();
            table.slots = HashTable::new();
        }
        Some(slot)
    }

    /// Makes sure that one more entry of this hash can be added without allocating.
    fn make_room(&mut self, slabs: &Slabs, hash: Hash) -> Result<(), OutOfMemory> {
        loop {
            let at = self.table_of(hash);
            let hasher = self.hasher;
            let table = self.tables.get_mut(at).ok_or(OutOfMemory)?;
            let len = table.slots.len();
            // What deleted entries have left behind doesn't count as capacity.
            if table.slots.capacity() > len {
                return Ok(());
            }
            if table.depth < DEPTH_MAX && len >= CROWDED_ENTRIES {
                self.split(slabs, at, hash)?;
                continue;
            }
            let mut larger = HashTable::new();
            let target = if table.depth < DEPTH_MAX { (len + len / 4 + 1).min(TABLE_ENTRIES_MAX) } else { 2 * len };
            let hash_of = |slot: &Slot| hasher.hash(slabs.peek(*slot).key());
            larger.try_reserve(target, hash_of).map_err(|_| OutOfMemory)?;
            table.touch_entries(slabs);
            for &slot in &table.slots {
                larger.insert_unique(hash_of(&slot), slot, hash_of);
            }
            self.bytes = self.bytes + larger.allocation_size() - table.slots.allocation_size();
            table.slots = larger;
        }
    }

    /// Splits a table by the next bit of its entries' positions.
    fn split(&mut self, slabs: &Slabs, at: usize, hash: Hash) -> Result<(), OutOfMemory> {
        let depth = self.tables.get(at).ok_or(OutOfMemory)?.depth;
        if depth == self.depth {
            self.double()?;
        }
        self.tables.try_reserve(1).map_err(|_| OutOfMemory)?;
        let hasher = self.hasher;
        let new = u32::try_from(self.tables.len()).map_err(|_| OutOfMemory)?;
        let table = self.tables.get_mut(at).ok_or(OutOfMemory)?;
        let hash_of = |slot: &Slot| hasher.hash(slabs.peek(*slot).key());
        let is_upper = |hash: u64| position(Hash(hash)) << depth >> (u64::BITS - 1) == 1;
        let [mut lower, mut upper] = [HashTable::new(), HashTable::new()];
        // A sixteenth more than its share: so that a half seldom has to grow while it is filled, or soon after.
        let share = table.slots.len() / 2 + table.slots.len() / 32;
        for half in [&mut lower, &mut upper] {
            half.try_reserve(share, hash_of).map_err(|_| OutOfMemory)?;
        }
        table.touch_entries(slabs);
        for &slot in &table.slots {
            let hash = hash_of(&slot);
            let half = if is_upper(hash) { &mut upper } else { &mut lower };
            half.try_reserve(1, hash_of).map_err(|_| OutOfMemory)?;
            half.insert_unique(hash, slot, hash_of);
        }
        self.bytes = self.bytes + lower.allocation_size() + upper.allocation_size() - table.slots.allocation_size();
        *table = Table { slots: lower, depth: depth + 1 };
        self.tables.push(Table { slots: upper, depth: depth + 1 });
        // The directory's places of this table are the 2^(depth of directory − depth) that share its prefix; the upper half now belongs to the new one.
        let places = 1_usize << (self.depth - depth);
        let first = prefix(hash, depth) * places;
        for place in self.directory.get_mut(first + places / 2..first + places).unwrap_or_default() {
            *place = new;
        }
        Ok(())
    }

    fn double(&mut self) -> Result<(), OutOfMemory> {
        let mut doubled = Vec::new();
        doubled.try_reserve_exact(self.directory.len() * 2).map_err(|_| OutOfMemory)?;
        for &table in &self.directory {
            doubled.push(table);
            doubled.push(table);
        }
        self.directory = doubled;
        self.depth += 1;
        Ok(())
    }

    /// Visits the entries of the table at `cursor` (0 at first) and returns where the next begins, [`CURSOR_END`] after the last.
    /// An entry that is there throughout a walk is visited at least once. Bounded by one table's entries.
    pub(super) fn walk(&self, cursor: u64, mut visit: impl FnMut(Slot)) -> u64 {
        let place = cursor.min(CURSOR_END - 1) >> (DEPTH_MAX - self.depth);
        let Some(table) =
            usize::try_from(place).ok().and_then(|place| self.directory.get(place)).and_then(|&table| self.tables.get(table as usize))
        else {
            return CURSOR_END;
        };
        table.slots.iter().copied().for_each(&mut visit);
        let depth = if planted("walk_skips_split_tables") { self.tables.first().map_or(0, |first| first.depth) } else { table.depth };
        let range = DEPTH_MAX - depth;
        ((cursor.min(CURSOR_END - 1) >> range) + 1) << range
    }

    /// As [`Index::walk`], in steps of about `bytes_max` of entries: a table with more is visited in several. `from` is a position, 0 at first; returns the next,
    /// `None` at the end. Entries of the same position are visited together, and so each at most once, if it stays.
    ///
    /// # Errors
    /// No memory to put a table's entries in order.
    pub(super) fn walk_bounded(
        &self,
        slabs: &Slabs,
        from: u64,
        bytes_max: usize,
        mut visit: impl FnMut(Slot),
    ) -> Result<Option<u64>, OutOfMemory> {
        let place = usize::try_from(from.checked_shr(u64::BITS - self.depth).unwrap_or(0)).map_err(|_| OutOfMemory)?;
        let Some(table) = self.directory.get(place).and_then(|&table| self.tables.get(table as usize)) else { return Ok(None) };
        let depth = if planted("snapshot_skips_split_tables") { self.tables.first().map_or(0, |first| first.depth) } else { table.depth };
        let range = u64::BITS - depth;
        let begin = from.checked_shr(range).unwrap_or(0).checked_shl(range).unwrap_or(0);
        let next = 1_u64.checked_shl(range).and_then(|range| begin.checked_add(range));
        let bytes: usize = table.slots.iter().map(|&slot| slabs.bytes_of(slot)).sum();
        if from == begin && bytes <= bytes_max {
            table.slots.iter().for_each(|&slot| slabs.touch(slot));
            table.slots.iter().copied().for_each(&mut visit);
            return Ok(next);
        }
        let mut entries = Vec::new();
        entries.try_reserve_exact(table.slots.len()).map_err(|_| OutOfMemory)?;
        let positions = table.slots.iter().map(|&slot| (position(self.hash(slabs.get(slot).key())), slot));
        entries.extend(positions.filter(|(position, _)| *position >= from));
        entries.sort_unstable_by_key(|(position, _)| *position);
        let (mut used, mut last) = (0, None);
        for (position, slot) in entries {
            if used >= bytes_max && last != Some(position) {
                return Ok(Some(position));
            }
            used += slabs.bytes_of(slot);
            last = Some(position);
            visit(slot);
        }
        Ok(next)
    }
}

/// A hash's place in the order of a walk: its bits below the tag, the first of them on top.
fn position(hash: Hash) -> u64 {
    hash.0 << TAG_BITS
}

/// The first `depth` bits of a hash's position.
fn prefix(hash: Hash, depth: u32) -> usize {
    // At most DEPTH_MAX bits: they fit.
    position(hash).checked_shr(u64::BITS - depth).and_then(|prefix| usize::try_from(prefix).ok()).unwrap_or(0)
}
