//! The data directory: the log's segments as files.
//!
//! A small append that needn't be durable is one `pwrite` to the page cache, done at once. Whatever may wait for the disk goes to a thread:
//! one for appends, one for syncs, one for reservations, one for snapshots, so that an append never stands behind a sync it doesn't need, nor either behind
//! the making of the next segment. Ended operations come back through a queue, and the server's loop is woken.
//!
//! The directory is locked for as long as a [`FileStorage`] lives; files are readable by their owner only.
//!
//! | part | what |
//! | --- | --- |
//! | `directory`, `unfinished` | names, the lock, notes that it is not whole |
//! | `job` | what a thread does |
//! | `direct` | the way past the page cache |
//! | `retired` | segments that are kept for their space |
//! | `segment_file`, `behind` | how the log's bytes get into a file, and from the page cache to the disk |
//! | `snapshots` | what is asked for about snapshots |
//! | `files` | what recovery reads |
//!
//! Here: which thread does what, and with which file.

mod behind;
mod direct;
mod directory;
mod files;
mod job;
mod retired;
mod segment_file;
mod snapshots;
pub(crate) mod unfinished;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use osprey_core::storage::{SegmentNumber, SnapshotName, Storage, StorageDone, StorageError, StorageOp};

use behind::Behind;
use direct::Buffer;
use directory::Directory;
pub use directory::OpenError;
pub(crate) use directory::{lock, make_directory, number_of};
pub(crate) use files::read_at;
use job::{Ended, Job, Task, Wake, start};
use segment_file::{LARGE_BYTES, SegmentFile};
pub use unfinished::Unfinished;

/// How space for a segment is set aside.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// use osprey::storage::{FileStorage, Reservation};
///
/// // For a log that is synced all the time.
/// let storage = FileStorage::open(directory.path(), Reservation::Zeroed, || ())?;
/// assert!(format!("{storage:?}").starts_with("FileStorage"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// Blocks are allocated: cheap, and enough that no append finds the disk full.
    Allocated,
    /// And filled with zeros, for a log that is synced all the time. A sync of blocks that were only allocated takes half as long again, for the
    /// file system has to note that they hold something now.
    Zeroed,
}

/// The files of one database.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// use osprey::storage::{FileStorage, Reservation};
/// use osprey::osprey_core::engine::Engine;
/// use osprey::osprey_core::units::Millis;
///
/// // An engine of one's own on the server's files.
/// let mut storage = FileStorage::open(directory.path(), Reservation::Allocated, || ())?;
/// storage.append_at_once();
/// let (mut engine, _) = Engine::recover(osprey::db::options()?, &mut storage, Millis(1_000))?;
/// while engine.starting() {
///     engine.drive(&mut storage)?;
/// }
/// let visits = engine.incr(Millis(1_000), b"visits", 1);
/// while visits.waits(engine.watermark()) {
///     engine.drive(&mut storage)?;
/// }
/// assert_eq!(visits.result?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FileStorage {
    directory: Directory,
    open: HashMap<SegmentNumber, Arc<SegmentFile>>,
    reserved: Option<(SegmentNumber, Arc<SegmentFile>)>,
    reading: Option<(SegmentNumber, File)>,
    reading_snapshot: Option<(SnapshotName, File)>,
    appender: Sender<Task>,
    syncer: Sender<Task>,
    reserver: Sender<Task>,
    snapshotter: Sender<Task>,
    threads: Vec<JoinHandle<()>>,
    ended: Receiver<Ended>,
    /// Appends and starts are done by whoever submits them.
    appends_at_once: bool,
    /// Syncs that are under way: meanwhile an append may have to wait for the disk.
    syncing: usize,
    behind: Behind,
    /// Of the loop's thread.
    buffer: Buffer,
    /// How long the last sync took, and the longest.
    pub sync_last: Duration,
    /// See [`FileStorage::sync_last`].
    pub sync_max: Duration,
    _lock: File,
}

impl std::fmt::Debug for FileStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileStorage").field("directory", &self.directory.path).finish_non_exhaustive()
    }
}

