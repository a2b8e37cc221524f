//! What a power cut, or the death of the process, may leave of a disk.

use std::collections::BTreeMap;

use super::file::{FREE_SECTORS_MAX, Unsynced, put_sector};
use super::{Disk, Name};
use crate::memory_log::MemoryLog;

impl Disk {
    /// What the system shows, and so what the death of the process leaves.
    #[must_use]
    pub fn shown(&self) -> MemoryLog {
        image_of(self.names.iter().map(|(&name, &file)| (name, self.files[file].shown.clone())))
    }

    /// What the death of the process leaves if it comes in the middle of the write that was the last step: its first sectors.
    pub fn shown_in_the_last_write(&self) -> impl Iterator<Item = MemoryLog> {
        let (file, sectors) = self.last_write.clone().unwrap_or_default();
        let segment = self.names.iter().find(|(_, named)| **named == file).map(|(&name, _)| name);
        (sectors.start + 1..sectors.end).filter_map(move |from| {
            let mut image = self.shown();
            let Some(Name::Segment(segment)) = segment else { return None };
            let bytes = image.0.get_mut(&segment)?;
            for sector in from..sectors.end {
                put_sector(bytes, sector, self.files[file].unsynced.get(&sector)?.older.last()?);
            }
            Some(image)
        })
    }

    fn named_files(&self) -> Vec<usize> {
        let mut files: Vec<usize> = self.names.values().chain(self.durable_names.values()).copied().collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// Names that were given, or taken away, and may not be on the platter as they are.
    fn unsynced_names(&self) -> Vec<Name> {
        let mut names: Vec<Name> = self.names.keys().chain(self.durable_names.keys()).copied().collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| self.names.get(name) != self.durable_names.get(name));
        names
    }

    /// How many images there are.
    #[must_use]
    pub fn images(&self) -> usize {
        let files = self.named_files().into_iter().map(|file| &self.files[file]);
        let contents = files.map(|file| {
            let lengths = if file.cut.is_empty() { 1 } else { 2 };
            if file.unsynced.len() > FREE_SECTORS_MAX {
                return lengths * 4;
            }
            file.unsynced.values().map(|sector| sector.older.len() + 1).product::<usize>() * lengths
        });
        contents.product::<usize>() << self.unsynced_names().len()
    }

    /// The image of a number below [`Disk::images`]: what a power cut may leave. The first is the oldest, the last what is shown.
    #[must_use]
    pub fn image(&self, mut number: usize) -> MemoryLog {
        let mut choose = |of: usize| {
            let choice = number % of;
            number /= of;
            choice
        };
        let mut contents = BTreeMap::new();
        for at in self.named_files() {
            let file = &self.files[at];
            let mut bytes = file.shown.clone();
            if !file.cut.is_empty() && choose(2) == 0 {
                bytes.extend_from_slice(&file.cut);
            }
            let halves = (file.unsynced.len() > FREE_SECTORS_MAX).then(|| [choose(2), choose(2)]);
            for (at, (&sector, Unsynced { older, .. })) in file.unsynced.iter().enumerate() {
                if let Some([first, second]) = halves {
                    let is_new = if at < file.unsynced.len() / 2 { first } else { second } == 1;
                    if let Some(content) = older.first().filter(|_| !is_new) {
                        put_sector(&mut bytes, sector, content);
                    }
                } else if let Some(content) = older.get(choose(older.len() + 1)) {
                    put_sector(&mut bytes, sector, content);
                }
            }
            contents.insert(at, bytes);
        }
        let mut names = self.durable_names.clone();
        for name in self.unsynced_names() {
            if choose(2) == 1 {
                match self.names.get(&name) {
                    Some(&file) => drop(names.insert(name, file)),
                    None => drop(names.remove(&name)),
                }
            }
        }
        image_of(names.into_iter().map(|(name, file)| (name, contents[&file].clone())))
    }
}

fn image_of(files: impl Iterator<Item = (Name, Vec<u8>)>) -> MemoryLog {
    let mut image = MemoryLog::default();
    for (name, bytes) in files {
        match name {
            Name::Segment(number) => drop(image.0.insert(number, bytes)),
            Name::Snapshot(name) => drop(image.1.insert(name, bytes)),
        }
    }
    image
}
