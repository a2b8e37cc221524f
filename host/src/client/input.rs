//! Bytes received and not yet understood: a buffer that grows with what arrives.

use std::io;

/// The least room that a read is given.
const ROOM_MIN_BYTES: usize = 16 << 10;
/// Kept between replies; what a larger reply has needed is given back.
const KEPT_BYTES: usize = 256 << 10;

/// `bytes[start..end]` has arrived and is not yet parsed; what is beyond `end` is initialised room.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Makes room for the next read when `wanted` bytes in all are needed to go on. `wanted` comes from a length that the
    /// server claims, so it is believed only as far as doubling what has really arrived.
    ///
    /// # Errors
    /// The allocator refused.
    pub(super) fn make_room(&mut self, wanted: usize) -> io::Result<()> {
        let held = self.end - self.start;
        let room = wanted.saturating_sub(held).min(held).max(ROOM_MIN_BYTES);
        if self.bytes.len() - self.end < room {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, held);
            let short = (held + room).saturating_sub(self.bytes.len());
            self.bytes.try_reserve(short).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
            self.bytes.resize(self.bytes.len() + short, 0);
        }
        Ok(())
    }

    /// Where the next read may write.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// `count` bytes were read into the room; no more than it had.
    pub(super) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// The first `count` unread bytes are understood.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > KEPT_BYTES {
                self.bytes = Vec::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(input: &mut Input, wanted: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            input.make_room(wanted).unwrap();
            let room = input.room();
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            input.filled(count);
            bytes = &bytes[count..];
        }
    }

    #[test]
    fn a_claimed_length_takes_no_memory_before_bytes_arrive() {
        let mut input = Input::default();
        input.make_room(1 << 40).unwrap();
        assert_eq!(input.room().len(), ROOM_MIN_BYTES);
        receive(&mut input, 1 << 40, &vec![b'x'; 100 << 10]);
        assert!(input.bytes.len() <= 2 * (100 << 10) + ROOM_MIN_BYTES, "{} bytes for 100 KiB", input.bytes.len());
    }

    #[test]
    fn unread_bytes_survive_growth_and_moving() {
        let mut input = Input::default();
        let sent: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        receive(&mut input, 0, &sent[..10_000]);
        input.consume(9_999);
        receive(&mut input, sent.len(), &sent[10_000..]);
        assert_eq!(input.unread(), &sent[9_999..]);
    }

    #[test]
    fn the_memory_of_a_large_reply_is_given_back() {
        let mut input = Input::default();
        receive(&mut input, 1 << 20, &vec![b'x'; 1 << 20]);
        input.consume(1 << 20);
        assert_eq!(input.bytes.capacity(), 0);
    }
}
