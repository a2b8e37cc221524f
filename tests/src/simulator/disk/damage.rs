//! Damage to bytes that were synced: what a disk does when nobody writes.

use std::fmt;

use osprey_core::wal::segment::HEADER_BYTES;

use super::Disk;
use super::file::{SECTOR_BYTES, garbage};
use crate::simulator::tape::Choices;

/// What has happened to a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A bit is another.
    Bit,
    /// Bytes are zero.
    Zeros,
    /// A sector holds something else.
    Garbage,
    /// A sector holds what belongs somewhere else.
    Misdirected,
    /// The end is missing.
    Cut,
    /// All of it is missing.
    Removed,
}

/// Damage, and where.
#[derive(Clone)]
pub struct Damaged {
    /// What.
    pub kind: Damage,
    /// Which segment.
    pub segment: u64,
    /// From which byte on.
    pub from: usize,
    /// To which.
    pub to: usize,
    file: usize,
    before: Vec<u8>,
}

impl Damaged {
    /// Whether it is the segment's header that is damaged or gone.
    pub fn takes_header(&self) -> bool {
        (self.from as u64) < HEADER_BYTES
    }
}

impl fmt::Debug for Damaged {
    /// Without the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of segment {}, bytes {} to {}", self.kind, self.segment, self.from, self.to)
    }
}

impl Disk {
    /// Damages a segment somewhere; `None` if there is nothing to damage, or if it makes no difference.
    pub fn damage(&mut self, choices: &mut Choices) -> Option<Damaged> {
        let kind = [Damage::Bit, Damage::Zeros, Damage::Garbage, Damage::Misdirected, Damage::Cut, Damage::Removed][choices.below(6)];
        // The last segments are the ones whose damage is hardest to tell from a torn tail.
        let from_end = if choices.one_in(2) { choices.below(self.names.len().max(1)) } else { choices.below(2) };
        let (&segment, &file) = self.names.iter().rev().nth(from_end)?;
        let before = self.files[file].data().to_vec();
        let used = before.iter().rposition(|&byte| byte != 0)? + 1;
        let place = if choices.one_in(4) { choices.below(96) } else { choices.below(used) }.min(used - 1);
        let sector = place / SECTOR_BYTES * SECTOR_BYTES;
        let elsewhere = {
            let (_, &other) = self.names.iter().nth(choices.below(self.names.len()))?;
            let data = self.files[other].data();
            let from = choices.below(data.len().max(1)) / SECTOR_BYTES * SECTOR_BYTES;
            data.get(from..from + SECTOR_BYTES).map(<[u8]>::to_vec)
        };
        let data = self.files[file].data_mut();
        let end = (sector + SECTOR_BYTES).min(data.len());
        let (from, to) = match kind {
            Damage::Bit => {
                data[place] ^= 1 << choices.below(8);
                (place, place + 1)
            }
            Damage::Zeros => {
                let to = (place + 1 + choices.below(600)).min(data.len());
                data[place..to].fill(0);
                (place, to)
            }
            Damage::Garbage => {
                data[sector..end].copy_from_slice(&garbage(choices)[..end - sector]);
                (sector, end)
            }
            Damage::Misdirected => {
                let content = elsewhere?;
                data[sector..end].copy_from_slice(&content[..end - sector]);
                (sector, end)
            }
            Damage::Cut => {
                data.truncate(place);
                (place, before.len())
            }
            Damage::Removed => {
                self.names.remove(&segment);
                self.durable_names.remove(&segment);
                (0, before.len())
            }
        };
        if kind != Damage::Removed && self.files[file].data() == before {
            return None;
        }
        Some(Damaged { kind, segment, from, to, file, before })
    }

    /// Takes damage back.
    pub fn repair(&mut self, damaged: &Damaged) {
        *self.files[damaged.file].data_mut() = damaged.before.clone();
        self.names.insert(damaged.segment, damaged.file);
        self.durable_names.insert(damaged.segment, damaged.file);
    }
}
