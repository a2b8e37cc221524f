//! A recovery that is cut short: the machine goes down before each of the changes that it makes, and when it reads.

use osprey_core::engine::{Engine, Options};
use osprey_core::recovery::RecoveryError;
use osprey_core::storage::{LogFiles, SegmentNumber, SnapshotName, StorageError};
use osprey_core::units::Millis;

use crate::memory_log::MemoryLog;
use crate::simulator::failure::{Check, Checked, ensure, fail};

const DOWN: StorageError = StorageError::Io(Some(5));

/// So many more calls work. What recovery changes is durable when a call has ended: each of them is done, or not.
struct CutShort {
    log: MemoryLog,
    reads_left: u32,
    changes_left: u32,
}

impl CutShort {
    fn read(&mut self) -> Result<(), StorageError> {
        self.reads_left = self.reads_left.checked_sub(1).ok_or(DOWN)?;
        Ok(())
    }

    fn change(&mut self) -> Result<(), StorageError> {
        self.changes_left = self.changes_left.checked_sub(1).ok_or(DOWN)?;
        Ok(())
    }
}

impl LogFiles for CutShort {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        self.log.segments()
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        Self::read(self)?;
        self.log.read(segment, offset, buffer)
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        self.change()?;
        self.log.truncate(segment, length)
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.change()?;
        self.log.remove(segment)
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.change()?;
        self.log.sync(segment)
    }

    fn snapshots(&mut self) -> Result<Vec<(SnapshotName, u64)>, StorageError> {
        self.log.snapshots()
    }

    fn read_snapshot(&mut self, name: SnapshotName, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        Self::read(self)?;
        self.log.read_snapshot(name, offset, buffer)
    }
}

/// Everything that a recovery of `image` may leave when it is cut short; `judge` is asked of each. Returns how many there were.
pub fn cut_short(options: Options, now: Millis, image: &MemoryLog, mut judge: impl FnMut(MemoryLog) -> Checked) -> Checked<u64> {
    let mut times = 0;
    for changes_left in 0.. {
        let mut files = CutShort { log: image.clone(), reads_left: u32::MAX, changes_left };
        if is_whole(&Engine::recover(options, &mut files, now))? {
            break;
        }
        times += 1;
        judge(files.log).map_err(|failure| failure.at(format_args!("behind {changes_left} changes of a recovery that is cut short")))?;
    }
    for reads_left in 0.. {
        let mut files = CutShort { log: image.clone(), reads_left, changes_left: 0 };
        let recovered = Engine::recover(options, &mut files, now);
        ensure(files.log == *image, Check::Damage, || format!("a recovery that could read {reads_left} times only has changed the log"))?;
        // It has come to its first change.
        if files.reads_left > 0 {
            break;
        }
        is_whole(&recovered)?;
        times += 1;
    }
    Ok(times)
}

/// Whether a recovery has ended well. If not, it says that storage has failed, and nothing else.
fn is_whole<T>(recovered: &Result<T, RecoveryError>) -> Checked<bool> {
    match recovered {
        Ok(_) => Ok(true),
        Err(RecoveryError::Storage(..)) => Ok(false),
        Err(error) => fail(Check::Refused, || format!("a recovery that is cut short says: {error}")),
    }
}
