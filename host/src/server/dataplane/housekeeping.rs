//! What is done twice a second: timeouts and gauges.

use std::time::{Duration, Instant};

use osprey_core::engine::Next;

use super::DataPlane;

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

impl DataPlane {
    pub(super) fn housekeep(&mut self, now: Instant) {
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
}
