//! A `Db` as tests look at it.

use std::collections::BTreeMap;

use osprey_core::clock::Clock;
use osprey_core::db::Db;
use osprey_core::storage::Storage;
use osprey_core::units::{Millis, Version};

/// All keys that are there, with value and version.
pub type Contents = BTreeMap<Vec<u8>, (Vec<u8>, Version)>;

/// What is in a database.
///
/// # Panics
/// It has failed.
pub fn contents<S: Storage, C: Clock>(db: &mut Db<S, C>) -> Contents {
    let mut all = BTreeMap::new();
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        cursor = db.scan(at, 100, b"", |key, entry| drop(all.insert(key.to_vec(), (entry.value.to_vec(), entry.version)))).unwrap();
    }
    all
}

/// A millisecond later each time that it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Ticking(pub u64);

impl Clock for Ticking {
    fn now(&mut self) -> Millis {
        self.0 += 1;
        Millis(self.0)
    }
}
