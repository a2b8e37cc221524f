//! The log behind the snapshot, record by record along one unbroken chain.

use super::error::read_error;
use super::{Log, Recovered, RecoveryError, Segment, SegmentInfo};
use crate::museum::planted;
use crate::record::OutOfMemory;
use crate::storage::{LogFiles, SegmentNumber};
use crate::units::{Lsn, Millis, Version};
use crate::wal::frame::Records;
use crate::wal::reader::{Frame, SegmentReader, Tail};
use crate::wal::segment::SegmentHeader;
use crate::wal::writer::LogPosition;

impl<F: LogFiles> Log<'_, F> {
    pub(super) fn replay(mut self) -> Result<Recovered, RecoveryError> {
        let first = self.segments.first().map(|first| first.header);
        let mut tail = first.map_or(Tail { next_lsn: Lsn(self.base.begin.0 + 1), chain: 0 }, |first| Tail {
            next_lsn: first.first_lsn,
            chain: first.chain,
        });
        // Behind what the snapshot had, if there is one.
        let log_bytes: u64 = self.segments.iter().map(|segment| segment.length).sum();
        self.reached.bytes_total = self.reached.bytes.saturating_add(log_bytes);
        let mut passed = self.reached.bytes;
        let mut next_segment = SegmentNumber(1);
        let mut keep = self.segments.len();
        // The last frame's checksum before the segment that was read last.
        let mut follows = tail.chain;
        for at in 0..self.segments.len() {
            let Some(&Segment { header, length }) = self.segments.get(at) else { break };
            let before = tail.next_lsn;
            let reader = self.replay_segment(&header, length, &mut tail)?;
            self.report.bytes += reader.end();
            // Its header and what was reserved behind its end, too.
            passed = passed.saturating_add(length);
            self.reached.bytes = passed;
            (self.progress)(self.reached);
            // A segment without a record is replaced, so that starting a server often doesn't fill the directory. Not where the one before is of the same epoch and
            // wasn't read: its SEAL may be lost, and then only a header of that epoch says how the chain goes on.
            let replaced = tail.next_lsn == before && (at > 0 || self.epoch_before != Some(header.epoch));
            next_segment = if replaced || planted("segment_reused") { header.number } else { header.number.next() };
            let next = self.segments.get(at + 1).map(|next| next.header);
            self.report.sealed = reader.sealed() && next.is_none();
            if self.report.sealed {
                self.buffer = reader.into_buffer();
                continue;
            }
            if let Some(next) = next.filter(|next| next.first_lsn == tail.next_lsn) {
                // A SEAL holds no record: where it alone is missing, nothing is, and the next segment's header names its checksum.
                let only_unsealed = !reader.sealed() && next.epoch == header.epoch;
                if next.chain == tail.chain || only_unsealed {
                    follows = tail.chain;
                    tail.chain = next.chain;
                    self.buffer = reader.into_buffer();
                    continue;
                }
            }
            self.judge_tail(at, reader, tail)?;
            keep = at + 1;
            break;
        }
        self.check_reach(tail)?;
        self.cut(keep)?;
        if self.segments.last().is_some_and(|last| last.header.number == next_segment) && !planted("chain_of_replaced_segment") {
            tail.chain = follows;
        }
        let mut segments = core::mem::take(&mut self.older);
        let cut_at = self.cut_at;
        segments.extend(self.segments.iter().map(|&Segment { header, length }| SegmentInfo {
            number: header.number,
            first_lsn: header.first_lsn,
            time: header.time,
            bytes: cut_at.filter(|(number, _)| *number == header.number).map_or(length, |(_, cut)| cut),
        }));
        Ok(Recovered {
            position: LogPosition { next_segment, last_lsn: Lsn(tail.next_lsn.0 - 1), chain: tail.chain, time: self.time },
            database: self.segments.first().map(|first| first.header.database).or(self.base.database),
            epoch: self.segments.last().map_or(0, |last| last.header.epoch).max(self.base.epoch),
            segments,
            snapshots: self.snapshots,
            report: self.report,
        })
    }

    fn reader(&mut self, header: &SegmentHeader, length: u64) -> SegmentReader {
        let buffer = core::mem::take(&mut self.buffer);
        SegmentReader::new(header.number, length, header.salt, self.checksum).with_buffer(self.chunk, buffer)
    }

    fn replay_segment(&mut self, header: &SegmentHeader, length: u64, tail: &mut Tail) -> Result<SegmentReader, RecoveryError> {
        self.report.segments += 1;
        self.learn(header.time, header.floor);
        let mut reader = self.reader(header, length);
        loop {
            let next = reader.next(self.files, tail).map_err(|error| read_error(header.number, error))?;
            let Some(Frame { header: frame, offset, payload }) = next else { return Ok(reader) };
            self.report.frames += 1;
            let malformed = RecoveryError::Malformed { segment: header.number, offset };
            // What a snapshot holds already would take its entries back to an earlier state, if only for a while.
            let held = (self.base.begin.0 + 1).saturating_sub(frame.first_lsn.0).min(u64::from(frame.records));
            let mut records = 0_u32;
            let mut well_formed = true;
            let decoded = Records(payload).map_while(|record| {
                well_formed &= record.is_ok();
                records = records.saturating_add(1);
                record.ok()
            });
            let held_records = usize::try_from(held).map_err(|_| malformed)?;
            self.store.replay(decoded.skip(held_records)).map_err(|OutOfMemory| RecoveryError::OutOfMemory)?;
            if !well_formed || records != frame.records {
                return Err(malformed);
            }
            let replayed = u64::from(frame.records) - held;
            self.report.records += replayed;
            if replayed > 0 {
                self.report.replayed_bytes += frame.frame_len();
            }
            self.reached.bytes += frame.frame_len();
            self.reached.keys = self.store.len() as u64;
            (self.progress)(self.reached);
            if !planted("version_restart") {
                self.store.raise_floor(frame.floor);
            }
            self.time = self.time.max(frame.time);
        }
    }

    fn learn(&mut self, time: Millis, floor: Version) {
        self.time = self.time.max(time);
        self.store.raise_floor(floor);
    }
}
