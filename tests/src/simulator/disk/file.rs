//! A file on a disk that may lose power: what the system shows of it, and what of that is not on the platter yet.
//!
//! Only sectors that were written since the last sync are kept twice. A sync takes what was written before it began; a sector that is
//! written again meanwhile has three contents that a power cut may leave.

use crate::museum::planted;
use crate::simulator::tape::Choices;

/// What a disk writes at once, bytes.
pub const SECTOR_BYTES: usize = 512;

type Sector = [u8; SECTOR_BYTES];

#[derive(Clone, Debug)]
struct Unsynced {
    /// On the platter.
    old: Sector,
    /// When a sync began that is under way, if it was written again since.
    at_sync: Option<Box<Sector>>,
    in_sync: bool,
    /// A sync of it has failed. The system takes it for clean, and will not write it any more.
    lost: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    /// What a reader sees.
    data: Vec<u8>,
    unsynced: Vec<Option<Box<Unsynced>>>,
    /// What an unsynced cut has taken away.
    cut: Vec<u8>,
    /// It was made since the last sync: its length may be lost.
    new: bool,
    /// It is not as it was written, and not by a crash.
    pub(super) damaged: bool,
    /// The engine has read all of it, and found it whole.
    pub(super) verified: bool,
}

/// What a power cut does to sectors that weren't synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// None has reached the platter.
    All,
    /// All have.
    None,
    /// Each as it comes: old, new, zeros, garbage, torn.
    Mixed,
    /// The first ones have, up to one that is torn.
    Tail,
    /// The first ones haven't.
    Head,
}

impl File {
    /// A new file of zeros, whose length isn't durable yet.
    #[must_use]
    pub(super) fn reserved(bytes: usize) -> Self {
        Self { data: vec![0; bytes], new: true, ..Self::default() }
    }

    /// What a reader sees.
    #[must_use]
    pub(super) fn data(&self) -> &[u8] {
        &self.data
    }

    /// What a reader sees, to be damaged: for what a disk does by itself.
    pub(super) fn data_mut(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }

