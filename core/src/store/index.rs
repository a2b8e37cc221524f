//! The index: from a key's hash to its entry, in tables that grow and split one at a time.
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

use crate::museum::planted;
use crate::record::{Entry, OutOfMemory};

/// A table with this many entries is split: 7/8 of 512 buckets, hashbrown's full load.
const TABLE_ENTRIES_MAX: usize = 448;

/// The directory doubles up to 2^28 slots (1 GiB, for some 10^11 keys); after that, tables grow.
const DEPTH_MAX: u32 = 28;

/// hashbrown tags entries with a hash's top 7 bits. A table picked by those would hold one tag only, and find nothing quickly.
const TAG_BITS: u32 = 7;

/// A bound for the cursors of [`Index::walk`].
pub(super) const CURSOR_END: u64 = 1 << DEPTH_MAX;

#[derive(Debug)]
struct Table {
    slots: HashTable<Entry>,
    /// How many bits of the position all its entries share.
    depth: u32,
}

/// A keyed hash of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub u64);

/// Where an entry is.
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

    #[inline]
    pub(super) fn find(&self, hash: Hash, key: &[u8]) -> Option<&Entry> {
        self.tables.get(self.table_of(hash))?.slots.find(hash.0, |entry| entry.has_key(key))
    }

    /// The entry that a key of this hash most likely has.
    #[inline]
    pub(super) fn likely(&self, hash: Hash) -> Option<&Entry> {
        self.tables.get(self.table_of(hash))?.slots.find(hash.0, |_| true)
    }

    /// Where a key's entry is, until something is added or removed.
    #[inline]
    pub(super) fn place(&self, hash: Hash, key: &[u8]) -> Option<Place> {
        let table = self.table_of(hash);
        let bucket = self.tables.get(table)?.slots.find_bucket_index(hash.0, |entry| entry.has_key(key))?;
        Some(Place { table, bucket })
    }

    #[inline]
    pub(super) fn at(&mut self, place: Place) -> Option<&mut Entry> {
        self.tables.get_mut(place.table)?.slots.get_bucket_mut(place.bucket)
    }

    /// An entry of this hash for which `due` holds (hashes of different keys may be the same).
    pub(super) fn find_by_hash(&self, hash: Hash, due: impl Fn(&Entry) -> bool) -> Option<&Entry> {
        let slots = &self.tables.get(self.table_of(hash))?.slots;
        slots.find(hash.0, |entry| self.hash(entry.record().key) == hash && due(entry))
    }

    /// Adds an entry whose key isn't there.
    pub(super) fn insert(&mut self, hash: Hash, entry: Entry) -> Result<&Entry, OutOfMemory> {
        self.make_room(hash)?;
        let at = self.table_of(hash);
        let hasher = self.hasher;
        let table = self.tables.get_mut(at).ok_or(OutOfMemory)?;
        self.len += 1;
        Ok(table.slots.insert_unique(hash.0, entry, |entry| hasher.hash(entry.record().key)).into_mut())
    }

    pub(super) fn remove(&mut self, hash: Hash, key: &[u8]) -> Option<Entry> {
        self.remove_if(hash, |entry| entry.has_key(key))
    }

    /// Removes an entry of this hash for which `due` holds.
    pub(super) fn remove_by_hash(&mut self, hash: Hash, due: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let hasher = self.hasher;
        self.remove_if(hash, |entry| hasher.hash(entry.record().key) == hash.0 && due(entry))
    }

    fn remove_if(&mut self, hash: Hash, is_it: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let at = self.table_of(hash);
        let table = self.tables.get_mut(at)?;
        let (entry, _) = table.slots.find_entry(hash.0, is_it).ok()?.remove();
        self.len -= 1;
        if table.slots.is_empty() {
            self.bytes -= table.slots.allocation_size();
            table.slots = HashTable::new();
        }
        Some(entry)
    }

    /// Makes sure that one more entry of this hash can be added without allocating.
    fn make_room(&mut self, hash: Hash) -> Result<(), OutOfMemory> {
        loop {
            let at = self.table_of(hash);
            let hasher = self.hasher;
            let table = self.tables.get_mut(at).ok_or(OutOfMemory)?;
            if table.slots.len() < TABLE_ENTRIES_MAX || table.depth >= DEPTH_MAX {
                let before = table.slots.allocation_size();
                table.slots.try_reserve(1, |entry| hasher.hash(entry.record().key)).map_err(|_| OutOfMemory)?;
                self.bytes += table.slots.allocation_size() - before;
                return Ok(());
            }
            self.split(at, hash)?;
        }
    }

    /// Splits a table by the next bit of its entries' positions.
    fn split(&mut self, at: usize, hash: Hash) -> Result<(), OutOfMemory> {
        let depth = self.tables.get(at).ok_or(OutOfMemory)?.depth;
        if depth == self.depth {
            self.double()?;
        }
        self.tables.try_reserve(1).map_err(|_| OutOfMemory)?;
        let hasher = self.hasher;
        let new = u32::try_from(self.tables.len()).map_err(|_| OutOfMemory)?;
        let table = self.tables.get_mut(at).ok_or(OutOfMemory)?;
        let is_upper = |entry: &Entry| position(Hash(hasher.hash(entry.record().key))) << depth >> (u64::BITS - 1) == 1;
        let upper_len = table.slots.iter().filter(|entry| is_upper(entry)).count();
        let mut upper = HashTable::new();
        upper.try_reserve(upper_len, |_: &Entry| 0).map_err(|_| OutOfMemory)?;
        for entry in table.slots.extract_if(|entry| is_upper(entry)) {
            let hash = hasher.hash(entry.record().key);
            upper.insert_unique(hash, entry, |entry| hasher.hash(entry.record().key));
        }
        table.depth = depth + 1;
        self.bytes += upper.allocation_size();
        self.tables.push(Table { slots: upper, depth: depth + 1 });
        // The directory's slots of this table are the 2^(depth of directory − depth) that share its prefix; the upper half now belongs to the new one.
        let slots = 1_usize << (self.depth - depth);
        let first = prefix(hash, depth) * slots;
        for slot in self.directory.get_mut(first + slots / 2..first + slots).unwrap_or_default() {
            *slot = new;
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
    pub(super) fn walk<'a>(&'a self, cursor: u64, mut visit: impl FnMut(&'a Entry)) -> u64 {
        let slot = cursor.min(CURSOR_END - 1) >> (DEPTH_MAX - self.depth);
        let Some(table) =
            usize::try_from(slot).ok().and_then(|slot| self.directory.get(slot)).and_then(|&table| self.tables.get(table as usize))
        else {
            return CURSOR_END;
        };
        table.slots.iter().for_each(&mut visit);
        let depth = if planted("walk_skips_split_tables") { self.tables.first().map_or(0, |first| first.depth) } else { table.depth };
        let range = DEPTH_MAX - depth;
        ((cursor.min(CURSOR_END - 1) >> range) + 1) << range
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
