//! What is in a server's data directory, from outside.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use osprey_core::checksum::crc32c;
use osprey_core::snapshot::{self, SnapshotError};
use osprey_core::storage::{SnapshotName, StorageError};

use crate::client::PATIENCE;

/// What the snapshot is called that is being written.
pub const DRAFT: &str = "snapshot.osnap.next";

/// The names of all files, sorted.
///
/// # Panics
/// It can't be read.
#[must_use]
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// The snapshots, the oldest first.
#[must_use]
pub fn snapshots(directory: &Path) -> Vec<SnapshotName> {
    let mut snapshots: Vec<SnapshotName> = names(directory).iter().filter_map(|name| SnapshotName::parse(name)).collect();
    snapshots.sort_unstable();
    snapshots
}

/// The segments of the log, the oldest first.
#[must_use]
pub fn segments(directory: &Path) -> Vec<PathBuf> {
    let is_segment = |name: &String| name.starts_with("wal-") && name.ends_with(".oswal");
    names(directory).iter().filter(|name| is_segment(name)).map(|name| directory.join(name)).collect()
}

/// Reads a snapshot from its first byte to its last.
///
/// # Errors
/// It isn't whole.
///
/// # Panics
/// There is no such file.
pub fn verify(directory: &Path, name: SnapshotName) -> Result<u64, SnapshotError> {
    let file = File::open(directory.join(name.to_string())).unwrap();
    let read = |offset, buffer: &mut [u8]| {
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) => return Err(StorageError::Io(error.raw_os_error())),
            }
        }
        Ok(filled)
    };
    let (header, footer) = snapshot::verify(read, crc32c)?;
    assert_eq!(SnapshotName { begin: header.begin, end: footer.end }, name);
    Ok(footer.records)
}

/// Waits until something is so, for as long as patience lasts.
///
/// # Panics
/// It never is: `what`.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
