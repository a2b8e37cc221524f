//! The data directory: the log's segments as files.
//!
//! A small append that needn't be durable is one `pwrite` to the page cache, done at once. Whatever may wait for the disk goes to a thread:
//! one for appends, one for syncs, one for reservations, one for snapshots, so that an append never stands behind a sync it doesn't need, nor either behind
//! the making of the next segment. Ended operations come back through a queue, and the server's loop is woken.
//!
//! The directory is locked for as long as a [`FileStorage`] lives; files are readable by their owner only.

mod direct;
mod retired;
mod segment_file;
mod snapshots;

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use direct::Buffer;
use osprey_core::storage::{LogFiles, SegmentNumber, SnapshotName, Storage, StorageDone, StorageError, StorageOp};
use retired::Retired;
use segment_file::{LARGE_BYTES, SegmentFile, WRITE_BEHIND_BYTES};
use snapshots::{DRAFT_NAME, Draft};

const LOCK_NAME: &str = "LOCK";
const SUFFIX: &str = ".oswal";
const PREFIX: &str = "wal-";

/// What a segment is called before it is part of the log.
const RESERVED_SUFFIX: &str = ".oswal.next";

/// Why a data directory can't be used.
#[derive(Debug)]
pub enum OpenError {
    /// It can't be made or opened.
    Directory(PathBuf, io::Error),
    /// Another server uses it; its process id, if it could be read.
    Locked(PathBuf, Option<u32>),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path, error) => {
                write!(f, "cannot use the data directory {}: {error}; set data_dir to a directory that this user can write", path.display())
            }
            Self::Locked(path, holder) => {
                write!(f, "the data directory {} is in use by another server", path.display())?;
                if let Some(pid) = holder {
                    write!(f, " (process {pid})")?;
                }
                f.write_str("; stop it, or set another data_dir")
            }
        }
    }
}

impl std::error::Error for OpenError {}

/// How space for a segment is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// Blocks are allocated: cheap, and enough that no append finds the disk full.
    Allocated,
    /// And filled with zeros, for a log that is synced all the time. A sync of blocks that were only allocated takes half as long again, for the
    /// file system has to note that they hold something now.
    Zeroed,
}

type Wake = Arc<dyn Fn() + Send + Sync>;

/// The files of one database.
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

#[derive(Clone, Debug)]
struct Directory {
    path: PathBuf,
    handle: Arc<File>,
    reservation: Reservation,
    /// Of the thread for snapshots.
    draft: Arc<Mutex<Draft>>,
    retired: Arc<Retired>,
}

impl Directory {
    fn segment(&self, number: SegmentNumber) -> PathBuf {
        self.path.join(number.to_string())
    }

