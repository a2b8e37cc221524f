//! A file that keeps, beside what the system shows, each content that a sector has had since it was last certain.

use std::collections::BTreeMap;

pub(super) const SECTOR_BYTES: usize = 512;

/// Of a file with more unsynced sectors not all combinations are tried: its first half is old or new, and so is its second.
pub(super) const FREE_SECTORS_MAX: usize = 10;

pub(super) type Sector = [u8; SECTOR_BYTES];

/// What a sector may still hold beside what is shown, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsynced {
    pub(super) older: Vec<Sector>,
    /// So many of them are over when the sync under way ends.
    in_sync: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) shown: Vec<u8>,
    pub(super) unsynced: BTreeMap<usize, Unsynced>,
    /// What a cut that isn't synced has taken away.
    pub(super) cut: Vec<u8>,
}

impl File {
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        for sector in sectors(offset, bytes.len()) {
            let content = sector_of(&self.shown, sector);
            self.unsynced.entry(sector).or_default().older.push(content);
        }
        self.shown[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn begin_sync(&mut self) {
        self.unsynced.values_mut().for_each(|sector| sector.in_sync = sector.older.len());
    }

    pub(super) fn end_sync(&mut self) {
        self.unsynced.retain(|_, sector| {
            sector.older.drain(..sector.in_sync);
            sector.in_sync = 0;
            !sector.older.is_empty()
        });
        self.cut.clear();
    }
}

pub(super) fn sectors(offset: usize, len: usize) -> std::ops::Range<usize> {
    offset / SECTOR_BYTES..(offset + len).div_ceil(SECTOR_BYTES)
}

fn sector_of(bytes: &[u8], sector: usize) -> Sector {
    let mut content = [0; SECTOR_BYTES];
    let there = bytes.get(sector * SECTOR_BYTES..).unwrap_or_default();
    let len = there.len().min(SECTOR_BYTES);
    content[..len].copy_from_slice(&there[..len]);
    content
}

pub(super) fn put_sector(bytes: &mut [u8], sector: usize, content: &Sector) {
    if let Some(place) = bytes.get_mut(sector * SECTOR_BYTES..) {
        let len = place.len().min(SECTOR_BYTES);
        place[..len].copy_from_slice(&content[..len]);
    }
}
