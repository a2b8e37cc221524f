//! The log in NOR flash, through the traits of `embedded-storage`: erase before write, no word written twice, and the power may go at any moment.
//!
//! The flash is divided into slots of equal size, each for one segment:
//!
//! ```text
//!  head: one erase block                    body: the segment
//! ┌───────────┬───────┬─────────┬┄┄┄┄┄┄┄┄┐┌────────┬───────┬───────┬┄┄┄┄┄┄┄┄┄┄┄┄┐
//! │ started n │ cut l │ removed │ blank  ││ header │ frame │ frame │   blank    │
//! └───────────┴───────┴─────────┴┄┄┄┄┄┄┄┄┘└────────┴───────┴───────┴┄┄┄┄┄┄┄┄┄┄┄┄┘
//! ```
//! Notes in the head say what the body is; a note that the power has torn says nothing. Everything is stored inverted, so that what is
//! erased reads as the zeros that the engine expects. With write units of more than 8 bytes it needs [`SyncPolicy::Always`], under which every
//! frame begins a new sector.
//!
//! [`SyncPolicy::Always`]: osprey_core::wal::writer::SyncPolicy::Always

use alloc::vec::Vec;

use embedded_storage::nor_flash::NorFlash;
use osprey_core::checksum::crc32c;
use osprey_core::storage::{LogFiles, SegmentNumber, Storage, StorageDone, StorageError, StorageOp};
use osprey_core::wal::frame::FRAME_HEADER_BYTES;
use osprey_core::wal::segment::HEADER_BYTES;

/// How much is read and written at once, bytes: a multiple of every flash's read and write units.
const CHUNK_BYTES: usize = 512;

const NOTE_BYTES: usize = 32;
const NOTE_MAGIC: [u8; 4] = *b"OSN1";

/// Where the first frame of a segment begins.
#[expect(clippy::cast_possible_truncation, reason = "4096")]
const FIRST_FRAME: u32 = HEADER_BYTES as u32;

const FAILED: StorageError = StorageError::Io(None);

/// What a note in a slot's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note {
    /// The body is this segment. Of two slots with one segment the later in order counts.
    Started { segment: SegmentNumber, order: u64 },
    /// The segment ends here.
    Cut { length: u64 },
    /// The body is nothing: the slot may be erased.
    Removed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// Erased, for the segment that comes next.
    Reserved,
    Live {
        segment: SegmentNumber,
        order: u64,
        length: u32,
    },
}

#[derive(Debug)]
struct Slot {
    state: State,
    /// How many of its head's places for notes are used up.
    notes: u32,
}

/// See the module.
#[derive(Debug)]
pub struct FlashLog<F> {
    flash: F,
    slot_bytes: u32,
    slots: Vec<Slot>,
    /// How many segments were ever started; the last one's order.
    order: u64,
    /// Free slots are taken in turn, from here on, so that all of them wear alike.
    turn: usize,
}

impl<F: NorFlash> FlashLog<F> {
    /// Where a body begins in its slot.
    #[expect(clippy::cast_possible_truncation, reason = "flash is addressed with 32 bits")]
    const HEAD_BYTES: u32 = F::ERASE_SIZE as u32;

    #[expect(clippy::cast_possible_truncation, reason = "not more than a chunk")]
    const NOTE_PLACE_BYTES: u32 = if F::WRITE_SIZE > NOTE_BYTES { F::WRITE_SIZE as u32 } else { NOTE_BYTES as u32 };

    /// Finds the log in `flash`, whose bytes were all erased when it was new. Segments may have as much as a slot has, less one erase block.
    ///
    /// # Errors
    /// The flash fails, or a slot has lost its head but not its body: damage, since no loss of power does that.
    pub fn mount(flash: F, slot_bytes: u32) -> Result<Self, StorageError> {
        const { assert!(CHUNK_BYTES.is_multiple_of(F::WRITE_SIZE) && CHUNK_BYTES.is_multiple_of(F::READ_SIZE)) };
        const { assert!(F::ERASE_SIZE.is_multiple_of(CHUNK_BYTES)) };
        let count = flash.capacity() / slot_bytes as usize;
        let mut log = Self { flash, slot_bytes, slots: Vec::new(), order: 0, turn: 0 };
        log.slots.try_reserve_exact(count).map_err(|_| FAILED)?;
        for at in 0..count {
            let slot = log.look(at)?;
            log.slots.push(slot);
        }
        for at in 0..count {
            let State::Live { segment, order, .. } = log.state(at) else { continue };
            if order > log.order {
                (log.order, log.turn) = (order, at + 1);
            }
            // The power went between the start of a segment that replaces another and the other's removal.
            let later = |slot: &Slot| matches!(slot.state, State::Live { segment: other, order: o, .. } if other == segment && o > order);
            if log.slots.iter().any(later) {
                log.remove_slot(at)?;
            }
        }
        Ok(log)
    }

