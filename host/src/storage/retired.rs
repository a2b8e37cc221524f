//! Segments that are no part of the log any more, kept a while for their space: the next reservation is one of them, emptied, instead of a new file.
//!
//! To remove a file of 64 MiB and to make another costs more than that looks like: a disk that is told which space is free (`discard`) gives it back, which others' writes wait for, and has to find it
//! again. A file is emptied by making all of it a range of zeros (`FALLOC_FL_ZERO_RANGE`), which changes no more than what the file system knows of it; so nothing of the old segment can ever be
//! read in the new one. Where the file system can't, segments are removed.
//!
//! They have names of reservations, and so what is said of these holds for them: they are no part of the log, and go at the next start.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::FallocateFlags;
use rustix::io::retry_on_intr;

/// How much is kept at most, bytes: as much as little data's log gives back at once. Next to more data than this nothing is kept: it would come on top of what log and snapshots may take.
const BYTES_MAX: u64 = 256 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Retired(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    files: Vec<(PathBuf, u64)>,
    /// It was tried: this file system can't empty a file.
    useless: bool,
}

impl Retired {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes away the name of a segment; the file is kept as `reserved`, or goes. The directory has still to be synced. `snapshot_bytes`: how large the newest snapshot is, if that is known.
    pub(super) fn retire(&self, segment: &Path, reserved: PathBuf, snapshot_bytes: Option<u64>) -> io::Result<()> {
        let mut state = self.state();
        let file = fs::symlink_metadata(segment)?;
        let kept: u64 = state.files.iter().map(|(_, bytes)| bytes).sum();
        // A second name is somebody's copy, which must stay as it is.
        let little = snapshot_bytes.is_some_and(|bytes| bytes < BYTES_MAX);
        let keeps = little && !state.useless && file.is_file() && file.nlink() == 1 && kept + file.len() <= BYTES_MAX;
        if !keeps {
            return fs::remove_file(segment);
        }
        fs::rename(segment, &reserved)?;
        state.files.push((reserved, file.len()));
        Ok(())
    }

    /// Makes one of them the file `reserved`, `bytes` long, all of it allocated and, durably, zero. `None`: there is none of any use.
    pub(super) fn reuse(&self, reserved: &Path, bytes: u64) -> Option<File> {
        let mut state = self.state();
        let (path, _) = state.files.pop()?;
        let emptied = empty(&path, bytes).and_then(|file| fs::rename(&path, reserved).map(|()| file));
        if let Err(error) = &emptied {
            log::debug!("cannot use the space of {} again: {error}", path.display());
            let _ = fs::remove_file(&path);
            state.useless = matches!(error.kind(), io::ErrorKind::Unsupported);
        }
        emptied.ok()
    }

    /// Gives all of it back, for somebody who needs the space now.
    pub(super) fn remove_all(&self) {
        self.state().files.drain(..).for_each(|(path, _)| drop(fs::remove_file(path)));
    }
}

fn empty(path: &Path, bytes: u64) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    file.set_len(bytes)?;
    retry_on_intr(|| rustix::fs::fallocate(&file, FallocateFlags::ZERO_RANGE, 0, bytes))?;
    file.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use tempfile::TempDir;

    use super::*;

    const BYTES: u64 = 1 << 20;

    struct Scene {
        retired: Retired,
        place: TempDir,
    }

    impl Scene {
        fn new() -> Self {
            Self { retired: Retired::default(), place: TempDir::new().unwrap() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.place.path().join(name)
        }

        /// A segment full of something, retired.
        fn retire(&self, name: &str, bytes: u64) {
            let file = File::create(self.path(name)).unwrap();
            file.write_all_at(&vec![b'x'; usize::try_from(bytes.min(BYTES)).unwrap()], 0).unwrap();
            file.set_len(bytes).unwrap();
            self.retired.retire(&self.path(name), self.path(&format!("{name}.next")), Some(1)).unwrap();
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.place.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn what_is_used_again_is_empty_and_as_long_as_asked_for() {
        for (before, after) in [(BYTES, BYTES), (BYTES, BYTES / 2), (BYTES / 2, BYTES), (1, BYTES)] {
            let scene = Scene::new();
            scene.retire("a", before);
            assert_eq!(scene.names(), ["a.next"]);
            let Some(file) = scene.retired.reuse(&scene.path("b.next"), after) else {
                assert!(scene.names().is_empty(), "what is of no use is removed");
                return println!("this file system can't empty a file: nothing to be seen");
            };
            assert_eq!(scene.names(), ["b.next"]);
            assert_eq!(fs::read(scene.path("b.next")).unwrap(), vec![0; usize::try_from(after).unwrap()], "{before}, {after}");
            assert!(file.metadata().unwrap().blocks() * 512 >= after, "all of it is allocated");
            assert!(scene.retired.reuse(&scene.path("c.next"), after).is_none(), "there was one");
        }
    }

    #[test]
    fn a_file_with_another_name_is_left_as_it_is() {
        let scene = Scene::new();
        fs::write(scene.path("a"), "kept").unwrap();
        fs::hard_link(scene.path("a"), scene.path("copy")).unwrap();
        scene.retired.retire(&scene.path("a"), scene.path("a.next"), Some(1)).unwrap();
        assert_eq!(scene.names(), ["copy"]);
        assert_eq!(fs::read(scene.path("copy")).unwrap(), b"kept");
    }

    #[test]
    fn no_more_is_kept_than_is_of_use() {
        let scene = Scene::new();
        for name in ["a", "b", "c", "d", "e", "f"] {
            scene.retire(name, BYTES_MAX / 4);
        }
        assert_eq!(scene.names(), ["a.next", "b.next", "c.next", "d.next"]);
        scene.retired.remove_all();
        assert!(scene.names().is_empty());
    }

    #[test]
    fn next_to_much_data_none_is_kept() {
        for snapshot_bytes in [Some(BYTES_MAX), None] {
            let scene = Scene::new();
            fs::write(scene.path("a"), "of no use").unwrap();
            scene.retired.retire(&scene.path("a"), scene.path("a.next"), snapshot_bytes).unwrap();
            assert!(scene.names().is_empty());
        }
    }

    #[test]
    fn a_segment_that_is_missing_is_said() {
        let scene = Scene::new();
        let missing = scene.retired.retire(&scene.path("a"), scene.path("a.next"), Some(1));
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
