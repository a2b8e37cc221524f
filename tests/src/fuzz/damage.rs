//! Damage to a log, and checksums that are right all the same, so that it gets past them: what is checked behind a checksum is
//! reached only so.

use std::ops::Range;

use arbitrary::Arbitrary;
use osprey_core::checksum::crc32c;
use osprey_core::storage::SegmentNumber;
use osprey_core::wal::frame::{FRAME_ALIGN, FRAME_HEADER_BYTES, FRAME_MAGIC};
use osprey_core::wal::segment::HEADER_BYTES;

use crate::memory_log::MemoryLog;

/// One thing that happens to a log. Segments and frames are counted from 0, past the last from the beginning again.
#[derive(Arbitrary, Clone, Debug)]
pub(super) enum Damage {
    /// A field of a segment's header gets another value.
    Header { segment: u8, field: HeaderField, value: Value },
    /// A field of a frame's header gets another value.
    Frame { segment: u8, frame: u8, field: FrameField, value: Value },
    /// A byte of a frame's payload gets another value.
    Payload { segment: u8, frame: u8, offset: u8, byte: u8 },
    /// A byte anywhere gets another value.
    Byte { segment: u8, offset: u16, byte: u8 },
    /// A segment ends earlier.
    Cut { segment: u8, by: u16 },
    /// Zeros follow a segment, as where space was set aside.
    Zeros { segment: u8, count: u16 },
    /// A frame stands behind the segment's end once more.
    Repeat { segment: u8, frame: u8 },
    /// A segment is gone.
    Remove { segment: u8 },
    /// A segment's bytes are another's.
    Copy { from: u8, to: u8 },
    /// A segment has another number, in its name and its header.
    Number { segment: u8, value: Value },
}

/// A new value for a field.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Value {
    This(u64),
    /// This much more than it was.
    More(i8),
    Most,
}

impl Value {
    pub(super) fn of(self, old: u64) -> u64 {
        match self {
            Self::This(value) => value,
            Self::More(by) => old.wrapping_add_signed(i64::from(by)),
            Self::Most => u64::MAX,
        }
    }
}

/// The fields of a segment's header, see [`osprey_core::wal::segment`].
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum HeaderField {
    Format,
    Sector,
    Database,
    Epoch,
    Salt,
    Number,
    FirstLsn,
    Durable,
    Time,
    Floor,
    Chain,
}

impl HeaderField {
    fn bytes(self) -> Range<usize> {
        match self {
            Self::Format => 8..12,
            Self::Sector => 12..16,
            Self::Database => 16..24,
            Self::Epoch => 32..40,
            Self::Salt => 40..48,
            Self::Number => 48..56,
            Self::FirstLsn => 56..64,
            Self::Durable => 64..72,
            Self::Time => 72..80,
            Self::Floor => 80..88,
            Self::Chain => 88..92,
        }
    }
}

/// What a segment's header checksum covers.
const HEADER_COVERED: Range<usize> = 0..92;
const HEADER_CRC: Range<usize> = 92..96;

/// The fields of a frame's header, see [`osprey_core::wal::frame`].
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum FrameField {
    Type,
    PayloadLength,
    Records,
    FirstLsn,
    Durable,
    Time,
    Floor,
    Previous,
}

impl FrameField {
    fn bytes(self) -> Range<usize> {
        match self {
            Self::Type => 4..8,
            Self::PayloadLength => 8..12,
            Self::Records => 12..16,
            Self::FirstLsn => 16..24,
            Self::Durable => 24..32,
            Self::Time => 32..40,
            Self::Floor => 40..48,
            Self::Previous => 48..52,
        }
    }
}

const FRAME_COVERED: Range<usize> = 0..56;
const FRAME_PAYLOAD_CRC: Range<usize> = 52..56;
const FRAME_CRC: Range<usize> = 56..60;

/// Does it; nothing where there is no such place.
pub(super) fn damage(log: &mut MemoryLog, damage: &Damage) {
    let _ = try_damage(log, damage);
}

