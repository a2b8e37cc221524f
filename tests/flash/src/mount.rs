//! Finds the log in the flash, and makes certain what it has found.
//!
//! Bits that were being written or erased when the power went may read as one thing now and as another the next time. If they now pass for a whole note, map or frame, then
//! something is built on them (a slot erased, a record shown) that is wrong if they don't later. So a mount, before anything else:
//!
//! - erases the head of every map that is newer than the newest whose commit can be read;
//! - copies the last segment, as it reads now, to another slot, and says so in a new map. This slot is one that is free whichever way the last note may read: so until the new map
//!   counts, nothing is lost.
//!
//! Only one thing can have been under way. So whatever stands before a note that can be read was written to its end; in doubt is only the last one.

use alloc::vec::Vec;

use embedded_storage::nor_flash::NorFlash;
use osprey_core::storage::{SegmentNumber, StorageError};

use crate::notes::{BLANK, NOTE_LEN, Note};
use crate::planted::planted;
use crate::slots::{CHUNK_BYTES, FAILED, FlashLog, Map, Slot};

/// A map that counts.
#[derive(Clone, Copy, Debug)]
struct Found {
    map: Map,
    /// Where the last note is that can be read.
    last: u32,
    /// How many can be.
    notes: u32,
}

/// What is in a slot's head.
#[derive(Clone, Copy, Debug)]
enum Head {
    Blank,
    Map(Found),
    /// What a write or an erasure has left that was torn; or damage.
    Torn {
        /// The latest generation of which there are notes.
        generation: u32,
        /// That of a map of which two notes can be read, as there are behind each that was whole.
        committed: u32,
    },
}

impl<F: NorFlash> FlashLog<F> {
    /// Finds the log in `flash`, whose bytes were all erased when it was new. Each slot has room for a segment, or a part of a snapshot, of `slot_bytes` less its head: the erase
    /// blocks that 32 bytes for each slot and 16 write units (of at least 32 bytes) need.
    ///
    /// Erases and writes one slot, see above, or none if all are used.
    ///
    /// With write units of more than 8 bytes it needs [`SyncPolicy::Always`], under which every frame begins a new sector. Segments and parts of snapshots are also what is erased
    /// at once: there should be at least eight slots, with room for four times the data.
    ///
    /// # Errors
    /// The flash fails, it can't be divided so, or its newest map is damaged: no loss of power does that.
    ///
    /// [`SyncPolicy::Always`]: osprey_core::wal::writer::SyncPolicy::Always
    pub fn mount(flash: F, slot_bytes: u32) -> Result<Self, StorageError> {
        let mut log = Self::blank(flash, slot_bytes)?;
        let Some(newest) = log.newest(u32::MAX)? else {
            log.clear_torn(0)?;
            return Ok(log);
        };
        log.clear_torn(newest.map.generation)?;
        log.slots = log.held(newest.map, newest.map.end)?;
        // What the next place was is not certain: it may have been written to, and read as if it had not.
        log.map = Some(Map { end: newest.map.end + Self::PLACE_BYTES, ..newest.map });
        log.turn = newest.map.slot + 1;
        if !planted("last_segment_believed") {
            log.settle(newest)?;
        }
        Ok(log)
    }

    /// The newest map before this generation.
    fn newest(&mut self, before: u32) -> Result<Option<Found>, StorageError> {
        let mut newest: Option<Found> = None;
        for at in 0..self.slots.len() {
            if let Head::Map(found) = self.head_of(at)?
                && found.map.generation < before
                && newest.is_none_or(|newest| found.map.generation > newest.map.generation)
            {
                newest = Some(found);
            }
        }
        Ok(newest)
    }

    /// What is in a slot's head, without believing any of it.
    fn head_of(&mut self, at: usize) -> Result<Head, StorageError> {
        let note = |log: &mut Self, offset: u32| {
            let mut bytes = BLANK;
            log.read_flash(log.head(at) + offset, &mut bytes).map(|()| bytes)
        };
        let first = note(self, 0)?;
        let map = match Note::decode(&first) {
            Some((Note::Map { entries }, generation)) => Some((entries, generation)),
            _ => None,
        };
        let mut whole = map.is_some();
        let end = map.map_or(0, |(entries, _)| Self::map_bytes(entries.into()));
        for entry in 1..=map.map_or(0, |(entries, _)| u32::from(entries)) {
            let entry = if whole { Note::decode(&note(self, entry * NOTE_LEN)?) } else { None };
            whole &= matches!(entry, Some((Note::Segment { .. } | Note::Part { .. }, of)) if map.is_some_and(|(_, generation)| of == generation));
        }
        let (mut last, mut notes) = (0, 0);
        let (mut used, mut generation) = (end, map.map_or(0, |(_, generation)| generation));
        let (mut said, mut committed) = (0, 0);
        let step = if whole { Self::PLACE_BYTES } else { NOTE_LEN };
        for offset in (end..self.head_bytes).step_by(step as usize) {
            let bytes = note(self, offset)?;
            if bytes != BLANK {
                used = offset + step;
            }
            match Note::decode(&bytes) {
                Some((Note::Map { .. } | Note::Segment { .. } | Note::Part { .. }, of)) => generation = generation.max(of),
                Some((_, of)) => {
                    committed = if of == said { of } else { committed };
                    (said, generation) = (of, generation.max(of));
                    (last, notes) = (offset, notes + 1);
                }
                None => {}
            }
        }
        Ok(match map.filter(|_| whole && notes > 0) {
            Some((_, generation)) => Head::Map(Found { map: Map { slot: at, generation, end: used }, last, notes }),
            None if used == 0 && first == BLANK => Head::Blank,
            None => Head::Torn { generation, committed },
        })
    }

