//! The orderly end.

use std::time::{Duration, Instant};

use osprey_core::clock::Clock as _;
use osprey_core::engine::Next;

use super::{DataPlane, Failure};
use crate::readiness::Events;
use crate::server::connection::Connection;

impl DataPlane {
    /// The orderly end: no new connections, what was received is answered, the log is sealed.
    pub(super) fn stop(&mut self, events: &mut Events) -> Result<(), Failure> {
        self.listener = None;
        // Who waits for one is told, instead of being waited for.
        self.engine.stop_snapshots();
        let now = self.clock.now();
        self.clock_read_at = Instant::now();
        let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
        for &key in &keys {
            // What is in the socket has been received in the client's eyes.
            let mut turns = 0;
            while turns < 64 && self.connections.get(key).is_some_and(Connection::reads) {
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