impl FileStorage {
    /// Opens a data directory, making it if there is none, and locks it. `reservation` is how it sets space aside. `wake` is called from another thread whenever
    /// [`Storage::poll`] has something.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path, reservation: Reservation, wake: impl Fn() + Send + Sync + 'static) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Directory(path.to_owned(), error);
        make_directory(path).map_err(failed)?;
        let handle = Arc::new(File::open(path).map_err(failed)?);
        let lock = lock(path)?;
        if let Some(what) = Unfinished::of(path) {
            return Err(OpenError::Unfinished(path.to_owned(), what));
        }
        let directory = Directory { path: path.to_owned(), handle, reservation, draft: Arc::default(), retired: Arc::default() };
        let wake: Wake = Arc::new(wake);
        let (report, ended) = channel();
        let mut threads = Vec::new();
        let mut start = |name, report| start(name, report, Arc::clone(&wake)).map(|(tasks, thread)| (threads.push(thread), tasks).1);
        let appender = start("osprey-append", report.clone()).map_err(failed)?;
        let syncer = start("osprey-sync", report.clone()).map_err(failed)?;
        let reserver = start("osprey-reserve", report.clone()).map_err(failed)?;
        let snapshotter = start("osprey-snapshot", report).map_err(failed)?;
        let storage = Self {
            directory,
            open: HashMap::new(),
            reserved: None,
            reading: None,
            reading_snapshot: None,
            appender,
            syncer,
            reserver,
            snapshotter,
            threads,
            ended,
            appends_at_once: false,
            syncing: 0,
            behind: Behind::default(),
            buffer: Buffer::default(),
            sync_last: Duration::ZERO,
            sync_max: Duration::ZERO,
            _lock: lock,
        };
        storage.directory.remove_reserved().map_err(failed)?;
        Ok(storage)
    }

    /// For a caller that would wait anyway: from now on appends, also those that are synced, are done within [`Storage::submit`], without a change of threads. What goes on beside the
    /// caller goes on as before: syncs of their own, the making of the next segment, snapshots.
    pub fn append_at_once(&mut self) {
        self.appends_at_once = true;
    }

    fn take_job(&mut self, op: StorageOp) -> Job {
        let file = match &op {
            StorageOp::Reserve { .. } | StorageOp::Snapshot(_) => None,
            StorageOp::Start { segment, .. } => {
                let file = self.reserved.take_if(|(number, _)| number == segment).map(|(_, file)| file);
                if let Some(file) = &file {
                    self.open.insert(*segment, Arc::clone(file));
                }
                file
            }
            StorageOp::Append { segment, .. } => self.open.get(segment).cloned(),
            // A segment that is trimmed is complete: this is the last time that it is needed.
            StorageOp::Sync { segment, trim_to: Some(_) } => self.open.remove(segment),
            StorageOp::Sync { segment, trim_to: None } => self.open.get(segment).cloned(),
        };
        Job { op, file, directory: self.directory.clone() }
    }

    /// Takes note of an operation that has ended.
    fn end(&mut self, ended: Ended) -> StorageDone {
        let Ended { done, took, reserved } = ended;
        if matches!(done.op, StorageOp::Sync { .. } | StorageOp::Append { sync: true, .. }) {
            self.sync_last = took;
            self.sync_max = self.sync_max.max(took);
        }
        match (&done.op, reserved) {
            (StorageOp::Reserve { segment, .. }, Some(file)) => self.reserved = Some((*segment, file)),
            (StorageOp::Sync { .. }, _) => self.syncing -= 1,
            _ => {}
        }
        done
    }
}

impl Drop for FileStorage {
    fn drop(&mut self) {
        // The lock goes when nobody works in the directory any more: threads end with their queues.
        for tasks in [&mut self.appender, &mut self.syncer, &mut self.reserver, &mut self.snapshotter] {
            *tasks = channel().0;
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        // It would be done at the next start anyway.
        let _ = self.directory.remove_reserved();
    }
}

impl Storage for FileStorage {
    fn submit(&mut self, op: StorageOp) -> Option<StorageDone> {
        // Recovery is over: a name that it has read may soon be another file's, and a file without a name keeps its space as long as it is open.
        (self.reading, self.reading_snapshot) = (None, None);
        let job = self.take_job(op);
        if let (StorageOp::Append { segment, offset, data, sync: false }, Some(file)) = (&job.op, &job.file)
            && !file.waits_for(data.len())
            && let Some(part) = self.behind.due(*segment, offset + data.len() as u64)
        {
            let _ = self.syncer.send(Task::WriteBehind(Arc::clone(file), part));
        }
        let thread = match &job.op {
            StorageOp::Append { .. } | StorageOp::Start { .. } if self.appends_at_once => {
                let ended = job.run(&mut self.buffer);
                return Some(self.end(ended));
            }
            StorageOp::Append { sync: false, data, .. }
                if self.syncing == 0 && !job.file.as_ref().is_some_and(|file| file.waits_for(data.len())) =>
            {
                return Some(job.run(&mut self.buffer).done);
            }
            StorageOp::Append { .. } | StorageOp::Start { .. } => &self.appender,
            StorageOp::Sync { .. } => {
                self.syncing += 1;
                &self.syncer
            }
            StorageOp::Reserve { .. } => &self.reserver,
            StorageOp::Snapshot(_) => &self.snapshotter,
        };
        let large = matches!(&job.op, StorageOp::Append { data, .. } if data.len() >= LARGE_BYTES);
        match thread.send(Task::Do(job)) {
            // The thread is gone; it only ends with this object or in a panic.
            Err(SendError(Task::Do(job))) => Some(StorageDone { op: job.op, result: Err(StorageError::Io(None)) }),
            Ok(()) | Err(_) => {
                if large {
                    // On the same core the disk would else begin only when this thread has nothing to do any more. For a small append the change of threads costs more than that.
                    thread::yield_now();
                }
                None
            }
        }
    }

    fn poll(&mut self) -> Option<StorageDone> {
        let ended = self.ended.try_recv().ok()?;
        Some(self.end(ended))
    }

    fn wait(&mut self) -> Option<StorageDone> {
        let ended = self.ended.recv().ok()?;
        Some(self.end(ended))
    }
}

fn failure(doing: &str, path: &Path, error: &io::Error) -> StorageError {
    log::error!("cannot {doing} {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::NoSpace,
        _ => StorageError::Io(error.raw_os_error()),
    }
}
