//! A walk by `SCAN`, and what it still has to show: every key that is there from its first call to its last.

use super::keys::{KEYS_MAX, Key};

/// See the module.
#[derive(Clone, Debug)]
pub struct Walk {
    /// The cursor for the next call.
    pub cursor: u64,
    /// Only keys with this prefix.
    pub prefix: Option<usize>,
    /// Keys that were there when it began, and were not shown and never gone since.
    owed: [u64; KEYS_MAX / 64],
    /// How many tables there were when it began.
    pub tables: usize,
}

impl Walk {
    /// A walk that owes these keys.
    #[must_use]
    pub fn new(prefix: Option<usize>, keys: impl Iterator<Item = Key>, tables: usize) -> Self {
        let mut owed = [0; KEYS_MAX / 64];
        for key in keys {
            owed[usize::from(key) / 64] |= 1 << (key % 64);
        }
        Self { cursor: 0, prefix, owed, tables }
    }

    /// The walk needn't show this key, any more.
    pub fn excuse(&mut self, key: Key) {
        self.owed[usize::from(key) / 64] &= !(1 << (key % 64));
    }

    /// Keys that it hasn't shown.
    pub fn owed(&self) -> impl Iterator<Item = Key> + '_ {
        (0..KEYS_MAX).filter(|key| self.owed[key / 64] >> (key % 64) & 1 == 1).filter_map(|key| Key::try_from(key).ok())
    }
}
