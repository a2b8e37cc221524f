//! From a ready socket to executed requests.

use std::time::Instant;

use osprey_core::engine::{Next, Served};
use osprey_core::units::Millis;

use super::{DataPlane, millis};
use crate::readiness::Event;
use crate::server::connection::Received;

/// A value of this size is sent from where it is stored, by itself: the system call more costs less than the copy.
const LENT_BYTES_MIN: usize = 32 << 10;

/// So much is sent before the turn's end, bytes.
const LARGE_BYTES: usize = 64 << 10;

impl DataPlane {
    pub(super) fn event(&mut self, event: Event, now: Millis) {
        let key = event.key;
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.unread |= event.readable;
        connection.ending |= event.ending;
        // A connection that waits for its turn, for room or for storage isn't read from, so that its input stays bounded.
        let reads = connection.reads();
        if (event.writable || event.broken) && connection.blocked {
            self.touched.push(key);
        } else if !reads && event.broken {
            // Reset by the client, which is told once.
            log::debug!("connection {key}: reset by the client");
            return self.close(key);
        }
        if event.readable && reads {
            self.receive(key, now);
        }
    }

    /// The turn of a connection that has waited for it.
    pub(super) fn resume(&mut self, key: usize, now: Millis) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.queued = false;
        if connection.holds_too_little() && connection.unread && !connection.ended {
            self.receive(key, now);
        } else {
            self.serve_held(key, now);
        }
    }

    /// Reads once, serves what came, keeps the rest. Returns whether more may be waiting in the socket.
    pub(super) fn receive(&mut self, key: usize, now: Millis) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return false };
        let fresh = connection.input.is_empty();
        let received = if fresh {
            self.shared.clear();
            connection.receive_into(&mut self.shared)
        } else {
            connection.receive_more()
        };
        match received {
            Ok(Received::Bytes { filled }) => {
                connection.active_at_ms = self.now_ms;
                connection.unread = filled || connection.ending;
            }
            Ok(Received::Nothing) => {
                connection.unread = false;
                return false;
            }
            Ok(Received::End) => {
                connection.unread = false;
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
    pub(super) fn serve_held(&mut self, key: usize, now: Millis) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        // Without input, too, where the engine had more to say than it could: only it knows that reading can go on.
        if connection.holds_too_little() {
            if connection.unread {
                self.queue(key);
            }
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
}

/// The beginning of a request's line, fit for a log.
pub(super) fn text(line: &[u8]) -> String {
    let end = line.len().min(80);
    String::from_utf8_lossy(line.get(..end).unwrap_or_default()).trim_end().to_owned()
}
