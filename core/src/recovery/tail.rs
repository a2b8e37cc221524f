//! The end of the log: torn by a crash, and cut; or damage to what was durable, and refused.

use super::error::read_error;
use super::{Log, RecoveryError, Segment, TornTail};
use crate::museum::planted;
use crate::storage::{LogFiles, SegmentNumber};
use crate::units::Lsn;
use crate::wal::reader::{SegmentReader, Tail};

impl<F: LogFiles> Log<'_, F> {
    /// Decides whether what follows the last good frame of segment `at` is a torn tail, to be cut, or damage.
    pub(super) fn judge_tail(&mut self, at: usize, mut reader: SegmentReader, tail: Tail) -> Result<(), RecoveryError> {
        let (_, rest) = self.segments.split_at(at);
        let Some((Segment { header, .. }, later)) = rest.split_first() else { return Ok(()) };
        let header_number = header.number;
        let end = reader.end();
        let remainder = reader.remainder(self.files, end).map_err(|error| read_error(header.number, error))?;
        let mut claimed = remainder.claimed.max(self.claimed_by_snapshots());
        let mut bytes = remainder.bytes;
        let sealed = reader.sealed() && !later.is_empty();
        let mut buffer = reader.into_buffer();
        for segment in later {
            let number = segment.header.number;
            claimed = claimed.max(if segment.header.epoch == header.epoch {
                segment.header.durable
            } else {
                // A new run begins by making durable all that it has recovered.
                Lsn(segment.header.first_lsn.0.saturating_sub(1))
            });
            let reader = SegmentReader::new(number, segment.length, segment.header.salt, self.checksum);
            let mut reader = reader.with_buffer(self.chunk, buffer);
            let first = reader.end();
            let remainder = reader.remainder(self.files, first).map_err(|error| read_error(number, error))?;
            claimed = claimed.max(remainder.claimed);
            bytes = bytes.saturating_add(remainder.bytes);
            buffer = reader.into_buffer();
        }
        self.buffer = buffer;
        let other_epoch = later.iter().any(|segment| segment.header.epoch != header.epoch);
        // A crash tears a segment before its SEAL, never between a SEAL and the segment that continues it.
        let promised = claimed >= tail.next_lsn && !planted("damage_cut_as_torn");
        if promised || other_epoch || sealed {
            if planted("cut_before_refused") {
                let _ = self.files.truncate(header_number, end);
            }
            let last_lsn = claimed.max(tail.next_lsn);
            return Err(RecoveryError::Corrupt { segment: header.number, offset: end, first_lsn: tail.next_lsn, last_lsn });
        }
        let segments_removed = later.len() as u64;
        if bytes > 0 || segments_removed > 0 {
            self.report.torn = Some(TornTail { segment: header_number, offset: end, bytes, segments_removed });
        }
        if self.segments.get(at).is_some_and(|segment| segment.length > end) && !planted("torn_tail_left") {
            self.cut_at = Some((header_number, end));
        }
        Ok(())
    }

    /// A snapshot is only published when the log is durable as far as its name says: that is a claim as good as a frame's, also of one that is damaged.
    fn claimed_by_snapshots(&self) -> Lsn {
        let claims = self.snapshots.iter().filter(|_| !planted("snapshot_claims_nothing"));
        claims.map(|snapshot| snapshot.name.end).max().unwrap_or_default()
    }

    /// Without the log up to S1 the entries of a snapshot are not of one moment.
    pub(super) fn check_reach(&self, tail: Tail) -> Result<(), RecoveryError> {
        let claimed = self.claimed_by_snapshots();
        if claimed < tail.next_lsn {
            return Ok(());
        }
        let last = self.segments.last();
        Err(RecoveryError::Corrupt {
            segment: last.map_or(SegmentNumber(1), |last| last.header.number),
            offset: last.map_or(0, |last| last.length),
            first_lsn: tail.next_lsn,
            last_lsn: claimed,
        })
    }

    /// Removes the segments from `keep` on, the last one first, so that a crash meanwhile leaves a log that is judged the same;
    /// then cuts the torn segment, and makes all that the last run may have left unsynced durable.
    pub(super) fn cut(&mut self, keep: usize) -> Result<(), RecoveryError> {
        while self.segments.len() > keep {
            let Some(last) = self.segments.pop() else { break };
            let number = last.header.number;
            self.files.remove(number).map_err(|error| RecoveryError::Storage(Some(number), error))?;
        }
        // Also where nothing was torn: space that was set aside for the segment isn't needed any more.
        if let Some((number, length)) = self.cut_at {
            self.files.truncate(number, length).map_err(|error| RecoveryError::Storage(Some(number), error))?;
        }
        let epoch = self.segments.last().map_or(0, |last| last.header.epoch);
        for segment in self.segments.iter().filter(|segment| segment.header.epoch == epoch && !planted("recovered_unsynced")) {
            let number = segment.header.number;
            self.files.sync(number).map_err(|error| RecoveryError::Storage(Some(number), error))?;
        }
        Ok(())
    }
}
