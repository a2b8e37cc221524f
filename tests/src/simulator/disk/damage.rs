//! Damage to bytes that were synced: what a disk does when nobody writes.

use std::fmt;

use osprey_core::wal::segment::HEADER_BYTES;

use super::Disk;
use super::file::{SECTOR_BYTES, garbage};
use super::names::Name;
use crate::simulator::tape::Choices;

/// What has happened to a file.
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
    /// Which file.
    pub name: Name,
    /// From which byte on.
    pub from: usize,
    /// To which.
    pub to: usize,
    file: usize,
    before: Vec<u8>,
}

impl Damaged {
    /// The segment, if it is one.
    pub fn segment(&self) -> Option<u64> {
        if let Name::Segment(number) = self.name { Some(number) } else { None }
    }

    /// Whether it is a segment's header that is damaged or gone.
    pub fn takes_header(&self) -> bool {
        (self.from as u64) < HEADER_BYTES && self.segment().is_some()
    }
}

impl fmt::Debug for Damaged {
    /// Without the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}, bytes {} to {}", self.kind, self.name, self.from, self.to)
    }
}

impl Disk {
    /// Damages a segment or a snapshot somewhere; `None` if there is nothing to damage, or if it makes no difference.
    pub fn damage(&mut self, choices: &mut Choices) -> Option<Damaged> {
        let kind = [Damage::Bit, Damage::Zeros, Damage::Garbage, Damage::Misdirected, Damage::Cut, Damage::Removed][choices.below(6)];
        let (name, file) = if self.names.snapshots().next().is_some() && choices.one_in(2) {
            let from_end = choices.below(3).saturating_sub(1);
            let (name, file) = self.names.snapshots().rev().nth(from_end)?;
            (Name::Snapshot(name), file)
        } else {
            // The last segments are the ones whose damage is hardest to tell from a torn tail.
            let from_end = if choices.one_in(2) { choices.below(self.names.segments().count().max(1)) } else { choices.below(2) };
            let (number, file) = self.names.segments().rev().nth(from_end)?;
            (Name::Segment(number), file)
        };
        if self.files[file].damaged && matches!(name, Name::Snapshot(_)) {
            // Twice may be never: a bit comes back.
            return None;
        }
        let before = self.files[file].data().to_vec();
        let used = before.iter().rposition(|&byte| byte != 0)? + 1;
        let place = if choices.one_in(4) { choices.below(96) } else { choices.below(used) }.min(used - 1);
        let sector = place / SECTOR_BYTES * SECTOR_BYTES;
        let elsewhere = {
            let (_, other) = self.names.all().nth(choices.below(self.names.all().count()))?;
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
                self.names.set(name, None);
                (0, before.len())
            }
        };
        if kind != Damage::Removed && self.files[file].data() == before {
            return None;
        }
        self.files[file].damaged = true;
        Some(Damaged { kind, name, from, to, file, before })
    }

    /// Takes damage back.
    pub fn repair(&mut self, damaged: &Damaged) {
        *self.files[damaged.file].data_mut() = damaged.before.clone();
        self.files[damaged.file].damaged = false;
        self.names.set(damaged.name, Some(damaged.file));
    }
}
