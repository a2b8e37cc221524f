//! An engine with connections, a disk and a clock, all driven by hand: what a host does, without one.
//!
//! Time stands still but for [`Machine::advance`], and everything that can happen has happened when a call returns.

use std::collections::BTreeMap;

use osprey_core::engine::{Engine, Entropy, Next, Options, Session};
use osprey_core::recovery::{RecoveryError, Report};
use osprey_core::storage::Storage as _;
use osprey_core::units::{Millis, Version};
use osprey_core::wal::segment::DatabaseId;
use osprey_core::wal::writer::{Poisoned, SyncPolicy};

use crate::memory_storage::{Disk, MemoryStorage};

/// When every machine's time begins.
pub const BEGIN: Millis = Millis(1_000_000);

/// All keys that are there, with value, version and expiry.
pub type State = BTreeMap<Vec<u8>, (Vec<u8>, Version, Option<Millis>)>;

/// One of a machine's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId(usize);

#[derive(Debug)]
struct Client {
    session: Session,
    input: Vec<u8>,
    out: Vec<u8>,
    /// Sent, and not yet taken by the test.
    received: Vec<u8>,
    closing: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Machine {
    /// The engine.
    pub engine: Engine,
    /// Its disk.
    pub storage: MemoryStorage,
    /// The time that it is told.
    pub now: Millis,
    /// Set when storage has failed. A host ends then; so nothing moves any more.
    pub poisoned: Option<Poisoned>,
    /// A snapshot's walk goes on by [`Machine::slice`] only.
    pub hold_walk: bool,
    clients: Vec<Client>,
}

/// Options for tests: the same random numbers every time, `policy`, and otherwise the defaults.
#[must_use]
pub fn options(policy: SyncPolicy) -> Options {
    let entropy = Entropy { hash_key: *b"sixteen bytes of", salt: 0x5A17, database: DatabaseId(*b"a test's disk...") };
    Options { sync_policy: policy, ..Options::new(entropy) }
}

/// As [`options`], with requests so small that segments of 16 KiB will do.
#[must_use]
pub fn small_options(policy: SyncPolicy) -> Options {
    let mut options = options(policy);
    options.limits.request.key_bytes_max = 32;
    options.limits.request.value_bytes_max = 2048;
    options.limits.request.words_max = 33;
    options.segment_bytes = 16 << 10;
    options
}

impl Machine {
    /// A machine with an empty disk.
    ///
    /// # Panics
    /// An empty disk can't be recovered.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self::recover(options, Disk::default(), BEGIN).unwrap().0
    }

    /// A machine that continues what is on `disk`. Its log is ready for writes.
    ///
    /// # Errors
    /// The engine refuses the disk.
    pub fn recover(options: Options, disk: Disk, now: Millis) -> Result<(Self, Report), RecoveryError> {
        Self::recover_on(options, MemoryStorage::new(disk), now)
    }

    /// As [`Machine::recover`], on storage that may be late or fail.
    ///
    /// # Errors
    /// The engine refuses the disk.
    pub fn recover_on(mut options: Options, mut storage: MemoryStorage, now: Millis) -> Result<(Self, Report), RecoveryError> {
        // Every run has other random numbers; these follow from the disk.
        options.entropy.salt ^= storage.disk.segments().map(|(number, bytes)| number.0.wrapping_mul(31) + bytes.len() as u64).sum::<u64>();
        let (engine, report) = Engine::recover(options, &mut storage.disk, now)?;
        let mut machine = Self { engine, storage, now, poisoned: None, hold_walk: false, clients: Vec::new() };
        machine.settle();
        Ok((machine, report))
    }

    /// A new connection.
    pub fn connect(&mut self) -> ClientId {
        self.clients.push(Client { session: Session::new(), input: Vec::new(), out: Vec::new(), received: Vec::new(), closing: false });
        ClientId(self.clients.len() - 1)
    }

    /// Bytes arrive.
    pub fn send(&mut self, client: ClientId, bytes: &[u8]) {
        self.clients[client.0].input.extend_from_slice(bytes);
        self.settle();
    }

    /// Takes what the server has sent so far.
    pub fn received(&mut self, client: ClientId) -> Vec<u8> {
        std::mem::take(&mut self.clients[client.0].received)
    }

