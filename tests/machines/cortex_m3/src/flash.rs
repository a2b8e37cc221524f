//! The board's PSRAM in the place of memory-mapped NOR flash. QEMU maps it from a file, so that what was stored is there after it was killed.

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write};

const BASE: usize = 0x2100_0000;

/// Of the 16 MiB that there are.
const BYTES: usize = 64 * crate::SLOT_BYTES as usize;

const WORD_BYTES: usize = 4;

pub struct Psram(());

impl Psram {
    /// # Safety
    /// Nothing else may use the PSRAM.
    pub unsafe fn new() -> Self {
        Self(())
    }

    fn word(offset: usize) -> *mut u32 {
        core::ptr::with_exposed_provenance_mut(BASE + offset)
    }
}

impl ErrorType for Psram {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Psram {
    const READ_SIZE: usize = WORD_BYTES;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        for (to, at) in bytes.chunks_exact_mut(WORD_BYTES).zip((offset as usize..).step_by(WORD_BYTES)) {
            // SAFETY: within the PSRAM, which is `self`'s, and aligned, as was checked.
            to.copy_from_slice(&unsafe { Self::word(at).read_volatile() }.to_le_bytes());
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        BYTES
    }
}

/// Words are written one by one, in order, so that a loss of power finds some of them written: volatile.
impl NorFlash for Psram {
    const WRITE_SIZE: usize = WORD_BYTES;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        for at in (from as usize..to as usize).step_by(WORD_BYTES) {
            // SAFETY: as above.
            unsafe { Self::word(at).write_volatile(u32::MAX) };
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        for (from, at) in bytes.as_chunks().0.iter().zip((offset as usize..).step_by(WORD_BYTES)) {
            let word = Self::word(at);
            // SAFETY: as above. Writing clears bits, as in flash.
            unsafe { word.write_volatile(word.read_volatile() & u32::from_le_bytes(*from)) };
        }
        Ok(())
    }
}