    /// What is in a slot, by its notes.
    fn look(&mut self, at: usize) -> Result<Slot, StorageError> {
        let mut slot = Slot { state: State::Free, notes: 0 };
        let mut removed = false;
        for place in 0..Self::HEAD_BYTES / Self::NOTE_PLACE_BYTES {
            let mut bytes = [0; NOTE_BYTES];
            self.read_flash(self.head(at) + place * Self::NOTE_PLACE_BYTES, &mut bytes)?;
            if bytes == [0; NOTE_BYTES] {
                continue;
            }
            slot.notes = place + 1;
            match (Note::decode(&bytes), &mut slot.state) {
                (Some(Note::Started { segment, order }), state) => *state = State::Live { segment, order, length: self.body_bytes() },
                (Some(Note::Cut { length }), State::Live { length: end, .. }) => *end = u32::try_from(length).unwrap_or(*end).min(*end),
                (Some(Note::Removed), _) => removed = true,
                _ => {}
            }
        }
        let mut frame = [0; FRAME_HEADER_BYTES];
        self.read_flash(self.body(at) + FIRST_FRAME, &mut frame)?;
        match slot.state {
            // Frames are written only behind a note that is there, and erased only behind one that says so.
            State::Free if !removed && frame != [0; FRAME_HEADER_BYTES] => Err(FAILED),
            _ if removed => Ok(Slot { state: State::Free, ..slot }),
            _ => Ok(slot),
        }
    }

    fn perform(&mut self, op: &mut StorageOp) -> Result<(), StorageError> {
        match op {
            StorageOp::Reserve { bytes, .. } if *bytes > u64::from(self.body_bytes()) => Err(StorageError::NoSpace),
            StorageOp::Reserve { .. } => self.reserve(),
            StorageOp::Start { segment, header } => self.start(*segment, header),
            StorageOp::Append { segment, offset, data, .. } => {
                let (at, length) = self.live(*segment)?;
                let offset = u32::try_from(*offset).map_err(|_| FAILED)?;
                let end = u32::try_from(data.len()).ok().and_then(|len| offset.checked_add(len)).filter(|&end| end <= length);
                end.ok_or(FAILED)?;
                self.write_flash(self.body(at) + offset, data)
            }
            StorageOp::Sync { segment, trim_to: Some(length) } => self.truncate(*segment, *length),
            // Whatever was written is durable.
            StorageOp::Sync { segment, trim_to: None } => self.live(*segment).map(drop),
            // The engine asks for none unless it was told to: `Options::snapshots` is left empty.
            StorageOp::Snapshot(_) => Err(FAILED),
        }
    }

    /// Erases the next free slot. With none, space is used up.
    fn reserve(&mut self) -> Result<(), StorageError> {
        let count = self.slots.len();
        let mut turns = (0..count).map(|turn| (self.turn + turn) % count);
        let at = turns.find(|&at| matches!(self.state(at), State::Free | State::Reserved)).ok_or(StorageError::NoSpace)?;
        // Before the erasure, which may be torn too: it leaves anything.
        self.remove_slot(at)?;
        let (head, body) = (self.head(at), self.body(at));
        self.flash.erase(body, head + self.slot_bytes).map_err(|_| FAILED)?;
        self.flash.erase(head, body).map_err(|_| FAILED)?;
        self.set(at, Slot { state: State::Reserved, notes: 0 });
        Ok(())
    }

    fn start(&mut self, segment: SegmentNumber, header: &[u8]) -> Result<(), StorageError> {
        let at = self.slots.iter().position(|slot| slot.state == State::Reserved).ok_or(FAILED)?;
        let replaced = self.live(segment).ok();
        let order = self.order + 1;
        self.write_flash(self.body(at), header)?;
        self.note(at, Note::Started { segment, order })?;
        (self.order, self.turn) = (order, at + 1);
        let length = self.body_bytes();
        self.set(at, Slot { state: State::Live { segment, order, length }, notes: 1 });
        replaced.map_or(Ok(()), |(at, _)| self.remove_slot(at))
    }

    fn remove_slot(&mut self, at: usize) -> Result<(), StorageError> {
        self.note(at, Note::Removed)?;
        let notes = self.slots.get(at).map_or(0, |slot| slot.notes);
        self.set(at, Slot { state: State::Free, notes });
        Ok(())
    }

    fn note(&mut self, at: usize, note: Note) -> Result<(), StorageError> {
        let place = self.slots.get(at).map_or(0, |slot| slot.notes);
        if place >= Self::HEAD_BYTES / Self::NOTE_PLACE_BYTES {
            return Err(StorageError::NoSpace);
        }
        self.write_flash(self.head(at) + place * Self::NOTE_PLACE_BYTES, &note.encode())?;
        if let Some(slot) = self.slots.get_mut(at) {
            slot.notes += 1;
        }
        Ok(())
    }

