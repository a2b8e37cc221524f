//! What the engine keeps for one connection: where its input was left, and which replies must wait.

use heapless::Deque;

use super::snapshots::Ticket;
use crate::protocol::request::Parser;
use crate::units::Lsn;

/// Replies from `position` on may leave when the log has reached `lsn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gate {
    position: u64,
    lsn: Lsn,
}

/// One connection's state. The host keeps it beside the connection's buffers and passes it to every call.
///
/// ```
/// # use osprey_core::engine::{DatabaseId, Engine, Entropy, Options};
/// # use osprey_core::storage::memory::MemoryStorage;
/// # use osprey_core::units::Millis;
/// use osprey_core::engine::{Next, Session};
///
/// # let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(Options::new(entropy), &mut storage, Millis(1))?;
/// # while engine.drive(&mut storage)? {}
/// let (mut session, mut unsent) = (Session::new(), Vec::new());
/// let input = b"PING\r\nINCR n\r\nGET";
/// let served = engine.serve(Millis(1), &mut session, input, &mut unsent);
/// assert_eq!((served.consumed, served.next), (14, Next::Read { at_least: 4 }));
/// assert_eq!(unsent, b"PONG\r\n1\r\n");
/// assert_eq!(session.releasable(engine.watermark(), unsent.len()), 6, "the number waits for the log");
/// unsent.drain(..6); // sent
/// while engine.drive(&mut storage)? {}
/// assert_eq!(session.releasable(engine.watermark(), unsent.len()), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Session {
    pub(super) parser: Parser,
    /// How many reply bytes there have been in all.
    produced: u64,
    /// Two frames at most aren't secured: the one being written, and the pending one.
    gates: Deque<Gate, 2>,
    pub(super) closing: bool,
    /// The snapshot that its next request waits for.
    pub(super) awaited: Option<Ticket>,
}

impl Session {
    /// A new connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many of the `unsent` bytes of replies (all that were appended and not sent) may be sent when the log has reached `watermark`
    /// ([`Engine::watermark`](super::Engine::watermark)).
    #[must_use]
    pub fn releasable(&self, watermark: Lsn, unsent: usize) -> usize {
        let Some(gate) = self.gates.iter().find(|gate| gate.lsn > watermark) else { return unsent };
        let sent = self.produced.saturating_sub(unsent as u64);
        usize::try_from(gate.position.saturating_sub(sent)).map_or(unsent, |free| free.min(unsent))
    }

    /// Whether some reply still waits for the log.
    ///
    /// ```
    /// use osprey_core::engine::Session;
    /// # use osprey_core::{engine::{DatabaseId, Engine, Entropy, Options, SetOptions}, storage::memory::MemoryStorage, units::Millis};
    /// # let options = Options::new(Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) });
    /// # let mut storage = MemoryStorage::new();
    /// # let (mut engine, _) = Engine::recover(options, &mut storage, Millis(1_000))?;
    /// # while engine.drive(&mut storage)? {}
    ///
    /// let (mut session, mut unsent) = (Session::new(), Vec::new());
    /// engine.serve(Millis(1_000), &mut session, b"INCR visits\r\n", &mut unsent);
    /// assert!(session.gated(engine.watermark()));
    /// while engine.drive(&mut storage)? {}
    /// assert!(!session.gated(engine.watermark()), "all of it may be sent");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn gated(&self, watermark: Lsn) -> bool {
        self.gates.iter().any(|gate| gate.lsn > watermark)
    }

    /// Replies from `position` on wait for `lsn`: the first LSN of a frame ([`LogWriter::frame_of`](crate::wal::writer::LogWriter::frame_of)).
    pub(super) fn gate(&mut self, lsn: Lsn, watermark: Lsn, position: u64) {
        while self.gates.front().is_some_and(|gate| gate.lsn <= watermark) {
            self.gates.pop_front();
        }
        if self.gates.back().is_some_and(|gate| gate.lsn >= lsn) {
            return;
        }
        let pushed = self.gates.push_back(Gate { position, lsn });
        debug_assert!(pushed.is_ok(), "more than two frames are unsecured");
        if let (Err(gate), Some(last)) = (pushed, self.gates.back_mut()) {
            last.lsn = gate.lsn;
        }
    }

    pub(super) fn position(&self, appended: usize) -> u64 {
        self.produced.saturating_add(appended as u64)
    }

    pub(super) fn produced(&mut self, bytes: usize) {
        self.produced = self.position(bytes);
    }
}
