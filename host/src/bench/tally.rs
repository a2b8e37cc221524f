//! What a thread has seen: counts, latencies, and the first errors in words.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::wire::Operation;

/// Counts of one phase. Every reply has a latency, errors too.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) gets: u64,
    pub(crate) sets: u64,
    pub(crate) increments: u64,
    pub(crate) misses: u64,
    pub(crate) errors: u64,
    /// The first errors.
    pub(crate) samples: Vec<String>,
    /// Of gets and of the others, nanoseconds.
    pub(crate) get_latency: Histogram<u64>,
    pub(crate) change_latency: Histogram<u64>,
    /// Requests that were due before the phase's end but for which no connection was free.
    pub(crate) unsent: u64,
}

/// How many errors are kept in words.
const SAMPLES_MAX: usize = 5;
/// Longer latencies are recorded as this one: an hour.
const LATENCY_NANOS_MAX: u64 = 3_600_000_000_000;

impl Tally {
    pub(crate) fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, 3).expect("bounds and digits are valid constants");
        Self {
            gets: 0,
            sets: 0,
            increments: 0,
            misses: 0,
            errors: 0,
            samples: Vec::new(),
            get_latency: latency.clone(),
            change_latency: latency,
            unsent: 0,
        }
    }

    /// All replies.
    pub(crate) fn replies(&self) -> u64 {
        self.gets + self.sets + self.increments
    }

    pub(crate) fn reply(&mut self, operation: Operation, latency: Duration) {
        let (count, latencies) = match operation {
            Operation::Get => (&mut self.gets, &mut self.get_latency),
            Operation::Set => (&mut self.sets, &mut self.change_latency),
            Operation::Incr => (&mut self.increments, &mut self.change_latency),
        };
        *count += 1;
        latencies.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts an error; the words are made only for the first.
    pub(crate) fn error(&mut self, words: impl FnOnce() -> String) {
        self.errors += 1;
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(words());
        }
    }

    /// Adds another thread's tally of the same phase.
    pub(crate) fn add(&mut self, other: Self) {
        self.gets += other.gets;
        self.sets += other.sets;
        self.increments += other.increments;
        self.misses += other.misses;
        self.errors += other.errors;
        self.unsent += other.unsent;
        self.samples.extend(other.samples);
        self.samples.truncate(SAMPLES_MAX);
        self.get_latency.add(other.get_latency).expect("both have the same bounds");
        self.change_latency.add(other.change_latency).expect("both have the same bounds");
    }
}

/// A thread's counts as they grow, for the display of progress.
#[derive(Debug, Default)]
pub(crate) struct Live {
    replies: AtomicU64,
    errors: AtomicU64,
}

impl Live {
    pub(crate) fn publish(&self, tally: &Tally) {
        self.replies.store(tally.replies(), Ordering::Relaxed);
        self.errors.store(tally.errors, Ordering::Relaxed);
    }

    pub(crate) fn replies(&self) -> u64 {
        self.replies.load(Ordering::Relaxed)
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}
