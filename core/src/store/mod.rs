//! The data: keys with values, versions and expiries, and what they cost in memory.
//!
//! Every change here is one that the log has recorded or is about to; the store decides nothing about commands and knows
//! neither protocol nor log. Nothing it does takes longer than the keys that it is given: see the private modules `index` and `deadlines`.

mod deadlines;
mod index;
mod slabs;

pub use index::Hash;
use index::{CURSOR_END, Index, Place, ShortHash};
use slabs::{Slabs, Slot};

use crate::museum::planted;
use crate::record::{Encoded, Kind, OutOfMemory, Record};
use crate::units::{Millis, Version};
use deadlines::Deadlines;

/// So many deadlines may stand for nothing before it is worth gathering them anew.
const STALE_DEADLINES: usize = 64 << 10;

/// How many chunks of deadlines that were replaced are given back with each sweep.
const DISCARDED_CHUNKS: usize = 16;

/// Where a key is, or would be, until something is added or removed.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    hash: Hash,
    held: Option<(Place, Slot)>,
}

/// What is known of a key at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// Where it is.
    pub spot: Spot,
    entry: Option<Encoded<'a>>,
    expired: bool,
}

impl<'a> Lookup<'a> {
    /// The record of a key that is there.
    #[must_use]
    #[inline]
    pub fn live(&self) -> Option<Record<'a>> {
        if self.expired { None } else { self.entry.map(Encoded::record) }
    }

    /// The record of a key that has reached its expiry: it is gone, but its memory is still held.
    #[must_use]
    #[inline]
    pub fn expired(&self) -> Option<Record<'a>> {
        if self.expired { self.entry.map(Encoded::record) } else { None }
    }
}

/// What a [`Store::exchange`] has replaced. Holds memory that only the store can give back.
#[derive(Debug)]
#[must_use]
pub(crate) struct Before(Option<Slot>);

/// All keys.
///
/// ```
/// # use osprey_core::engine::{DatabaseId, Engine, Entropy, Options, SetOptions};
/// # use osprey_core::storage::memory::MemoryStorage;
/// # use osprey_core::units::Millis;
/// # let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(Options::new(entropy), &mut storage, Millis(1))?;
/// # while engine.drive(&mut storage)? {}
/// # engine.set(Millis(1), b"key", b"value", &SetOptions::default()).result?;
/// // An engine's, to be looked at. What it shows need not be in the log yet.
/// let store = engine.store();
/// assert_eq!(store.lookup(store.hash(b"key"), b"key", Millis(1)).live().map(|record| record.value), Some(&b"value"[..]));
/// let mut bytes = 0;
/// let mut cursor = Some(0);
/// while let Some(at) = cursor {
///     cursor = store.walk(at, |record| bytes += record.value.len());
/// }
/// assert_eq!((store.len(), bytes), (1, 5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Store {
    index: Index,
    slabs: Slabs,
    deadlines: Deadlines,
    renewal: Option<Renewal>,
    /// Replaced, and given back a little at a time.
    retired: Deadlines,
    floor: Version,
    with_expiry: usize,
    expired_total: u64,
}

/// Deadlines that are gathered anew from the keys, table by table, while the old ones go on serving.
#[derive(Debug)]
struct Renewal {
    deadlines: Deadlines,
    cursor: u64,
}

impl Store {
    /// An empty store. `hash_key` must be random where keys come from people who may wish us ill.
    ///
    /// # Errors
    /// No memory.
    pub fn new(hash_key: [u8; 16]) -> Result<Self, OutOfMemory> {
        Ok(Self {
            index: Index::new(hash_key)?,
            slabs: Slabs::new(),
            deadlines: Deadlines::new(),
            renewal: None,
            retired: Deadlines::new(),
            floor: Version::NONE,
            with_expiry: 0,
            expired_total: 0,
        })
    }

    /// The keyed hash of a key; other calls take it, so that it is computed once.
    #[must_use]
    #[inline]
    pub fn hash(&self, key: &[u8]) -> Hash {
        self.index.hash(key)
    }

    /// How many keys are held, those included that have expired and weren't swept yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no key is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys have an expiry.
    #[must_use]
    pub(crate) fn with_expiry(&self) -> usize {
        self.with_expiry
    }

    /// How many keys have been removed because their time had come.
    #[must_use]
    pub fn expired_total(&self) -> u64 {
        self.expired_total
    }

