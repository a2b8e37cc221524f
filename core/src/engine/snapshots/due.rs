//! When a snapshot is taken: because somebody asks for it, or because there is much log; and whether the older generation makes room for it.

use super::{Phase, SnapshotFailure, SnapshotOptions, Snapshots, Taking, Ticket};
use crate::engine::retention::{self, Generations, Removals};
use crate::engine::space::Space;
use crate::snapshot::Decoder;
use crate::storage::SnapshotName;
use crate::store::Store;
use crate::units::{Lsn, Millis};
use crate::wal::writer::LogWriter;

impl Snapshots {
    /// A snapshot is wanted that holds all that was logged until now, `last`. Joins the one that is being taken if its walk isn't over; else it is the next.
    /// `None`: there is one already.
    ///
    /// # Errors
    /// There will be none.
    pub(crate) fn request(&mut self, last: Lsn) -> Result<Option<Ticket>, SnapshotFailure> {
        if self.options.is_none() {
            return Err(SnapshotFailure::Unsupported);
        }
        if self.stopping {
            return Err(SnapshotFailure::Stopping);
        }
        if matches!(self.phase, Phase::Creating | Phase::Walking { .. }) {
            return Ok(Some(Ticket(self.started)));
        }
        // Another one would be the same. (This one may even have the name that the other would have.)
        let newest = self.kept.iter().rfind(|snapshot| !snapshot.unusable);
        if newest.is_some_and(|newest| newest.name.end == last) && !self.running() {
            return Ok(None);
        }
        self.requested = true;
        Ok(Some(Ticket(self.started + 1)))
    }

    /// Whether the newest has the name that the next would have. It would take the place of one that is known to be whole.
    pub(super) fn is_there(&self, last: Lsn) -> bool {
        let newest = self.kept.iter().rfind(|snapshot| !snapshot.unusable);
        newest.is_some_and(|newest| newest.name == SnapshotName { begin: last, end: last })
    }

    /// Begins one if it is time; returns when to look again.
    pub(crate) fn tick(&mut self, now: Millis, log: &LogWriter, store: &Store) -> Option<Millis> {
        let options = self.options?;
        if let Some(taking) = self.taking.as_ref().filter(|_| matches!(self.phase, Phase::Walking { .. }) && !self.under_way) {
            return Some(self.may_write_at(&options, taking)).filter(|&at| at > now);
        }
        if !matches!(self.phase, Phase::Idle) || self.stopping {
            return None;
        }
        let space = self.space(log, store);
        if options.automatic && space.passes(&options, 0) {
            self.make_room(now);
        }
        if !options.automatic || !(space.is_due(&options) || self.newest_is_damaged()) {
            return None;
        }
        if self.retry_at <= now {
            self.requested = true;
            return None;
        }
        Some(self.retry_at)
    }

    /// Whether the newest is known to be of no use: then there is a generation less than there should be, however little log there is.
    fn newest_is_damaged(&self) -> bool {
        self.kept.last().is_some_and(|newest| newest.unusable)
    }

    pub(super) fn may_write_at(&self, options: &SnapshotOptions, taking: &Taking) -> Millis {
        let bandwidth = if self.hurried { 0 } else { options.bandwidth_max };
        let ms = taking.offset.saturating_mul(1000).checked_div(bandwidth).unwrap_or(0);
        Millis(taking.begun.0.saturating_add(ms))
    }

    pub(crate) fn space(&self, log: &LogWriter, store: &Store) -> Space {
        let newest = self.kept.iter().rfind(|snapshot| !snapshot.unusable).map_or(0, |newest| newest.bytes);
        Space {
            data: store.bytes() as u64,
            coming: store.entry_bytes() as u64,
            stored: self.stored_bytes(),
            newest,
            log: self.log_bytes(log),
            reserved: log.reserved_bytes(),
        }
    }

    /// What log and snapshots take, without what is reserved.
    pub(crate) fn stored_bytes(&self) -> u64 {
        let log: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        log + self.kept.iter().map(|snapshot| snapshot.bytes).sum::<u64>()
    }

    /// Whether a snapshot is being taken that should hurry.
    pub(crate) fn late(&self, log: &LogWriter, store: &Store) -> bool {
        let (Some(options), Some(taking), Phase::Walking { position }) = (self.options, &self.taking, &self.phase) else { return false };
        self.space(log, store).is_late(&options, *position, log.appended_bytes() - taking.log_bytes)
    }

    /// Begins to look whether the older generation may go, if there is one; returns whether it does. Asked once for each snapshot.
    pub(super) fn make_room(&mut self, now: Millis) -> bool {
        let Some(newest) = self.kept.iter().rfind(|snapshot| !snapshot.unusable).filter(|_| !self.room_made) else { return false };
        let name = newest.name;
        self.room_made = true;
        let needless = !self.removals_of(Generations::Newest, now).is_empty();
        if needless {
            self.phase = Phase::Checking { name, offset: 0, decoder: Decoder::new(self.checksum) };
        }
        needless
    }

    /// Without memory for the list nothing is removed this time.
    pub(super) fn removals_of(&self, generations: Generations, now: Millis) -> Removals {
        let retention = self.options.map(|options| options.retention).unwrap_or_default();
        retention::removals(&self.kept, &self.segments, generations, &retention, now).unwrap_or_default()
    }

    pub(super) fn plan_removals(&mut self, now: Millis) {
        self.removals = self.removals_of(Generations::Two, now);
    }
}
