//! A segment's file: its space, and the two ways in which bytes get into it.
//!
//! The page cache takes a small append within microseconds. Whatever is large, or has to be on disk at once anyway, goes past it (see [`direct`]). Where the file system has no such way
//! everything takes the first.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{Advice, FallocateFlags};
use rustix::io::{Errno, retry_on_intr};

use super::Reservation;
use super::direct::{self, Buffer, SECTOR_BYTES};
use super::retired::Retired;
use crate::museum::planted;

/// An append of this size goes past the page cache, bytes. Less is written sooner than a thread is woken for it.
pub(super) const LARGE_BYTES: usize = 256 << 10;

/// After so many bytes in the page cache the kernel is asked to begin to write them, so that no sync finds many, and to give up those that it has written.
pub(super) const WRITE_BEHIND_BYTES: u64 = 512 << 10;

/// What a large append begins and ends at past the page cache: no page of it is in both.
pub(super) const PAGE_BYTES: usize = 4096;

/// How much of a reservation is filled at a time: a sync of the log stands behind no more than that.
const ZEROS_BYTES: usize = 512 << 10;

/// A segment, open.
#[derive(Debug)]
pub(super) struct SegmentFile {
    cached: File,
    /// The way past the page cache, if there is one.
    direct: Option<File>,
    /// How much is reserved.
    bytes: u64,
}

impl SegmentFile {
    /// Makes a file whose blocks are all allocated, so that no later append finds the disk full.
    pub(super) fn reserve(path: &Path, bytes: u64, reservation: Reservation, retired: &Retired, buffer: &mut Buffer) -> io::Result<Self> {
        let made = empty_file(path, bytes, retired).and_then(|cached| {
            let direct = direct::open_new(path, buffer);
            let file = Self { cached, direct, bytes };
            if reservation == Reservation::Zeroed {
                file.fill_with_zeros(buffer)?;
            }
            // So that the segment's start has less to wait for.
            file.cached.sync_all()?;
            Ok(file)
        });
        if made.is_err() {
            // What it did get must not be kept from others.
            let _ = fs::remove_file(path);
        }
        made
    }

    /// Whether an append of so many bytes waits for the disk.
    pub(super) fn waits_for(&self, len: usize) -> bool {
        self.direct.is_some() && len >= LARGE_BYTES
    }

    /// Writes, and has it on disk at the end if it is to be `durable`. What was appended before is then, too.
    pub(super) fn append(&self, offset: u64, data: &[u8], durable: bool, buffer: &mut Buffer) -> io::Result<()> {
        if durable {
            self.write_sectors(offset, data, buffer)?;
            return self.sync();
        }
        let Range { start, end } = whole_pages(offset, data.len());
        let Some(direct) = self.direct.as_ref().filter(|_| end.saturating_sub(start) >= LARGE_BYTES as u64) else {
            return self.cached.write_all_at(data, offset);
        };
        let (head, rest) = data.split_at(usize::try_from(start - offset).unwrap_or_default());
        let (pages, tail) = rest.split_at(usize::try_from(end - start).unwrap_or_default());
        self.cached.write_all_at(head, offset)?;
        buffer.write(direct, start, pages)?;
        self.cached.write_all_at(tail, end)
    }

    /// Past the page cache with zeros up to the next sector, where that is possible. The log leaves it that place: it begins a fresh sector behind what is synced.
    fn write_sectors(&self, offset: u64, data: &[u8], buffer: &mut Buffer) -> io::Result<()> {
        let end = (offset + data.len() as u64).next_multiple_of(SECTOR_BYTES as u64);
        match &self.direct {
            Some(direct) if offset.is_multiple_of(SECTOR_BYTES as u64) && end <= self.bytes => buffer.write(direct, offset, data),
            _ => self.cached.write_all_at(data, offset),
        }
    }

    /// Everything that was appended is on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.cached.sync_data()
    }

    /// Gives back what is reserved behind `length`.
    pub(super) fn trim(&self, length: u64) -> io::Result<()> {
        self.cached.set_len(length)
    }

    /// Has the kernel begin to write this part of the page cache, and forget of it what is written. A hint: it promises nothing, and waits for nothing.
    pub(super) fn write_behind(&self, part: Range<u64>) {
        let len = NonZeroU64::new(part.end.saturating_sub(part.start));
        let _ = rustix::fs::fadvise(&self.cached, part.start, len, Advice::DontNeed);
    }

    fn fill_with_zeros(&self, buffer: &mut Buffer) -> io::Result<()> {
        let zeros = vec![0; ZEROS_BYTES];
        let mut offset = 0;
        while offset < self.bytes {
            let len = usize::try_from(self.bytes - offset).map_or(ZEROS_BYTES, |left| left.min(ZEROS_BYTES));
            self.write_sectors(offset, zeros.get(..len).unwrap_or_default(), buffer)?;
            // Piece by piece, so that the log's own syncs don't stand behind all of it.
            self.sync()?;
            offset += len as u64;
        }
        Ok(())
    }
}

