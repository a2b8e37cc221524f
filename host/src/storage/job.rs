//! Operations with the files that they need, ready to be done on any thread; and the threads that do them.

use std::fs;
use std::io;
use std::ops::Range;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use osprey_core::storage::{SegmentNumber, StorageDone, StorageOp};

use super::direct::Buffer;
use super::directory::Directory;
use super::failure;
use super::segment_file::SegmentFile;

pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

/// What a thread is asked for.
pub(super) enum Task {
    Do(Job),
    /// See [`SegmentFile::write_behind`].
    WriteBehind(Arc<SegmentFile>, Range<u64>),
}

/// One operation with the files that it needs, ready to be done on any thread.
pub(super) struct Job {
    pub(super) op: StorageOp,
    pub(super) file: Option<Arc<SegmentFile>>,
    pub(super) directory: Directory,
}

pub(super) struct Ended {
    pub(super) done: StorageDone,
    /// How long it took.
    pub(super) took: Duration,
    pub(super) reserved: Option<Arc<SegmentFile>>,
}

impl Job {
    pub(super) fn run(self, buffer: &mut Buffer) -> Ended {
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

/// Header, sync, name, sync of the directory: after a power cut the segment is there with its whole header, or not at all.
fn start_segment(directory: &Directory, segment: SegmentNumber, header: &[u8], file: &SegmentFile, buffer: &mut Buffer) -> io::Result<()> {
    file.append(0, header, true, buffer)?;
    fs::rename(directory.reserved(segment), directory.segment(segment))?;
    directory.sync()
}

pub(super) fn start(name: &str, report: Sender<Ended>, wake: Wake) -> io::Result<(Sender<Task>, JoinHandle<()>)> {
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