    /// Sends requests, each of which gets its CRLF, and returns the replies that come at once, with their line ends as `\n`.
    pub fn ask(&mut self, client: ClientId, requests: &str) -> String {
        self.send(client, format!("{requests}\r\n").as_bytes());
        self.replies(client)
    }

    /// What [`Machine::received`] has, as text, with line ends as `\n` and without the last.
    pub fn replies(&mut self, client: ClientId) -> String {
        String::from_utf8_lossy(&self.received(client)).replace("\r\n", "\n").trim_end().to_owned()
    }

    /// Whether the server has closed the connection.
    #[must_use]
    pub fn closed(&self, client: ClientId) -> bool {
        let client = &self.clients[client.0];
        client.closing && client.out.is_empty()
    }

    /// What the engine would answer, all at once.
    #[must_use]
    pub fn state(&self) -> State {
        let store = self.engine.store();
        let now = self.engine.now();
        let mut state = State::new();
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            cursor = store.walk(at, |record| {
                if record.expiry.is_none_or(|expiry| expiry > now) {
                    state.insert(record.key.to_vec(), (record.value.to_vec(), record.version, record.expiry));
                }
            });
        }
        state
    }

    /// Lets time pass; whatever is due happens at its time.
    pub fn advance(&mut self, ms: u64) {
        let end = Millis(self.now.0 + ms);
        loop {
            let next = self.engine.tick(self.now);
            self.settle();
            if self.now >= end {
                return;
            }
            self.now = next.map_or(end, |next| next.clamp(Millis(self.now.0 + 1), end));
        }
    }

    /// Lets everything happen that can happen without time or input.
    pub fn settle(&mut self) {
        while self.poisoned.is_none() && (self.serve() | self.walk() | self.drive_storage()) {}
    }

    fn walk(&mut self) -> bool {
        let wanted = self.engine.wants_snapshot_slice() && !self.hold_walk;
        if wanted {
            self.engine.snapshot_slice(self.now, || true);
        }
        wanted
    }

    /// Lets a snapshot's walk take so many steps.
    pub fn slice(&mut self, mut steps: usize) {
        self.engine.snapshot_slice(self.now, || {
            steps = steps.saturating_sub(1);
            steps > 0
        });
        self.settle();
    }

    /// Serves every connection once; returns whether anything happened.
    fn serve(&mut self) -> bool {
        let mut moved = false;
        for client in &mut self.clients {
            if !client.closing {
                let served = self.engine.serve(self.now, &mut client.session, &client.input, &mut client.out);
                client.input.drain(..served.consumed);
                moved |= served.consumed > 0;
                client.closing = served.next == Next::Close;
                if let Next::Read { at_least } = served.next {
                    assert!(at_least > client.input.len(), "waits for what is already there");
                }
            }
            let sendable = client.session.releasable(self.engine.watermark(), client.out.len());
            client.received.extend(client.out.drain(..sendable));
            moved |= sendable > 0;
        }
        moved
    }

    fn drive_storage(&mut self) -> bool {
        let mut moved = false;
        for turn in 0.. {
            assert!(turn < 100_000, "the engine asks storage for more and more");
            let done = match self.engine.poll_storage() {
                Some(op) => {
                    moved = true;
                    self.storage.submit(op)
                }
                None => match self.storage.poll() {
                    Some(done) => Some(done),
                    None => return moved,
                },
            };
            if let Some(done) = done {
                moved = true;
                if let Err(poisoned) = self.engine.storage_done(done) {
                    self.poisoned = Some(poisoned);
                    return moved;
                }
            }
        }
        moved
    }

    /// An orderly end.
    ///
    /// # Panics
    /// It doesn't come.
    #[must_use]
    pub fn shut_down(mut self) -> Disk {
        self.engine.close();
        self.settle();
        assert!(self.engine.closed());
        self.storage.disk
    }

    /// The process dies: what it had handed to the disk is there.
    #[must_use]
    pub fn kill(self) -> Disk {
        self.storage.disk
    }

    /// The power fails: what was synced is there, and nothing else.
    #[must_use]
    pub fn cut_power(self) -> Disk {
        self.storage.disk.after_power_cut()
    }
}
