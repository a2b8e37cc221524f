//! When a key expires next, without a list of deadlines: an index of fixed size is looked through instead, when something in it is due.
//!
//! What is kept is a time before which nothing expires. It is found anew by each round through the index, and until then whatever comes only makes it earlier.

use super::Store;
use crate::units::Millis;

/// A round looks at the keys of so many homes in one step.
const STEP_CELLS: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Due {
    earliest: Option<Millis>,
    round: Option<Round>,
}

/// A round through the index, and what it has found so far.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    cell: usize,
    earliest: Option<Millis>,
}

fn earlier(one: Option<Millis>, other: Option<Millis>) -> Option<Millis> {
    one.into_iter().chain(other).min()
}

impl Due {
    /// No key expires before this.
    pub(super) fn earliest(&self) -> Option<Millis> {
        self.earliest
    }

    pub(super) fn push(&mut self, expiry: Millis) {
        self.earliest = earlier(self.earliest, Some(expiry));
        self.round.iter_mut().for_each(|round| round.earliest = earlier(round.earliest, Some(expiry)));
    }
}

impl Store {
    /// Removes what has expired at `now`, in an index of fixed size. Looks at about `steps` cells at most; returns whether nothing is left to do at `now`.
    pub(super) fn sweep_cells(&mut self, now: Millis, steps: &mut usize) -> bool {
        if self.due.round.is_none() {
            if self.due.earliest.is_none_or(|earliest| earliest > now) {
                return true;
            }
            self.due.round = Some(Round::default());
        }
        let cells = self.index.cells().count();
        while let Some(round) = &mut self.due.round {
            if round.cell >= cells {
                self.due = Due { earliest: round.earliest, round: None };
                return true;
            }
            if *steps == 0 {
                return false;
            }
            let end = (round.cell + STEP_CELLS).min(cells);
            *steps = steps.saturating_sub(STEP_CELLS);
            let (expired, earliest) = self.index.cells().expired(&self.slabs, round.cell..end, now);
            round.earliest = earlier(round.earliest, earliest);
            let Some((cell, slot)) = expired else {
                round.cell = end;
                continue;
            };
            // What moves into its place is looked at next.
            self.index.remove_cell(&self.slabs, cell);
            let version = self.give_back(slot);
            self.raise_floor(version);
            self.count_expired();
        }
        true
    }

    /// Removes all that has expired at `now`, in an index of fixed size. Returns whether anything had.
    pub(super) fn purge(&mut self, now: Millis) -> bool {
        let before = self.expired_total();
        self.due = Due { earliest: Some(now), round: None };
        let mut steps = usize::MAX;
        self.sweep_cells(now, &mut steps);
        self.expired_total() > before
    }
}
