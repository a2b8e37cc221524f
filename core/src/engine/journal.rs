//! The log as the commands see it: what is recorded, and which replies have to wait for it.

use alloc::vec::Vec;

use super::Session;
use super::recent::RecentWrites;
use crate::museum::planted;
use crate::record::Record;
use crate::store::{Hash, Lookup, Store};
use crate::units::{Lsn, Millis};
use crate::wal::writer::{LogWriter, NoRoom};

/// Where a command's reply goes.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    pub(super) session: &'a mut Session,
    pub(super) out: &'a mut Vec<u8>,
    /// Where in `out` the replies begin that `session` doesn't count yet.
    pub(super) begin: usize,
    /// A value of this size or more isn't copied to `out`.
    pub(super) lend_bytes_min: usize,
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

/// The log has no room before storage has ended something.
#[derive(Debug)]
pub(super) struct Busy;

#[derive(Debug)]
pub(super) struct Journal {
    pub(super) log: LogWriter,
    pub(super) recent: RecentWrites,
}

impl Journal {
    /// What is known of a key; the reply waits for whatever that depends on.
    ///
    /// # Errors
    /// That the key has expired can't be made certain before storage has ended something.
    #[inline]
    pub(super) fn look<'s>(
        &mut self,
        store: &'s Store,
        reply: &mut Reply<'_>,
        hash: Hash,
        key: &[u8],
        now: Millis,
    ) -> Result<Lookup<'s>, Busy> {
        if !planted("reads_ungated") {
            reply.gate(&self.log, self.recent.last_write(hash));
        }
        let found = store.lookup(hash, key, now);
        if let Some(Record { expiry: Some(expiry), .. }) = found.expired()
            && !planted("expiry_ungated")
        {
            self.show_time(reply, expiry)?;
        }
        Ok(found)
    }

    /// The reply shows that this time has come, and waits until that is certain: were it forgotten in a crash, a key would be back after its end
    /// was seen. With a full disk there is no certainty to be had, and reading goes on without.
    ///
    /// # Errors
    /// There is no room in the log before storage has ended something.
    pub(super) fn show_time(&mut self, reply: &mut Reply<'_>, time: Millis) -> Result<(), Busy> {
        match self.log.secure_time(time) {
            Ok(Some(lsn)) => reply.gate(&self.log, lsn),
            Ok(None) | Err(NoRoom::ReadOnly | NoRoom::OutOfMemory) => {}
            Err(NoRoom::Busy) => return Err(Busy),
        }
        Ok(())
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