fn try_damage(log: &mut MemoryLog, damage: &Damage) -> Option<()> {
    match *damage {
        Damage::Header { segment, field, value } => put(file(log, segment)?.get_mut(field.bytes())?, value),
        Damage::Frame { segment, frame, field, value } => {
            let file = file(log, segment)?;
            let at = frame_at(file, frame)?;
            put(file.get_mut(at..)?.get_mut(field.bytes())?, value);
        }
        Damage::Payload { segment, frame, offset, byte } => {
            let file = file(log, segment)?;
            let at = frame_at(file, frame)? + FRAME_HEADER_BYTES + usize::from(offset);
            *file.get_mut(at)? = byte;
        }
        Damage::Byte { segment, offset, byte } => *file(log, segment)?.get_mut(usize::from(offset))? = byte,
        Damage::Cut { segment, by } => {
            let file = file(log, segment)?;
            file.truncate(file.len().saturating_sub(usize::from(by)));
        }
        Damage::Zeros { segment, count } => {
            let file = file(log, segment)?;
            file.resize(file.len() + usize::from(count), 0);
        }
        Damage::Repeat { segment, frame } => {
            let file = file(log, segment)?;
            let frame = file.get(frame_at(file, frame)?..)?;
            let frame = frame.get(..frame_len(frame)?)?.to_vec();
            file.resize(file.len().next_multiple_of(FRAME_ALIGN), 0);
            file.extend_from_slice(&frame);
        }
        Damage::Remove { segment } => drop(log.0.remove(&number(log, segment)?)),
        Damage::Copy { from, to } => *file(log, to)? = file(log, from)?.clone(),
        Damage::Number { segment, value } => {
            let old = number(log, segment)?;
            let new = SegmentNumber(value.of(old.0));
            let mut file = log.0.remove(&old)?;
            put(file.get_mut(HeaderField::Number.bytes())?, Value::This(new.0));
            log.0.insert(new, file);
        }
    }
    Some(())
}

fn number(log: &MemoryLog, at: u8) -> Option<SegmentNumber> {
    let at = usize::from(at).checked_rem(log.0.len())?;
    log.0.keys().nth(at).copied()
}

fn file(log: &mut MemoryLog, at: u8) -> Option<&mut Vec<u8>> {
    let number = number(log, at)?;
    log.0.get_mut(&number)
}

pub(super) fn put(field: &mut [u8], value: Value) {
    let mut old = [0; 8];
    old[..field.len()].copy_from_slice(field);
    let new = value.of(u64::from_le_bytes(old)).to_le_bytes();
    field.copy_from_slice(&new[..field.len()]);
}

/// Whatever looks like a frame, in order.
fn frames(file: &[u8]) -> impl Iterator<Item = usize> {
    let first = usize::try_from(HEADER_BYTES).unwrap_or(usize::MAX);
    (first..file.len()).step_by(FRAME_ALIGN).filter(|&at| file[at..].starts_with(&FRAME_MAGIC) && file.len() - at >= FRAME_HEADER_BYTES)
}

fn frame_at(file: &[u8], index: u8) -> Option<usize> {
    let count = frames(file).count();
    frames(file).nth(usize::from(index).checked_rem(count)?)
}

/// As its header says.
fn frame_len(frame: &[u8]) -> Option<usize> {
    let len = u32::from_le_bytes(*frame.get(FrameField::PayloadLength.bytes())?.first_chunk()?);
    FRAME_HEADER_BYTES.checked_add(usize::try_from(len).ok()?)
}

/// Which checksums are made right again.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) struct Repair {
    pub(super) headers: bool,
    pub(super) frames: bool,
    /// Also each frame's and segment's reference to the frame before.
    pub(super) chain: bool,
}

/// Makes checksums right for what they cover.
pub(super) fn repair(log: &mut MemoryLog, repair: Repair) {
    let mut chain = [0; 4];
    for file in log.0.values_mut() {
        // A segment that has no whole header has nothing to repair.
        let _ = repair_header(file, repair, chain);
        let salt = file.get(HeaderField::Salt.bytes()).unwrap_or_default().to_vec();
        let offsets: Vec<usize> = frames(file).collect();
        for at in offsets {
            chain = repair_frame(&mut file[at..], repair, chain, &salt).unwrap_or(chain);
        }
    }
}

fn repair_header(file: &mut [u8], repair: Repair, chain: [u8; 4]) -> Option<()> {
    if repair.chain {
        file.get_mut(HeaderField::Chain.bytes())?.copy_from_slice(&chain);
    }
    if repair.headers {
        let crc = crc32c(0, file.get(HEADER_COVERED)?);
        file.get_mut(HEADER_CRC)?.copy_from_slice(&crc.to_le_bytes());
    }
    Some(())
}

/// Returns the frame's checksum.
fn repair_frame(frame: &mut [u8], repair: Repair, chain: [u8; 4], salt: &[u8]) -> Option<[u8; 4]> {
    if repair.chain {
        frame.get_mut(FrameField::Previous.bytes())?.copy_from_slice(&chain);
    }
    if repair.frames {
        let salted = crc32c(0, salt);
        // A frame that is longer than its segment keeps its payload's checksum, but its header shall be believed.
        if let Some(payload) = frame.get(FRAME_HEADER_BYTES..frame_len(frame)?) {
            let crc = crc32c(salted, payload);
            frame.get_mut(FRAME_PAYLOAD_CRC)?.copy_from_slice(&crc.to_le_bytes());
        }
        let crc = crc32c(salted, frame.get(FRAME_COVERED)?);
        frame.get_mut(FRAME_CRC)?.copy_from_slice(&crc.to_le_bytes());
    }
    frame.get(FRAME_CRC)?.first_chunk().copied()
}
