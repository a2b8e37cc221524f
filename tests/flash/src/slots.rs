//! What the slots hold, in memory and in the newest map; which one is used next; and the flash itself, inverted.

use alloc::vec::Vec;

use embedded_storage::nor_flash::NorFlash;
use osprey_core::storage::{SegmentNumber, SnapshotName, StorageError};

use crate::notes::{NOTE_BYTES, Note};
use crate::planted::planted;

/// How much is read and written at once, bytes: a multiple of every flash's read and write units.
pub(crate) const CHUNK_BYTES: usize = CHUNK_LEN as usize;
const CHUNK_LEN: u32 = 512;

/// A head has room for so many notes behind its map.
const NOTES: usize = 16;

/// Free slots that the log leaves: a mount has to write one, and there may be one of which it isn't certain that it is free.
pub(crate) const SPARE_SLOTS: usize = 2;

/// The flash has failed, the allocator has, or something is asked for that isn't there.
pub(crate) const FAILED: StorageError = StorageError::Io(None);

/// What a slot's body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Free,
    /// Erased, for the segment that comes next.
    Reserved,
    Segment {
        number: SegmentNumber,
        length: u32,
    },
    /// Of a snapshot that has no name yet.
    Draft,
    Part {
        name: SnapshotName,
        index: u8,
        length: u32,
    },
}

/// The newest map: in which slot's head, and how far the notes behind it go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map {
    pub(crate) slot: usize,
    pub(crate) generation: u32,
    /// Where the next note goes, bytes from the head's beginning.
    pub(crate) end: u32,
}

/// The snapshot that is being written.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// In order.
    pub(crate) slots: Vec<usize>,
    /// How much of the last slot's body is used.
    pub(crate) used: u32,
    /// What doesn't fill a write unit yet.
    pub(crate) rest: Vec<u8>,
    pub(crate) length: u64,
}

/// A log and its snapshots in flash: see [the crate](crate).
#[derive(Debug)]
pub struct FlashLog<F> {
    flash: F,
    slot_bytes: u32,
    /// Of a slot.
    pub(crate) head_bytes: u32,
    pub(crate) slots: Vec<Slot>,
    pub(crate) map: Option<Map>,
    pub(crate) draft: Option<Draft>,
    /// Free slots are taken in turn, from here on, so that all of them wear alike.
    pub(crate) turn: usize,
}

impl<F: NorFlash> FlashLog<F> {
    /// Notes behind the map are written one by one, so each has its own place.
    #[expect(clippy::cast_possible_truncation, reason = "not more than a chunk")]
    pub(crate) const PLACE_BYTES: u32 = if F::WRITE_SIZE > NOTE_BYTES { F::WRITE_SIZE as u32 } else { NOTE_BYTES as u32 };

    /// All slots free.
    #[expect(clippy::cast_possible_truncation, reason = "flash is addressed with 32 bits")]
    pub(crate) fn blank(flash: F, slot_bytes: u32) -> Result<Self, StorageError> {
        const { assert!(CHUNK_BYTES.is_multiple_of(F::WRITE_SIZE) && CHUNK_BYTES.is_multiple_of(F::READ_SIZE)) };
        const { assert!(F::ERASE_SIZE.is_multiple_of(CHUNK_BYTES)) };
        let count = flash.capacity().checked_div(slot_bytes as usize).filter(|&count| u16::try_from(count).is_ok()).ok_or(FAILED)?;
        let head = Self::map_bytes(count) as usize + NOTES * Self::PLACE_BYTES as usize;
        let head_bytes = head.next_multiple_of(F::ERASE_SIZE) as u32;
        if !(slot_bytes as usize).is_multiple_of(F::ERASE_SIZE) || slot_bytes <= head_bytes {
            return Err(FAILED);
        }
        let mut slots = Vec::new();
        slots.try_reserve_exact(count).map_err(|_| FAILED)?;
        slots.resize(count, Slot::Free);
        Ok(Self { flash, slot_bytes, head_bytes, slots, map: None, draft: None, turn: 0 })
    }

    /// The flash, with the log on it.
    pub fn into_flash(self) -> F {
        self.flash
    }