    /// Erases the heads that the next reading might take for a newer map than that of generation `known`.
    fn clear_torn(&mut self, known: u32) -> Result<(), StorageError> {
        for at in 0..self.slots.len() {
            match self.head_of(at)? {
                // Its commits were written when it was whole, and are erased with it, when there is a newer one.
                Head::Torn { committed, .. } if committed > known => return Err(FAILED),
                Head::Torn { generation, .. } if (generation == 0 || generation > known) && !planted("torn_map_left") => {
                    self.erase_flash(self.head(at), self.body(at))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What the slots hold by a map and the notes behind it, up to `end`.
    fn held(&mut self, map: Map, end: u32) -> Result<Vec<Slot>, StorageError> {
        let mut slots = Vec::new();
        slots.try_reserve_exact(self.slots.len()).map_err(|_| FAILED)?;
        slots.resize(self.slots.len(), Slot::Free);
        let mut offset = 0;
        while offset < end {
            let mut bytes = BLANK;
            self.read_flash(self.head(map.slot) + offset, &mut bytes)?;
            let note = Note::decode(&bytes).map(|(note, _)| note);
            let entry = match note {
                Some(Note::Segment { slot, number, length }) => Some((slot, Slot::Segment { number, length })),
                Some(Note::Part { slot, index, name, length }) => Some((slot, Slot::Part { name, index, length })),
                _ => None,
            };
            if let Some((at, entry)) = entry
                && let Some(slot) = slots.get_mut(usize::from(at))
            {
                *slot = entry;
            }
            note.into_iter().for_each(|note| apply(&mut slots, note));
            // Entries are packed; behind them each note has its place.
            let packed = entry.is_some() || matches!(note, Some(Note::Map { .. }));
            offset = if packed { offset + NOTE_LEN } else { (offset + 1).next_multiple_of(Self::PLACE_BYTES) };
        }
        Ok(slots)
    }

    /// Does in memory what a note says.
    pub(crate) fn apply(&mut self, note: Note) {
        apply(&mut self.slots, note);
    }

    /// What may yet turn out to hold something: by the newest map without its last note, and, if that is all that it has, by the one before.
    fn doubtful(&mut self, newest: Found) -> Result<Vec<bool>, StorageError> {
        let mut doubtful = Vec::new();
        doubtful.try_reserve_exact(self.slots.len()).map_err(|_| FAILED)?;
        doubtful.resize(self.slots.len(), false);
        let mut found = Some(newest).filter(|_| !planted("last_note_believed"));
        while let Some(Found { map, last, notes }) = found {
            let held = self.held(map, last)?;
            doubtful.iter_mut().zip(held).for_each(|(doubtful, slot)| *doubtful |= slot != Slot::Free);
            if let Some(doubtful) = doubtful.get_mut(map.slot) {
                *doubtful = true;
            }
            found = if notes == 1 { self.newest(map.generation)? } else { None };
        }
        Ok(doubtful)
    }

    /// Copies the last segment, whose end may have been torn, as it reads now.
    fn settle(&mut self, newest: Found) -> Result<(), StorageError> {
        let doubtful = self.doubtful(newest)?;
        let certain = self.free().find(|&at| !doubtful.get(at).is_some_and(|&doubtful| doubtful));
        // There is one, as the log leaves some; unless the power was cut in one start after the other.
        let Some(to) = certain else { return Ok(()) };
        self.turn = to;
        self.take(0, Slot::Reserved)?;
        let segment = |(at, slot): (usize, &Slot)| match *slot {
            Slot::Segment { number, length } => Some((number, length, at)),
            _ => None,
        };
        let last = self.slots.iter().enumerate().filter_map(segment).max_by_key(|&(number, ..)| number);
        let Some((number, length, from)) = last else {
            self.set(to, Slot::Free);
            return self.write_map(to);
        };
        for offset in (0..length).step_by(CHUNK_BYTES) {
            let mut chunk = [0; CHUNK_BYTES];
            let len = CHUNK_BYTES.min((length - offset) as usize);
            let part = chunk.get_mut(..len).unwrap_or_default();
            self.read_flash(self.body(from) + offset, part)?;
            if part.iter().any(|&byte| byte != 0) {
                self.write_flash(self.body(to) + offset, part)?;
            }
        }
        self.set(from, Slot::Free);
        self.set(to, Slot::Segment { number, length });
        self.write_map(to)
    }

    /// Where a segment is, and its length.
    pub(crate) fn segment(&self, segment: SegmentNumber) -> Option<(usize, u32)> {
        let found = |(at, slot): (usize, &Slot)| match *slot {
            Slot::Segment { number, length } if number == segment => Some((at, length)),
            _ => None,
        };
        self.slots.iter().enumerate().find_map(found)
    }
}

fn apply(slots: &mut [Slot], note: Note) {
    for slot in slots {
        match (note, &mut *slot) {
            (Note::Cut { number: of, length }, Slot::Segment { number, length: end }) if *number == of => *end = length.min(*end),
            (Note::SegmentGone(of), Slot::Segment { number, .. }) if *number == of => *slot = Slot::Free,
            (Note::SnapshotGone(of), Slot::Part { name, .. }) if *name == of => *slot = Slot::Free,
            _ => {}
        }
    }
}
