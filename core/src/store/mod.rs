//! The data: keys with values, versions and expiries, and what they cost in memory.
//!
//! Every change here is one that the log has recorded or is about to; the store decides nothing about commands and knows
//! neither protocol nor log. Nothing it does takes longer than the keys that it is given: see the private modules `index` and `deadlines`.

mod deadlines;
mod index;

pub use index::Hash;
use index::{CURSOR_END, Index};

use crate::museum::planted;
use crate::record::{Entry, Kind, OutOfMemory, Record};
use crate::units::{Millis, Version};
use deadlines::Deadlines;

/// What an allocation costs beside its bytes, on average, in the accounting: the allocator's header and rounding.
const ALLOCATION_OVERHEAD_BYTES: usize = 16;

/// So many deadlines may stand for nothing before it is worth gathering them anew.
const STALE_DEADLINES: usize = 64 << 10;

/// How many chunks of deadlines that were replaced are given back with each sweep.
const DISCARDED_CHUNKS: usize = 16;

/// What is known of a key at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// It is there.
    Live(Record<'a>),
    /// It has reached its expiry: it is gone, but its memory is still held.
    Expired(Record<'a>),
    /// It is not there.
    Absent,
}

impl<'a> Lookup<'a> {
    /// The record of a key that is there.
    #[must_use]
    pub fn live(&self) -> Option<Record<'a>> {
        match *self {
            Lookup::Live(record) => Some(record),
            Lookup::Expired(_) | Lookup::Absent => None,
        }
    }

    /// The record of a key that has expired.
    #[must_use]
    pub fn expired(&self) -> Option<Record<'a>> {
        match *self {
            Lookup::Expired(record) => Some(record),
            Lookup::Live(_) | Lookup::Absent => None,
        }
    }

    /// How much memory it takes to put `record` in this one's place, bytes; the growth of tables comes on top.
    #[must_use]
    pub fn growth(&self, record: &Record<'_>) -> usize {
        match self {
            Lookup::Live(held) | Lookup::Expired(held) => record.encoded_len().saturating_sub(held.encoded_len()),
            Lookup::Absent => record.encoded_len() + ALLOCATION_OVERHEAD_BYTES,
        }
    }
}

/// All keys.
#[derive(Debug)]
pub struct Store {
    index: Index,
    deadlines: Deadlines,
    renewal: Option<Renewal>,
    /// Replaced, and given back a little at a time.
    retired: Deadlines,
    floor: Version,
    entry_bytes: usize,
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
            deadlines: Deadlines::new(),
            renewal: None,
            retired: Deadlines::new(),
            floor: Version::NONE,
            entry_bytes: 0,
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
    pub fn with_expiry(&self) -> usize {
        self.with_expiry
    }

    /// How many keys have been removed because their time had come.
    #[must_use]
    pub fn expired_total(&self) -> u64 {
        self.expired_total
    }

