//! How much is read and written at once is what a host has asked for, and changes nothing else (invariants 7, 8).
#![expect(clippy::unwrap_used, reason = "in tests a failure is the finding")]

use osprey_core::engine::{Engine, Options, Session, SnapshotOptions};
use osprey_core::recovery::Report;
use osprey_core::storage::{ChunkBytes, LogFiles, SegmentNumber, SnapshotName, SnapshotOp, Storage as _, StorageError, StorageOp};
use osprey_core::wal::writer::SyncPolicy;
use osprey_tests::machine::{BEGIN, small_options};
use osprey_tests::memory_storage::{Disk, MemoryStorage};

/// Values are up to so long; a record takes less than 64 bytes more.
const VALUE_BYTES_MAX: usize = 1500;

fn options(chunk: ChunkBytes) -> Options {
    let snapshots = Some(SnapshotOptions { automatic: false, ..SnapshotOptions::default() });
    Options { snapshots, chunk, ..small_options(SyncPolicy::Always) }
}

/// A disk that notes the most that was read at once, or written of a snapshot.
#[derive(Clone, Default)]
struct Noting {
    disk: Disk,
    most: usize,
}

impl LogFiles for Noting {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        LogFiles::segments(&mut self.disk)
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        self.most = self.most.max(buffer.len());
        self.disk.read(segment, offset, buffer)
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        self.disk.truncate(segment, length)
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.disk.remove(segment)
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.disk.sync(segment)
    }

    fn snapshots(&mut self) -> Result<Vec<(SnapshotName, u64)>, StorageError> {
        LogFiles::snapshots(&mut self.disk)
    }

    fn read_snapshot(&mut self, name: SnapshotName, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        self.most = self.most.max(buffer.len());
        self.disk.read_snapshot(name, offset, buffer)
    }
}

struct Server {
    engine: Engine,
    storage: MemoryStorage,
    /// The most that a snapshot's operation has written or read at once.
    most: usize,
}

impl Server {
    fn recover(chunk: ChunkBytes, mut from: Noting) -> (Self, Report, usize) {
        let (engine, report) = Engine::recover(options(chunk), &mut from, BEGIN).unwrap();
        let mut server = Self { engine, storage: MemoryStorage::new(from.disk), most: 0 };
        server.drive();
        (server, report, from.most)
    }

    fn drive(&mut self) {
        loop {
            while let Some(op) = self.engine.poll_storage() {
                let bytes = match &op {
                    StorageOp::Snapshot(SnapshotOp::Append { data, .. }) => data.len(),
                    StorageOp::Snapshot(SnapshotOp::Read { buffer, .. }) => buffer.len(),
                    _ => 0,
                };
                self.most = self.most.max(bytes);
                let done = self.storage.submit(op).unwrap();
                self.engine.storage_done(done).unwrap();
            }
            if !self.engine.wants_snapshot_slice() {
                return;
            }
            self.engine.snapshot_slice(BEGIN, || true);
        }
    }

    fn set(&mut self, keys: std::ops::Range<usize>) {
        let mut session = Session::new();
        for key in keys {
            let len = key * 37 % VALUE_BYTES_MAX;
            let request = format!("SET key{key} {len}\r\n{}\r\n", "v".repeat(len));
            let served = self.engine.serve(BEGIN, &mut session, request.as_bytes(), &mut Vec::new());
            assert_eq!(served.consumed, request.len());
            self.drive();
        }
    }

    fn state(&self) -> Vec<(Vec<u8>, usize, u64)> {
        let (mut state, mut cursor) = (Vec::new(), Some(0));
        while let Some(at) = cursor {
            cursor = self.engine.store().walk(at, |record| state.push((record.key.to_vec(), record.value.len(), record.version.0)));
        }
        state.sort_unstable();
        state
    }
}

#[test]
fn any_chunk_reads_the_same_and_no_more_at_once() {
    let sizes = [0, 512, 4096, 12_345, 256 << 10].map(ChunkBytes::nearest);
    // Written by one chunk size, and with a torn tail, it is read by each.
    for written in sizes {
        let (mut server, ..) = Server::recover(written, Noting::default());
        server.set(0..800);
        server.engine.request_snapshot().unwrap();
        server.drive();
        assert!(server.engine.newest_snapshot().is_some());
        let step = written.get().min(16 << 10);
        assert!(server.most <= written.get() + step + 2 * VALUE_BYTES_MAX, "{} bytes at once, chunks of {written:?}", server.most);
        server.set(700..900);
        let (last, _) = server.storage.disk.last();
        let disk = server.storage.disk.with(last, |bytes| bytes.extend([0xAA; 5000]));
        for read in sizes {
            let (recovered, report, most) = Server::recover(read, Noting { disk: disk.clone(), most: 0 });
            assert_eq!(recovered.state(), server.state());
            assert!(report.snapshot.is_some() && report.records == 200 && report.torn.is_some(), "{report:?}");
            // One frame, or a chunk that overlaps the next by a header.
            let most_max = (read.get() + 64).max(64 + 4 + 64 + VALUE_BYTES_MAX);
            assert!(most <= most_max, "{most} bytes at once, in chunks of {read:?}");
        }
    }
}

#[test]
fn a_size_is_brought_into_its_bounds() {
    let nearest = [0, 511, 512, 513, 1 << 20, usize::MAX].map(|bytes| ChunkBytes::nearest(bytes).get());
    assert_eq!(nearest, [512, 512, 512, 512, 1 << 20, 64 << 20]);
}
