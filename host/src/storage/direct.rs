//! The way past the page cache (`O_DIRECT`): the kernel needn't find pages for what is written, copy into them, and collect them again for the disk. It asks for whole sectors, from memory
//! whose address is a multiple of theirs; so what is written is copied into a buffer of the thread that writes, and what is read comes from there.
//!
//! Not every file system has it. Who uses it has another way, too.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use memmap2::{Advice, MmapMut};
use rustix::fs::OFlags;

use super::read_at;

/// What is written past the page cache begins and ends at a multiple of this, bytes.
pub(super) const SECTOR_BYTES: usize = 512;

/// How much goes at a time, bytes.
pub(super) const PIECE_BYTES: usize = 2 << 20;

/// A buffer up to this size is as large as what it is for.
const SMALL_BYTES: usize = 128 << 10;

/// Opens a file for it, which `options` would open for the page cache.
pub(super) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = i32::try_from(OFlags::DIRECT.bits()).map_err(|_| io::ErrorKind::Unsupported)?;
    options.custom_flags(flags).open(path)
}

/// Opens a new file, of zeros or nothing, for writing, after a try: some file systems open a file for it and then refuse.
pub(super) fn open_new(path: &Path, buffer: &mut Buffer) -> Option<File> {
    let file = open(path, OpenOptions::new().write(true)).ok()?;
    buffer.write(&file, 0, &[0; SECTOR_BYTES]).ok().map(|()| file)
}

/// A thread's buffer. Empty until it is used.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    memory: Option<MmapMut>,
}

impl Buffer {
    /// Writes `data` at `offset`, a multiple of a sector, the last sector filled up with zeros.
    pub(super) fn write(&mut self, file: &File, mut offset: u64, data: &[u8]) -> io::Result<()> {
        for piece in data.chunks(PIECE_BYTES) {
            let len = piece.len().next_multiple_of(SECTOR_BYTES);
            let copy = self.bytes(len)?;
            let (front, fill) = copy.split_at_mut(piece.len());
            front.copy_from_slice(piece);
            fill.fill(0);
            file.write_all_at(copy, offset)?;
            offset += len as u64;
        }
        Ok(())
    }

    /// Reads at `offset`, a multiple of a sector, until `data` is full or the file ends; returns how much.
    pub(super) fn read(&mut self, file: &File, offset: u64, data: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        for piece in data.chunks_mut(PIECE_BYTES) {
            let copy = self.bytes(piece.len().next_multiple_of(SECTOR_BYTES))?;
            let read = read_at(file, offset + filled as u64, copy)?.min(piece.len());
            let (front, rest) = piece.split_at_mut(read);
            front.copy_from_slice(copy.split_at(read).0);
            filled += read;
            if !rest.is_empty() {
                break;
            }
        }
        Ok(filled)
    }

    /// The first `len` bytes of it.
    pub(super) fn bytes(&mut self, len: usize) -> io::Result<&mut [u8]> {
        if self.memory.as_ref().is_none_or(|memory| memory.len() < len) {
            // Only what is used of it takes memory.
            let bytes = if len <= SMALL_BYTES { len.next_power_of_two() } else { len.next_multiple_of(PIECE_BYTES) };
            let memory = MmapMut::map_anon(bytes)?;
            #[cfg(target_os = "linux")]
            if bytes >= PIECE_BYTES {
                // A hint. A disk that takes 254 parts at most at a time would else have 1 MiB in two, one after the other.
                let _ = memory.advise(Advice::HugePage);
            }
            self.memory = Some(memory);
        }
        self.memory.as_mut().and_then(|memory| memory.get_mut(..len)).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }
}
