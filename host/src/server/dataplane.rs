//! The loop: ready sockets → requests → one log frame → replies → timers, again and again, on one thread.
//!
//! A turn reads from each ready socket once, executes what came, hands all that was logged to storage as one frame, and then
//! sends the replies that may leave. Each part of a turn is bounded for each connection, so that no client keeps the others waiting.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use osprey_core::clock::Clock as _;
use osprey_core::engine::{Engine, Next, Served};
use osprey_core::storage::Storage as _;
use osprey_core::units::{Lsn, Millis};
use osprey_core::wal::writer::Poisoned;
use slab::Slab;

use super::beside::Beside;
use super::connection::{Connection, Received, Spare};
use super::control::Control;
use super::snapshots::Snapshots;
use crate::clock::SystemClock;
use crate::readiness::{Event, Events, Interest, Readiness, Watched};
use crate::storage::FileStorage;

/// The listener's key; connections have their place in the slab.
const LISTENER: usize = usize::MAX - 1;

/// How much is read from one connection in one turn, bytes.
const READ_BYTES: usize = 64 << 10;

/// How many connections are accepted in one turn.
const ACCEPTS_PER_TURN: usize = 128;

/// Without file descriptors left, accepting is tried again after this time.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How often timeouts are looked at.
const HOUSEKEEPING: Duration = Duration::from_millis(500);