    /// How much room a slot has for a segment: what [`Options::segment_bytes`] should be.
    ///
    /// [`Options::segment_bytes`]: osprey_core::engine::Options::segment_bytes
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.body_bytes().into()
    }

    /// Whether segments take a quarter of the slots: time to ask the engine for a snapshot ([`Engine::request_snapshot`]), on which it does without most of them. Each start takes a
    /// slot, however little is written until the next, so this is what to go by, not by how much log there is.
    ///
    /// [`Engine::request_snapshot`]: osprey_core::engine::Engine::request_snapshot
    #[must_use]
    pub fn wants_snapshot(&self) -> bool {
        let segments = self.slots.iter().filter(|slot| matches!(slot, Slot::Segment { .. })).count();
        segments * 4 >= self.slots.len()
    }

    /// How much a map of so many entries takes, up to the place behind it.
    #[expect(clippy::cast_possible_truncation, reason = "at most 65,536 notes")]
    pub(crate) fn map_bytes(entries: usize) -> u32 {
        ((1 + entries) * NOTE_BYTES).next_multiple_of(Self::PLACE_BYTES as usize) as u32
    }

    pub(crate) fn slot(&self, at: usize) -> Slot {
        self.slots.get(at).copied().unwrap_or(Slot::Free)
    }

    pub(crate) fn set(&mut self, at: usize, to: Slot) {
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = to;
        }
    }

    /// Slots that may be erased, the next in turn first. Not the one whose head has the map, even if its body holds nothing any more.
    pub(crate) fn free(&self) -> impl Iterator<Item = usize> {
        let (count, map) = (self.slots.len(), self.map.map(|map| map.slot));
        let begin = if planted("first_free_taken") { 0 } else { self.turn };
        let turns = (0..count).map(move |turn| (begin + turn) % count);
        turns.filter(move |&at| self.slot(at) == Slot::Free && (map != Some(at) || planted("map_erased")))
    }

    /// Erases the free slot whose turn it is, if more than `spare` are left.
    pub(crate) fn take(&mut self, spare: usize, to: Slot) -> Result<usize, StorageError> {
        if self.free().count() <= spare {
            return Err(StorageError::NoSpace);
        }
        let last = self.map.map_or(0, |map| map.slot);
        let at = if planted("live_erased") { last } else { self.free().next().ok_or(StorageError::NoSpace)? };
        let (body, end) = (self.body(at), self.head(at) + self.slot_bytes);
        if !planted("used_unerased") {
            self.erase_flash(body, end)?;
        }
        self.erase_flash(self.head(at), body)?;
        self.set(at, to);
        self.turn = at + 1;
        Ok(at)
    }

    /// Writes a map of what the slots hold now into the head of `at`, which is erased. From its commit on it counts, and the one before doesn't.
    pub(crate) fn write_map(&mut self, at: usize) -> Result<(), StorageError> {
        let generation = self.map.map_or(0, |map| map.generation).checked_add(1).ok_or(FAILED)?;
        let held = |(at, slot): (usize, &Slot)| {
            let at = u16::try_from(at).ok()?;
            match *slot {
                Slot::Segment { number, length } => Some(Note::Segment { slot: at, number, length }),
                Slot::Part { name, index, length } => Some(Note::Part { slot: at, index, name, length }),
                Slot::Free | Slot::Reserved | Slot::Draft => None,
            }
        };
        let held = || self.slots.iter().enumerate().filter_map(held);
        let entries = held().count();
        let mut bytes = Vec::new();
        bytes.try_reserve_exact((1 + entries) * NOTE_BYTES).map_err(|_| FAILED)?;
        let map = Note::Map { entries: u16::try_from(entries).unwrap_or(u16::MAX) };
        core::iter::once(map).chain(held()).for_each(|note| bytes.extend_from_slice(&note.encode(generation)));
        let end = Self::map_bytes(entries);
        if !planted("commit_first") {
            self.write_flash(self.head(at), &bytes)?;
        }
        let mut map = Map { slot: at, generation, end };
        // Twice: damage to one of them is no reason to go back to the map before.
        self.write_note(&mut map, Note::Commit)?;
        self.write_note(&mut map, Note::Commit)?;
        if planted("commit_first") {
            self.write_flash(self.head(at), &bytes)?;
        }
        self.map = Some(map);
        Ok(())
    }

    pub(crate) fn write_note(&mut self, map: &mut Map, note: Note) -> Result<(), StorageError> {
        self.write_flash(self.head(map.slot) + map.end, &note.encode(map.generation))?;
        map.end += Self::PLACE_BYTES;
        Ok(())
    }

    /// Says what has changed in the slots, which is done in memory already: in a note, or a new map where there is no place for one.
    pub(crate) fn say(&mut self, note: Note) -> Result<(), StorageError> {
        match self.map {
            Some(mut map) if map.end + Self::PLACE_BYTES <= self.head_bytes => {
                self.write_note(&mut map, note)?;
                self.map = Some(map);
                Ok(())
            }
            _ => self.move_map(),
        }
    }

    /// Writes a map into the head of a free slot, whose body stays free.
    pub(crate) fn move_map(&mut self) -> Result<(), StorageError> {
        let at = self.free().next().ok_or(StorageError::NoSpace)?;
        self.erase_flash(self.head(at), self.body(at))?;
        self.turn = at + 1;
        self.write_map(at)
    }

    #[expect(clippy::cast_possible_truncation, reason = "there are fewer slots than bytes of flash")]
    pub(crate) fn head(&self, at: usize) -> u32 {
        at as u32 * self.slot_bytes
    }

    pub(crate) fn body(&self, at: usize) -> u32 {
        self.head(at) + self.head_bytes
    }

    pub(crate) fn body_bytes(&self) -> u32 {
        self.slot_bytes - self.head_bytes
    }

    pub(crate) fn erase_flash(&mut self, from: u32, to: u32) -> Result<(), StorageError> {
        self.flash.erase(from, to).map_err(|_| FAILED)
    }

    pub(crate) fn write_flash(&mut self, mut to: u32, mut bytes: &[u8]) -> Result<(), StorageError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - to as usize % CHUNK_BYTES));
            let mut chunk = [0xFF; CHUNK_BYTES];
            for (to, from) in chunk.iter_mut().zip(now) {
                *to = !from;
            }
            let whole = chunk.get(..now.len().next_multiple_of(F::WRITE_SIZE)).unwrap_or(&chunk);
            self.flash.write(to, whole).map_err(|_| FAILED)?;
            to = (to / CHUNK_LEN + 1) * CHUNK_LEN;
            bytes = later;
        }
        Ok(())
    }

    pub(crate) fn read_flash(&mut self, from: u32, mut buffer: &mut [u8]) -> Result<(), StorageError> {
        let mut at = from - from % CHUNK_LEN;
        let mut skipped = (from - at) as usize;
        while !buffer.is_empty() {
            let mut chunk = [0; CHUNK_BYTES];
            self.flash.read(at, &mut chunk).map_err(|_| FAILED)?;
            let len = buffer.len().min(CHUNK_BYTES - skipped);
            let (now, later) = core::mem::take(&mut buffer).split_at_mut(len);
            for (to, from) in now.iter_mut().zip(chunk.iter().skip(skipped)) {
                *to = !from;
            }
            (buffer, skipped, at) = (later, 0, at + CHUNK_LEN);
        }
        Ok(())
    }
}
