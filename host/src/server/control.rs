//! What is shared between the loop and the tasks beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use smol::channel::{Receiver, Sender, bounded};
use smol::lock::Mutex;

use crate::readiness::Readiness;

/// The numbers of `STATS`.
pub(super) type Stats = Vec<(&'static str, u64)>;

/// See the module.
#[derive(Debug)]
pub(super) struct Control {
    stop: AtomicBool,
    snapshot: AtomicBool,
    resident_bytes: AtomicU64,
    stats_wanted: AtomicBool,
    stats: Sender<Stats>,
    /// Whoever waits for numbers holds it.
    stats_of: Mutex<Receiver<Stats>>,
    readiness: Arc<Readiness>,
}

impl Control {
    pub(super) fn new(readiness: Arc<Readiness>) -> Self {
        let (stats, received) = bounded(1);
        Self {
            stop: AtomicBool::new(false),
            snapshot: AtomicBool::new(false),
            resident_bytes: AtomicU64::new(0),
            stats_wanted: AtomicBool::new(false),
            stats,
            stats_of: Mutex::new(received),
            readiness,
        }
    }

    pub(super) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    /// Asks for a snapshot.
    pub(super) fn request_snapshot(&self) {
        self.snapshot.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether somebody has asked for a snapshot since the last call.
    pub(super) fn take_snapshot_request(&self) -> bool {
        self.snapshot.load(Ordering::Relaxed) && self.snapshot.swap(false, Ordering::Acquire)
    }

    pub(super) fn wake(&self) {
        self.readiness.ring();
    }

    pub(super) fn resident_bytes(&self) -> u64 {
        self.resident_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn set_resident_bytes(&self, bytes: u64) {
        self.resident_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Asks the loop for the present numbers.
    pub(super) async fn stats(&self) -> Stats {
        let received = self.stats_of.lock().await;
        // Of somebody who went away before he got them.
        while received.try_recv().is_ok() {}
        self.stats_wanted.store(true, Ordering::Release);
        self.wake();
        received.recv().await.unwrap_or_default()
    }

    /// For the loop, once a turn: gives the numbers to who has asked for them.
    pub(super) fn give_stats(&self, stats: impl FnOnce() -> Stats) {
        if self.stats_wanted.load(Ordering::Relaxed) && self.stats_wanted.swap(false, Ordering::Acquire) {
            // Full: nobody waits any more.
            let _ = self.stats.try_send(stats());
        }
    }
}