    fn reserved(&self, number: SegmentNumber) -> PathBuf {
        self.path.join(format!("{number}.next"))
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

/// What a thread is asked for.
enum Task {
    Do(Job),
    /// See [`SegmentFile::write_behind`].
    WriteBehind(Arc<SegmentFile>, Range<u64>),
}

/// One operation with the files that it needs, ready to be done on any thread.
struct Job {
    op: StorageOp,
    file: Option<Arc<SegmentFile>>,
    directory: Directory,
}

/// How far the kernel has been asked to write the page cache's part of a segment.
#[derive(Debug, Default)]
struct Behind {
    segment: SegmentNumber,
    /// Asked for; half of it a second time, as it is written by then and can be forgotten.
    asked: Range<u64>,
}

impl Behind {
    /// What is to be asked for when `segment` is written up to `end`.
    fn due(&mut self, segment: SegmentNumber, end: u64) -> Option<Range<u64>> {
        if segment != self.segment {
            *self = Self { segment, asked: 0..0 };
        }
        if end < self.asked.end + WRITE_BEHIND_BYTES {
            return None;
        }
        let due = self.asked.start..end;
        self.asked = self.asked.end..end;
        Some(due)
    }
}

struct Ended {
    done: StorageDone,
    /// How long it took.
    took: Duration,
    reserved: Option<Arc<SegmentFile>>,
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
        storage.remove_reserved().map_err(failed)?;
        Ok(storage)
    }

    /// For a caller that would wait anyway: from now on appends, also those that are synced, are done within [`Storage::submit`], without a change of threads. What goes on beside the
    /// caller goes on as before: syncs of their own, the making of the next segment, snapshots.
    pub fn append_at_once(&mut self) {
        self.appends_at_once = true;
    }

    /// Reservations of an earlier run were never part of the log.
    fn remove_reserved(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory.path)? {
            let entry = entry?;
            let left_over = |name: &str| (name.starts_with(PREFIX) && name.ends_with(RESERVED_SUFFIX)) || name == DRAFT_NAME;
            if entry.file_name().to_str().is_some_and(left_over) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
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

    fn reading(&mut self, segment: SegmentNumber) -> Result<&File, StorageError> {
        if self.reading.as_ref().is_none_or(|(number, _)| *number != segment) {
            let path = self.directory.segment(segment);
            let file = OpenOptions::new().read(true).write(true).open(&path).map_err(|error| failure("open", &path, &error))?;
            self.reading = Some((segment, file));
        }
        self.reading.as_ref().map(|(_, file)| file).ok_or(StorageError::Io(None))
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
        let _ = self.remove_reserved();
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

impl LogFiles for FileStorage {
    fn segments(&mut self) -> Result<Vec<(SegmentNumber, u64)>, StorageError> {
        let path = &self.directory.path;
        let list = || -> io::Result<_> {
            let mut segments = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                if let Some(number) = entry.file_name().to_str().and_then(number_of) {
                    segments.push((number, entry.metadata()?.len()));
                }
            }
            Ok(segments)
        };
        list().map_err(|error| failure("list", path, &error))
    }

    fn read(&mut self, segment: SegmentNumber, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let path = self.directory.segment(segment);
        let file = self.reading(segment)?;
        read_at(file, offset, buffer).map_err(|error| failure("read", &path, &error))
    }

    fn truncate(&mut self, segment: SegmentNumber, length: u64) -> Result<(), StorageError> {
        let path = self.directory.segment(segment);
        let file = self.reading(segment)?;
        file.set_len(length).and_then(|()| file.sync_all()).map_err(|error| failure("cut", &path, &error))
    }

    fn remove(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        self.reading = None;
        let path = self.directory.segment(segment);
        fs::remove_file(&path).and_then(|()| self.directory.sync()).map_err(|error| failure("remove", &path, &error))
    }

    fn sync(&mut self, segment: SegmentNumber) -> Result<(), StorageError> {
        let path = self.directory.segment(segment);
        self.reading(segment)?.sync_all().map_err(|error| failure("sync", &path, &error))?;
        self.directory.sync().map_err(|error| failure("sync the directory of", &path, &error))
    }

    fn snapshots(&mut self) -> Result<Vec<(SnapshotName, u64)>, StorageError> {
        let path = &self.directory.path;
        let list = || -> io::Result<_> {
            let mut snapshots = Vec::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                if let Some(name) = entry.file_name().to_str().and_then(SnapshotName::parse) {
                    snapshots.push((name, entry.metadata()?.len()));
                }
            }
            Ok(snapshots)
        };
        list().map_err(|error| failure("list", path, &error))
    }

    fn read_snapshot(&mut self, name: SnapshotName, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let path = self.directory.snapshot(name);
        if self.reading_snapshot.as_ref().is_none_or(|(open, _)| *open != name) {
            let file = File::open(&path).map_err(|error| failure("open", &path, &error))?;
            self.reading_snapshot = Some((name, file));
        }
        let Some((_, file)) = &self.reading_snapshot else { return Err(StorageError::Io(None)) };
        read_at(file, offset, buffer).map_err(|error| failure("read", &path, &error))
    }
}

impl Job {
    fn run(self, buffer: &mut Buffer) -> Ended {
        let begin = Instant::now();
        let Self { mut op, file, directory } = self;
        if let StorageOp::Snapshot(snapshot) = &mut op {
            let mut draft = directory.draft.lock().unwrap_or_else(PoisonError::into_inner);
            let (doing, path, result) = directory.snapshot_op(&mut draft, snapshot);
            let result = result.map_err(|error| failure(doing, &path, &error));
            return Ended { done: StorageDone { op, result }, took: begin.elapsed(), reserved: None };
        }
        let mut reserved = None;
        let (doing, result) = match (&op, file) {
            (StorageOp::Reserve { segment, bytes }, _) => {
                let made = SegmentFile::reserve(&directory.reserved(*segment), *bytes, directory.reservation, &directory.retired, buffer);
                ("reserve space for", made.map(|file| reserved = Some(Arc::new(file))))
            }
            (StorageOp::Start { segment, header }, Some(file)) => ("start", start_segment(&directory, *segment, header, &file, buffer)),
            (StorageOp::Append { offset, data, sync, .. }, Some(file)) => ("append to", file.append(*offset, data, *sync, buffer)),
            (StorageOp::Sync { trim_to, .. }, Some(file)) => {
                let trimmed = trim_to.map_or(Ok(()), |length| file.trim(length));
                ("sync", trimmed.and_then(|()| file.sync()))
            }
            (StorageOp::Snapshot(_), _) | (_, None) => ("use", Err(io::Error::other("the segment is not open"))),
        };
        let segment = match &op {
            StorageOp::Reserve { segment, .. }
            | StorageOp::Start { segment, .. }
            | StorageOp::Append { segment, .. }
            | StorageOp::Sync { segment, .. } => *segment,
            StorageOp::Snapshot(_) => SegmentNumber(0),
        };
        let result = result.map_err(|error| failure(doing, &directory.segment(segment), &error));
        Ended { done: StorageDone { op, result }, took: begin.elapsed(), reserved }
    }
}

/// Makes a directory and what is missing above it, and makes their names durable: what is synced inside a directory whose own name is lost is
/// lost with it.
fn make_directory(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.exists()).count();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for made in path.ancestors().take(missing) {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Header, sync, name, sync of the directory: after a power cut the segment is there with its whole header, or not at all.
fn start_segment(directory: &Directory, segment: SegmentNumber, header: &[u8], file: &SegmentFile, buffer: &mut Buffer) -> io::Result<()> {
    file.append(0, header, true, buffer)?;
    fs::rename(directory.reserved(segment), directory.segment(segment))?;
    directory.sync()
}

fn start(name: &str, report: Sender<Ended>, wake: Wake) -> io::Result<(Sender<Task>, JoinHandle<()>)> {
    let (jobs, queue) = channel::<Task>();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let mut buffer = Buffer::default();
        while let Ok(task) = queue.recv() {
            match task {
                Task::WriteBehind(file, part) => file.write_behind(part),
                Task::Do(job) => {
                    if report.send(job.run(&mut buffer)).is_err() {
                        return;
                    }
                    wake();
                }
            }
        }
    })?;
    Ok((jobs, thread))
}

/// Locks a data directory for as long as the file is open.
pub(crate) fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK_NAME);
    let failed = |error| OpenError::Directory(directory.to_owned(), error);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let pid = file.read_to_string(&mut holder).ok().and_then(|_| holder.trim().parse().ok());
            return Err(OpenError::Locked(directory.to_owned(), pid));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
    Ok(file)
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The segment that a file is, by its name.
pub(crate) fn number_of(name: &str) -> Option<SegmentNumber> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let number = SegmentNumber(digits.parse().ok()?);
    // Only the one way of writing it: no other file may pass for a segment.
    (number.to_string() == name).then_some(number)
}

fn failure(doing: &str, path: &Path, error: &io::Error) -> StorageError {
    log::error!("cannot {doing} {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::NoSpace,
        _ => StorageError::Io(error.raw_os_error()),
    }
}
