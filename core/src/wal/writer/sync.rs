//! Syncs beside the appends, one at a time: what they cover, and what is durable by them.

use super::append::Appending;
use super::{Closing, LogWriter};
use crate::museum::planted;
use crate::storage::StorageOp;

impl LogWriter {
    /// Asks for a sync of what has been written, whatever the policy.
    pub(crate) fn request_sync(&mut self) {
        self.sync_wanted = true;
    }

    pub(super) fn poll_sync(&mut self) -> Option<StorageOp> {
        if self.syncing.is_some() {
            return None;
        }
        if let Some(full) = &self.full {
            self.syncing = Some(full.last);
            return Some(StorageOp::Sync { segment: full.number, trim_to: Some(full.length) });
        }
        let flush = self.closing == Closing::Requested && self.idle();
        let active = self.active.as_mut()?;
        if self.closing == Closing::Sealed {
            self.closing = Closing::Trimming;
            self.syncing = Some(self.written);
            return Some(StorageOp::Sync { segment: active.number, trim_to: Some(active.end) });
        }
        // An append under way may lie in the sector that the sync would end in; only those that follow begin in a fresh one.
        let appending = matches!(self.appending, Some(Appending::Frame { .. } | Appending::Seal { .. }));
        if !(self.sync_wanted || flush) || (appending && !planted("sync_covers_append_under_way")) || self.written.lsn <= self.durable.lsn {
            return None;
        }
        self.sync_wanted = false;
        self.unsynced_bytes = 0;
        self.unsynced_since = None;
        self.syncing = Some(self.written);
        active.synced = !planted("synced_sector_shared");
        Some(StorageOp::Sync { segment: active.number, trim_to: None })
    }

    pub(super) fn synced(&mut self, trimmed: bool) {
        self.syncs += 1;
        if let Some(reached) = self.syncing.take().filter(|reached| reached.lsn >= self.durable.lsn) {
            self.durable = if planted("sync_covers_append_under_way") { self.written } else { reached };
        }
        if self.closing == Closing::Trimming {
            self.closing = Closing::Closed;
        } else if trimmed {
            self.full = None;
        }
    }
}
