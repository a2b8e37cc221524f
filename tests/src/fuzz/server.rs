//! An engine over a log in memory, asked over one connection: what a server is without a network.

use osprey_core::engine::{Engine, Entropy, Next, Options, Session, SnapshotOptions};
use osprey_core::recovery::{RecoveryError, Report};
use osprey_core::storage::{ChunkBytes, LogFiles as _, SnapshotOp, StorageDone, StorageError, StorageOp};
use osprey_core::units::Millis;
use osprey_core::wal::segment::DatabaseId;
use osprey_core::wal::writer::SyncPolicy;

use crate::memory_log::MemoryLog;

/// An engine with its storage and a connection.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) engine: Engine,
    pub(super) log: MemoryLog,
    session: Session,
    /// The snapshot that is being written.
    draft: Vec<u8>,
}

impl Server {
    /// Recovers `log`. `run` counts the runs: each has its own salt.
    pub(super) fn recover(log: MemoryLog, policy: SyncPolicy, run: u64, now: Millis) -> (MemoryLog, Result<(Self, Report), RecoveryError>) {
        Self::recover_by(log, policy, run, now, ChunkBytes::default())
    }

    /// The same, reading and writing in other chunks.
    pub(super) fn recover_by(
        mut log: MemoryLog,
        policy: SyncPolicy,
        run: u64,
        now: Millis,
        chunk: ChunkBytes,
    ) -> (MemoryLog, Result<(Self, Report), RecoveryError>) {
        let entropy = Entropy { hash_key: [7; 16], salt: 0x5A17 + run, database: DatabaseId([1; 16]) };
        let mut options = Options::new(entropy);
        options.sync_policy = policy;
        // As small as these limits allow: a few writes fill a segment.
        options.limits.request.key_bytes_max = 16;
        options.limits.request.value_bytes_max = 64;
        options.limits.request.words_max = 18;
        options.segment_bytes = 0;
        options.snapshots = Some(SnapshotOptions { automatic: false, ..SnapshotOptions::default() });
        options.chunk = chunk;
        let recovered = Engine::recover(options, &mut log, now);
        let files = log.clone();
        (files, recovered.map(|(engine, report)| (Self { engine, log, session: Session::new(), draft: Vec::new() }, report)))
    }

    /// Does all that the engine asks of storage; every reply may leave then.
    pub(super) fn store(&mut self) {
        while let Some(mut op) = self.engine.poll_storage() {
            let result = match &mut op {
                StorageOp::Snapshot(op) => self.execute_snapshot(op),
                op => self.log.execute(op),
            };
            assert_eq!(result, Ok(()), "an operation for what isn't there: {op:?}");
            assert_eq!(self.engine.storage_done(StorageDone { op, result }), Ok(()));
        }
        assert!(!self.session.gated(self.engine.watermark()), "a reply that never leaves");
    }

    fn execute_snapshot(&mut self, op: &mut SnapshotOp) -> Result<(), StorageError> {
        let MemoryLog(segments, snapshots) = &mut self.log;
        match op {
            SnapshotOp::Create { .. } | SnapshotOp::Discard => self.draft.clear(),
            SnapshotOp::Append { offset, data } => {
                assert_eq!(*offset, self.draft.len() as u64, "chunks follow each other");
                self.draft.extend_from_slice(data);
            }
            SnapshotOp::Publish { name } => drop(snapshots.insert(*name, std::mem::take(&mut self.draft))),
            SnapshotOp::Read { name, offset, buffer } => {
                let read = self.log.read_snapshot(*name, *offset, buffer)?;
                buffer.truncate(read);
            }
            SnapshotOp::Remove { name } => drop(snapshots.remove(name)),
            SnapshotOp::RemoveSegment { segment } => drop(segments.remove(segment)),
        }
        Ok(())
    }

    /// Begins a snapshot, if none is being taken.
    pub(super) fn begin_snapshot(&mut self) {
        if !self.engine.taking_snapshot() {
            self.engine.request_snapshot().unwrap();
        }
        self.store();
    }

    /// One step of a snapshot's walk, if one is being taken.
    pub(super) fn walk(&mut self, now: Millis) {
        let mut steps = 0;
        self.engine.snapshot_slice(now, || {
            steps += 1;
            steps == 1
        });
        self.store();
    }

    /// Takes a snapshot to its end.
    pub(super) fn take_snapshot(&mut self, now: Millis) {
        self.begin_snapshot();
        while self.engine.taking_snapshot() {
            self.walk(now);
        }
        assert_eq!(self.engine.snapshot_failure(), None);
    }

    /// Executes whole requests and returns the replies; `None` if storage has to work first (then nothing has happened).
    pub(super) fn ask(&mut self, requests: &[u8], now: Millis) -> Option<Vec<u8>> {
        let mut replies = Vec::new();
        let served = self.engine.serve(now, &mut self.session, requests, &mut replies);
        if served.next == Next::Storage {
            assert_eq!((served.consumed, replies.len()), (0, 0), "one request at a time");
            return None;
        }
        assert_eq!(served.consumed, requests.len(), "{served:?}");
        Some(replies)
    }

    /// As [`Server::ask`], with storage working as needed, and at the end.
    pub(super) fn ask_and_store(&mut self, request: &[u8], now: Millis) -> Vec<u8> {
        let replies = self.ask(request, now).or_else(|| {
            self.store();
            self.ask(request, now)
        });
        self.store();
        replies.expect("storage has done all that it was asked for")
    }

    /// Ends in order.
    pub(super) fn close(&mut self) {
        self.engine.close();
        self.store();
        assert!(self.engine.closed());
    }

    /// All entries, those included that have expired: key, version, expiry, value; sorted.
    pub(super) fn entries(&self) -> Vec<EntryCopy> {
        let mut entries = Vec::new();
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            cursor = self.engine.store().walk(at, |record| {
                let expiry = record.expiry.map(|expiry| expiry.0);
                entries.push((record.key.to_vec(), record.version.0, expiry, record.value.to_vec()));
            });
        }
        entries.sort_unstable();
        assert_eq!(entries.len(), self.engine.store().len(), "a walk over a store at rest sees each key once");
        entries
    }

    /// All keys that are there now; sorted.
    pub(super) fn live_entries(&self) -> Vec<EntryCopy> {
        let now = self.engine.now().0;
        self.entries().into_iter().filter(|(_, _, expiry, _)| expiry.is_none_or(|expiry| expiry > now)).collect()
    }
}

/// Key, version, expiry (Unix ms), value.
pub(super) type EntryCopy = (Vec<u8>, u64, Option<u64>, Vec<u8>);
