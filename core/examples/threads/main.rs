//! A server on threads and blocking sockets, with `std` alone: a thread for each connection, and one that does what the engine asks of storage.
//!
//! The engine is behind a mutex; calls of it are short and never wait. The writes of connections that wait for the disk together go into one frame.
//! Run it with `cargo run -p osprey-core --example threads -- /tmp/data 127.0.0.1:7070`.

#[path = "../system/mod.rs"]
mod system;

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use osprey_core::engine::{Engine, Next, Session};
use osprey_core::storage::Storage as _;
use osprey_core::wal::writer::Poisoned;
use system::{Files, now};

/// How long a snapshot may hold up everybody else at a time.
const SLICE: Duration = Duration::from_millis(1);

/// What all threads share.
struct Host {
    engine: Mutex<Engine>,
    /// There may be work for storage.
    wanted: Condvar,
    /// Something of storage has ended: replies may be free, and requests that waited can be tried again.
    moved: Condvar,
}

impl Host {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap_or_else(|| "data".into());
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:7070".into());
    let mut files = Files::open(Path::new(&directory))?;
    let engine = system::recover(&mut files)?;
    let host = Arc::new(Host { engine: Mutex::new(engine), wanted: Condvar::new(), moved: Condvar::new() });
    let storage = Arc::clone(&host);
    thread::spawn(move || {
        // Nothing may be promised any more. Whatever was, is in the log: a process may end at any time.
        let poisoned = drive(&storage, &mut files);
        eprintln!("{poisoned}");
        std::process::exit(1);
    });
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    for socket in listener.incoming() {
        match socket {
            Ok(socket) => {
                let host = Arc::clone(&host);
                // An error of a connection's socket is its own.
                thread::Builder::new().spawn(move || connection(&host, socket))?;
            }
            // Out of descriptors: others will be closed.
            Err(error) => {
                eprintln!("accept: {error}");
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
    Ok(())
}

/// One connection, until it ends.
fn connection(host: &Host, mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (mut session, mut input, mut replies) = (Session::new(), Vec::new(), Vec::new());
    let mut received = vec![0; 64 << 10];
    loop {
        let mut engine = host.engine();
        let served = engine.serve(now(), &mut session, &input, &mut replies);
        host.wanted.notify_one();
        input.drain(..served.consumed);
        if served.next == Next::Storage {
            // The request is still in `input`, and is tried again when something has ended.
            engine = wait(&host.moved, engine);
        }
        // What is behind the next read isn't known before these are out, so they are waited for: all of them, unless there is more to be served.
        let again = matches!(served.next, Next::Again | Next::Storage);
        while !again && session.releasable(engine.watermark(), replies.len()) < replies.len() {
            engine = wait(&host.moved, engine);
        }
        let free = session.releasable(engine.watermark(), replies.len());
        drop(engine);
        socket.write_all(&replies[..free])?;
        replies.drain(..free);
        match served.next {
            Next::Close => return Ok(()),
            Next::Read { at_least } => {
                while input.len() < at_least {
                    match socket.read(&mut received)? {
                        0 => return Ok(()),
                        read => input.extend_from_slice(&received[..read]),
                    }
                }
            }
            Next::Flush | Next::Again | Next::Storage => {}
        }
    }
}

fn wait<'e>(condition: &Condvar, engine: MutexGuard<'e, Engine>) -> MutexGuard<'e, Engine> {
    condition.wait(engine).unwrap_or_else(PoisonError::into_inner)
}

/// Does what the engine asks of storage, one thing after the other, and calls it when time makes something due.
fn drive(host: &Host, files: &mut Files) -> Poisoned {
    let mut engine = host.engine();
    loop {
        let tick_at = engine.tick(now());
        if engine.wants_snapshot_slice() {
            let end = Instant::now() + SLICE;
            engine.snapshot_slice(now(), || Instant::now() < end);
            host.moved.notify_all();
        }
        if let Some(op) = engine.poll_storage() {
            // Requests are served meanwhile.
            drop(engine);
            let done = files.submit(op);
            engine = host.engine();
            if let Some(Err(poisoned)) = done.map(|done| engine.storage_done(done)) {
                return poisoned;
            }
            host.moved.notify_all();
        } else if !engine.wants_snapshot_slice() {
            let timeout = tick_at.map_or(Duration::from_secs(3600), |at| Duration::from_millis(at.since(now()).max(1)));
            engine = host.wanted.wait_timeout(engine, timeout).unwrap_or_else(PoisonError::into_inner).0;
        } else {
            drop(engine);
            thread::yield_now();
            engine = host.engine();
        }
    }
}
