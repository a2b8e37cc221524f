//! The engine's storage: its operations while it runs, and what recovery reads.

use alloc::vec::Vec;

use embedded_storage::nor_flash::NorFlash;
use osprey_core::storage::{LogFiles, SegmentNumber, SnapshotName, SnapshotOp, Storage, StorageDone, StorageError, StorageOp};

use crate::notes::Note;
use crate::planted::planted;
use crate::slots::{Draft, FAILED, FlashLog, SPARE_SLOTS, Slot};

impl<F: NorFlash> FlashLog<F> {
    fn perform(&mut self, op: &mut StorageOp) -> Result<(), StorageError> {
        match op {
            StorageOp::Reserve { bytes, .. } if *bytes > u64::from(self.body_bytes()) => Err(StorageError::NoSpace),
            StorageOp::Reserve { .. } if self.slots.contains(&Slot::Reserved) => Ok(()),
            StorageOp::Reserve { .. } => self.take(SPARE_SLOTS, Slot::Reserved).map(drop),
            StorageOp::Start { segment, header } => self.start(*segment, header),
            StorageOp::Append { .. } if planted("append_lost") => Ok(()),
            StorageOp::Append { segment, offset, data, .. } => {
                let (at, length) = self.segment(*segment).ok_or(FAILED)?;
                let offset = u32::try_from(*offset).map_err(|_| FAILED)?;
                let end = u32::try_from(data.len()).ok().and_then(|len| offset.checked_add(len)).filter(|&end| end <= length);
                end.ok_or(FAILED)?;
                self.write_flash(self.body(at) + offset, data)
            }
            // Whatever was written is durable.
            StorageOp::Sync { segment, trim_to: None } => self.segment(*segment).map(drop).ok_or(FAILED),
            StorageOp::Sync { segment, trim_to: Some(length) } => match self.truncate(*segment, *length) {
                // No room to say so: no harm, as there is nothing behind it.
                Err(StorageError::NoSpace) => Ok(()),
                cut => cut,
            },
            StorageOp::Snapshot(op) => self.snapshot(op),
        }
    }

    fn start(&mut self, segment: SegmentNumber, header: &[u8]) -> Result<(), StorageError> {
        let at = self.slots.iter().position(|&slot| slot == Slot::Reserved).ok_or(FAILED)?;
        let length = self.body_bytes();
        if planted("header_behind_map") {
            self.apply(Note::SegmentGone(segment));
            self.set(at, Slot::Segment { number: segment, length });
            self.write_map(at)?;
            return self.write_flash(self.body(at), header);
        }
        self.write_flash(self.body(at), header)?;
        // One that it replaces.
        self.apply(Note::SegmentGone(segment));
        self.set(at, Slot::Segment { number: segment, length });
        self.write_map(at)
    }

    fn snapshot(&mut self, op: &mut SnapshotOp) -> Result<(), StorageError> {
        match op {
            SnapshotOp::Create { bytes, .. } => {
                self.discard();
                let slots = usize::try_from(bytes.div_ceil(u64::from(self.body_bytes()))).map_err(|_| StorageError::NoSpace)?;
                let room = u8::try_from(slots).is_ok() && self.free().count() >= slots.saturating_add(SPARE_SLOTS + 1);
                self.draft = Some(Draft::default());
                if room { Ok(()) } else { Err(StorageError::NoSpace) }
            }
            SnapshotOp::Append { offset, data } => {
                let mut draft = self.draft.take().filter(|draft| draft.length == *offset).ok_or(FAILED)?;
                let written = self.append(&mut draft, data);
                self.draft = Some(draft);
                written
            }
            SnapshotOp::Publish { name } => self.publish(*name),
            SnapshotOp::Discard => {
                self.discard();
                Ok(())
            }
            SnapshotOp::Read { name, offset, buffer } => {
                let read = self.read_part(*name, *offset, buffer)?;
                buffer.truncate(read);
                Ok(())
            }
            SnapshotOp::Remove { name } => self.forget(Note::SnapshotGone(*name)),
            SnapshotOp::RemoveSegment { segment } => self.forget(Note::SegmentGone(*segment)),
        }
    }

    fn discard(&mut self) {
        self.draft = None;
        self.slots.iter_mut().filter(|slot| **slot == Slot::Draft).for_each(|slot| *slot = Slot::Free);
    }

    /// Whole write units are written; what is left of the data waits for more, or for the end.
    fn append(&mut self, draft: &mut Draft, mut data: &[u8]) -> Result<(), StorageError> {
        draft.rest.try_reserve(F::WRITE_SIZE).map_err(|_| FAILED)?;
        draft.length += data.len() as u64;
        if !draft.rest.is_empty() {
            let (now, later) = data.split_at(data.len().min(F::WRITE_SIZE - draft.rest.len()));
            draft.rest.extend_from_slice(now);
            data = later;
            if draft.rest.len() < F::WRITE_SIZE {
                return Ok(());
            }
            let unit = core::mem::take(&mut draft.rest);
            self.append_units(draft, &unit)?;
            draft.rest.try_reserve(F::WRITE_SIZE).map_err(|_| FAILED)?;
        }
        let (units, rest) = data.split_at(data.len() - data.len() % F::WRITE_SIZE);
        draft.rest.extend_from_slice(rest);
        self.append_units(draft, units)
    }

