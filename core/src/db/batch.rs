//! Many writes that wait for the log together.

use super::{Db, Error};
use crate::clock::Clock;
use crate::storage::Storage;

/// Ends a batch, also when its work panics: calls that follow wait again.
struct Batching<'d, S, C> {
    db: &'d mut Db<S, C>,
    outer: bool,
}

impl<S, C> Drop for Batching<'_, S, C> {
    fn drop(&mut self) {
        self.db.batching = self.outer;
    }
}

impl<S: Storage, C: Clock> Db<S, C> {
    /// Runs `work`, in which nothing waits for the log, then waits for all of it: one append and one sync, where the writes fit into
    /// [`FRAME_BYTES_SOFT_MAX`](crate::wal::writer::FRAME_BYTES_SOFT_MAX), else a few.
    ///
    /// It is no transaction: each write is done when it is called, and stays also if a later one, or `work`, fails. After a crash while this runs the writes are there up to some point;
    /// use [`Db::set_many`] for all or none. What is read in `work` isn't certain before this has returned.
    ///
    /// # Errors
    /// Those of `work`; and those of storage, which come before them.
    ///
    /// ```
    /// # use osprey_core::{db::Db, engine::{DatabaseId, Entropy, Options}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut db = Db::open(MemoryStorage::new(), || Millis(1_000), options)?;
    /// db.batch(|db| (0..1000).try_for_each(|_| db.incr(b"visits", 1).map(drop)))?; // one append
    /// assert_eq!(db.incr(b"visits", 0)?, 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn batch<T, E: From<Error>>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        let outer = self.batching;
        let batching = Batching { outer, db: self };
        batching.db.batching = true;
        let worked = work(&mut *batching.db);
        drop(batching);
        if !outer {
            self.wait_for(self.engine.last_lsn())?;
            let now = self.begin()?;
            self.attend(now)?;
        }
        worked
    }
}
