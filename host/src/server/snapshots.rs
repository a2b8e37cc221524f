//! How a snapshot shares the loop with requests: slices of it between turns, each no longer than `snapshot_pause_max_ms`, and together no more than a tenth
//! of the time as long as anybody has requests; a quarter, if so much is written meanwhile that log and snapshots would take more than they should.

use std::time::{Duration, Instant};

use osprey_core::engine::Engine;
use osprey_core::units::Millis;

/// After a slice so many times its length belong to requests.
const REST: u32 = 9;

/// The same for a snapshot that the log outruns.
const REST_LATE: u32 = 3;

/// Without a request for so long nobody is kept waiting: slices follow each other. (A client that waits for each reply is silent for as long as that takes.)
const IDLE: Duration = Duration::from_millis(5);

/// How often the size of the directory is held against its limit.
const SIZE_CHECK: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Snapshots {
    pause_max: Duration,
    /// Log and snapshots should take no more; 0: whatever they like.
    directory_bytes_warn: u64,
    resume_at: Instant,
    /// When there were requests last.
    asked_at: Instant,
    size_check_at: Instant,
    /// When the one that is being taken was begun, as far as it was seen.
    begun: Option<Instant>,
    /// How many had been taken and given up when it was last looked at. (One that doesn't fit begins and ends between two looks.)
    ended: (u64, u64),
}

impl Snapshots {
    pub(super) fn new(pause_max_ms: u64, directory_bytes_warn: u64) -> Self {
        let now = Instant::now();
        Self {
            pause_max: Duration::from_millis(pause_max_ms),
            directory_bytes_warn,
            resume_at: now,
            asked_at: now,
            size_check_at: now,
            begun: None,
            ended: (0, 0),
        }
    }

    /// Takes a slice, if one is due. `idle`: there were no requests in this turn.
    pub(super) fn turn(&mut self, engine: &mut Engine, now: Millis, idle: bool) {
        self.report(engine);
        if !engine.wants_snapshot_slice() {
            return;
        }
        let begin = Instant::now();
        if !idle {
            self.asked_at = begin;
        }
        if begin < self.due_at() {
            return;
        }
        // The step that is begun last is to end within the time, too.
        let end = begin + self.pause_max / 2;
        engine.snapshot_slice(now, || Instant::now() < end);
        let took = begin.elapsed();
        let rest = if engine.snapshot_is_late() { REST_LATE } else { REST };
        self.resume_at = begin + took * (1 + rest);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        engine.gauges.snapshot_slice_max_us = engine.gauges.snapshot_slice_max_us.max(micros);
    }

    /// When the next slice is due.
    fn due_at(&self) -> Instant {
        self.resume_at.min(self.asked_at + IDLE)
    }

    /// How long it is until then.
    pub(super) fn wait(&self, engine: &Engine) -> Option<Duration> {
        engine.wants_snapshot_slice().then(|| self.due_at().saturating_duration_since(Instant::now()))
    }

    /// Says what has become of snapshots.
    fn report(&mut self, engine: &mut Engine) {
        let ended = engine.snapshots_ended();
        if ended.1 > self.ended.1
            && let Some(failure) = engine.snapshot_failure()
        {
            // Where one has turned out to be damaged, the next is under way already.
            self.ended.1 = ended.1;
            log::error!("{failure}; what there was before stays, and another is taken at once or later");
        }
        if engine.taking_snapshot() {
            self.begun.get_or_insert_with(Instant::now);
            return;
        }
        let (before, begun) = (std::mem::replace(&mut self.ended, ended), self.begun.take());
        if ended.0 > before.0
            && let Some(name) = engine.newest_snapshot()
        {
            let (keys, took) = (engine.store().len(), begun.map_or(0.0, |begun| begun.elapsed().as_secs_f64()));
            log::info!("snapshot {name} is taken and verified: {keys} keys in {took:.1} s");
        }
        let now = Instant::now();
        if now >= self.size_check_at && self.directory_bytes_warn > 0 {
            self.size_check_at = now + SIZE_CHECK;
            let (bytes, limit) = (engine.stored_bytes(), self.directory_bytes_warn);
            let over = u64::from(bytes > limit);
            if over > engine.gauges.directory_over_limit {
                log::warn!(
                    "log and snapshots take {bytes} bytes, more than data_dir_warn_bytes ({limit}); free space, or keep less (wal_keep_hours, wal_keep_bytes)"
                );
            }
            engine.gauges.directory_over_limit = over;
        }
    }
}
