//! Replies that may leave are sent, and connections that wait for something get their turn when it has come.

use osprey_core::engine::Next;

use super::DataPlane;

/// A connection that had too much to send is served again when less than this is left, bytes.
const FLUSHED_BYTES: usize = 64 << 10;

impl DataPlane {
    /// Sends what may be sent: for the connections of this turn, and, if the log has come further, for those that waited for it.
    pub(super) fn flush(&mut self) {
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
        if unsent > 0 && !connection.blocked {
            self.held.push(key);
        }
        match connection.next {
            Next::Again => self.queue(key),
            Next::Flush if !connection.blocked && unsent < FLUSHED_BYTES => self.queue(key),
            // Nobody will tell again that it can be read.
            Next::Read { .. } if connection.unread && !connection.ended => self.queue(key),
            Next::Flush | Next::Storage | Next::Read { .. } | Next::Close => {}
        }
    }

    pub(super) fn queue(&mut self, key: usize) {
        if let Some(connection) = self.connections.get_mut(key).filter(|connection| !connection.queued) {
            connection.queued = true;
            self.ready.push_back(key);
        }
    }
}