/// A file of zeros whose blocks are all allocated.
fn empty_file(path: &Path, bytes: u64, retired: &Retired) -> io::Result<File> {
    if let Some(file) = retired.reuse(path, bytes) {
        return Ok(file);
    }
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
    allocate(&file, path, bytes).map(|()| file)
}

fn allocate(file: &File, path: &Path, bytes: u64) -> io::Result<()> {
    if planted("reserved_in_name_only") {
        return file.set_len(bytes);
    }
    // Some file systems give up when a signal arrives.
    match retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            log::warn!("the file system of {} cannot reserve space: a full disk may end the server", path.display());
            file.set_len(bytes)
        }
        result => result.map_err(io::Error::from),
    }
}

/// The part of `len` bytes at `offset` that is whole pages of the file; its end is its beginning or less where there is none.
fn whole_pages(offset: u64, len: usize) -> Range<u64> {
    let end = offset + len as u64;
    offset.next_multiple_of(PAGE_BYTES as u64)..end - end % PAGE_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::super::direct::PIECE_BYTES;
    use super::*;
    use tempfile::TempDir;

    /// A segment, and what it has to hold.
    struct Pair {
        file: SegmentFile,
        model: Vec<u8>,
        path: std::path::PathBuf,
        buffer: Buffer,
        _directory: TempDir,
    }

    impl Pair {
        fn new(bytes: usize, reservation: Reservation, direct: bool) -> Self {
            let directory = TempDir::new().unwrap();
            let (path, mut buffer) = (directory.path().join("segment"), Buffer::default());
            let mut file = SegmentFile::reserve(&path, bytes as u64, reservation, &Retired::default(), &mut buffer).unwrap();
            if !direct {
                file.direct = None;
            }
            Self { file, model: vec![0; bytes], path, buffer, _directory: directory }
        }

        fn append(&mut self, offset: usize, len: usize, durable: bool, random: &mut fastrand::Rng) {
            let data: Vec<u8> = (0..len).map(|_| random.u8(1..)).collect();
            self.file.append(offset as u64, &data, durable, &mut self.buffer).unwrap();
            self.model[offset..offset + len].copy_from_slice(&data);
        }

        fn check(&self) {
            let found = fs::read(&self.path).unwrap();
            assert_eq!(found.len(), self.model.len(), "its length has changed");
            let differs = found.iter().zip(&self.model).position(|(found, expected)| found != expected);
            assert_eq!(differs, None, "the first byte that isn't what was appended, or no zero between");
        }
    }

    const BOTH: [Reservation; 2] = [Reservation::Allocated, Reservation::Zeroed];

    #[test]
    fn what_is_appended_is_read_whichever_way_it_took() {
        for (reservation, direct, seed) in BOTH.into_iter().flat_map(|kind| [(kind, true, 1), (kind, true, 2), (kind, false, 3)]) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut pair = Pair::new(16 << 20, reservation, direct);
            let mut offset = 4096;
            loop {
                let around = [1, 4096, LARGE_BYTES, LARGE_BYTES + 2 * PAGE_BYTES, 3 * PIECE_BYTES / 2];
                let len_max = random.choice(around).unwrap();
                let len = random.usize(1..=len_max);
                if offset + len > pair.model.len() {
                    break;
                }
                pair.append(offset, len, false, &mut random);
                // As the log does it.
                offset = (offset + len).next_multiple_of(if random.bool() { 8 } else { SECTOR_BYTES });
            }
            pair.check();
        }
    }

    #[test]
    fn a_durable_append_leaves_zeros_up_to_the_next_sector_and_no_more() {
        for (reservation, direct) in BOTH.into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
            let mut random = fastrand::Rng::with_seed(7);
            // The end is in the middle of a sector.
            let mut pair = Pair::new((4 << 20) + 100, reservation, direct);
            let mut offset = 4096;
            loop {
                let len_max = random.choice([64, 5000, PIECE_BYTES + 5000]).unwrap();
                let len = random.usize(1..=len_max).min(pair.model.len() - offset);
                pair.append(offset, len, true, &mut random);
                offset = (offset + len).next_multiple_of(SECTOR_BYTES);
                if offset >= pair.model.len() {
                    break;
                }
            }
            pair.check();
        }
    }

    #[test]
    fn a_reservation_that_is_full_of_zeros_reads_as_zeros() {
        Pair::new((1 << 20) + 4000, Reservation::Zeroed, true).check();
    }

    #[test]
    fn the_kernel_is_asked_to_write_what_was_appended_and_loses_nothing() {
        let mut random = fastrand::Rng::with_seed(9);
        let mut pair = Pair::new(2 << 20, Reservation::Allocated, true);
        for offset in (4096..1 << 20).step_by(3000) {
            pair.append(offset, 2990, false, &mut random);
            if offset % 7 == 0 {
                pair.file.write_behind(offset as u64 / 2..offset as u64);
            }
        }
        pair.check();
    }
}
