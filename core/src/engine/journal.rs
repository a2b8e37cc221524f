//! The log as the commands see it: what is recorded, and which replies have to wait for it.

use alloc::vec::Vec;

use super::Session;
use super::recent::RecentWrites;
use crate::record::Record;
use crate::store::{Hash, Lookup, Store};
use crate::units::{Lsn, Millis};
use crate::wal::writer::LogWriter;

/// Where a command's reply goes.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    pub(super) session: &'a mut Session,
    pub(super) out: &'a mut Vec<u8>,
    /// Where in `out` the replies begin that `session` doesn't count yet.
    pub(super) begin: usize,
}

impl Reply<'_> {
    /// What is appended from here on waits until the log has secured `lsn`.
    #[inline]
    pub(super) fn gate(&mut self, log: &LogWriter, lsn: Lsn) {
        let watermark = log.watermark();
        if lsn > watermark {
            let position = self.session.position(self.out.len() - self.begin);
            self.session.gate(log.frame_of(lsn), watermark, position);
        }
    }
}

#[derive(Debug)]
pub(super) struct Journal {
    pub(super) log: LogWriter,
    pub(super) recent: RecentWrites,
}

impl Journal {
    /// What is known of a key; the reply waits for whatever that depends on.
    #[inline]
    pub(super) fn look<'s>(&mut self, store: &'s Store, reply: &mut Reply<'_>, hash: Hash, key: &[u8], now: Millis) -> Lookup<'s> {
        reply.gate(&self.log, self.recent.last_write(hash));
        let found = store.lookup(hash, key, now);
        if let Lookup::Expired(Record { expiry: Some(expiry), .. }) = found {
            // Were the time forgotten in a crash, the key would be back after its end was seen.
            if let Some(lsn) = self.log.secure_time(expiry) {
                reply.gate(&self.log, lsn);
            }
        }
        found
    }

    /// Logs a record, for which there is room. The reply waits for it, and so will every one that shows the key.
    #[inline]
    pub(super) fn record(&mut self, reply: &mut Reply<'_>, hash: Hash, record: &Record<'_>) {
        self.log.log(record);
        self.recorded(reply, core::iter::once(hash));
    }

    /// The last records to be logged were about these keys.
    #[inline]
    pub(super) fn recorded(&mut self, reply: &mut Reply<'_>, hashes: impl Iterator<Item = Hash>) {
        let lsn = self.log.last_lsn();
        hashes.for_each(|hash| self.recent.note(hash, lsn));
        reply.gate(&self.log, lsn);
    }
}
