//! What can be saved of snapshots where none is whole and the log begins too late to do without: their whole blocks, as one new snapshot.
//!
//! An entry of any of them is right as soon as all records behind that snapshot's S0 have been replayed on it. So entries of several go together, if the log goes back to the oldest one's S0:
//! the new snapshot begins where the oldest did, and ends where the newest did.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crc32c::crc32c_append;
use osprey_core::snapshot::format::HEADER_BYTES;
use osprey_core::snapshot::salvage::{Piece, Scanner};
use osprey_core::snapshot::writer::SnapshotWriter;
use osprey_core::snapshot::{Header, SnapshotError};
use osprey_core::storage::{ChunkBytes, LogFiles as _, SnapshotName, StorageError};
use osprey_core::store::Store;
use osprey_core::units::{Lsn, Millis, Version};
use osprey_core::wal::frame::Records;
use osprey_core::wal::segment::SegmentHeader;

use super::answer::{count, text};
use super::directory::Files;
use super::failure::Failure;
use super::survey::Segment;
use crate::museum::planted;

/// Entries that were found, and what the snapshot with them will say.
pub(super) struct Salvaged {
    pub(super) name: SnapshotName,
    header: Header,
    store: Store,
    floor: Version,
    time: Millis,
    /// What was found and what is lost, in lines.
    pub(super) lines: Vec<String>,
}

/// Those snapshots that may be taken apart: no other is whole, and the log goes back to their S0 but not to its own beginning. The oldest first.
pub(super) fn candidates(files: &Files, damaged: &[(SnapshotName, SnapshotError)], segments: &[Segment]) -> Vec<SnapshotName> {
    let first = segments.iter().filter_map(|segment| segment.known).map(|header| header.first_lsn).min().unwrap_or(Lsn(1));
    let none_is_whole = files.snapshots.keys().all(|name| damaged.iter().any(|(other, _)| other == name));
    let with_log = |name: &SnapshotName| first > Lsn(1) && none_is_whole && name.begin.0 + 1 >= first.0;
    files.snapshots.keys().copied().filter(with_log).collect()
}

/// Reads all that can be of these. `None`: of one of them nothing can.
pub(super) fn read(files: &mut Files, names: &[SnapshotName], segments: &[Segment]) -> Result<Option<Salvaged>, Failure> {
    let (Some(oldest), Some(newest)) = (names.first(), names.last()) else { return Ok(None) };
    let mut store = Store::new([0; 16]).map_err(|_| memory())?;
    let mut found = Found::default();
    let mut header = None;
    for &name in names {
        let Some(own) = header_of(files, name, segments)? else { return Ok(None) };
        found.take_apart(files, name, &own, &mut store)?;
        header = Some(own);
    }
    let Some(header) = header.filter(|_| found.complete || !store.is_empty()) else { return Ok(None) };
    let floors = segments.iter().filter_map(|segment| segment.known).map(|header| header.floor);
    let known = floors.chain([found.floor]).max().unwrap_or_default();
    // Of what is lost no version is known, only how many writes there can have been.
    let floor = if found.complete { known } else { Version(known.max(found.version).0.saturating_add(newest.end.0)) };
    let mut lines = found.lines;
    let missing: BTreeSet<&Vec<u8>> = found.keys.iter().filter(|key| !holds(&store, key)).collect();
    lines.extend(missing.into_iter().map(|key| format!("lost: the entry of {}, unless it was written later", text(key))));
    lines.push(match found.complete {
        true => format!("no entry is lost: all {} of {newest} can be read", store.len()),
        false => format!("{} can be read; keys that are missing and were not written later are lost", count(store.len() as u64, "key")),
    });
    let name = SnapshotName { begin: oldest.begin, end: newest.end };
    Ok(Some(Salvaged { name, header: Header { begin: name.begin, ..header }, store, floor, time: found.time, lines }))
}

fn memory() -> Failure {
    Failure::cannot("not enough memory for the entries of the snapshots")
}

fn holds(store: &Store, key: &[u8]) -> bool {
    store.lookup(store.hash(key), key, Millis(0)).live().is_some()
}

