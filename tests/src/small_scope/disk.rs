//! A disk that remembers all that a power cut may leave of it.
//!
//! Beside what the system shows, every sector keeps each content that it has had since it was last certain, for the system may have written any of them back;
//! names and lengths keep the old and the new one. An *image* is one choice of all of these. Sectors are written whole or not at all.
//! Operations are done in the steps in which `host/src/storage.rs` and `host/src/storage/snapshots.rs` do them. A snapshot that has no name yet is no part of an image: a start removes it.

use std::collections::BTreeMap;

use osprey_core::storage::{SegmentNumber, SnapshotName, SnapshotOp, StorageDone, StorageError, StorageOp};

use crate::memory_log::MemoryLog;
use crate::museum::planted;

const SECTOR_BYTES: usize = 512;

/// Of a file with more unsynced sectors not all combinations are tried: its first half is old or new, and so is its second.
const FREE_SECTORS_MAX: usize = 10;

type Sector = [u8; SECTOR_BYTES];

/// What a sector may still hold beside what is shown, the oldest first.
#[derive(Clone, Debug, Default)]
struct Unsynced {
    older: Vec<Sector>,
    /// So many of them are over when the sync under way ends.
    in_sync: usize,
}

#[derive(Clone, Debug, Default)]
struct File {
    shown: Vec<u8>,
    unsynced: BTreeMap<usize, Unsynced>,
    /// What a cut that isn't synced has taken away.
    cut: Vec<u8>,
}

impl File {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        for sector in sectors(offset, bytes.len()) {
            let content = sector_of(&self.shown, sector);
            self.unsynced.entry(sector).or_default().older.push(content);
        }
        self.shown[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn begin_sync(&mut self) {
        self.unsynced.values_mut().for_each(|sector| sector.in_sync = sector.older.len());
    }

    fn end_sync(&mut self) {
        self.unsynced.retain(|_, sector| {
            sector.older.drain(..sector.in_sync);
            sector.in_sync = 0;
            !sector.older.is_empty()
        });
        self.cut.clear();
    }
}

fn sectors(offset: usize, len: usize) -> std::ops::Range<usize> {
    offset / SECTOR_BYTES..(offset + len).div_ceil(SECTOR_BYTES)
}

fn sector_of(bytes: &[u8], sector: usize) -> Sector {
    let mut content = [0; SECTOR_BYTES];
    let there = bytes.get(sector * SECTOR_BYTES..).unwrap_or_default();
    let len = there.len().min(SECTOR_BYTES);
    content[..len].copy_from_slice(&there[..len]);
    content
}

fn put_sector(bytes: &mut [u8], sector: usize, content: &Sector) {
    if let Some(place) = bytes.get_mut(sector * SECTOR_BYTES..) {
        let len = place.len().min(SECTOR_BYTES);
        place[..len].copy_from_slice(&content[..len]);
    }
}

/// What a file is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Segment(SegmentNumber),
    Snapshot(SnapshotName),
}

/// How much of an operation has happened when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Nothing.
    Nothing,
    /// The first half of the data; of the steps of a start those before the segment has its name.
    Half,
    /// All, and the error comes all the same.
    All,
}

/// The failure of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// So many operations are left in peace before it.
    pub after: u64,
    /// What is reported.
    pub error: StorageError,
    /// What has happened.
    pub extent: Extent,
}

/// An operation under way.
#[derive(Debug)]
struct Job {
    op: StorageOp,
    step: usize,
    file: usize,
    /// In which round of the host it was asked for.
    round: u32,
    fails: Option<Fault>,
}

