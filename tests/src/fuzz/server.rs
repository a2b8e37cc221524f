//! An engine over a log in memory, asked over one connection: what a server is without a network.

use osprey_core::engine::{Engine, Entropy, Next, Options, Session};
use osprey_core::recovery::{RecoveryError, Report};
use osprey_core::storage::StorageDone;
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
}

impl Server {
    /// Recovers `log`. `run` counts the runs: each has its own salt.
    pub(super) fn recover(
        mut log: MemoryLog,
        policy: SyncPolicy,
        run: u64,
        now: Millis,
    ) -> (MemoryLog, Result<(Self, Report), RecoveryError>) {
        let entropy = Entropy { hash_key: [7; 16], salt: 0x5A17 + run, database: DatabaseId([1; 16]) };
        let mut options = Options::new(entropy);
        options.sync_policy = policy;
        // As small as these limits allow: a few writes fill a segment.
        options.limits.request.key_bytes_max = 16;
        options.limits.request.value_bytes_max = 64;
        options.limits.request.words_max = 18;
        options.segment_bytes = 0;
        let recovered = Engine::recover(options, &mut log, now);
        let files = log.clone();
        (files, recovered.map(|(engine, report)| (Self { engine, log, session: Session::new() }, report)))
    }

    /// Does all that the engine asks of storage; every reply may leave then.
    pub(super) fn store(&mut self) {
        while let Some(op) = self.engine.poll_storage() {
            let result = self.log.execute(&op);
            assert_eq!(result, Ok(()), "an operation for a segment that wasn't started: {op:?}");
            assert_eq!(self.engine.storage_done(StorageDone { op, result }), Ok(()));
        }
        assert!(!self.session.gated(self.engine.watermark()), "a reply that never leaves");
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