    fn append_units(&mut self, draft: &mut Draft, mut data: &[u8]) -> Result<(), StorageError> {
        let body = self.body_bytes();
        while !data.is_empty() {
            if draft.used == body || draft.slots.is_empty() {
                draft.slots.try_reserve(1).map_err(|_| FAILED)?;
                // And one for the log, which comes first.
                draft.slots.push(self.take(SPARE_SLOTS + 1, Slot::Draft)?);
                draft.used = 0;
            }
            let at = draft.slots.last().copied().ok_or(FAILED)?;
            let (now, later) = data.split_at(data.len().min((body - draft.used) as usize));
            self.write_flash(self.body(at) + draft.used, now)?;
            draft.used += u32::try_from(now.len()).map_err(|_| FAILED)?;
            data = later;
        }
        Ok(())
    }

    /// All of it gets its name with one map.
    fn publish(&mut self, name: SnapshotName) -> Result<(), StorageError> {
        let mut draft = self.draft.take().ok_or(FAILED)?;
        let rest = core::mem::take(&mut draft.rest);
        self.append_units(&mut draft, &rest)?;
        let mut left = draft.length;
        for (index, at) in draft.slots.into_iter().enumerate() {
            let length = u32::try_from(left).unwrap_or(u32::MAX).min(self.body_bytes());
            left -= u64::from(length);
            self.set(at, Slot::Part { name, index: u8::try_from(index).map_err(|_| FAILED)?, length });
        }
        self.move_map()
    }

    /// Says that something is gone, if it is there.
    fn forget(&mut self, note: Note) -> Result<(), StorageError> {
        let free = |slots: &[Slot]| slots.iter().filter(|&&slot| slot == Slot::Free).count();
        let before = free(&self.slots);
        self.apply(note);
        if free(&self.slots) == before { Ok(()) } else { self.say(note) }
    }

    fn read_part(&mut self, name: SnapshotName, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            let from = offset + read as u64;
            let index = from / u64::from(self.body_bytes());
            let part = |(at, slot): (usize, &Slot)| match *slot {
                Slot::Part { name: of, index: its, length } if of == name && u64::from(its) == index => Some((at, length)),
                _ => None,
            };
            let Some((at, length)) = self.slots.iter().enumerate().find_map(part) else { break };
            let skip = u32::try_from(from % u64::from(self.body_bytes())).unwrap_or(length).min(length);
            let len = rest.len().min((length - skip) as usize);
            if len == 0 {
                break;
            }
            self.read_flash(self.body(at) + skip, rest.get_mut(..len).unwrap_or_default())?;
            read += len;
        }
        Ok(read)
    }
}

impl<F: NorFlash> Storage for FlashLog<F> {
    fn submit(&mut self, mut op: StorageOp) -> Option<StorageDone> {
        let result = self.perform(&mut op);
        Some(StorageDone { op, result })
    }

    fn poll(&mut self) -> Option<StorageDone> {
        None
    }
}

impl<F: NorFlash> LogFiles for FlashLog<F> {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        let mut found = Vec::new();
        found.try_reserve_exact(self.slots.len()).map_err(|_| FAILED)?;
        found.extend(self.slots.iter().filter_map(|slot| match *slot {
            Slot::Segment { number, length } => Some((number, u64::from(length))),
            _ => None,
        }));
        Ok(found)
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let (at, length) = self.segment(segment).ok_or(FAILED)?;
        let offset = u32::try_from(offset).unwrap_or(length).min(length);
        let len = buffer.len().min((length - offset) as usize);
        self.read_flash(self.body(at) + offset, buffer.get_mut(..len).unwrap_or_default())?;
        Ok(len)
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        self.segment(segment).ok_or(FAILED)?;
        let length = u32::try_from(length).map_err(|_| FAILED)?;
        let note = Note::Cut { number: segment, length };
        self.apply(note);
        self.say(note)
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.forget(Note::SegmentGone(segment))
    }

    /// What was recovered has been written anew by [`FlashLog::mount`].
    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.segment(segment).map(drop).ok_or(FAILED)
    }

    fn snapshots(&mut self) -> Result<Vec<(SnapshotName, u64)>, StorageError> {
        let mut found = Vec::new();
        found.try_reserve_exact(self.slots.len()).map_err(|_| FAILED)?;
        for slot in &self.slots {
            if let Slot::Part { name, length, .. } = *slot {
                match found.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, bytes)) => *bytes += u64::from(length),
                    None => found.push((name, u64::from(length))),
                }
            }
        }
        Ok(found)
    }

    fn read_snapshot(&mut self, name: SnapshotName, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        self.read_part(name, offset, buffer)
    }
}
