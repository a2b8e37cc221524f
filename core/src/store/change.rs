//! Changes of one key. Whatever may fail has been done before anything changes.

use super::slabs::Slot;
use super::{Hash, Spot, Store};
use crate::record::{OutOfMemory, Record};
use crate::units::{Millis, Version};

/// What a [`Store::exchange`] has replaced. Holds memory that only the store can give back.
#[derive(Debug)]
#[must_use]
pub(crate) struct Before(Option<Slot>);

impl Store {
    /// Makes the key at `spot` what a [`Kind::Set`](crate::record::Kind::Set) record says. Returns the record's bytes, as they are held now.
    ///
    /// # Errors
    /// No memory; nothing has changed.
    ///
    /// ```
    /// use osprey_core::record::{Kind, Record};
    /// use osprey_core::store::Store;
    /// use osprey_core::units::{Millis, Version};
    ///
    /// let mut store = Store::new([7; 16])?;
    /// let record = Record { kind: Kind::Set, version: Version(1), expiry: None, key: b"key", value: b"value" };
    /// let hash = store.hash(record.key);
    /// let spot = store.lookup(hash, record.key, Millis(1_000)).spot;
    /// store.put(spot, &record)?;
    /// assert_eq!(store.lookup(hash, record.key, Millis(1_000)).live(), Some(record));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// Gives a key another expiry, or none. Does nothing if the key isn't there.
    ///
    /// # Errors
    /// No memory; nothing has changed.
    ///
    /// ```
    /// use osprey_core::record::{Kind, Record};
    /// use osprey_core::store::Store;
    /// use osprey_core::units::{Millis, Version};
    ///
    /// let mut store = Store::new([7; 16])?;
    /// let record = Record { kind: Kind::Set, version: Version(1), expiry: None, key: b"key", value: b"value" };
    /// store.replay([record].into_iter())?;
    /// store.set_expiry(store.hash(b"key"), b"key", Some(Millis(2_000)))?;
    /// assert!(store.next_expiry() <= Some(Millis(2_000)));
    /// assert_eq!(store.sweep(Millis(1_999), 1_000), (0, true));
    /// assert_eq!(store.sweep(Millis(2_000), 1_000), (1, true));
    /// assert_eq!((store.len(), store.expired_total(), store.floor()), (0, 1, Version(1)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
    ///
    /// ```
    /// use osprey_core::record::{Kind, Record};
    /// use osprey_core::store::Store;
    /// use osprey_core::units::Version;
    ///
    /// let mut store = Store::new([7; 16])?;
    /// let record = Record { kind: Kind::Set, version: Version(7), expiry: None, key: b"key", value: b"value" };
    /// store.replay([record].into_iter())?;
    /// assert!(store.remove(store.hash(b"key"), b"key"));
    /// assert!(!store.remove(store.hash(b"key"), b"key"));
    /// assert_eq!(store.floor(), Version(7), "never given again");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove(&mut self, hash: Hash, key: &[u8]) -> bool {
        let Some(version) = self.take(hash, key) else { return false };
        self.raise_floor(version);
        true
    }

    /// Removes a key and tells its version.
    pub(super) fn take(&mut self, hash: Hash, key: &[u8]) -> Option<Version> {
        let slot = self.index.remove(&self.slabs, hash, key)?;
        Some(self.give_back(slot))
    }

    /// Gives back the memory of an entry that the index doesn't know any more, and tells its version.
    pub(super) fn give_back(&mut self, slot: Slot) -> Version {
        let Record { version, expiry, .. } = self.slabs.get(slot).record();
        self.slabs.free(slot);
        self.count_expiry(expiry, None);
        version
    }

    fn count_expiry(&mut self, old: Option<Millis>, new: Option<Millis>) {
        self.with_expiry = self.with_expiry + usize::from(new.is_some()) - usize::from(old.is_some());
    }
}
