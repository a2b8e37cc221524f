//! The loop: ready sockets → requests → one log frame → replies → timers, again and again, on one thread.
//!
//! A turn reads from each ready socket once, executes what came, hands all that was logged to storage as one frame, and then
//! sends the replies that may leave. Each part of a turn is bounded for each connection, so that no client keeps the others waiting.
//!
//! ```text
//!  turn: accept ─▶ receive: read, serve ─▶ (engine) ─▶ drive_storage ─▶ flush ─▶ housekeeping
//! ```
//! Here: the loop's state, and the turn. `stop` is the end.

mod accept;
mod flush;
mod housekeeping;
mod receive;
mod stop;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use osprey_core::clock::Clock as _;
use osprey_core::engine::Engine;
use osprey_core::storage::Storage as _;
use osprey_core::units::{Lsn, Millis};
use osprey_core::wal::writer::Poisoned;
use slab::Slab;

use super::beside::Beside;
use super::connection::{Connection, Spare};
use super::control::Control;
use super::snapshots::Snapshots;
use crate::clock::SystemClock;
use crate::readiness::{Events, Interest, Readiness, Watched};
use crate::storage::FileStorage;
pub use housekeeping::Timeouts;

/// The listener's key; connections have their place in the slab.
const LISTENER: usize = usize::MAX - 1;

/// How much is read from one connection in one turn, bytes.
const READ_BYTES: usize = 64 << 10;

/// The loop's state.
#[derive(Debug)]
pub(super) struct DataPlane {
    pub(super) engine: Engine,
    pub(super) storage: FileStorage,
    clock: SystemClock,
    readiness: Arc<Readiness>,
    listener: Option<Watched<TcpListener>>,
    connections: Slab<Connection>,
    clients_max: usize,
    timeouts: Timeouts,
    control: Arc<Control>,
    started: Instant,
    now_ms: u64,
    /// Connections with something to do in this turn.
    ready: VecDeque<usize>,
    /// Connections to be flushed at the end of this turn.
    touched: Vec<usize>,
    /// Connections with replies that wait for the log.
    held: Vec<usize>,
    /// Connections whose next request waits for storage.
    stalled: Vec<usize>,
    shared: Vec<u8>,
    spare: Spare,
    watermark: Lsn,
    /// For how long requests take.
    clock_read_at: Instant,
    accept_again_at: Option<Instant>,
    housekeeping_at: Instant,
    tick_at: Option<Millis>,
    pub(super) snapshots: Snapshots,
}

impl DataPlane {
    pub(super) fn new(
        engine: Engine,
        storage: FileStorage,
        listener: TcpListener,
        readiness: Arc<Readiness>,
        control: Arc<Control>,
        clients_max: usize,
        timeouts: Timeouts,
    ) -> io::Result<Self> {
        let listener = Watched::new(&readiness, listener, LISTENER, Interest::READ)?;
        let started = Instant::now();
        let watermark = engine.watermark();
        let clock = SystemClock::not_before(engine.now());
        Ok(Self {
            engine,
            storage,
            clock,
            readiness,
            listener: Some(listener),
            connections: Slab::new(),
            clients_max,
            timeouts,
            control,
            started,
            now_ms: 0,
            ready: VecDeque::new(),
            touched: Vec::new(),
            held: Vec::new(),
            stalled: Vec::new(),
            shared: Vec::with_capacity(READ_BYTES),
            spare: Spare::default(),
            watermark,
            clock_read_at: started,
            accept_again_at: None,
            housekeeping_at: started,
            tick_at: Some(Millis(0)),
            snapshots: Snapshots::new(1, 0),
        })
    }

    /// Reserves and starts the first segment, so that the first client needn't wait for it.
    pub(super) fn warm_up(&mut self) -> Result<(), Failure> {
        let mut events = Events::new();
        // A reservation that fails leaves the engine read-only, but serving: then there is nothing to wait for.
        while self.engine.starting() {
            self.drive_storage()?;
            if self.engine.starting() {
                self.readiness.wait(Some(Duration::from_millis(20)), &mut events)?;
            }
        }
        Ok(())
    }