impl Job {
    /// So many steps it has: between any two of them the machine may go down.
    fn steps(&self) -> usize {
        match self.op {
            StorageOp::Reserve { .. } | StorageOp::Append { sync: false, .. } => 1,
            StorageOp::Append { sync: true, .. } | StorageOp::Sync { .. } => 2,
            // Sync, rename, sync the directory.
            StorageOp::Snapshot(SnapshotOp::Publish { .. }) => 3,
            // Remove, sync the directory.
            StorageOp::Snapshot(SnapshotOp::Remove { .. } | SnapshotOp::RemoveSegment { .. }) => 2,
            StorageOp::Snapshot(_) => 1,
            // Write the header, sync, rename, sync the directory.
            StorageOp::Start { .. } => 4,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Disk {
    files: Vec<File>,
    /// Segments and snapshots as the system shows them: places in `files`.
    names: BTreeMap<Name, usize>,
    /// The same on the platter.
    durable_names: BTreeMap<Name, usize>,
    reserved: Option<usize>,
    /// The snapshot that has no name yet.
    draft: Option<usize>,
    /// Of snapshots that are begun when so many have been, a bit is turned over on the way to the disk.
    pub damages_snapshots_from: Option<u64>,
    snapshots_begun: u64,
    under_way: Vec<Job>,
    /// What fails.
    pub fault: Option<Fault>,
    submitted: u64,
    /// Counts what may change images.
    generation: u64,
    /// Where the last step has written, until that is over.
    last_write: Option<(usize, std::ops::Range<usize>)>,
}

impl Disk {
    /// The machine was down, and this is what it has found: all of it durable. Operations go on being counted.
    pub fn reload(&mut self, log: MemoryLog) {
        *self = Self { fault: self.fault, submitted: self.submitted, generation: self.generation + 1, ..Self::default() };
        let segments = log.0.into_iter().map(|(number, shown)| (Name::Segment(number), shown));
        for (name, shown) in segments.chain(log.1.into_iter().map(|(name, shown)| (Name::Snapshot(name), shown))) {
            self.names.insert(name, self.files.len());
            self.files.push(File { shown, ..File::default() });
        }
        self.durable_names.clone_from(&self.names);
    }

    /// What was written and not synced happens to have reached the platter.
    pub fn write_back(&mut self) {
        for file in &mut self.files {
            file.begin_sync();
            file.end_sync();
        }
        self.generation += 1;
    }

    /// Takes an operation.
    ///
    /// # Panics
    /// It is against the contract.
    pub fn submit(&mut self, op: StorageOp, round: u32) {
        let kind = std::mem::discriminant(&op);
        assert!(self.under_way.iter().all(|job| std::mem::discriminant(&job.op) != kind), "two operations of a kind at once: {op:?}");
        let file = match &op {
            StorageOp::Reserve { .. } => self.files.len(),
            StorageOp::Snapshot(SnapshotOp::Append { .. } | SnapshotOp::Publish { .. }) => self.draft.unwrap(),
            StorageOp::Snapshot(SnapshotOp::Read { name, .. }) => self.names[&Name::Snapshot(*name)],
            // Not about a file's content.
            StorageOp::Snapshot(_) => usize::MAX,
            StorageOp::Start { .. } => self.reserved.take().unwrap(),
            StorageOp::Append { segment, .. } | StorageOp::Sync { segment, .. } => self.names[&Name::Segment(*segment)],
        };
        let fails = self.fault.filter(|fault| fault.after == self.submitted);
        self.submitted += 1;
        self.under_way.push(Job { op, step: 0, file, round, fails });
    }

    /// How many operations there have been.
    #[must_use]
    pub fn submitted(&self) -> u64 {
        self.submitted
    }

    /// Does one step of an operation under way; returns it if it has ended. Outer `None`: nothing may be done. What begins comes before what ends, and a step that
    /// ends an operation is only done if that was asked for before `round`; one that is the only step always is.
    pub fn step(&mut self, round: u32) -> Option<Option<StorageDone>> {
        let begins = self.under_way.iter().position(|job| job.step + 1 < job.steps() || job.steps() == 1);
        let at = begins.or_else(|| self.under_way.iter().position(|job| job.round < round))?;
        let mut job = self.under_way.remove(at);
        self.generation += 1;
        if let Some(fault) = job.fails {
            self.fail(&mut job, fault.extent);
            return Some(Some(StorageDone { op: job.op, result: Err(fault.error) }));
        }
        self.perform(&mut job.op, job.file, job.step);
        job.step += 1;
        if job.step == job.steps() {
            return Some(Some(StorageDone { op: job.op, result: Ok(()) }));
        }
        self.under_way.insert(at, job);
        Some(None)
    }

    /// The process can't die in the middle of the last step any more.
    pub fn step_is_over(&mut self) {
        self.last_write = None;
    }

    fn perform(&mut self, op: &mut StorageOp, file: usize, step: usize) {
        match op {
            StorageOp::Reserve { bytes, .. } => {
                self.reserved = Some(file);
                self.files.push(File { shown: vec![0; place(*bytes)], ..File::default() });
            }
            StorageOp::Start { segment, header } => match step {
                0 => self.write(file, 0, header),
                1 => {
                    self.files[file].begin_sync();
                    self.files[file].end_sync();
                }
                2 => drop(self.names.insert(Name::Segment(*segment), file)),
                _ => self.durable_names.clone_from(&self.names),
            },
            StorageOp::Append { offset, data, .. } if step == 0 => {
                self.write(file, place(*offset), data);
                self.files[file].begin_sync();
            }
            StorageOp::Sync { trim_to, .. } if step == 0 => {
                if let Some(length) = trim_to {
                    let file = &mut self.files[file];
                    file.cut = file.shown.split_off(place(*length));
                }
                self.files[file].begin_sync();
            }
            StorageOp::Append { .. } | StorageOp::Sync { .. } => self.files[file].end_sync(),
            StorageOp::Snapshot(op) => self.perform_snapshot(op, file, step),
        }
    }

    fn perform_snapshot(&mut self, op: &mut SnapshotOp, file: usize, step: usize) {
        match op {
            SnapshotOp::Create { .. } => {
                self.draft = Some(self.files.len());
                self.snapshots_begun += 1;
                self.files.push(File::default());
            }
            SnapshotOp::Append { offset, data } => {
                assert_eq!(self.files[file].shown.len() as u64, *offset, "a snapshot is written from front to back");
                self.files[file].shown.resize(place(*offset) + data.len(), 0);
                self.files[file].write(place(*offset), data);
                if self.damages_snapshots_from.is_some_and(|from| self.snapshots_begun > from) {
                    *self.files[file].shown.last_mut().unwrap() ^= 1;
                }
            }
            SnapshotOp::Publish { name } => match step {
                0 if planted("snapshot_renamed_unsynced") => {}
                0 => {
                    self.files[file].begin_sync();
                    self.files[file].end_sync();
                }
                1 => {
                    self.draft = None;
                    self.names.insert(Name::Snapshot(*name), file);
                }
                _ if planted("snapshot_name_unsynced") => {}
                _ => self.durable_names.clone_from(&self.names),
            },
            SnapshotOp::Discard => self.draft = None,
            SnapshotOp::Read { offset, buffer, .. } => {
                let there = self.files[file].shown.get(place(*offset)..).unwrap_or_default();
                let len = there.len().min(buffer.len());
                buffer[..len].copy_from_slice(&there[..len]);
                buffer.truncate(len);
            }
            SnapshotOp::Remove { name } if step == 0 => drop(self.names.remove(&Name::Snapshot(*name))),
            SnapshotOp::RemoveSegment { segment } if step == 0 => drop(self.names.remove(&Name::Segment(*segment))),
            SnapshotOp::Remove { .. } | SnapshotOp::RemoveSegment { .. } => self.durable_names.clone_from(&self.names),
        }
    }

    /// A bit of the newest snapshot turns over where it lies.
    ///
    /// # Panics
    /// There is none.
    pub fn damage_newest_snapshot(&mut self) {
        let newest = self.names.iter().rfind(|(name, _)| matches!(name, Name::Snapshot(_))).map(|(_, &file)| file);
        let bytes = &mut self.files[newest.unwrap()].shown;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }

    /// The operation on snapshots that is under way, and how many of its steps are done.
    #[must_use]
    pub fn snapshot_under_way(&self) -> Option<(&'static str, usize)> {
        self.under_way.iter().find_map(|job| {
            let StorageOp::Snapshot(op) = &job.op else { return None };
            let name = match op {
                SnapshotOp::Create { .. } => "create",
                SnapshotOp::Append { .. } => "append",
                SnapshotOp::Publish { .. } => "publish",
                SnapshotOp::Discard => "discard",
                SnapshotOp::Read { .. } => "read",
                SnapshotOp::Remove { .. } => "remove",
                SnapshotOp::RemoveSegment { .. } => "remove segment",
            };
            Some((name, job.step))
        })
    }

    fn write(&mut self, file: usize, offset: usize, bytes: &[u8]) {
        self.files[file].write(offset, bytes);
        self.last_write = Some((file, sectors(offset, bytes.len())));
    }

    fn fail(&mut self, job: &mut Job, extent: Extent) {
        let steps = job.steps();
        match (&mut job.op, extent) {
            (_, Extent::Nothing) | (StorageOp::Reserve { .. } | StorageOp::Snapshot(_), _) => {}
            (StorageOp::Append { offset, data, .. }, Extent::Half) => self.write(job.file, place(*offset), &data[..data.len() / 2]),
            (op @ StorageOp::Start { .. }, Extent::Half) => (0..2).for_each(|step| self.perform(op, job.file, step)),
            (op @ StorageOp::Sync { .. }, Extent::Half) => self.perform(op, job.file, 0),
            (op, Extent::All) => (0..steps).for_each(|step| self.perform(op, job.file, step)),
        }
    }

    /// Changes whenever images may have.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

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

/// A place in a file that is in memory.
fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}
