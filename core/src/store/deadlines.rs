//! Which keys are due: a radix heap of key hashes.
//!
//! A deadline goes into the bucket of the highest bit in which it differs from the time reached. When time moves on, the
//! buckets whose range it has entered are taken out whole, and their items, a few at a time, turn out to be due or go to a
//! lower bucket. So adding is one push, no step looks at keys that live on for long, and an item moves at most once per bit.
//! (Ahuja, Mehlhorn, Orlin, Tarjan: Faster Algorithms for the Shortest Path Problem, 1990.)
//!
//! Items are hashes, not keys: what an item stands for is looked up in the index when it is due, and nothing is there, or a
//! later expiry, if the key has changed since. Knows nothing of entries.

use alloc::vec::Vec;

use super::index::ShortHash;
use crate::record::OutOfMemory;
use crate::units::Millis;

/// Items of a bucket lie in chunks, so that no growth copies more than this many.
const CHUNK_ITEMS: usize = 1024;

/// One bucket for each bit of a time.
const BUCKETS: usize = 48;

/// A time and a hash, 48 bits of each.
#[derive(Clone, Copy, Debug)]
struct Item {
    due: [u16; 3],
    hash: [u16; 3],
}

/// The latest deadline, in the year 10889. What is due later stands here, and is never reached: such keys are only found expired when asked for.
const DUE_MAX: Millis = Millis((1 << 48) - 1);

impl Item {
    fn new(due: Millis, hash: ShortHash) -> Self {
        Self { due: to_48_bits(due.min(DUE_MAX).0), hash: to_48_bits(hash.0) }
    }

    fn due(self) -> Millis {
        Millis(from_48_bits(self.due))
    }

    fn hash(self) -> ShortHash {
        ShortHash(from_48_bits(self.hash))
    }
}

fn to_48_bits(number: u64) -> [u16; 3] {
    [number, number >> 16, number >> 32].map(|part| u16::try_from(part & 0xFFFF).unwrap_or(0))
}

fn from_48_bits([low, middle, high]: [u16; 3]) -> u64 {
    u64::from(low) | u64::from(middle) << 16 | u64::from(high) << 32
}

#[derive(Debug, Default)]
struct Bucket {
    full: Vec<Vec<Item>>,
    last: Vec<Item>,
}

impl Bucket {
    fn push(&mut self, item: Item) -> Result<(), OutOfMemory> {
        if self.last.len() >= CHUNK_ITEMS {
            self.full.try_reserve(1).map_err(|_| OutOfMemory)?;
            let mut fresh = Vec::new();
            fresh.try_reserve_exact(CHUNK_ITEMS).map_err(|_| OutOfMemory)?;
            self.full.push(core::mem::replace(&mut self.last, fresh));
        } else {
            self.last.try_reserve(1).map_err(|_| OutOfMemory)?;
        }
        self.last.push(item);
        Ok(())
    }

    fn pop(&mut self) -> Option<Item> {
        if self.last.is_empty() {
            self.last = self.full.pop()?;
        }
        let item = self.last.pop();
        if self.last.is_empty() && self.full.is_empty() {
            // Nothing is kept for a bucket that may not be used again for a long time.
            self.last = Vec::new();
        }
        item
    }

    fn is_empty(&self) -> bool {
        self.last.is_empty() && self.full.is_empty()
    }

    fn chunks(&self) -> usize {
        self.full.len() + 1
    }

    /// Takes all of `other`'s items; room for their chunks is there.
    fn absorb(&mut self, other: &mut Self) {
        self.full.append(&mut other.full);
        if !other.last.is_empty() {
            self.full.push(core::mem::take(&mut other.last));
        }
    }
}

/// Deadlines in the order of their time, roughly; see the module.
#[derive(Debug)]
pub(super) struct Deadlines {
    reached: Millis,
    buckets: [Bucket; BUCKETS],
    /// What the time reached has caught up with, and what is due.
    moving: Bucket,
    len: usize,
}

impl Deadlines {
    pub(super) fn new() -> Self {
        Self::from(Millis(0))
    }

    /// None yet, from a time on that is reached already.
    pub(super) fn from(reached: Millis) -> Self {
        Self { reached, buckets: core::array::from_fn(|_| Bucket::default()), moving: Bucket::default(), len: 0 }
    }