    /// Serves until asked to stop, then ends in order. The tasks `beside` get their turn when something has woken them.
    ///
    /// # Errors
    /// epoll failed, or storage did: then nothing more may be promised.
    pub(super) fn run(&mut self, mut beside: Beside<'_>) -> Result<(), Failure> {
        let mut events = Events::new();
        let mut busy = false;
        while !self.control.stopping() {
            beside.poll();
            let wait = if busy { Some(Duration::ZERO) } else { self.wait() };
            self.readiness.wait(wait, &mut events)?;
            busy = self.turn(&events)?;
        }
        self.stop(&mut events)
    }

    /// One turn; returns whether there is more to do at once.
    fn turn(&mut self, events: &Events) -> Result<bool, Failure> {
        let begin = Instant::now();
        self.clock_read_at = begin;
        self.now_ms = millis(begin.duration_since(self.started));
        let now = self.clock.now();
        let waiting = self.ready.len();
        self.retry_accept(begin);
        for event in events.iter() {
            if event.key == LISTENER {
                self.accept();
            } else {
                self.event(event, now);
            }
        }
        // Only those that waited when the turn began: whoever comes back in it waits for the next.
        for _ in 0..waiting {
            if let Some(key) = self.ready.pop_front() {
                self.resume(key, now);
            }
        }
        if self.tick_at.is_none_or(|due| due <= now) || self.engine_has_work() {
            self.tick_at = self.engine.tick(now);
        }
        if self.control.take_snapshot_request() {
            // Where none can be taken, this was logged at the start.
            let _ = self.engine.request_snapshot();
        }
        self.engine.gauges.sync_last_us = micros(self.storage.sync_last);
        self.engine.gauges.sync_max_us = micros(self.storage.sync_max);
        self.snapshots.turn(&mut self.engine, now, events.is_empty() && waiting == 0);
        // What ends may set a deadline, or be due for a sync at once.
        while self.drive_storage()? {
            self.tick_at = self.engine.tick(now);
        }
        self.flush();
        self.control.give_stats(|| self.engine.stats().collect());
        if begin >= self.housekeeping_at {
            self.housekeep(begin);
        }
        let took = begin.elapsed();
        if self.timeouts.busy_ms > 0 && millis(took) >= self.timeouts.busy_ms {
            log::warn!(
                "the loop was busy for {} ms with {} events (busy_warn_ms is {})",
                took.as_millis(),
                events.len(),
                self.timeouts.busy_ms
            );
        }
        Ok(!self.ready.is_empty())
    }

    fn engine_has_work(&self) -> bool {
        !self.touched.is_empty()
    }

    /// How long nothing is due.
    fn wait(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let engine = self.tick_at.map(|due| Duration::from_millis(due.since(self.clock.now())));
        let housekeeping = (!self.connections.is_empty()).then(|| self.housekeeping_at.saturating_duration_since(now));
        let accept = self.accept_again_at.map(|at| at.saturating_duration_since(now));
        let snapshot = self.snapshots.wait(&self.engine);
        engine.into_iter().chain(housekeeping).chain(accept).chain(snapshot).min()
    }

    /// Hands storage what it can do, takes back what it has done. Returns whether anything has ended.
    fn drive_storage(&mut self) -> Result<bool, Failure> {
        let mut ended = false;
        loop {
            let done = match self.engine.poll_storage() {
                Some(op) => self.storage.submit(op),
                None => match self.storage.poll() {
                    Some(done) => Some(done),
                    None => break,
                },
            };
            if let Some(done) = done {
                ended = true;
                self.engine.storage_done(done)?;
            }
        }
        if ended {
            for key in std::mem::take(&mut self.stalled) {
                self.queue(key);
            }
        }
        Ok(ended)
    }

    fn close(&mut self, key: usize) {
        if self.connections.try_remove(key).is_some() {
            self.engine.gauges.clients = self.connections.len() as u64;
        }
    }
}

/// Why the loop has ended.
#[derive(Debug)]
pub(super) enum Failure {
    /// Of epoll.
    Io(io::Error),
    /// Storage.
    Storage(Poisoned),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Poisoned> for Failure {
    fn from(poisoned: Poisoned) -> Self {
        Self::Storage(poisoned)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
