//! Serves the text protocol over a serial line: one connection that never closes, one log, one loop.

use alloc::vec::Vec;
use core::fmt::Write as _;

use embedded_storage::nor_flash::NorFlash;
use osprey_core::engine::{Engine, Entropy, Next, Options, Session, SnapshotOptions};
use osprey_core::recovery::RecoveryError;
use osprey_core::storage::{ChunkBytes, Storage as _};
use osprey_core::units::Millis;
use osprey_core::wal::writer::{Poisoned, SyncPolicy};
use osprey_flash::FlashLog;

/// What the engine and its connection take, all of it set aside before the first request, bytes.
pub const ENGINE_BYTES: usize = 128 << 10;

/// Length of the entries between which and their index that is divided, key and value together: others have room, too.
const ENTRY_BYTES: usize = 11 + 32;

/// What a machine has.
pub trait Board {
    /// Where the log is.
    type Flash: NorFlash;

    /// Takes the flash, once.
    fn flash(&mut self) -> Option<Self::Flash>;
    /// How the flash is divided: bytes for each segment of the log.
    fn slot_bytes(&self) -> u32;
    /// Random numbers, new for every run.
    fn entropy(&mut self) -> Entropy;
    /// The time.
    fn now(&mut self) -> Millis;
    /// The latest time that the log knows, before anything is served: a clock that begins anew with each start goes on from there.
    fn go_on_from(&mut self, _latest: Millis) {}
    /// What has arrived on the line, if anything has.
    fn receive(&mut self) -> Option<u8>;
    /// Sends on the line.
    fn send(&mut self, bytes: &[u8]);
    /// The most that was allocated at one moment, bytes.
    fn heap_peak_bytes(&self) -> usize;
}

/// Why a machine stops.
#[derive(Debug)]
pub enum Failure {
    /// No flash, or its log can't be found.
    Flash,
    /// The log can't be recovered.
    Recovery(RecoveryError),
    /// The log can't be written.
    Poisoned(Poisoned),
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Flash => f.write_str("the flash is not there, or damaged"),
            Self::Recovery(error) => write!(f, "{error}"),
            Self::Poisoned(error) => write!(f, "{error}"),
        }
    }
}

struct Line<'a, B>(&'a mut B);

impl<B: Board> core::fmt::Write for Line<'_, B> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.send(text.as_bytes());
        Ok(())
    }
}

/// Serves until storage fails. What it says beside replies, at the start and at the end, is on lines that begin with `#`.
pub fn serve<B: Board>(board: &mut B) -> Failure {
    let Err(failure) = run(board);
    let _ = write!(Line(board), "# stopped: {failure}\r\n");
    failure
}

fn run<B: Board>(board: &mut B) -> Result<core::convert::Infallible, Failure> {
    let mut options = Options::new(board.entropy());
    options.limits.request.key_bytes_max = 64;
    options.limits.request.value_bytes_max = 4096;
    options.limits.request.line_bytes_max = 512;
    options.limits.request.words_max = 32;
    options.limits.reply_bytes_max = 4096;
    options.limits.unsent_bytes_soft_max = 1024;
    options.limits.recent_slots_log2 = 6;
    options.chunk = ChunkBytes::nearest(1024);
    options.sync_policy = SyncPolicy::Always;
    options.snapshots = Some(SnapshotOptions { automatic: false, ..SnapshotOptions::default() });
    let slot_bytes = board.slot_bytes();
    let flash = board.flash().ok_or(Failure::Flash)?;
    let mut log = FlashLog::mount(flash, slot_bytes).map_err(|_| Failure::Flash)?;
    options.segment_bytes = log.segment_bytes();
    let options = options.within(ENGINE_BYTES, 1, ENTRY_BYTES).map_err(|error| Failure::Recovery(RecoveryError::Options(error)))?;
    let (mut input, mut replies) = (Vec::with_capacity(options.request_bytes_max()), Vec::with_capacity(options.replies_bytes_max()));
    let now = board.now();
    let (mut engine, report) = Engine::recover(options, &mut log, now).map_err(Failure::Recovery)?;
    board.go_on_from(engine.now());
    drive(&mut engine, &mut log, now)?;
    let (keys, peak) = (engine.store().len(), board.heap_peak_bytes());
    let _ = write!(Line(board), "# osprey: {keys} keys from {} records, heap peak {peak} bytes\r\n", report.records);

    let mut session = Session::new();
    let mut tick_at = Some(Millis(0));
    let mut wanted = 1;
    loop {
        while input.len() < input.capacity()
            && let Some(byte) = board.receive()
        {
            input.push(byte);
        }
        let now = board.now();
        if input.len() >= wanted {
            let served = engine.serve(now, &mut session, &input, &mut replies);
            input.drain(..served.consumed);
            wanted = match served.next {
                Next::Read { at_least } => at_least,
                // The line has no end: what would close a connection begins a new one.
                Next::Close => {
                    input.clear();
                    session = closed(board, &mut engine, &mut log, &session, &mut replies)?;
                    1
                }
                Next::Flush | Next::Again | Next::Storage => 1,
            };
            tick_at = Some(now);
        }
        if tick_at.is_some_and(|at| at <= now) {
            tick_at = engine.tick(now);
        }
        drive(&mut engine, &mut log, now)?;
        let free = session.releasable(engine.watermark(), replies.len());
        board.send(&replies[..free]);
        replies.drain(..free);
    }
}

/// The end of a connection: what is owed is sent.
fn closed<B: Board>(
    board: &mut B,
    engine: &mut Engine,
    log: &mut FlashLog<B::Flash>,
    session: &Session,
    replies: &mut Vec<u8>,
) -> Result<Session, Failure> {
    while session.releasable(engine.watermark(), replies.len()) < replies.len() {
        drive(engine, log, engine.now())?;
    }
    board.send(replies);
    replies.clear();
    Ok(Session::new())
}

/// Does all that the engine asks of storage, and takes a snapshot when it is time.
fn drive<F: NorFlash>(engine: &mut Engine, log: &mut FlashLog<F>, now: Millis) -> Result<(), Failure> {
    if log.wants_snapshot() {
        let _ = engine.request_snapshot();
    }
    loop {
        engine.snapshot_slice(now, || true);
        let Some(op) = engine.poll_storage() else { return Ok(()) };
        if let Some(done) = log.submit(op) {
            engine.storage_done(done).map_err(Failure::Poisoned)?;
        }
    }
}