    fn live(&self, segment: SegmentNumber) -> Result<(usize, u32), StorageError> {
        let found = |(at, slot): (usize, &Slot)| match slot.state {
            State::Live { segment: number, length, .. } if number == segment => Some((at, length)),
            _ => None,
        };
        self.slots.iter().enumerate().find_map(found).ok_or(FAILED)
    }

    fn state(&self, at: usize) -> State {
        self.slots.get(at).map_or(State::Free, |slot| slot.state)
    }

    fn set(&mut self, at: usize, to: Slot) {
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = to;
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "there are fewer slots than bytes of flash")]
    fn head(&self, at: usize) -> u32 {
        at as u32 * self.slot_bytes
    }

    fn body(&self, at: usize) -> u32 {
        self.head(at) + Self::HEAD_BYTES
    }

    fn body_bytes(&self) -> u32 {
        self.slot_bytes - Self::HEAD_BYTES
    }

    fn write_flash(&mut self, mut to: u32, mut bytes: &[u8]) -> Result<(), StorageError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - to as usize % CHUNK_BYTES));
            let mut chunk = [0xFF; CHUNK_BYTES];
            for (to, from) in chunk.iter_mut().zip(now) {
                *to = !from;
            }
            let whole = chunk.get(..now.len().next_multiple_of(F::WRITE_SIZE)).unwrap_or(&chunk);
            self.flash.write(to, whole).map_err(|_| FAILED)?;
            to = (to / CHUNK_BYTES as u32 + 1) * CHUNK_BYTES as u32;
            bytes = later;
        }
        Ok(())
    }

    fn read_flash(&mut self, from: u32, mut buffer: &mut [u8]) -> Result<(), StorageError> {
        let mut skipped = from as usize % CHUNK_BYTES;
        let mut at = from - skipped as u32;
        while !buffer.is_empty() {
            let mut chunk = [0; CHUNK_BYTES];
            self.flash.read(at, &mut chunk).map_err(|_| FAILED)?;
            let len = buffer.len().min(CHUNK_BYTES - skipped);
            let (now, later) = core::mem::take(&mut buffer).split_at_mut(len);
            for (to, from) in now.iter_mut().zip(chunk.iter().skip(skipped)) {
                *to = !from;
            }
            (buffer, skipped, at) = (later, 0, at + CHUNK_BYTES as u32);
        }
        Ok(())
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
        for slot in &self.slots {
            if let State::Live { segment, length, .. } = slot.state {
                found.push((segment, u64::from(length)));
            }
        }
        Ok(found)
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let (at, length) = self.live(segment)?;
        let offset = u32::try_from(offset).unwrap_or(length).min(length);
        let len = buffer.len().min((length - offset) as usize);
        self.read_flash(self.body(at) + offset, buffer.get_mut(..len).unwrap_or_default())?;
        Ok(len)
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        let (at, _) = self.live(segment)?;
        self.note(at, Note::Cut { length })?;
        if let Some(Slot { state: State::Live { length: end, .. }, .. }) = self.slots.get_mut(at) {
            *end = u32::try_from(length).unwrap_or(*end).min(*end);
        }
        Ok(())
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        let (at, _) = self.live(segment)?;
        self.remove_slot(at)
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.live(segment).map(drop)
    }
}

impl Note {
    /// Magic, kind, two numbers, and a CRC of all that.
    fn encode(self) -> [u8; NOTE_BYTES] {
        let (kind, number, order) = match self {
            Self::Started { segment, order } => (1_u32, segment.0, order),
            Self::Cut { length } => (2, length, 0),
            Self::Removed => (3, 0, 0),
        };
        let mut bytes = [0; NOTE_BYTES];
        let fields = NOTE_MAGIC.into_iter().chain(kind.to_le_bytes()).chain(number.to_le_bytes()).chain(order.to_le_bytes());
        bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        let (covered, crc) = bytes.split_at_mut(NOTE_BYTES - 8);
        crc.iter_mut().zip(crc32c(0, covered).to_le_bytes()).for_each(|(to, from)| *to = from);
        bytes
    }

    fn decode(bytes: &[u8; NOTE_BYTES]) -> Option<Self> {
        let (_, fields) = bytes.split_first_chunk::<4>()?;
        let (kind, fields) = fields.split_first_chunk()?;
        let (number, fields) = fields.split_first_chunk()?;
        let (order, _) = fields.split_first_chunk()?;
        let (number, order) = (u64::from_le_bytes(*number), u64::from_le_bytes(*order));
        let note = match u32::from_le_bytes(*kind) {
            1 => Self::Started { segment: SegmentNumber(number), order },
            2 => Self::Cut { length: number },
            3 => Self::Removed,
            _ => return None,
        };
        // Magic and checksum too.
        (note.encode() == *bytes).then_some(note)
    }
}
