//! A server in tokio: a task for each connection, one that drives the engine's storage, and files on the blocking pool.
//!
//! Everything that touches the engine is on one thread, so it needs no lock; calls of the engine are short and never wait. Run it with
//! `cargo run -p osprey-core --example tokio -- /tmp/data 127.0.0.1:7070`.

#[path = "../system/mod.rs"]
mod system;

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use osprey_core::engine::{Engine, Next, Session};
use osprey_core::storage::{Storage as _, StorageDone};
use osprey_core::wal::writer::Poisoned;
use system::{Files, now};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{LocalSet, spawn_blocking, spawn_local, yield_now};

/// How long a snapshot may hold up everybody else at a time.
const SLICE: Duration = Duration::from_millis(1);

/// What all tasks share.
struct Host {
    engine: RefCell<Engine>,
    /// There may be work for storage.
    wanted: Notify,
    /// Something of storage has ended: replies may be free, and requests that waited can be tried again.
    moved: watch::Sender<()>,
    /// No request is served any more.
    stopping: Cell<bool>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap_or_else(|| "data".into());
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:7070".into());
    let mut files = Files::open(Path::new(&directory))?;
    let engine = system::recover(&mut files)?;
    let (wanted, moved) = (Notify::new(), watch::Sender::new(()));
    let host = Rc::new(Host { engine: RefCell::new(engine), wanted, moved, stopping: Cell::new(false) });
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let local = LocalSet::new();
    local.spawn_local(accept(Rc::clone(&host), listener));
    // Ends when the engine is closed, or with what has made its log unusable.
    local.run_until(drive(host, Arc::new(Mutex::new(files)))).await?;
    Ok(())
}

async fn accept(host: Rc<Host>, listener: TcpListener) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            // Out of descriptors: others will be closed.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        spawn_local(connection(Rc::clone(&host), socket));
    }
}

/// One connection, until it ends. An error of its socket is its own.
async fn connection(host: Rc<Host>, mut socket: TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let (mut reader, mut writer) = socket.split();
    let (mut session, mut input, mut replies) = (Session::new(), Vec::with_capacity(16 << 10), Vec::new());
    let mut moved = host.moved.subscribe();
    let mut ended = false;
    while !host.stopping.get() {
        // Whatever ends from here on wakes this task.
        moved.mark_unchanged();
        let served = host.engine.borrow_mut().serve(now(), &mut session, &input, &mut replies);
        input.drain(..served.consumed);
        host.wanted.notify_one();
        // Replies wait until the log has what they show.
        let free = session.releasable(host.engine.borrow().watermark(), replies.len());
        writer.write_all(&replies[..free]).await?;
        replies.drain(..free);
        match served.next {
            Next::Close if replies.is_empty() => return Ok(()),
            Next::Read { .. } if ended && replies.is_empty() => return Ok(()),
            Next::Again => yield_now().await,
            Next::Flush if free > 0 => {}
            Next::Read { at_least } if !ended => tokio::select! {
                read = reader.read_buf(&mut input) => {
                    ended = read? == 0;
                    while input.len() < at_least && !ended && replies.is_empty() {
                        ended = reader.read_buf(&mut input).await? == 0;
                    }
                }
                _ = moved.changed(), if !replies.is_empty() => {}
            },
            Next::Read { .. } | Next::Flush | Next::Storage | Next::Close => {
                let _ = moved.changed().await;
            }
        }
    }
    Ok(())
}

/// Hands the engine's operations to the blocking pool and takes them back; calls the engine when time makes something due.
async fn drive(host: Rc<Host>, files: Arc<Mutex<Files>>) -> Result<(), Poisoned> {
    let (report, mut ended) = mpsc::unbounded_channel();
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    while !host.engine.borrow().closed() {
        let (wait, slicing) = turn(&host, &files, &report);
        tokio::select! {
            Some(done) = ended.recv() => {
                host.engine.borrow_mut().storage_done(done)?;
                host.moved.send_replace(());
            }
            () = host.wanted.notified() => {}
            () = tokio::time::sleep(wait) => {}
            () = yield_now(), if slicing => {}
            _ = &mut stop, if !host.stopping.get() => {
                host.stopping.set(true);
                // Syncs and seals the log, so that the next start finds nothing torn.
                host.engine.borrow_mut().close();
            }
        }
    }
    Ok(())
}

/// All that can be begun. Returns when time makes something due, and whether a snapshot goes on before.
fn turn(host: &Host, files: &Arc<Mutex<Files>>, report: &mpsc::UnboundedSender<StorageDone>) -> (Duration, bool) {
    let mut engine = host.engine.borrow_mut();
    let tick_at = engine.tick(now());
    let slicing = engine.wants_snapshot_slice();
    if slicing {
        let end = Instant::now() + SLICE;
        engine.snapshot_slice(now(), || Instant::now() < end);
        host.moved.send_replace(());
    }
    while let Some(op) = engine.poll_storage() {
        // One of each kind at most is under way, in any order; here one waits for the other. Where an append must not stand behind a sync,
        // give each its file handles and let them run side by side.
        let (files, report) = (Arc::clone(files), report.clone());
        spawn_blocking(move || {
            let done = files.lock().unwrap_or_else(PoisonError::into_inner).submit(op);
            done.map(|done| report.send(done))
        });
    }
    (tick_at.map_or(Duration::from_secs(3600), |at| Duration::from_millis(at.since(now()))), slicing)
}