/// Its header, or what the log of the run that took it says of it.
fn header_of(files: &mut Files, name: SnapshotName, segments: &[Segment]) -> Result<Option<Header>, Failure> {
    let mut bytes = [0; HEADER_BYTES];
    files.read_snapshot(name, 0, &mut bytes).map_err(|error| Failure::cannot(format!("{name} cannot be read: {error}")))?;
    let known: Vec<SegmentHeader> = segments.iter().filter_map(|segment| segment.known).collect();
    if let Ok((header, _)) = Header::decode(&bytes, crc32c_append) {
        let ours = known.iter().any(|segment| segment.database == header.database);
        return Ok(Some(header).filter(|header| header.begin == name.begin && ours));
    }
    // Salt and epoch may be right all the same; else it is of a run that has a segment, too.
    let number = |at: usize| bytes.get(at..at + 8).and_then(|field| Some(u64::from_le_bytes(field.try_into().ok()?))).unwrap_or(0);
    let own = known.last().map(|last| SegmentHeader { epoch: number(32).clamp(1, last.epoch), salt: number(40), ..*last });
    for SegmentHeader { database, epoch, salt, .. } in own.into_iter().chain(known) {
        let mut scanner = scanner(files, name, salt)?;
        while let Some(piece) = scanner.next().map_err(|error| unreadable(name, error))? {
            if matches!(piece, Piece::Block(_)) {
                return Ok(Some(Header { database, epoch, salt, begin: name.begin }));
            }
        }
    }
    Ok(None)
}

fn unreadable(name: SnapshotName, error: SnapshotError) -> Failure {
    Failure::cannot(format!("{name} cannot be read: {error}"))
}

/// Reads from one of the files.
type Read<'a> = Box<dyn FnMut(u64, &mut [u8]) -> Result<usize, StorageError> + 'a>;

fn scanner(files: &mut Files, name: SnapshotName, salt: u64) -> Result<Scanner<Read<'_>>, Failure> {
    let lengths = files.snapshots().map_err(|error| Failure::cannot(format!("{name} cannot be read: {error}")))?;
    let length = lengths.iter().find(|(other, _)| *other == name).map_or(0, |(_, length)| *length);
    let read: Read<'_> = Box::new(move |offset, buffer| files.read_snapshot(name, offset, buffer));
    Ok(Scanner::new(read, length, salt, crc32c_append))
}

#[derive(Default)]
struct Found {
    lines: Vec<String>,
    /// Of entries that can't be relied on.
    keys: Vec<Vec<u8>>,
    floor: Version,
    /// The highest of an entry.
    version: Version,
    time: Millis,
    /// The newest one's entries are all there.
    complete: bool,
}

impl Found {
    /// Those of a newer snapshot go over those of an older one.
    fn take_apart(&mut self, files: &mut Files, name: SnapshotName, header: &Header, store: &mut Store) -> Result<(), Failure> {
        let (mut entries, mut footer) = (0, None);
        let mut scanner = scanner(files, name, header.salt)?;
        while let Some(piece) = scanner.next().map_err(|error| unreadable(name, error))? {
            match piece {
                Piece::Block(block) => {
                    for record in block.records() {
                        entries += 1;
                        self.version = self.version.max(record.version);
                    }
                    store.replay(block.records()).map_err(|_| memory())?;
                }
                Piece::Damaged { from, records, payload } => {
                    self.lines.push(format!("{name}: {} in the block at byte {from} cannot be read", count(records.into(), "key")));
                    for record in Records(payload).map_while(Result::ok).filter(|record| !record.key.is_empty()) {
                        self.version = self.version.max(record.version);
                        self.keys.push(record.key.to_vec());
                    }
                }
                Piece::Unreadable { from, to } => {
                    self.lines.push(format!("{name}: {} from byte {from} on are no block", count(to - from, "byte")));
                }
                Piece::Footer(found) => footer = Some(found),
            }
        }
        self.complete = footer.is_some_and(|footer| footer.records == entries);
        if let Some(footer) = footer {
            self.floor = self.floor.max(footer.floor);
            self.time = self.time.max(footer.time);
        }
        Ok(())
    }
}

impl Salvaged {
    /// Writes the snapshot, durably but for its name.
    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        let write = || {
            let out_of_memory = |_| io::Error::from(io::ErrorKind::OutOfMemory);
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
            let mut writer = SnapshotWriter::new(&self.header, crc32c_append, ChunkBytes::default()).map_err(out_of_memory)?;
            let mut position = Some(0);
            let mut bytes = Vec::new();
            while let Some(at) = position {
                let mut added = Ok(());
                position = self.store.walk(at, |record| {
                    bytes.clear();
                    record.encode(&mut bytes);
                    added = added.and_then(|()| writer.add(&bytes));
                });
                added.map_err(out_of_memory)?;
                file.write_all(&writer.take(Vec::new()))?;
            }
            let floor = if planted("salvage_forgets_floor") { Version::NONE } else { self.floor };
            file.write_all(&writer.finish(self.name.end, floor, self.time).map_err(out_of_memory)?)?;
            file.sync_all()
        };
        write().map_err(Failure::file("write", path))
    }
}
