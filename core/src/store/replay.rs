//! Records from a snapshot or the log become the state that they tell of.

use super::{Hash, Store};
use crate::museum::planted;
use crate::record::{Kind, OutOfMemory, Record};

impl Store {
    /// Applies records from a snapshot or the log, in order.
    ///
    /// # Errors
    /// No memory; some of the records may be applied.
    ///
    /// ```
    /// use osprey_core::record::{Kind, Record};
    /// use osprey_core::store::Store;
    /// use osprey_core::units::Version;
    ///
    /// // What a log says, in its order.
    /// let set = |version, key, value| Record { kind: Kind::Set, version: Version(version), expiry: None, key, value };
    /// let del = Record { kind: Kind::Del, version: Version(2), expiry: None, key: b"one", value: b"" };
    /// let mut store = Store::new([7; 16])?;
    /// store.replay([set(1, b"one", b"1"), set(2, b"one", b"2"), del, set(3, b"two", b"2")].into_iter())?;
    /// assert_eq!((store.len(), store.floor()), (1, Version(2)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
