//! NOR flash that keeps the rules, and loses power in the middle of what it does.

use std::vec;
use std::vec::Vec;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write};

/// What a chip programs at once; a power cut tears one of these.
const PAGE_BYTES: usize = 256;

pub(super) const BLOCK_BYTES: usize = 4096;

/// Panics when it is used wrongly: when a word is written twice, or over what isn't surely erased.
#[derive(Clone)]
pub(super) struct Nor<const WRITE: usize> {
    bytes: Vec<u8>,
    /// Bits that read differently each time.
    unstable: Vec<u8>,
    /// By write unit: whether it must be erased before it is written.
    used: Vec<bool>,
    /// How often each block was erased; and how many erasures were cut short.
    pub(super) erases: Vec<u32>,
    pub(super) torn_erases: u32,
    pub(super) written_bytes: u64,
    /// How many pages are programmed and blocks erased until the power goes.
    fuel: u64,
    powered: bool,
    rng: fastrand::Rng,
}

impl<const WRITE: usize> Nor<WRITE> {
    pub(super) fn new(blocks: usize, seed: u64) -> Self {
        let bytes = blocks * BLOCK_BYTES;
        Self {
            bytes: vec![0xFF; bytes],
            unstable: vec![0; bytes],
            used: vec![false; bytes / WRITE],
            erases: vec![0; blocks],
            written_bytes: 0,
            torn_erases: 0,
            fuel: u64::MAX,
            powered: true,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Switches it on, for so many pages and blocks.
    pub(super) fn power(&mut self, fuel: u64) {
        (self.powered, self.fuel) = (true, fuel);
    }

    pub(super) fn cut(&mut self) {
        self.powered = false;
    }

    pub(super) fn powered(&self) -> bool {
        self.powered
    }

    /// Damage, of which no power cut is guilty.
    pub(super) fn flip(&mut self, offset: usize) {
        self.bytes[offset] ^= 1;
    }

    /// What a torn write may leave: a bit that is neither.
    pub(super) fn unsettle(&mut self, offset: usize) {
        self.unstable[offset] |= 1;
    }

    fn burn(&mut self) -> bool {
        self.fuel -= 1;
        self.powered = self.fuel > 0;
        self.powered
    }

    fn check_powered(&self) -> Result<(), NorFlashErrorKind> {
        if self.powered { Ok(()) } else { Err(NorFlashErrorKind::Other) }
    }

    /// Some of the bits that were to be cleared are; some of them are neither.
    fn tear_write(&mut self, at: usize, page: &[u8]) {
        let kind = self.rng.u8(0..6);
        let reached = self.rng.usize(0..page.len());
        for (offset, &byte) in page.iter().enumerate() {
            let (at, old) = (at + offset, self.bytes[at + offset]);
            let clear = old & !byte;
            let (cleared, unstable) = match kind {
                // Byte by byte: all of it, a part of the last one, nothing.
                0 if offset < reached => (clear, 0),
                0 if offset == reached => (clear & self.rng.u8(..), clear & self.rng.u8(..)),
                0 => (0, 0),
                // All at once.
                1 => (clear & self.rng.u8(..), clear & self.rng.u8(..)),
                // Nearly done, or hardly begun.
                2 => (clear, clear & self.rng.u8(..) & self.rng.u8(..) & self.rng.u8(..)),
                // Done, but for a bit or none.
                3 if offset == reached => (clear, clear & (1 << self.rng.u8(0..8))),
                3 | 4 => (clear, 0),
                _ if self.rng.u8(..) < 8 => (0, clear & self.rng.u8(..) & self.rng.u8(..)),
                _ => (0, 0),
            };
            self.bytes[at] = old & !cleared;
            self.unstable[at] |= unstable;
        }
    }

    fn tear_erase(&mut self, block: usize) {
        let range = block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES;
        let kind = self.rng.u8(0..5);
        // It begins by clearing all bits, or doesn't.
        let programmed = if self.rng.bool() { 0 } else { 0xFF };
        for at in range.clone() {
            let old = self.bytes[at] & programmed;
            let (byte, unstable) = match kind {
                0 => (old, 0),
                1 => (old | self.rng.u8(..), self.rng.u8(..)),
                2 => (old | (self.rng.u8(..) & self.rng.u8(..) & self.rng.u8(..)), 0),
                3 => (0xFF, self.rng.u8(..) & self.rng.u8(..) & self.rng.u8(..)),
                // Each byte has a fate of its own.
                _ => *self.rng.choice(&[(old, 0), (0xFF, 0), (0, 0), (0xA5, 0xFF)]).expect("four"),
            };
            (self.bytes[at], self.unstable[at]) = (byte, unstable);
        }
        self.used[range.start / WRITE..range.end / WRITE].fill(true);
        self.erases[block] += 1;
        self.torn_erases += 1;
    }
}

impl<const WRITE: usize> ErrorType for Nor<WRITE> {
    type Error = NorFlashErrorKind;
}

impl<const WRITE: usize> ReadNorFlash for Nor<WRITE> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        self.check_powered()?;
        for (byte, at) in bytes.iter_mut().zip(offset as usize..) {
            *byte = self.bytes[at];
            if self.unstable[at] != 0 {
                *byte ^= self.unstable[at] & self.rng.u8(..);
            }
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const WRITE: usize> NorFlash for Nor<WRITE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = BLOCK_BYTES;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        for block in from as usize / BLOCK_BYTES..to as usize / BLOCK_BYTES {
            self.check_powered()?;
            if !self.burn() {
                self.tear_erase(block);
                return Err(NorFlashErrorKind::Other);
            }
            let range = block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES;
            self.bytes[range.clone()].fill(0xFF);
            self.unstable[range.clone()].fill(0);
            self.used[range.start / WRITE..range.end / WRITE].fill(false);
            self.erases[block] += 1;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        let (mut at, mut rest) = (offset as usize, bytes);
        while !rest.is_empty() {
            self.check_powered()?;
            let (page, later) = rest.split_at(rest.len().min(PAGE_BYTES - at % PAGE_BYTES));
            let units = at / WRITE..(at + page.len()).div_ceil(WRITE);
            assert!(self.used[units.clone()].iter().all(|used| !used), "what is at {at} is written twice, or was not surely erased");
            self.used[units].fill(true);
            self.written_bytes += page.len() as u64;
            if !self.burn() {
                self.tear_write(at, page);
                return Err(NorFlashErrorKind::Other);
            }
            self.bytes[at..at + page.len()].copy_from_slice(page);
            (at, rest) = (at + page.len(), later);
        }
        Ok(())
    }
}
