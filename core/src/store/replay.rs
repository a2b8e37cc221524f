//! Records from a snapshot or the log become the state that they tell of.

use super::{Hash, Store};
use crate::museum::planted;
use crate::record::{Kind, OutOfMemory, Record};

impl Store {
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