    /// Memory in use, bytes: entries, index and deadlines. Free room between entries isn't counted, see [`Store::free_bytes`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        let renewal = self.renewal.as_ref().map_or(0, |renewal| renewal.deadlines.bytes());
        self.slabs.used_bytes() + self.slabs.overhead_bytes() + self.index.bytes() + self.deadlines.bytes() + renewal + self.retired.bytes()
    }

    /// What entries take, bytes: nearly what a snapshot of them takes.
    #[must_use]
    pub fn entry_bytes(&self) -> usize {
        self.slabs.used_bytes()
    }

    /// Room between entries that is allocated and free for others of their size, bytes. [`Store::sweep`] gives back what gets out of hand.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        self.slabs.held_bytes() - self.slabs.used_bytes()
    }

    /// The highest version that a removed key had: a new key starts above it.
    #[must_use]
    pub fn floor(&self) -> Version {
        self.floor
    }

    /// Raises the floor to `version` if it is lower.
    pub(crate) fn raise_floor(&mut self, version: Version) {
        self.floor = self.floor.max(version);
    }

    /// What is known of a key at `now`.
    #[must_use]
    #[inline]
    pub fn lookup(&self, hash: Hash, key: &[u8], now: Millis) -> Lookup<'_> {
        let spot = self.find(hash, key);
        let entry = spot.held.map(|(_, slot)| self.slabs.get(slot));
        let expired = entry.is_some_and(|entry| entry.expired(now));
        Lookup { spot, entry, expired }
    }

    #[inline]
    fn find(&self, hash: Hash, key: &[u8]) -> Spot {
        Spot { hash, held: self.index.find(&self.slabs, hash, key) }
    }

    /// The value of the key that was found at this spot; empty where nothing was.
    #[must_use]
    pub(crate) fn value_at(&self, spot: Spot) -> &[u8] {
        spot.held.map_or(&[], |(_, slot)| self.slabs.get(slot).record().value)
    }

    /// The record of the key that was found at this spot, if one was.
    #[must_use]
    pub(crate) fn record_at(&self, spot: Spot) -> Option<Record<'_>> {
        spot.held.map(|(_, slot)| self.slabs.get(slot).record())
    }

    fn expiry_at(&self, spot: Spot) -> Option<Millis> {
        spot.held.and_then(|(_, slot)| self.slabs.peek(slot).expiry())
    }

    /// How much memory it takes to put `record` at this spot, bytes; the growth of tables and deadlines comes on top.
    #[must_use]
    pub fn growth(&self, spot: Spot, record: &Record<'_>) -> usize {
        let held = spot.held.map_or(0, |(_, slot)| self.slabs.bytes_of(slot));
        slabs::slot_bytes(record.encoded_len()).saturating_sub(held)
    }

    /// Asks memory for what lookups of these keys will need, of `N` at most. Changes nothing.
    #[inline]
    pub fn touch<const N: usize>(&self, hashes: impl Iterator<Item = Hash>) {
        // First all tags, then all entries: in each of the loops no load waits for another's, so that they are under way together.
        let likely: heapless::Vec<Slot, N> = hashes.filter_map(|hash| self.index.likely(hash)).take(N).collect();
        likely.iter().for_each(|&slot| self.slabs.touch(slot));
    }

    /// The version that the next value of a key gets; `None` when the 64-bit range is used up.
    #[must_use]
    pub fn next_version(&self, found: &Lookup<'_>) -> Option<Version> {
        match found.entry.map(Encoded::version) {
            Some(version) if !found.expired || planted("version_below_floor") => version.next(),
            Some(version) => self.floor.max(version).next(),
            None => self.floor.next(),
        }
    }

    /// Makes the key at `spot` what a [`Kind::Set`] record says. Returns the record's bytes, as they are held now.
    ///
    /// # Errors
    /// No memory; nothing has changed.
    pub fn put(&mut self, spot: Spot, record: &Record<'_>) -> Result<&[u8], OutOfMemory> {
        let expiry = self.expiry_at(spot);
        self.schedule(spot.hash, expiry, record.expiry)?;
        let slot = match spot.held {
            None => self.insert(spot.hash, record)?,
            Some((place, old)) => {
                let slot = if self.slabs.overwrite(old, record) { old } else { self.slabs.insert(record)? };
                if slot != old {
                    self.index.replace(place, slot);
                    self.slabs.free(old);
                }
                self.count_expiry(expiry, record.expiry);
                slot
            }
        };
        Ok(self.slabs.get(slot).bytes())
    }

    /// Adds a key that isn't there.
    fn insert(&mut self, hash: Hash, record: &Record<'_>) -> Result<Slot, OutOfMemory> {
        let slot = self.slabs.insert(record)?;
        if let Err(error) = self.index.insert(&self.slabs, hash, slot) {
            self.slabs.free(slot);
            return Err(error);
        }
        self.count_expiry(None, record.expiry);
        Ok(slot)
    }

    /// As [`Store::put`], but keeps what was there before, for [`Store::restore`] or [`Store::forget`].
    ///
    /// # Errors
    /// No memory; nothing has changed.
    pub(crate) fn exchange(&mut self, spot: Spot, record: &Record<'_>) -> Result<Before, OutOfMemory> {
        let expiry = self.expiry_at(spot);
        self.schedule(spot.hash, expiry, record.expiry)?;
        let Some((place, old)) = spot.held else {
            self.insert(spot.hash, record)?;
            return Ok(Before(None));
        };
        let slot = self.slabs.insert(record)?;
        self.index.replace(place, slot);
        self.count_expiry(expiry, record.expiry);
        Ok(Before(Some(old)))
    }

    /// Takes back a [`Store::exchange`].
    pub(crate) fn restore(&mut self, hash: Hash, key: &[u8], Before(before): Before) {
        let Some(old) = before else {
            self.take(hash, key);
            return;
        };
        if let Some((place, new)) = self.index.find(&self.slabs, hash, key) {
            self.index.replace(place, old);
            self.count_expiry(self.slabs.peek(new).expiry(), self.slabs.peek(old).expiry());
            self.slabs.free(new);
        }
    }

    /// Gives back the memory of what was there before a [`Store::exchange`] that stays.
    pub(crate) fn forget(&mut self, Before(before): Before) {
        before.into_iter().for_each(|old| self.slabs.free(old));
    }

    fn count_expiry(&mut self, old: Option<Millis>, new: Option<Millis>) {
        self.with_expiry = self.with_expiry + usize::from(new.is_some()) - usize::from(old.is_some());
    }

    /// Every key with an expiry has a deadline no later than it; one that has one already needs no other.
    fn schedule(&mut self, hash: Hash, before: Option<Millis>, expiry: Option<Millis>) -> Result<(), OutOfMemory> {
        match expiry {
            Some(expiry) if before.is_none_or(|before| expiry < before) => self.push_deadline(expiry, hash.short()),
            _ => Ok(()),
        }
    }

    fn push_deadline(&mut self, due: Millis, hash: ShortHash) -> Result<(), OutOfMemory> {
        self.deadlines.push(due, hash)?;
        // Without memory for the new ones the old ones do.
        self.renewal.take_if(|renewal| renewal.deadlines.push(due, hash).is_err());
        Ok(())
    }

    /// Gives a key another expiry, or none. Does nothing if the key isn't there.
    ///
    /// # Errors
    /// No memory; nothing has changed.
    pub fn set_expiry(&mut self, hash: Hash, key: &[u8], expiry: Option<Millis>) -> Result<(), OutOfMemory> {
        let Some((place, slot)) = self.index.find(&self.slabs, hash, key) else { return Ok(()) };
        let before = self.slabs.peek(slot).expiry();
        self.schedule(hash, before, expiry)?;
        let slot = self.slabs.set_expiry(slot, expiry)?;
        self.index.replace(place, slot);
        self.count_expiry(before, expiry);
        Ok(())
    }

    /// Removes a key; the floor rises to its version. Returns whether it was there.
    pub fn remove(&mut self, hash: Hash, key: &[u8]) -> bool {
        let Some(version) = self.take(hash, key) else { return false };
        self.raise_floor(version);
        true
    }

    /// Removes a key and tells its version.
    fn take(&mut self, hash: Hash, key: &[u8]) -> Option<Version> {
        let slot = self.index.remove(&self.slabs, hash, key)?;
        Some(self.give_back(slot))
    }

    /// Gives back the memory of an entry that the index doesn't know any more, and tells its version.
    fn give_back(&mut self, slot: Slot) -> Version {
        let Record { version, expiry, .. } = self.slabs.get(slot).record();
        self.slabs.free(slot);
        self.count_expiry(expiry, None);
        version
    }

    /// Notes that an expired key was found and replaced, or is about to be removed.
    pub(crate) fn count_expired(&mut self) {
        self.expired_total += 1;
    }

    /// Removes keys that have expired at `now`, and puts memory in order. Looks at `steps` deadlines at most, and moves the entries of one slab
    /// at most; returns how many keys it removed, and whether nothing is left to do at `now`.
    pub fn sweep(&mut self, now: Millis, mut steps: usize) -> (usize, bool) {
        let before = self.expired_total;
        while let Some(hash) = self.deadlines.pop(now, &mut steps) {
            self.sweep_one(hash, now);
        }
        let all = self.renew_deadlines(steps) && steps > 0;
        self.gather();
        (usize::try_from(self.expired_total - before).unwrap_or(usize::MAX), all && !self.is_scattered())
    }

    fn sweep_one(&mut self, hash: ShortHash, now: Millis) {
        let due = |entry: Encoded<'_>| entry.expired(now) || (planted("swept_too_early") && entry.expiry().is_some());
        if let Some(slot) = self.index.remove_by_hash(&self.slabs, hash, due) {
            let version = self.give_back(slot);
            if !planted("floor_below_expired") {
                self.raise_floor(version);
            }
            self.expired_total += 1;
        } else if let Some(slot) = self.index.find_by_hash(&self.slabs, hash, |entry| entry.expiry().is_some())
            && let Some(later) = self.slabs.get(slot).expiry()
        {
            // The deadline was moved since. Without memory for it the key is found expired when it is next asked for.
            let _ = self.push_deadline(later, hash);
        }
    }

    /// Whether free memory between entries is worth being gathered: [`Store::sweep`] does it.
    #[must_use]
    pub fn is_scattered(&self) -> bool {
        self.slabs.is_wasteful()
    }

    /// Empties a slab that has few entries.
    fn gather(&mut self) {
        if let Some(slab) = self.slabs.sparse() {
            let Self { index, slabs, .. } = self;
            slabs.dissolve(slab, |key, from, to| {
                if !planted("move_not_noted") {
                    index.moved(index.hash(key), from, to);
                }
            });
        }
    }

    /// A deadline stays until it is due, also when its key is deleted or loses its expiry, and a key that gets one again gets another. Where most
    /// of them stand for nothing, all are gathered anew. Visits some more than `steps` keys at most; returns whether nothing is left to do.
    fn renew_deadlines(&mut self, mut steps: usize) -> bool {
        self.retired.discard(DISCARDED_CHUNKS);
        let worth_keeping = 2 * self.with_expiry + self.index.len() / 8 + STALE_DEADLINES;
        if self.renewal.is_none() && self.deadlines.len() > worth_keeping {
            self.renewal = Some(Renewal { deadlines: Deadlines::from(self.deadlines.reached()), cursor: 0 });
        }
        while let Some(renewal) = &mut self.renewal {
            if steps == 0 {
                return false;
            }
            steps -= 1;
            let (index, slabs) = (&self.index, &self.slabs);
            let mut pushed = Ok(());
            renewal.cursor = index.walk(renewal.cursor, |slot| {
                let record = slabs.get(slot).record();
                steps = steps.saturating_sub(1);
                if let (Some(expiry), Ok(())) = (record.expiry, pushed) {
                    pushed = renewal.deadlines.push(expiry, index.hash(record.key).short());
                }
            });
            if pushed.is_err() {
                self.renewal = None;
            } else if renewal.cursor >= CURSOR_END {
                let renewed = self.renewal.take().map(|renewal| renewal.deadlines);
                self.retired = core::mem::replace(&mut self.deadlines, renewed.unwrap_or_else(Deadlines::new));
            }
        }
        self.retired.len() == 0
    }

    /// No key expires before this; `None`: none has an expiry.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Millis> {
        self.deadlines.next_due()
    }

    /// Visits the keys at a cursor (0 at first) and returns the next cursor, or `None` at the end. A key that is there
    /// throughout is visited at least once, however the store grows meanwhile. A call visits some hundred keys at most.
    pub fn walk<'a>(&'a self, cursor: u64, mut visit: impl FnMut(Record<'a>)) -> Option<u64> {
        let next = self.index.walk(cursor, |slot| visit(self.slabs.get(slot).record()));
        (next < CURSOR_END).then_some(next)
    }

    /// As [`Store::walk`], for a snapshot: the bytes of each entry's record. A call visits about `bytes_max` of them, or one entry, however large it is.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn copy_from(&self, position: u64, bytes_max: usize, mut visit: impl FnMut(&[u8])) -> Result<Option<u64>, OutOfMemory> {
        self.index.walk_bounded(&self.slabs, position, bytes_max, |slot| visit(self.slabs.get(slot).bytes()))
    }

    /// Forgets everything. The keyed hash stays.
    pub fn clear(&mut self) {
        self.index.clear();
        self.slabs = Slabs::new();
        self.deadlines = Deadlines::new();
        self.renewal = None;
        self.retired = Deadlines::new();
        (self.floor, self.with_expiry, self.expired_total) = (Version::NONE, 0, 0);
    }

    /// Applies records from a snapshot or the log, in order.
    ///
    /// # Errors
    /// No memory; some of the records may be applied.
    pub fn replay<'a>(&mut self, mut records: impl Iterator<Item = Record<'a>>) -> Result<(), OutOfMemory> {
        /// So many keys' tables and entries are asked from memory together.
        const TOGETHER: usize = 16;
        loop {
            let batch: heapless::Vec<(Hash, Record<'a>), TOGETHER> =
                records.by_ref().take(TOGETHER).map(|record| (self.hash(record.key), record)).collect();
            if batch.is_empty() {
                return Ok(());
            }
            self.touch::<TOGETHER>(batch.iter().map(|(hash, _)| *hash));
            for (hash, record) in &batch {
                self.apply(*hash, record)?;
            }
        }
    }

    fn apply(&mut self, hash: Hash, record: &Record<'_>) -> Result<(), OutOfMemory> {
        match record.kind {
            Kind::Set => {
                self.put(self.find(hash, record.key), record)?;
            }
            Kind::Del => {
                if planted("later_version_used_up") {
                    self.remove(hash, record.key);
                } else if !planted("deleted_key_back") {
                    // What a snapshot has of the key may be later than its deletion, and is still to come: its version isn't used up yet.
                    let _ = self.take(hash, record.key);
                }
                self.raise_floor(record.version);
            }
            Kind::Expire => self.set_expiry(hash, record.key, record.expiry)?,
            Kind::Mark => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn put(store: &mut Store, key: &str, expiry: Option<u64>) {
        let record = Record { kind: Kind::Set, version: Version(1), expiry: expiry.map(Millis), key: key.as_bytes(), value: b"v" };
        store.put(store.find(store.hash(key.as_bytes()), key.as_bytes()), &record).unwrap();
    }

    #[test]
    fn a_key_whose_time_has_come_already_is_swept_next() {
        let mut store = Store::new([0; 16]).unwrap();
        put(&mut store, "later", Some(101));
        assert_eq!(store.sweep(Millis(100), 10), (0, true));
        put(&mut store, "late", Some(50));
        put(&mut store, "now", Some(100));
        assert_eq!(store.next_expiry(), Some(Millis(100)), "no time that is over is asked for");
        assert_eq!(store.sweep(Millis(100), 10), (2, true));
        assert_eq!((store.len(), store.sweep(Millis(101), 10)), (1, (1, true)));
    }

    /// A snapshot holds keys as they were at some moment of its walk, and the log is replayed from its beginning.
    #[test]
    fn a_deletion_that_a_snapshot_is_ahead_of_uses_up_its_own_version_only() {
        let mut store = Store::new([0; 16]).unwrap();
        let record = |kind, version, value| Record { kind, version: Version(version), expiry: None, key: b"k", value };
        store.replay([record(Kind::Set, 9, b"later")].into_iter()).unwrap();
        store.replay([record(Kind::Del, 7, b"")].into_iter()).unwrap();
        assert_eq!((store.len(), store.floor()), (0, Version(7)));
        store.replay([record(Kind::Set, 9, b"later")].into_iter()).unwrap();
        assert_eq!((store.len(), store.floor()), (1, Version(7)));
    }

    #[test]
    fn keys_that_come_and_go_leave_no_deadlines_behind() {
        const HOUR_MS: u64 = 3_600_000;
        let mut store = Store::new([0; 16]).unwrap();
        for key in 0..5000 {
            put(&mut store, &format!("stays{key}"), Some(2 * HOUR_MS + key));
            put(&mut store, &format!("for ever{key}"), None);
        }
        // Locks that are taken for an hour and given back at once, a thousand a millisecond; and one that is held again and again.
        let mut bytes_max = 0;
        for now in 0..1000_u64 {
            for lock in 0..1000_u64 {
                let lock = format!("lock{}", lock * now % 7919);
                put(&mut store, &lock, Some(now + HOUR_MS));
                store.remove(store.hash(lock.as_bytes()), lock.as_bytes());
            }
            put(&mut store, "held", None);
            put(&mut store, "held", Some(now + HOUR_MS));
            store.sweep(Millis(now), 1000);
            bytes_max = bytes_max.max(store.bytes());
        }
        assert!(bytes_max < 8 << 20, "{bytes_max} bytes for 10001 keys");
        // Nobody was forgotten, and nobody goes before its time.
        let counts = [HOUR_MS + 998, HOUR_MS + 999, 2 * HOUR_MS + 99, 3 * HOUR_MS].map(|now| {
            while !store.sweep(Millis(now), 1000).1 {}
            store.with_expiry()
        });
        assert_eq!(counts, [5001, 5000, 4900, 0]);
    }

    #[test]
    fn memory_is_accounted() {
        let mut store = Store::new([0; 16]).unwrap();
        assert!(store.is_empty());
        for key in 0..1000 {
            put(&mut store, &format!("key{key:05}"), Some(1000 + key));
        }
        assert!(!store.is_empty());
        // Flags, length, version and expiry, key, value, padding; a deadline; a slot's name and its tag in tables that are half full.
        let (entries, deadlines, names) = (1000 * slabs::slot_bytes(11 + 8 + 1), 1000 * 12, 1000 * 10);
        let least = entries + deadlines + names / 2;
        assert!((least..least + names + 8192).contains(&store.bytes()), "{} bytes, at least {least}", store.bytes());
        assert!(store.free_bytes() < entries);
        assert_eq!(store.sweep(Millis(5000), 100), (100, false), "no more steps than are allowed");
        while !store.sweep(Millis(5000), 100).1 {}
        assert_eq!((store.len(), store.expired_total()), (0, 1000));
        assert!(store.bytes() < 8192, "{} bytes for nothing", store.bytes());
    }

    #[test]
    fn an_expiry_that_moved_is_found_at_its_new_time() {
        let mut store = Store::new([0; 16]).unwrap();
        let hash = store.hash(b"moved");
        put(&mut store, "moved", Some(100));
        store.set_expiry(hash, b"moved", Some(Millis(200))).unwrap();
        assert_eq!(store.sweep(Millis(150), 10).0, 0, "its first deadline");
        assert_eq!((store.len(), store.next_expiry().is_some()), (1, true), "it has another");
        assert_eq!(store.sweep(Millis(200), 10).0, 1);
        put(&mut store, "moved", Some(400));
        store.set_expiry(hash, b"moved", Some(Millis(300))).unwrap();
        assert_eq!(store.sweep(Millis(300), 10).0, 1, "a sooner one needs no waiting for the first");
        assert_eq!((store.len(), store.sweep(Millis(400), 10).0), (0, 0));
    }

    #[test]
    fn a_write_that_stays_forgets_what_was_before() {
        let mut store = Store::new([0; 16]).unwrap();
        put(&mut store, "key", None);
        let bytes = store.bytes();
        for version in 2..1000 {
            let record = Record { kind: Kind::Set, version: Version(version), expiry: None, key: b"key", value: b"w" };
            let spot = store.find(store.hash(b"key"), b"key");
            let before = store.exchange(spot, &record).unwrap();
            store.forget(before);
        }
        assert_eq!(store.bytes(), bytes);
    }

    #[test]
    fn a_walk_from_anywhere_ends() {
        let mut store = Store::new([0; 16]).unwrap();
        for key in 0..2000 {
            put(&mut store, &format!("key{key}"), None);
        }
        for mut cursor in [u64::MAX, u64::MAX - 1, 1 << 63, 1 << 48, (1 << 48) - 1, 1 << 32, 12_345] {
            let mut steps = 0;
            while let Some(next) = store.walk(cursor, |_| ()) {
                assert!(next > cursor, "from {cursor} to {next}");
                (cursor, steps) = (next, steps + 1);
                assert!(steps < 100, "2000 keys have fewer tables");
            }
        }
    }
}
