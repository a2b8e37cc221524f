//! The log as the commands see it: what is recorded, and which answers have to wait for it.

use super::recent::RecentWrites;
use crate::museum::planted;
use crate::record::Record;
use crate::store::{Hash, Lookup, Store};
use crate::units::{Lsn, Millis};
use crate::wal::writer::{LogWriter, NoRoom};

/// Takes note of what an answer has to wait for.
pub(super) trait Gate {
    /// The answer waits until the log has secured `lsn`.
    fn wait_for(&mut self, log: &LogWriter, lsn: Lsn);
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
    /// What is known of a key; the answer waits for whatever that depends on.
    ///
    /// # Errors
    /// That the key has expired can't be made certain before storage has ended something.
    #[inline]
    pub(super) fn look<'s>(
        &mut self,
        store: &'s Store,
        gate: &mut impl Gate,
        hash: Hash,
        key: &[u8],
        now: Millis,
    ) -> Result<Lookup<'s>, Busy> {
        // Where everything is secured, so is this key's last write: the table, which is in no near cache, needn't be asked.
        if self.log.last_lsn() > self.log.watermark() && !planted("reads_ungated") {
            gate.wait_for(&self.log, self.recent.last_write(hash));
        }
        let found = store.lookup(hash, key, now);
        if let Some(Record { expiry: Some(expiry), .. }) = found.expired()
            && !planted("expiry_ungated")
        {
            self.show_time(gate, expiry)?;
        }
        Ok(found)
    }

    /// The answer shows that this time has come, and waits until that is certain: were it forgotten in a crash, a key would be back after its end
    /// was seen. With a full disk there is no certainty to be had, and reading goes on without.
    ///
    /// # Errors
    /// There is no room in the log before storage has ended something.
    pub(super) fn show_time(&mut self, gate: &mut impl Gate, time: Millis) -> Result<(), Busy> {
        match self.log.secure_time(time) {
            Ok(Some(lsn)) => gate.wait_for(&self.log, lsn),
            Ok(None) | Err(NoRoom::ReadOnly | NoRoom::OutOfMemory) => {}
            Err(NoRoom::Busy) => return Err(Busy),
        }
        Ok(())
    }

    /// Logs a record, for which there is room. The answer waits for it, and so will every one that shows the key.
    #[inline]
    pub(super) fn record(&mut self, gate: &mut impl Gate, hash: Hash, record: &Record<'_>) {
        self.log.log(record);
        self.recorded(gate, core::iter::once(hash));
    }

    /// The last records to be logged were about these keys.
    #[inline]
    pub(super) fn recorded(&mut self, gate: &mut impl Gate, hashes: impl Iterator<Item = Hash>) {
        let lsn = self.log.last_lsn();
        hashes.for_each(|hash| self.recent.note(hash, lsn));
        gate.wait_for(&self.log, lsn);
    }
}
