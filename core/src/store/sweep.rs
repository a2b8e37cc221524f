//! Keys end at their time; and memory that they leave behind is put in order.

use super::deadlines::Deadlines;
use super::index::{CURSOR_END, ShortHash};
use super::slabs::Sparse;
use super::{Hash, Store};
use crate::museum::planted;
use crate::record::{Encoded, OutOfMemory};
use crate::units::Millis;

/// So many deadlines may stand for nothing before it is worth gathering them anew.
const STALE_DEADLINES: usize = 64 << 10;

/// How many chunks of deadlines that were replaced are given back with each sweep.
const DISCARDED_CHUNKS: usize = 16;

/// Deadlines that are gathered anew from the keys, table by table, while the old ones go on serving.
#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) deadlines: Deadlines,
    pub(super) cursor: u64,
}

impl Store {
    /// No key expires before this; `None`: none has an expiry.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Millis> {
        if self.is_fixed() { self.due.earliest() } else { self.deadlines.next_due() }
    }

    /// How many keys have been removed because their time had come.
    #[must_use]
    pub fn expired_total(&self) -> u64 {
        self.expired_total
    }

    /// Notes that an expired key was found and replaced, or is about to be removed.
    pub(crate) fn count_expired(&mut self) {
        self.expired_total += 1;
    }

    /// Whether free memory between entries is worth being gathered: [`Store::sweep`] does it.
    #[must_use]
    pub fn is_scattered(&self) -> bool {
        self.slabs.is_wasteful()
    }

    /// Removes keys that have expired at `now`, and puts memory in order. Looks at `steps` deadlines at most, and moves the entries of one slab
    /// at most; returns how many keys it removed, and whether nothing is left to do at `now`.
    pub fn sweep(&mut self, now: Millis, mut steps: usize) -> (usize, bool) {
        let before = self.expired_total;
        if self.is_fixed() {
            let all = self.sweep_cells(now, &mut steps);
            return (usize::try_from(self.expired_total - before).unwrap_or(usize::MAX), all);
        }
        while let Some(hash) = self.deadlines.pop(now, &mut steps) {
            self.sweep_one(hash, now);
        }
        let all = self.renew_deadlines(steps) && steps > 0;
        self.gather();
        (usize::try_from(self.expired_total - before).unwrap_or(usize::MAX), all && !self.is_scattered())
    }

    fn sweep_one(&mut self, hash: ShortHash, now: Millis) {
        let due = |entry: Encoded<'_>| entry.expired(now) || (planted("swept_too_early") && entry.expiry().is_some());
        if let Some(slot) = self.index.remove_by_hash(&self.slabs, hash, due) {
            let version = self.give_back(slot);
            if !planted("floor_below_expired") {
                self.raise_floor(version);
            }
            self.expired_total += 1;
        } else if let Some(slot) = self.index.find_by_hash(&self.slabs, hash, |entry| entry.expiry().is_some())
            && let Some(later) = self.slabs.get(slot).expiry()
        {
            // The deadline was moved since. Without memory for it the key is found expired when it is next asked for.
            let _ = self.push_deadline(later, hash);
        }
    }

    /// Every key with an expiry has a deadline no later than it; one that has one already needs no other.
    pub(super) fn schedule(&mut self, hash: Hash, before: Option<Millis>, expiry: Option<Millis>) -> Result<(), OutOfMemory> {
        match expiry {
            Some(expiry) if before.is_none_or(|before| expiry < before) => self.push_deadline(expiry, hash.short()),
            _ => Ok(()),
        }
    }

    fn push_deadline(&mut self, due: Millis, hash: ShortHash) -> Result<(), OutOfMemory> {
        if self.is_fixed() {
            self.due.push(due);
            return Ok(());
        }
        self.deadlines.push(due, hash)?;
        // Without memory for the new ones the old ones do.
        self.renewal.take_if(|renewal| renewal.deadlines.push(due, hash).is_err());
        Ok(())
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
            let (index, slabs) = (&self.index, &self.slabs);
            let mut pushed = Ok(());
            renewal.cursor = index.walk(slabs, renewal.cursor, |slot| {
                let record = slabs.get(slot).record();
                steps = steps.saturating_sub(1);
                if let (Some(expiry), Ok(())) = (record.expiry, pushed) {
                    pushed = renewal.deadlines.push(expiry, index.hash(record.key).short());
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

    /// Empties a slab that has few entries.
    fn gather(&mut self) {
        if let Some(slab) = self.slabs.sparse() {
            self.dissolve(slab);
        }
    }

    pub(super) fn dissolve(&mut self, slab: Sparse) {
        let Self { index, slabs, .. } = self;
        slabs.dissolve(slab, |key, from, to| {
            if !planted("move_not_noted") {
                index.moved(index.hash(key), from, to);
            }
        });
    }
}
