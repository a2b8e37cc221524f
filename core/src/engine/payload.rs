//! A large value on its way to a client, lent from the store, so that the host can send it without a copy.

use alloc::vec::Vec;

use crate::record::OutOfMemory;

/// What ends a payload.
const LINE_END: &[u8] = b"\r\n";

/// The rest of the last reply that [`Engine::serve_lending`](super::Engine::serve_lending) has begun: it follows what was appended to `out`. The host sends it
/// or, as far as it can't, appends it to `out`; before its next call of the engine, which the compiler sees to.
///
/// ```
/// # use osprey_core::engine::{DatabaseId, Engine, Entropy, Options, Session};
/// # use osprey_core::storage::memory::MemoryStorage;
/// # use osprey_core::units::Millis;
/// # let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
/// # let mut storage = MemoryStorage::new();
/// # let (mut engine, _) = Engine::recover(Options::new(entropy), &mut storage, Millis(1))?;
/// # while engine.drive(&mut storage)? {}
/// # let (mut session, mut out) = (Session::new(), Vec::new());
/// engine.serve(Millis(1), &mut session, b"SET key 9\r\n123456789\r\n", &mut out);
/// out.clear();
/// let (_, lent) = engine.serve_lending(Millis(1), &mut session, b"GET key\r\n", &mut out, 8);
/// let mut payload = lent.expect("it has eight bytes or more");
/// assert_eq!(out, b"VALUE 9 1 -1\r\n");
/// assert_eq!(payload.parts(), [&b"123456789"[..], b"\r\n"]);
/// payload.advance(3); // so many were sent
/// assert!(payload.len() == 8 && !payload.is_empty());
/// payload.append_to(&mut out).expect("there is memory");
/// assert_eq!(out, b"VALUE 9 1 -1\r\n456789\r\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Payload<'e> {
    value: &'e [u8],
    line_end: &'e [u8],
}

impl<'e> Payload<'e> {
    pub(super) fn new(value: &'e [u8]) -> Self {
        Self { value, line_end: LINE_END }
    }

    /// How much is left, bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.value.len() + self.line_end.len()
    }

    /// Whether all of it has been sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is left, in its order.
    #[must_use]
    pub fn parts(&self) -> [&'e [u8]; 2] {
        [self.value, self.line_end]
    }

    /// So many bytes of it have been sent.
    pub fn advance(&mut self, sent: usize) {
        let of_line_end = sent.saturating_sub(self.value.len());
        self.value = self.value.get(sent..).unwrap_or_default();
        self.line_end = self.line_end.get(of_line_end..).unwrap_or_default();
    }

    /// Appends what is left to `out`, where the session counts it already.
    ///
    /// # Errors
    /// No memory. Then the stream of replies has a gap, and the connection must be closed.
    pub fn append_to(&self, out: &mut Vec<u8>) -> Result<(), OutOfMemory> {
        out.try_reserve(self.len()).map_err(|_| OutOfMemory)?;
        self.parts().into_iter().for_each(|part| out.extend_from_slice(part));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_not_appended() {
        for sent in 0..=7 {
            let mut payload = Payload::new(b"value");
            payload.advance(sent);
            let mut out = b"VALUE 5 1 -1\r\n".to_vec();
            payload.append_to(&mut out).unwrap();
            assert_eq!(out.get(14..), b"value\r\n".get(sent..), "{sent} bytes sent");
            assert_eq!((payload.len(), payload.is_empty()), (7 - sent, sent == 7));
        }
    }
}
