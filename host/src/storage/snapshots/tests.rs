//! What was appended is what is read, whichever way it took, and at the edges of what is written at once.

use std::sync::Arc;

use rustix::io::{Errno, ReadWriteFlags};
use tempfile::TempDir;

use super::super::Reservation;
use super::*;

const NAME: SnapshotName = SnapshotName { begin: Lsn(3), end: Lsn(5) };

/// What the engine reads at once.
const CHUNK_BYTES: usize = 256 << 10;

struct Scene {
    directory: Directory,
    draft: Draft,
    _place: TempDir,
}

impl Scene {
    fn new() -> Self {
        let place = TempDir::new().unwrap();
        let handle = Arc::new(File::open(place.path()).unwrap());
        let path = place.path().to_owned();
        let directory = Directory { path, handle, reservation: Reservation::Allocated, draft: Arc::default(), retired: Arc::default() };
        Self { directory, draft: Draft::default(), _place: place }
    }

    fn run(&mut self, mut op: SnapshotOp) -> io::Result<SnapshotOp> {
        let (_, _, result) = self.directory.snapshot_op(&mut self.draft, &mut op);
        result.map(|()| op)
    }

    fn begin(&mut self, direct: bool) {
        self.run(SnapshotOp::Create { begin: NAME.begin, bytes: 1 }).unwrap();
        let file = self.draft.file.as_mut().unwrap();
        if !direct {
            file.cached.set_len(0).unwrap();
            file.direct = None;
        }
    }

    /// Takes a snapshot of `data`, in pieces of these lengths, again and again.
    fn take(&mut self, direct: bool, data: &[u8], lengths: &[usize]) {
        self.begin(direct);
        let (mut offset, mut lengths) = (0, lengths.iter().cycle());
        while offset < data.len() {
            let end = data.len().min(offset + lengths.next().unwrap());
            self.run(SnapshotOp::Append { offset: offset as u64, data: data[offset..end].to_vec() }).unwrap();
            offset = end;
        }
        self.run(SnapshotOp::Publish { name: NAME }).unwrap();
    }

    fn read(&mut self, offset: usize, len: usize) -> Vec<u8> {
        let op = self.run(SnapshotOp::Read { name: NAME, offset: offset as u64, buffer: vec![0xEE; len] }).unwrap();
        let SnapshotOp::Read { buffer, .. } = op else { unreachable!("it comes back as it went") };
        buffer
    }

    fn check(&mut self, data: &[u8]) {
        let found = fs::read(self.directory.snapshot(NAME)).unwrap();
        assert_eq!(found.len(), data.len(), "its length");
        assert!(found == data, "its bytes");
        for offset in (0..=data.len()).step_by(CHUNK_BYTES) {
            let expected = &data[offset..data.len().min(offset + CHUNK_BYTES)];
            assert!(self.read(offset, CHUNK_BYTES) == expected, "what is read at {offset} of {}", data.len());
        }
    }
}

fn random(len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(len as u64);
    (0..len).map(|_| random.u8(1..)).collect()
}

#[test]
fn what_was_appended_is_read_whichever_way_it_took() {
    let around = |bytes: usize| [bytes - 1, bytes, bytes + 1];
    let mut sizes = vec![1, 100];
    sizes.extend([SECTOR_BYTES, CHUNK_BYTES, PIECE_BYTES, PIECE_BYTES + SECTOR_BYTES, 3 * PIECE_BYTES].into_iter().flat_map(around));
    for (size, direct) in sizes.into_iter().flat_map(|size| [(size, true), (size, false)]) {
        let mut scene = Scene::new();
        let data = random(size);
        scene.take(direct, &data, &[262_200, 1, 70_000, PIECE_BYTES + 3, 511]);
        scene.check(&data);
    }
}

#[test]
fn the_page_cache_of_others_is_left_alone() {
    let mut scene = Scene::new();
    let data = random(3 * PIECE_BYTES / 2);
    scene.begin(true);
    if scene.draft.file.as_ref().unwrap().direct.is_none() {
        println!("this file system has no way past the page cache: nothing to be seen");
        return;
    }
    scene.take(true, &data, &[CHUNK_BYTES + 77]);
    for offset in (0..data.len()).step_by(CHUNK_BYTES) {
        scene.read(offset, CHUNK_BYTES);
    }
    let file = File::open(scene.directory.snapshot(NAME)).unwrap();
    for offset in (0..data.len()).step_by(4096) {
        let mut byte = [0];
        let cached = rustix::io::preadv2(&file, &mut [io::IoSliceMut::new(&mut byte)], offset as u64, ReadWriteFlags::NOWAIT);
        match cached {
            Err(Errno::OPNOTSUPP) => return println!("this file system doesn't say"),
            cached => assert_eq!(cached, Err(Errno::AGAIN), "the page at {offset} is in the page cache"),
        }
    }
}

#[test]
fn one_that_takes_anothers_place_is_read_instead_of_it() {
    let mut scene = Scene::new();
    let (old, new) = (random(2 * CHUNK_BYTES), random(2 * CHUNK_BYTES + 9));
    scene.take(true, &old, &[CHUNK_BYTES]);
    scene.check(&old);
    scene.take(true, &new, &[CHUNK_BYTES]);
    scene.check(&new);
}

#[test]
fn a_place_that_is_no_sectors_beginning_is_read_too() {
    let mut scene = Scene::new();
    let data = random(CHUNK_BYTES);
    scene.take(true, &data, &[CHUNK_BYTES]);
    assert!(scene.read(1, 5000) == data[1..5001]);
    assert!(scene.read(512, 5001) == data[512..5513]);
    assert!(scene.read(CHUNK_BYTES - 10, 512) == data[CHUNK_BYTES - 10..]);
}

#[test]
fn a_file_that_refuses_to_go_past_the_page_cache_is_read_through_it() {
    let path = Path::new("/proc/self/limits");
    let mut reading = Reading::open(path).unwrap();
    assert!(reading.direct.is_none(), "else this test shows nothing");
    let mut found = vec![0; 64 << 10];
    let len = reading.read(0, &mut found).unwrap();
    assert_eq!(found[..len], fs::read(path).unwrap());
}

#[test]
fn what_does_not_follow_is_refused() {
    let mut scene = Scene::new();
    scene.begin(true);
    if scene.draft.file.as_ref().unwrap().direct.is_some() {
        scene.run(SnapshotOp::Append { offset: 0, data: vec![1; 100] }).unwrap();
        let kind = |result: io::Result<SnapshotOp>| result.unwrap_err().kind();
        assert_eq!(kind(scene.run(SnapshotOp::Append { offset: 99, data: vec![1; 100] })), io::ErrorKind::InvalidInput);
    }
    scene.run(SnapshotOp::Discard).unwrap();
    let nothing = scene.run(SnapshotOp::Append { offset: 0, data: vec![1] });
    assert_eq!(nothing.unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(fs::read_dir(&scene.directory.path).unwrap().next().is_none(), "what was discarded is still there");
}