/// How long things may take; 0: as long as they like.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// A client that sends nothing is closed after this.
    pub idle_ms: u64,
    /// A client whose request stays incomplete is closed after this.
    pub request_ms: u64,
    /// A client that doesn't take its replies is closed after this.
    pub write_ms: u64,
    /// An orderly end waits this long for clients to take their replies.
    pub shutdown_ms: u64,
    /// Requests that take longer are logged.
    pub slow_ms: u64,
    /// A turn of the loop that takes longer is logged.
    pub busy_ms: u64,
}

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
        let listener = Watched::new(&readiness, listener, LISTENER)?;
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
                self.serve_held(key, now);
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

    fn accept(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = &mut self.listener else { return };
            match listener.accept() {
                Ok((socket, _)) => self.welcome(socket),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => return,
                // The client has gone again.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
                Err(error) => {
                    // No descriptors or memory: the connection stays in the kernel's queue, and would be reported for ever.
                    log::warn!("cannot accept a connection: {error}; trying again in {} ms", ACCEPT_RETRY.as_millis());
                    let _ = listener.watch(Interest::default());
                    self.accept_again_at = Some(Instant::now() + ACCEPT_RETRY);
                    return;
                }
            }
        }
    }

    fn retry_accept(&mut self, now: Instant) {
        if self.accept_again_at.take_if(|at| *at <= now).is_some()
            && let Some(listener) = &mut self.listener
        {
            let _ = listener.watch(Interest::READ);
        }
    }

    fn welcome(&mut self, socket: TcpStream) {
        self.engine.gauges.connections_total += 1;
        if self.connections.len() >= self.clients_max {
            self.engine.gauges.connections_rejected += 1;
            let _ = socket.set_nonblocking(true);
            let text = format!("ERR BUSY too many clients, the limit is {}; try again later\r\n", self.clients_max);
            let _ = (&socket).write(text.as_bytes());
            let _ = socket.shutdown(Shutdown::Write);
            return;
        }
        let key = self.connections.vacant_key();
        let watched =
            socket.set_nonblocking(true).and_then(|()| socket.set_nodelay(true)).and_then(|()| Watched::new(&self.readiness, socket, key));
        match watched {
            Ok(socket) => {
                self.connections.insert(Connection::new(socket, self.now_ms));
                self.engine.gauges.clients = self.connections.len() as u64;
            }
            Err(error) => log::warn!("cannot serve a new connection: {error}"),
        }
    }

    fn event(&mut self, event: Event, now: Millis) {
        let key = event.key;
        let Some(connection) = self.connections.get(key) else { return };
        // A connection that waits for its turn, for room or for storage isn't read from, so that its input stays bounded.
        let reads = !connection.ended && matches!(connection.next, Next::Read { .. });
        if (event.writable || event.broken) && connection.blocked {
            self.touched.push(key);
        } else if !reads && event.broken {
            // Reset by the client. This is reported whether it is watched for or not, and would be in every turn.
            log::debug!("connection {key}: reset by the client");
            return self.close(key);
        }
        if event.readable && reads {
            self.receive(key, now);
        }
    }

    /// Reads once, serves what came, keeps the rest. Returns whether more may be waiting in the socket.
    fn receive(&mut self, key: usize, now: Millis) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return false };
        let fresh = connection.input.is_empty();
        let received = if fresh {
            self.shared.clear();
            connection.receive_into(&mut self.shared)
        } else {
            connection.receive_more()
        };
        match received {
            Ok(Received::Bytes(_)) => connection.active_at_ms = self.now_ms,
            Ok(Received::Nothing) => return false,
            Ok(Received::End) => {
                connection.ended = true;
                self.touched.push(key);
                return false;
            }
            Err(error) => {
                log::debug!("connection {key}: {error}");
                self.close(key);
                return false;
            }
        }
        if fresh {
            let shared = std::mem::take(&mut self.shared);
            self.serve(key, &shared, now);
            self.shared = shared;
        } else {
            self.serve_held(key, now);
        }
        true
    }

    /// Serves from the input that the connection holds.
    fn serve_held(&mut self, key: usize, now: Millis) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.queued = false;
        // Without input, too, where the engine had more to say than it could: only it knows that reading can go on.
        if matches!(connection.next, Next::Read { at_least } if connection.input.len() < at_least) {
            return;
        }
        let input = std::mem::take(&mut connection.input);
        let consumed = self.serve_slice(key, &input, now);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.input = input;
            connection.consume(consumed, &mut self.spare);
        }
    }

    /// Serves from a buffer that the connection doesn't hold.
    fn serve(&mut self, key: usize, input: &[u8], now: Millis) {
        let consumed = self.serve_slice(key, input, now);
        let rest = input.get(consumed..).unwrap_or_default();
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.next != Next::Close && connection.keep(rest, &mut self.spare).is_err() {
            log::warn!("connection {key}: no memory for its input");
            self.close(key);
        }
    }

    fn serve_slice(&mut self, key: usize, input: &[u8], now: Millis) -> usize {
        let Some(connection) = self.connections.get_mut(key) else { return 0 };
        connection.prepare_out(&mut self.spare);
        let (Served { consumed, next }, payload) =
            self.engine.serve_lending(now, &mut connection.session, input, &mut connection.out, LENT_BYTES_MIN);
        let sent = payload.map_or(Ok(()), |payload| connection.send_with(payload, self.watermark, self.now_ms));
        // With what came before it since the clock was read last, which is short: one reading for each instead of two.
        let took = (self.timeouts.slow_ms > 0).then(|| {
            let now = Instant::now();
            millis(now.duration_since(std::mem::replace(&mut self.clock_read_at, now)))
        });
        if let Some(took) = took.filter(|&took| took >= self.timeouts.slow_ms) {
            self.engine.gauges.slow_requests += 1;
            let line = input.split(|&byte| byte == b'\n').next().unwrap_or_default();
            log::warn!("slow: {took} ms for {consumed} bytes of requests, the first of them {:?}", text(line));
        }
        connection.next = next;
        if next == Next::Storage {
            // At once: the operation that it waits for may end before this turn does.
            self.stalled.push(key);
        }
        connection.partial_since_ms = match next {
            Next::Read { .. } if consumed < input.len() => connection.partial_since_ms.filter(|_| consumed == 0).or(Some(self.now_ms)),
            _ => None,
        };
        // Large replies leave at once, while the processor's cache has them, and their buffer serves the next.
        let sent = sent.and_then(|()| {
            if connection.unsent() < LARGE_BYTES { Ok(()) } else { connection.send(self.watermark, self.now_ms, &mut self.spare) }
        });
        if let Err(error) = sent {
            log::debug!("connection {key}: it takes no replies any more: {error}");
            self.close(key);
            return consumed;
        }
        self.touched.push(key);
        consumed
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

    /// Sends what may be sent: for the connections of this turn, and, if the log has come further, for those that waited for it.
    fn flush(&mut self) {
        let watermark = self.engine.watermark();
        let mut held = std::mem::take(&mut self.held);
        if watermark > self.watermark {
            self.watermark = watermark;
            self.touched.append(&mut held);
        } else {
            self.held = held;
        }
        let mut touched = std::mem::take(&mut self.touched);
        for key in touched.drain(..) {
            self.flush_one(key);
        }
        self.touched = touched;
    }

    fn flush_one(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Err(error) = connection.send(self.watermark, self.now_ms, &mut self.spare) {
            log::debug!("connection {key}: {error}");
            return self.close(key);
        }
        let unsent = connection.unsent();
        let closes = connection.next == Next::Close || (connection.ended && matches!(connection.next, Next::Read { .. }));
        if closes && unsent == 0 {
            return self.close(key);
        }
        if connection.watch().is_err() {
            return self.close(key);
        }
        if unsent > 0 && !connection.blocked {
            self.held.push(key);
        }
        match connection.next {
            Next::Again => self.queue(key),
            Next::Flush if !connection.blocked && unsent < FLUSHED_BYTES => self.queue(key),
            Next::Flush | Next::Storage | Next::Read { .. } | Next::Close => {}
        }
    }

    fn queue(&mut self, key: usize) {
        if let Some(connection) = self.connections.get_mut(key).filter(|connection| !connection.queued) {
            connection.queued = true;
            self.ready.push_back(key);
        }
    }

    fn close(&mut self, key: usize) {
        if self.connections.try_remove(key).is_some() {
            self.engine.gauges.clients = self.connections.len() as u64;
        }
    }

    /// What is done twice a second: timeouts, gauges.
    fn housekeep(&mut self, now: Instant) {
        self.housekeeping_at = now + HOUSEKEEPING;
        let Timeouts { idle_ms, request_ms, write_ms, .. } = self.timeouts;
        let now_ms = self.now_ms;
        let over = |since: u64, limit: u64| limit > 0 && now_ms.saturating_sub(since) >= limit;
        let mut bytes = self.spare.bytes() + self.shared.capacity();
        let mut late = Vec::new();
        for (key, connection) in &self.connections {
            bytes += connection.bytes();
            let why = if connection.blocked_since_ms.is_some_and(|since| over(since, write_ms)) {
                "it does not read its replies"
            } else if connection.partial_since_ms.is_some_and(|since| over(since, request_ms)) {
                "its request stays incomplete"
            } else if connection.unsent() == 0 && connection.next != Next::Storage && over(connection.active_at_ms, idle_ms) {
                "it is idle"
            } else {
                continue;
            };
            late.push((key, why));
        }
        for (key, why) in late {
            log::info!("closing connection {key}: {why}");
            self.close(key);
        }
        self.engine.gauges.connection_bytes = bytes as u64;
        self.engine.gauges.mem_rss_bytes = self.control.resident_bytes();
    }

    /// The orderly end: no new connections, what was received is answered, the log is sealed.
    fn stop(&mut self, events: &mut Events) -> Result<(), Failure> {
        self.listener = None;
        // Who waits for one is told, instead of being waited for.
        self.engine.stop_snapshots();
        let now = self.clock.now();
        self.clock_read_at = Instant::now();
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for &key in &keys {
            // What is in the socket has been received in the client's eyes.
            let mut turns = 0;
            while turns < 64
                && self.connections.get(key).is_some_and(|connection| !connection.ended && matches!(connection.next, Next::Read { .. }))
            {
                if !self.receive(key, now) {
                    break;
                }
                turns += 1;
            }
            self.touched.push(key);
        }
        let deadline = Instant::now() + Duration::from_millis(self.timeouts.shutdown_ms);
        loop {
            self.turn(events)?;
            self.close_answered();
            let left = deadline.saturating_duration_since(Instant::now());
            if self.connections.is_empty() || left.is_zero() {
                break;
            }
            let wait = if self.ready.is_empty() { left.min(Duration::from_millis(20)) } else { Duration::ZERO };
            self.readiness.wait(Some(wait), events)?;
        }
        if !self.connections.is_empty() {
            log::warn!("{} clients did not take their replies in time", self.connections.len());
            self.connections.clear();
        }
        self.engine.close();
        while !self.engine.closed() {
            self.drive_storage()?;
            if !self.engine.closed() {
                self.readiness.wait(Some(Duration::from_millis(20)), events)?;
            }
        }
        Ok(())
    }

    fn close_answered(&mut self) {
        self.connections.retain(|_, connection| {
            let answered = connection.unsent() == 0 && matches!(connection.next, Next::Read { .. } | Next::Close);
            !answered
        });
    }
}

/// A value of this size is sent from where it is stored, by itself: the system call more costs less than the copy.
const LENT_BYTES_MIN: usize = 32 << 10;

/// So much is sent before the turn's end, bytes.
const LARGE_BYTES: usize = 64 << 10;

/// A connection that had too much to send is served again when less than this is left, bytes.
const FLUSHED_BYTES: usize = 64 << 10;

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

/// The beginning of a request's line, fit for a log.
fn text(line: &[u8]) -> String {
    let end = line.len().min(80);
    String::from_utf8_lossy(line.get(..end).unwrap_or_default()).trim_end().to_owned()
}

#[cfg(test)]
mod tests;