    /// The latest time that was asked for.
    pub(super) fn reached(&self) -> Millis {
        self.reached
    }

    /// How many there are, those included whose keys are gone.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Memory held for the items, bytes (chunks are counted as if full).
    pub(super) fn bytes(&self) -> usize {
        self.len * size_of::<Item>()
    }

    /// Adds a deadline.
    pub(super) fn push(&mut self, due: Millis, hash: ShortHash) -> Result<(), OutOfMemory> {
        self.file(Item::new(due, hash))?;
        self.len += 1;
        Ok(())
    }

    /// Forgets some deadlines, whichever, and gives back their memory: `chunks` chunks of them at most.
    pub(super) fn discard(&mut self, chunks: usize) {
        for _ in 0..chunks {
            let mut buckets = self.buckets.iter_mut().chain([&mut self.moving]);
            let Some(bucket) = buckets.find(|bucket| !bucket.is_empty()) else { return };
            let chunk = bucket.full.pop().unwrap_or_else(|| core::mem::take(&mut bucket.last));
            self.len -= chunk.len();
        }
    }

    fn file(&mut self, item: Item) -> Result<(), OutOfMemory> {
        let differs = (item.due().0 ^ self.reached.0).checked_ilog2();
        match differs.and_then(|bit| self.buckets.get_mut(bit as usize)) {
            Some(bucket) if item.due() > self.reached => bucket.push(item),
            _ => self.moving.push(item),
        }
    }

    /// A hash that is due at `now`. Looks at `*steps` items at most and counts them down; `None`: nothing is due, or no step is left.
    pub(super) fn pop(&mut self, now: Millis, steps: &mut usize) -> Option<ShortHash> {
        self.reach(now.min(Millis(DUE_MAX.0 - 1)));
        while *steps > 0 {
            let item = self.moving.pop()?;
            *steps -= 1;
            // Without memory to move it, it stays out: the key is found expired when it is next asked for.
            let due = item.due() <= self.reached;
            if due || self.file(item).is_err() {
                self.len -= 1;
            }
            if due {
                return Some(item.hash());
            }
        }
        None
    }

    fn reach(&mut self, now: Millis) {
        if now <= self.reached {
            return;
        }
        let Some(highest) = (now.0 ^ self.reached.0).checked_ilog2() else { return };
        let entered = ..=highest as usize;
        let chunks = self.buckets.get(entered).unwrap_or_default().iter().map(Bucket::chunks).sum();
        // Without memory time isn't reached yet; nothing is lost.
        if self.moving.full.try_reserve(chunks).is_err() {
            return;
        }
        for bucket in self.buckets.get_mut(entered).unwrap_or_default() {
            self.moving.absorb(bucket);
        }
        self.reached = now;
    }

    /// No deadline is earlier than this; `None`: there is none at all.
    pub(super) fn next_due(&self) -> Option<Millis> {
        if !self.moving.is_empty() {
            return Some(self.reached);
        }
        let bit = self.buckets.iter().position(|bucket| !bucket.is_empty())?;
        Some(Millis((self.reached.0 >> bit | 1) << bit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_counted() {
        let mut deadlines = Deadlines::new();
        let hash = ShortHash(7);
        for due in [1, 5, 5, 90, 4000] {
            deadlines.push(Millis(due), hash).unwrap();
        }
        assert_eq!((deadlines.len(), deadlines.bytes()), (5, 5 * 12));
        let mut steps = 100;
        for left in [4, 3, 2] {
            assert!(deadlines.pop(Millis(5), &mut steps).is_some());
            assert_eq!(deadlines.len(), left);
        }
        assert!(deadlines.pop(Millis(5), &mut steps).is_none());
        assert_eq!((deadlines.len(), deadlines.reached()), (2, Millis(5)));
        assert!(deadlines.next_due().is_some_and(|due| due > Millis(5) && due <= Millis(90)));
        deadlines.discard(1);
        assert_eq!(deadlines.len(), 1, "a bucket has one of them");
        deadlines.discard(1);
        assert_eq!((deadlines.len(), deadlines.next_due()), (0, None));
    }
}