    /// Memory held, bytes: entries, index and deadlines.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let renewal = self.renewal.as_ref().map_or(0, |renewal| renewal.deadlines.bytes());
        self.entry_bytes + self.index.bytes() + self.deadlines.bytes() + renewal + self.retired.bytes()
    }

    /// The highest version that a removed key had: a new key starts above it.
    #[must_use]
    pub fn floor(&self) -> Version {
        self.floor
    }

    /// Raises the floor to `version` if it is lower.
    pub fn raise_floor(&mut self, version: Version) {
        self.floor = self.floor.max(version);
    }

    /// What is known of a key at `now`.
    #[must_use]
    #[inline]
    pub fn lookup(&self, hash: Hash, key: &[u8], now: Millis) -> Lookup<'_> {
        match self.index.find(hash, key).map(Entry::record) {
            None => Lookup::Absent,
            Some(record) if record.expiry.is_some_and(|expiry| expiry <= now) => Lookup::Expired(record),
            Some(record) => Lookup::Live(record),
        }
    }

    /// Asks memory for what lookups of these keys will need, of `N` at most. Changes nothing.
    #[inline]
    pub fn touch<const N: usize>(&self, hashes: impl Iterator<Item = Hash>) {
        // First all tags, then all entries: in each of the loops no load waits for another's, so that they are under way together.
        let likely: heapless::Vec<&Entry, N> = hashes.filter_map(|hash| self.index.likely(hash)).take(N).collect();
        likely.iter().for_each(|entry| entry.touch());
    }

    /// The version that the next value of a key gets; `None` when the 64-bit range is used up.
    #[must_use]
    pub fn next_version(&self, found: &Lookup<'_>) -> Option<Version> {
        match found {
            Lookup::Live(record) => record.version.next(),
            Lookup::Expired(record) if planted("version_below_floor") => record.version.next(),
            Lookup::Expired(record) => self.floor.max(record.version).next(),
            Lookup::Absent => self.floor.next(),
        }
    }

    /// Makes a key what a [`Kind::Set`] record says. Returns the record's bytes, as they are held now.
    ///
    /// # Errors
    /// No memory; nothing has changed.
    pub fn put(&mut self, hash: Hash, record: &Record<'_>) -> Result<&[u8], OutOfMemory> {
        self.schedule(hash, record)?;
        let Some(place) = self.index.place(hash, record.key) else { return self.insert(hash, Entry::new(record)?).map(Entry::bytes) };
        // It was there just now.
        let held = self.index.at(place).ok_or(OutOfMemory)?;
        let (old_cost, old_expiry) = (cost(held), held.expiry());
        if !held.overwrite(record) {
            *held = Entry::new(record)?;
        }
        self.entry_bytes = self.entry_bytes + cost(held) - old_cost;
        self.with_expiry = self.with_expiry + usize::from(record.expiry.is_some()) - usize::from(old_expiry.is_some());
        Ok(held.bytes())
    }

    fn insert(&mut self, hash: Hash, entry: Entry) -> Result<&Entry, OutOfMemory> {
        let (cost, expiry) = (cost(&entry), entry.expiry());
        let entry = self.index.insert(hash, entry)?;
        self.entry_bytes += cost;
        self.with_expiry += usize::from(expiry.is_some());
        Ok(entry)
    }

    /// As [`Store::put`], but gives back what was there before, for [`Store::restore`].
    ///
    /// # Errors
    /// No memory; nothing has changed.
    pub fn exchange(&mut self, hash: Hash, record: &Record<'_>) -> Result<Option<Entry>, OutOfMemory> {
        self.schedule(hash, record)?;
        let entry = Entry::new(record)?;
        self.replace(hash, entry)
    }

    /// Takes back an [`Store::exchange`].
    pub fn restore(&mut self, hash: Hash, key: &[u8], before: Option<Entry>) {
        match before {
            // The key is there, so replacing needs no room.
            Some(entry) => drop(self.replace(hash, entry)),
            None => drop(self.take(hash, key)),
        }
    }

    fn replace(&mut self, hash: Hash, entry: Entry) -> Result<Option<Entry>, OutOfMemory> {
        let Some(place) = self.index.place(hash, entry.record().key) else { return self.insert(hash, entry).map(|_| None) };
        let held = self.index.at(place).ok_or(OutOfMemory)?;
        let (new_cost, new_expiry) = (cost(&entry), entry.expiry());
        let old = core::mem::replace(held, entry);
        self.entry_bytes = self.entry_bytes + new_cost - cost(&old);
        self.count_expiry(old.expiry(), new_expiry);
        Ok(Some(old))
    }

    fn count_expiry(&mut self, old: Option<Millis>, new: Option<Millis>) {
        self.with_expiry = self.with_expiry + usize::from(new.is_some()) - usize::from(old.is_some());
    }

    /// Every key with an expiry has a deadline no later than it; one that has one already needs no other.
    fn schedule(&mut self, hash: Hash, record: &Record<'_>) -> Result<(), OutOfMemory> {
        let Some(expiry) = record.expiry else { return Ok(()) };
        let before = self.index.find(hash, record.key).and_then(Entry::expiry);
        if before.is_none_or(|before| expiry < before) {
            self.push_deadline(expiry, hash)?;
        }
        Ok(())
    }

    fn push_deadline(&mut self, due: Millis, hash: Hash) -> Result<(), OutOfMemory> {
        self.deadlines.push(due, hash.0)?;
        // Without memory for the new ones the old ones do.
        self.renewal.take_if(|renewal| renewal.deadlines.push(due, hash.0).is_err());
        Ok(())
    }

    /// Gives a key another expiry, or none. Does nothing if the key isn't there.
    ///
    /// # Errors
    /// No memory; nothing has changed.
    pub fn set_expiry(&mut self, hash: Hash, key: &[u8], expiry: Option<Millis>) -> Result<(), OutOfMemory> {
        let Some(old) = self.index.find(hash, key) else { return Ok(()) };
        let old = old.record();
        let entry = Entry::new(&Record { expiry, ..old })?;
        let before = old.expiry;
        if let Some(expiry) = expiry
            && before.is_none_or(|before| expiry < before)
        {
            self.push_deadline(expiry, hash)?;
        }
        self.replace(hash, entry).map(drop)
    }

    /// Removes a key; the floor rises to its version. Returns whether it was there.
    pub fn remove(&mut self, hash: Hash, key: &[u8]) -> bool {
        let Some(entry) = self.take(hash, key) else { return false };
        self.raise_floor(entry.record().version);
        true
    }

    fn take(&mut self, hash: Hash, key: &[u8]) -> Option<Entry> {
        let entry = self.index.remove(hash, key)?;
        self.entry_bytes -= cost(&entry);
        self.count_expiry(entry.expiry(), None);
        Some(entry)
    }

    /// Notes that an expired key was found and replaced, or is about to be removed.
    pub fn count_expired(&mut self) {
        self.expired_total += 1;
    }

    /// Removes keys that have expired at `now`. Looks at `steps` deadlines at most; returns how many keys it removed, and
    /// whether nothing is left to do at `now`.
    pub fn sweep(&mut self, now: Millis, mut steps: usize) -> (usize, bool) {
        let before = self.expired_total;
        while let Some((hash, _)) = self.deadlines.pop(now, &mut steps) {
            self.sweep_one(Hash(hash), now);
        }
        let all = self.renew_deadlines(steps) && steps > 0;
        (usize::try_from(self.expired_total - before).unwrap_or(usize::MAX), all)
    }

    fn sweep_one(&mut self, hash: Hash, now: Millis) {
        if let Some(entry) =
            self.index.remove_by_hash(hash, |entry| entry.expired(now) || (planted("swept_too_early") && entry.expiry().is_some()))
        {
            self.entry_bytes -= cost(&entry);
            self.count_expiry(entry.expiry(), None);
            if !planted("floor_below_expired") {
                self.raise_floor(entry.record().version);
            }
            self.expired_total += 1;
        } else if let Some(later) = self.index.find_by_hash(hash, |entry| entry.expiry().is_some()).and_then(Entry::expiry) {
            // The deadline was moved since. Without memory for it the key is found expired when it is next asked for.
            let _ = self.push_deadline(later, hash);
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
            let index = &self.index;
            let mut pushed = Ok(());
            renewal.cursor = index.walk(renewal.cursor, |entry| {
                let record = entry.record();
                steps = steps.saturating_sub(1);
                if let (Some(expiry), Ok(())) = (record.expiry, pushed) {
                    pushed = renewal.deadlines.push(expiry, index.hash(record.key).0);
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
        let next = self.index.walk(cursor, |entry| visit(entry.record()));
        (next < CURSOR_END).then_some(next)
    }

    /// Applies a record from the log.
    ///
    /// # Errors
    /// No memory; the record is not applied.
    pub fn replay(&mut self, record: &Record<'_>) -> Result<(), OutOfMemory> {
        let hash = self.hash(record.key);
        match record.kind {
            Kind::Set => {
                self.put(hash, record)?;
            }
            Kind::Del => {
                if !planted("deleted_key_back") {
                    self.remove(hash, record.key);
                }
                self.raise_floor(record.version);
            }
            Kind::Expire => self.set_expiry(hash, record.key, record.expiry)?,
            Kind::Mark => {}
        }
        Ok(())
    }
}

fn cost(entry: &Entry) -> usize {
    entry.bytes().len() + ALLOCATION_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn put(store: &mut Store, key: &str, expiry: Option<u64>) {
        let record = Record { kind: Kind::Set, version: Version(1), expiry: expiry.map(Millis), key: key.as_bytes(), value: b"v" };
        store.put(store.hash(key.as_bytes()), &record).unwrap();
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
}
