//! What happened in a run, in order: a hash of it always, the list only when somebody wants to read it.

use std::fmt;

use osprey_core::storage::{SnapshotName, SnapshotOp, StorageOp};

use super::disk::{Crash, Damage, Fault, Name};
use super::request::Command;

/// Something that happened.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "what they say is written below")]
pub enum Event {
    Connected { client: usize },
    Requested { client: usize, command: Box<Command> },
    Delivered { client: usize, bytes: usize },
    Replied { client: usize, now: u64, reply: Vec<u8> },
    Released { client: usize, bytes: usize },
    Reset { client: usize },
    HalfClosed { client: usize },
    Reads { client: usize, reads: bool },
    Closed { client: usize },
    Submitted { op: Submitted, at_once: bool },
    Done { op: Submitted, failed: bool },
    Clock { now: u64 },
    Full { full: bool },
    Armed { fault: Fault },
    Poisoned,
    Down { crash: Crash },
    Closing,
    Damaged { kind: Damage, name: Name, from: usize, to: usize },
    Refused { message: String },
    Recovered { lsn: u64, now: u64, snapshot: Option<SnapshotName>, torn: bool, sealed: bool },
    Slice { copied: bool },
    Stopping,
}

/// An operation, without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the operation")]
pub enum Submitted {
    Reserve { segment: u64 },
    Start { segment: u64 },
    Append { segment: u64, offset: u64, bytes: usize, sync: bool },
    Sync { segment: u64, trim_to: Option<u64> },
    SnapshotCreate { begin: u64 },
    SnapshotAppend { offset: u64, bytes: usize },
    SnapshotPublish { name: SnapshotName },
    SnapshotDiscard,
    SnapshotRead { name: SnapshotName, offset: u64 },
    SnapshotRemove { name: SnapshotName },
    RemoveSegment { segment: u64 },
}

impl Submitted {
    /// Whether it is about snapshots, and so never the log's end.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        !matches!(self, Self::Reserve { .. } | Self::Start { .. } | Self::Append { .. } | Self::Sync { .. })
    }
}

impl From<&StorageOp> for Submitted {
    fn from(op: &StorageOp) -> Self {
        match op {
            StorageOp::Reserve { segment, .. } => Self::Reserve { segment: segment.0 },
            StorageOp::Start { segment, .. } => Self::Start { segment: segment.0 },
            StorageOp::Append { segment, offset, data, sync } => {
                Self::Append { segment: segment.0, offset: *offset, bytes: data.len(), sync: *sync }
            }
            StorageOp::Sync { segment, trim_to } => Self::Sync { segment: segment.0, trim_to: *trim_to },
            StorageOp::Snapshot(op) => match op {
                SnapshotOp::Create { begin, .. } => Self::SnapshotCreate { begin: begin.0 },
                SnapshotOp::Append { offset, data } => Self::SnapshotAppend { offset: *offset, bytes: data.len() },
                SnapshotOp::Publish { name } => Self::SnapshotPublish { name: *name },
                SnapshotOp::Discard => Self::SnapshotDiscard,
                SnapshotOp::Read { name, offset, .. } => Self::SnapshotRead { name: *name, offset: *offset },
                SnapshotOp::Remove { name } => Self::SnapshotRemove { name: *name },
                SnapshotOp::RemoveSegment { segment } => Self::RemoveSegment { segment: segment.0 },
            },
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { client } => write!(f, "client {client} connects"),
            Self::Requested { client, command } => {
                let mut bytes = Vec::new();
                command.encode(&mut bytes);
                write!(f, "client {client} sends  {}", short(&bytes))
            }
            Self::Delivered { client, bytes } => write!(f, "client {client}: {bytes} bytes arrive"),
            Self::Replied { client, now, reply } => write!(f, "client {client} at {now} is answered  {}", short(reply)),
            Self::Released { client, bytes } => write!(f, "client {client} gets {bytes} bytes"),
            Self::Reset { client } => write!(f, "client {client} resets its connection"),
            Self::HalfClosed { client } => write!(f, "client {client} closes its half"),
            Self::Reads { client, reads: true } => write!(f, "client {client} reads again"),
            Self::Reads { client, reads: false } => write!(f, "client {client} stops reading"),
            Self::Closed { client } => write!(f, "client {client} is closed by the server"),
            Self::Submitted { op, at_once } => write!(f, "disk: {op:?}{}", if *at_once { "" } else { ", later" }),
            Self::Done { op, failed } => write!(f, "disk: {} {op:?}", if *failed { "FAILED" } else { "done" }),
            Self::Clock { now } => write!(f, "the clock says {now}"),
            Self::Full { full } => write!(f, "the disk {}", if *full { "is full" } else { "has space" }),
            Self::Armed { fault } => write!(f, "will fail: {fault:?}"),
            Self::Poisoned => f.write_str("the log is poisoned"),
            Self::Down { crash } => write!(f, "CRASH: {crash:?}"),
            Self::Closing => f.write_str("the server ends in order"),
            Self::Damaged { kind, name, from, to } => write!(f, "DAMAGE: {kind:?} in {name}, bytes {from} to {to}"),
            Self::Refused { message } => write!(f, "refused: {message}"),
            Self::Slice { copied: true } => f.write_str("the snapshot has copied all keys"),
            Self::Slice { copied: false } => f.write_str("the snapshot copies some keys"),
            Self::Stopping => f.write_str("no more snapshots"),
            Self::Recovered { lsn, now, snapshot, torn, sealed } => {
                let base = snapshot.map_or(String::new(), |name| format!("from {name} "));
                let end = if *torn { ", a torn tail was cut" } else { "" };
                let order = if *sealed { ", sealed" } else { "" };
                write!(f, "recovered {base}through LSN {lsn} at {now}{end}{order}")
            }
        }
    }
}

fn short(bytes: &[u8]) -> String {
    const SHOWN: usize = 90;
    let text = bytes.get(..SHOWN).unwrap_or(bytes).escape_ascii().to_string();
    if bytes.len() > SHOWN { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

/// What becomes of the events, beside the hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: the fast way.
    #[default]
    Nothing,
    /// They are kept in a list.
    List,
    /// They are printed as they happen, so that they are there even if the process ends in a panic.
    Print,
}

/// The record of a run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    keep: Keep,
    list: Vec<Event>,
}

impl Trace {
    /// An empty trace.
    #[must_use]
    pub fn new(keep: Keep) -> Self {
        Self { keep, ..Self::default() }
    }

    /// Notes that something happened: two numbers that tell it from others, and, if the list is kept, what.
    #[inline]
    pub fn note(&mut self, a: u64, b: u64, event: impl FnOnce() -> Event) {
        self.hash = (self.hash.rotate_left(5) ^ a).wrapping_mul(0x517C_C1B7_2722_0A95);
        self.hash = (self.hash.rotate_left(5) ^ b).wrapping_mul(0x517C_C1B7_2722_0A95);
        match self.keep {
            Keep::Nothing => {}
            Keep::List => self.list.push(event()),
            Keep::Print => println!("{}", event()),
        }
    }

    /// Mixes bytes into the hash.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.hash = (self.hash.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x517C_C1B7_2722_0A95);
        }
    }

    /// The same run has the same hash.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The events, if they were kept.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.list
    }
}