    /// Writes inside the file.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if !bytes.is_empty() {
            (offset / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES).for_each(|sector| self.touch(sector));
        }
        self.data[offset..end].copy_from_slice(bytes);
    }

    /// Writes behind the end.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        let offset = self.data.len();
        self.data.resize(offset + bytes.len(), 0);
        self.write(offset, bytes);
    }

    fn touch(&mut self, sector: usize) {
        if self.unsynced.len() <= sector {
            self.unsynced.resize(sector + 1, None);
        }
        let begin = sector * SECTOR_BYTES;
        let now = self.data.get(begin..).unwrap_or_default();
        let now = &now[..now.len().min(SECTOR_BYTES)];
        let copy = || {
            let mut copy = [0; SECTOR_BYTES];
            copy[..now.len()].copy_from_slice(now);
            copy
        };
        match &mut self.unsynced[sector] {
            Some(unsynced) if unsynced.in_sync && unsynced.at_sync.is_none() => unsynced.at_sync = Some(Box::new(copy())),
            Some(_) => {}
            empty => *empty = Some(Box::new(Unsynced { old: copy(), at_sync: None, in_sync: false, lost: false })),
        }
    }

    /// Cuts the file.
    pub(super) fn truncate(&mut self, length: usize) {
        if length < self.data.len() {
            let mut cut = self.data.split_off(length);
            cut.append(&mut self.cut);
            self.cut = cut;
        }
    }

    /// A sync begins: it takes what was written before.
    pub(super) fn begin_sync(&mut self) {
        for unsynced in self.unsynced.iter_mut().flatten() {
            unsynced.in_sync = true;
            unsynced.at_sync = None;
        }
    }

    /// A sync has ended well.
    pub(super) fn end_sync(&mut self) {
        for slot in &mut self.unsynced {
            let Some(unsynced) = slot else { continue };
            if !unsynced.in_sync || unsynced.lost {
                unsynced.in_sync = false;
                continue;
            }
            unsynced.in_sync = false;
            match unsynced.at_sync.take() {
                Some(content) => unsynced.old = *content,
                None => *slot = None,
            }
        }
        self.cut.clear();
        self.new = false;
        self.unsynced.truncate(self.data.len().div_ceil(SECTOR_BYTES));
    }

    /// A sync has failed: what it should have taken is taken for clean, and isn't on the platter.
    pub(super) fn fail_sync(&mut self) {
        for unsynced in self.unsynced.iter_mut().flatten() {
            unsynced.lost |= unsynced.in_sync;
            unsynced.in_sync = false;
        }
    }

    /// Whether everything is on the platter.
    #[must_use]
    pub(super) fn is_synced(&self) -> bool {
        !self.new && self.cut.is_empty() && self.unsynced.iter().all(Option::is_none)
    }

    /// The process dies: what the system holds stays, but for what a failed sync has made it forget. Returns whether there was such.
    pub(super) fn kill(&mut self, choices: &mut Choices) -> bool {
        let mut forgotten = false;
        for (sector, slot) in self.unsynced.iter_mut().enumerate() {
            if slot.as_ref().is_some_and(|unsynced| unsynced.lost)
                && let Some(unsynced) = slot.take()
            {
                forgotten = true;
                if !choices.one_in(4) {
                    overwrite(&mut self.data, sector, &unsynced.old);
                }
            }
            if let Some(unsynced) = slot {
                // The sync that was under way is nobody's any more.
                unsynced.in_sync = false;
                unsynced.at_sync = None;
            }
        }
        forgotten
    }

    /// The power fails.
    pub(super) fn cut_power(&mut self, loss: Loss, choices: &mut Choices) {
        let loss = if planted("disk_loses_nothing") { Loss::None } else { loss };
        // An unsynced length is the old one or the new one.
        let length = self.data.len();
        let keeps_new_length = loss == Loss::None || (loss != Loss::All && choices.one_in(2));
        self.data.append(&mut self.cut);
        let count = self.unsynced.iter().flatten().count();
        let turn = if count == 0 { 0 } else { choices.below(count + 1) };
        let mut seen = 0;
        for (sector, slot) in self.unsynced.iter_mut().enumerate() {
            let Some(unsynced) = slot.take() else { continue };
            let outcome = match loss {
                Loss::All => 0,
                Loss::None => 1,
                Loss::Mixed => choices.below(8),
                Loss::Tail if seen == turn => 5,
                Loss::Tail => usize::from(seen < turn),
                Loss::Head => usize::from(seen >= turn),
            };
            seen += 1;
            let old = unsynced.at_sync.filter(|_| choices.one_in(2)).map_or(unsynced.old, |content| *content);
            match outcome {
                0 | 7 => overwrite(&mut self.data, sector, &old),
                1 | 6 => {}
                2 => overwrite(&mut self.data, sector, &[0; SECTOR_BYTES]),
                3 => overwrite(&mut self.data, sector, &garbage(choices)),
                4 => overwrite_part(&mut self.data, sector, &old, 0, choices.below(SECTOR_BYTES)),
                _ => overwrite_part(&mut self.data, sector, &old, choices.below(SECTOR_BYTES), SECTOR_BYTES),
            }
        }
        self.unsynced.clear();
        if self.new && !keeps_new_length {
            self.data.clear();
        } else if keeps_new_length {
            self.data.truncate(length);
        }
        self.new = false;
    }
}

/// A sector of bytes that nobody wrote.
pub(super) fn garbage(choices: &mut Choices) -> Sector {
    let mut sector = [0; SECTOR_BYTES];
    for word in sector.chunks_mut(8) {
        word.copy_from_slice(&choices.word().to_le_bytes());
    }
    sector
}

fn overwrite(data: &mut [u8], sector: usize, content: &Sector) {
    overwrite_part(data, sector, content, 0, SECTOR_BYTES);
}

fn overwrite_part(data: &mut [u8], sector: usize, content: &Sector, from: usize, to: usize) {
    let begin = sector * SECTOR_BYTES;
    let end = (begin + to).min(data.len());
    if let Some(place) = data.get_mut(begin + from..end) {
        place.copy_from_slice(&content[from..from + place.len()]);
    }
}
