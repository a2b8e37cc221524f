//! The data: keys with values, versions and expiries, and what they cost in memory.
//!
//! Every change here is one that the log has recorded or is about to; the store decides nothing about commands and knows
//! neither protocol nor log. Nothing it does takes longer than the keys that it is given: see the private modules `index` and `deadlines`.
//!
//! ```text
//!  key ── lookup ──▶ Spot ── change ──▶ index ── names ──▶ slabs: entries
//!                              └─▶ deadlines ── sweep ──────▲
//! ```
//! Here: what it is made of and what that costs, and the walk over all of it. `replay` builds it up again from what the log and snapshots hold.

mod cells;
mod change;
mod deadlines;
mod due;
pub(crate) mod fixed;
mod index;
mod lookup;
mod replay;
mod slabs;
mod sweep;

pub(crate) use change::Before;
pub use index::Hash;
pub use lookup::{Lookup, Spot};

use core::fmt;

use crate::record::{OutOfMemory, Record};
use crate::units::{Millis, Version};
use deadlines::Deadlines;
use due::Due;
use index::{CURSOR_END, Index};
use slabs::Slabs;
use sweep::Renewal;

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
pub struct Store {
    index: Index,
    slabs: Slabs,
    deadlines: Deadlines,
    renewal: Option<Renewal>,
    /// Replaced, and given back a little at a time.
    retired: Deadlines,
    /// In place of deadlines, where the memory is fixed.
    due: Due,
    /// Whatever is replayed next happened at this time or later.
    passed: Millis,
    floor: Version,
    with_expiry: usize,
    expired_total: u64,
}

/// In short: neither the data nor the key that hashes are made with.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("keys", &self.len()).field("bytes", &self.bytes()).field("floor", &self.floor).finish_non_exhaustive()
    }
}

impl Store {
    /// An empty store. `hash_key` must be random where keys come from people who may wish us ill.
    ///
    /// # Errors
    /// No memory.
    ///
    /// ```
    /// use osprey_core::store::Store;
    /// use osprey_core::units::Version;
    ///
    /// let store = Store::new([7; 16])?;
    /// assert!(store.is_empty());
    /// assert_eq!((store.floor(), store.next_expiry()), (Version::NONE, None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(hash_key: [u8; 16]) -> Result<Self, OutOfMemory> {
        Ok(Self::of(Index::new(hash_key)?, Slabs::new()))
    }

    /// An empty one of these parts.
    fn of(index: Index, slabs: Slabs) -> Self {
        Self {
            index,
            slabs,
            deadlines: Deadlines::new(),
            renewal: None,
            retired: Deadlines::new(),
            due: Due::default(),
            passed: Millis(0),
            floor: Version::NONE,
            with_expiry: 0,
            expired_total: 0,
        }
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

    /// Memory in use, bytes: entries, index and deadlines. Free room between entries isn't counted, see [`Store::free_bytes`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        let renewal = self.renewal.as_ref().map_or(0, |renewal| renewal.deadlines.bytes());
        self.slabs.used_bytes() + self.slabs.overhead_bytes() + self.index.bytes() + self.deadlines.bytes() + renewal + self.retired.bytes()
    }

    /// What entries take, bytes: nearly what a snapshot of them takes.
    #[must_use]
    pub(crate) fn entry_bytes(&self) -> usize {
        self.slabs.used_bytes()
    }

    /// Room between entries that is allocated and free for others of their size, bytes. [`Store::sweep`] gives back what gets out of hand.
    ///
    /// ```
    /// use osprey_core::record::{Kind, Record};
    /// use osprey_core::store::Store;
    /// use osprey_core::units::{Millis, Version};
    ///
    /// let mut store = Store::new([7; 16])?;
    /// let empty = store.bytes();
    /// let keys: Vec<_> = (0..10_000).map(|number| format!("user:{number}")).collect();
    /// store.replay(keys.iter().map(|key| {
    ///     let key = key.as_bytes();
    ///     Record { kind: Kind::Set, version: Version(1), expiry: None, key, value: &[0; 100] }
    /// }))?;
    /// assert!(store.bytes() - empty > 10_000 * 100);
    /// for key in keys.iter().filter(|key| !key.ends_with('7')) {
    ///     let hash = store.hash(key.as_bytes());
    ///     store.remove(hash, key.as_bytes());
    /// }
    /// let free = store.free_bytes();
    /// assert!(free > store.bytes() && store.is_scattered(), "nine of ten slots");
    /// while store.is_scattered() {
    ///     store.sweep(Millis(0), 1_000);
    /// }
    /// assert!(store.free_bytes() < free / 4, "given back");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// Visits the keys at a cursor (0 at first) and returns the next cursor, or `None` at the end. A key that is there
    /// throughout is visited at least once, however the store grows meanwhile. A call visits some hundred keys at most.
    pub fn walk<'a>(&'a self, cursor: u64, mut visit: impl FnMut(Record<'a>)) -> Option<u64> {
        let next = self.index.walk(&self.slabs, cursor, |slot| visit(self.slabs.get(slot).record()));
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
    ///
    /// ```
    /// use osprey_core::record::{Kind, Record};
    /// use osprey_core::store::Store;
    /// use osprey_core::units::Version;
    ///
    /// let mut store = Store::new([7; 16])?;
    /// let record = Record { kind: Kind::Set, version: Version(1), expiry: None, key: b"key", value: b"value" };
    /// store.replay([record].into_iter())?;
    /// store.clear();
    /// assert!(store.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear(&mut self) {
        self.index.clear();
        self.slabs.clear();
        self.deadlines = Deadlines::new();
        self.renewal = None;
        self.retired = Deadlines::new();
        (self.due, self.passed) = (Due::default(), Millis(0));
        (self.floor, self.with_expiry, self.expired_total) = (Version::NONE, 0, 0);
    }
}

#[cfg(test)]
mod tests;
