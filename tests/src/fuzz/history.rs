//! Lists of operations that make a log with frames of all kinds, and who does them.

use arbitrary::Arbitrary;
use osprey_core::storage::ChunkBytes;
use osprey_core::units::Millis;
use osprey_core::wal::writer::SyncPolicy;

use super::server::Server;
use crate::memory_log::MemoryLog;

/// What makes frames of all kinds.
#[derive(Arbitrary, Debug)]
pub(super) enum Op {
    Set {
        key: u8,
        value_bytes: u8,
        expiry_ms: Option<u8>,
    },
    Mset {
        key: u8,
    },
    Del {
        key: u8,
    },
    Expire {
        key: u8,
        ms: u8,
    },
    Persist {
        key: u8,
    },
    /// What is logged goes out as one frame.
    Store,
    /// Time passes, and what is due is done: syncs, marks.
    Wait {
        ms: u8,
    },
    /// The process is killed, or ends in order, and starts again.
    Restart {
        orderly: bool,
    },
}

/// A server, over its runs.
pub(super) struct Writer {
    pub(super) server: Server,
    pub(super) now: Millis,
    /// From the next run on.
    pub(super) chunk: ChunkBytes,
    policy: SyncPolicy,
    runs: u64,
}

impl Writer {
    /// The first run, over nothing.
    pub(super) fn new(policy: SyncPolicy, now: Millis) -> Self {
        let chunk = ChunkBytes::default();
        Self { server: start(MemoryLog::default(), policy, 0, now, chunk), now, chunk, policy, runs: 1 }
    }

    pub(super) fn perform(&mut self, op: &Op) {
        // Few keys, so that they meet again.
        let request = match *op {
            Op::Set { key, value_bytes, expiry_ms } => {
                let value = "v".repeat(usize::from(value_bytes & 63));
                let expiry = expiry_ms.map_or(String::new(), |ms| format!(" EX {}", u16::from(ms) * 16 + 1));
                format!("SET {} {}{expiry}\n{value}\n", key & 15, value.len())
            }
            Op::Mset { key } => format!("MSET {} 1 {} 0 {0} 2\nabc\n", key & 15, key >> 4),
            Op::Del { key } => format!("DEL {}\n", key & 15),
            Op::Expire { key, ms } => format!("EXPIRE {} {ms}\n", key & 15),
            Op::Persist { key } => format!("PERSIST {}\n", key & 15),
            Op::Store => return self.server.store(),
            Op::Wait { ms } => {
                self.now.0 += u64::from(ms) * 16;
                let _ = self.server.engine.tick(self.now);
                return self.server.store();
            }
            Op::Restart { orderly } => return self.restart(orderly),
        };
        if self.server.ask(request.as_bytes(), self.now).is_none() {
            self.server.store();
            assert!(self.server.ask(request.as_bytes(), self.now).is_some(), "storage has done all that it was asked for");
        }
    }

    pub(super) fn restart(&mut self, orderly: bool) {
        if orderly {
            self.server.close();
        }
        self.runs += 1;
        self.server = start(core::mem::take(&mut self.server.log), self.policy, self.runs, self.now, self.chunk);
    }

    /// What a run that begins now finds.
    pub(super) fn recovered(&self) -> Server {
        start(self.server.log.clone(), self.policy, self.runs, self.now, self.chunk)
    }
}

fn start(log: MemoryLog, policy: SyncPolicy, run: u64, now: Millis, chunk: ChunkBytes) -> Server {
    let (_, recovered) = Server::recover_by(log, policy, 100 + run, now, chunk);
    let (mut server, report) = recovered.unwrap_or_else(|error| panic!("an undamaged log: {error}"));
    assert_eq!((report.torn, report.unusable), (None, None), "an undamaged log");
    server.store();
    server
}
