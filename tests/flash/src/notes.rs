//! What is written in a slot's head: the entries of a map, its commit, and what has changed since. Knows no flash.
//!
//! | offset | bytes | field |
//! | ---: | ---: | --- |
//! | 0 | 1 | kind: 1 MAP, 2 SEGMENT, 3 PART, 4 COMMIT, 5 CUT, 6 SEGMENT GONE, 7 SNAPSHOT GONE |
//! | 1 | 1 | PART: the how manieth of its snapshot, from 0 |
//! | 2 | 2 | SEGMENT, PART: the slot. MAP: how many entries follow |
//! | 4 | 4 | the map's generation, in all of its notes |
//! | 8 | 4 | SEGMENT, PART, CUT: length, bytes |
//! | 12 | 8 | the segment's number, or S0 |
//! | 20 | 8 | S1 |
//! | 28 | 4 | CRC-32C of bytes 0–27 |
//!
//! Numbers are little-endian. A place that is all zero is blank: no kind is 0.

use osprey_core::checksum::crc32c;
use osprey_core::storage::{SegmentNumber, SnapshotName};
use osprey_core::units::Lsn;

/// As long as a note is in flash; and in memory.
pub(crate) const NOTE_LEN: u32 = 32;
pub(crate) const NOTE_BYTES: usize = NOTE_LEN as usize;

pub(crate) const BLANK: [u8; NOTE_BYTES] = [0; NOTE_BYTES];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// A map of so many entries begins.
    Map {
        entries: u16,
    },
    Segment {
        slot: u16,
        number: SegmentNumber,
        length: u32,
    },
    Part {
        slot: u16,
        index: u8,
        name: SnapshotName,
        length: u32,
    },
    /// The map before this is whole.
    Commit,
    /// The segment ends here.
    Cut {
        number: SegmentNumber,
        length: u32,
    },
    SegmentGone(SegmentNumber),
    SnapshotGone(SnapshotName),
}

impl Note {
    pub(crate) fn encode(self, generation: u32) -> [u8; NOTE_BYTES] {
        let none = SnapshotName::default();
        let (kind, index, slot, length, number, name) = match self {
            Self::Map { entries } => (1, 0, entries, 0, 0, none),
            Self::Segment { slot, number, length } => (2, 0, slot, length, number.0, none),
            Self::Part { slot, index, name, length } => (3, index, slot, length, 0, name),
            Self::Commit => (4, 0, 0, 0, 0, none),
            Self::Cut { number, length } => (5, 0, 0, length, number.0, none),
            Self::SegmentGone(number) => (6, 0, 0, 0, number.0, none),
            Self::SnapshotGone(name) => (7, 0, 0, 0, 0, name),
        };
        let mut bytes = [0; NOTE_BYTES];
        let fields = [kind, index].into_iter().chain(slot.to_le_bytes()).chain(generation.to_le_bytes()).chain(length.to_le_bytes());
        let fields = fields.chain((number | name.begin.0).to_le_bytes()).chain(name.end.0.to_le_bytes());
        bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        let (covered, crc) = bytes.split_at_mut(NOTE_BYTES - 4);
        crc.copy_from_slice(&crc32c(0, covered).to_le_bytes());
        bytes
    }

    /// The note and its map's generation; `None` where there is none that is whole.
    pub(crate) fn decode(bytes: &[u8; NOTE_BYTES]) -> Option<(Self, u32)> {
        let (&[kind, index], fields) = bytes.split_first_chunk()?;
        let (slot, fields) = fields.split_first_chunk()?;
        let (generation, fields) = fields.split_first_chunk()?;
        let (length, fields) = fields.split_first_chunk()?;
        let (first, fields) = fields.split_first_chunk()?;
        let (second, _) = fields.split_first_chunk()?;
        let (slot, generation, length) = (u16::from_le_bytes(*slot), u32::from_le_bytes(*generation), u32::from_le_bytes(*length));
        let (first, second) = (u64::from_le_bytes(*first), u64::from_le_bytes(*second));
        let (number, name) = (SegmentNumber(first), SnapshotName { begin: Lsn(first), end: Lsn(second) });
        let note = match kind {
            1 => Self::Map { entries: slot },
            2 => Self::Segment { slot, number, length },
            3 => Self::Part { slot, index, name, length },
            4 => Self::Commit,
            5 => Self::Cut { number, length },
            6 => Self::SegmentGone(number),
            7 => Self::SnapshotGone(name),
            _ => return None,
        };
        // The checksum, and the fields that this kind doesn't have.
        (note.encode(generation) == *bytes).then_some((note, generation))
    }
}
