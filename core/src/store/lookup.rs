//! Finding a key, and what is known of it at a moment.

use super::Store;
use super::index::{Hash, Place};
use super::slabs::{self, Slot};
use crate::museum::planted;
use crate::record::{Encoded, Record};
use crate::units::{Millis, Version};

/// Where a key is, or would be, until something is added or removed.
///
/// ```
/// use osprey_core::record::{Kind, Record};
/// use osprey_core::store::Store;
/// use osprey_core::units::{Millis, Version};
///
/// let mut store = Store::new([7; 16])?;
/// let record = |version, value| Record { kind: Kind::Set, version: Version(version), expiry: None, key: b"key", value };
/// let hash = store.hash(b"key");
/// // Found once, for both looking at the key and changing it.
/// for (version, value) in [(1, b"one"), (2, b"two")] {
///     let found = store.lookup(hash, b"key", Millis(1_000));
///     assert_eq!(found.live().is_some(), version > 1);
///     let spot = found.spot;
///     store.put(spot, &record(version, value))?;
/// }
/// assert_eq!(store.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    pub(super) hash: Hash,
    pub(super) held: Option<(Place, Slot)>,
}

/// What is known of a key at a moment.
///
/// ```
/// use osprey_core::record::{Kind, Record};
/// use osprey_core::store::Store;
/// use osprey_core::units::{Millis, Version};
///
/// let record = Record { kind: Kind::Set, version: Version(1), expiry: Some(Millis(2_000)), key: b"key", value: b"value" };
/// let mut store = Store::new([7; 16])?;
/// store.replay([record].into_iter())?;
/// let hash = store.hash(b"key");
/// let before = store.lookup(hash, b"key", Millis(1_999));
/// assert_eq!((before.live(), before.expired()), (Some(record), None));
/// // Its version counts, although it is gone.
/// let after = store.lookup(hash, b"key", Millis(2_000));
/// assert_eq!((after.live(), after.expired()), (None, Some(record)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

impl Store {
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
    pub(super) fn find(&self, hash: Hash, key: &[u8]) -> Spot {
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

    pub(super) fn expiry_at(&self, spot: Spot) -> Option<Millis> {
        spot.held.and_then(|(_, slot)| self.slabs.peek(slot).expiry())
    }

    /// How much memory it takes to put `record` at this spot, bytes; the growth of tables and deadlines comes on top.
    #[must_use]
    pub(crate) fn growth(&self, spot: Spot, record: &Record<'_>) -> usize {
        let held = spot.held.map_or(0, |(_, slot)| self.slabs.bytes_of(slot));
        slabs::slot_bytes(record.encoded_len()).saturating_sub(held)
    }

    /// Asks memory for what lookups of these keys will need, of `N` at most. Changes nothing.
    #[inline]
    pub(crate) fn touch<const N: usize>(&self, hashes: impl Iterator<Item = Hash>) {
        // First all tags, then all entries: in each of the loops no load waits for another's, so that they are under way together.
        let likely: heapless::Vec<Slot, N> = hashes.filter_map(|hash| self.index.likely(hash)).take(N).collect();
        likely.iter().for_each(|&slot| self.slabs.touch(slot));
    }

    /// The version that the next value of a key gets; `None` when the 64-bit range is used up.
    #[must_use]
    pub(crate) fn next_version(&self, found: &Lookup<'_>) -> Option<Version> {
        match found.entry.map(Encoded::version) {
            Some(version) if !found.expired || planted("version_below_floor") => version.next(),
            Some(version) => self.floor.max(version).next(),
            None => self.floor.next(),
        }
    }
}
