//! The programs: all sequences of up to so many operations from a small alphabet, on two keys.

use crate::simulator::failure::Checked;
use crate::simulator::request::{Command, Expiry, Presence};

use super::host::{Host, Visit};

/// The keys.
pub const KEYS: [u16; 2] = [0, 1];

/// How long a key with an expiry lives, and how old a record gets under `batch` before it is synced, ms.
pub const SHORT_MS: u64 = 50;

/// As long that an idle log says what has become durable, ms.
const IDLE_MS: u64 = 1100;

/// The longest value, bytes: its record reaches over a sector's end wherever it begins.
pub const LONG_BYTES: usize = 700;

/// One operation of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the first key is a, the second b")]
pub enum Operation {
    SetA,
    SetBLong,
    SetAExpiring,
    DelA,
    IncrA,
    ExpireA,
    /// Both keys, in one frame.
    Mset,
    /// Both keys are read, and what they are is seen if the reply leaves.
    Observe,
    /// Past the expiry of a key, and past the sync under `batch`.
    Wait,
    /// Until an idle log writes a mark.
    Idle,
    /// The orderly end; nothing follows.
    Close,
}

/// What programs are made of.
pub const ALPHABET: [Operation; 11] = [
    Operation::SetA,
    Operation::SetBLong,
    Operation::SetAExpiring,
    Operation::DelA,
    Operation::IncrA,
    Operation::ExpireA,
    Operation::Mset,
    Operation::Observe,
    Operation::Wait,
    Operation::Idle,
    Operation::Close,
];

impl Operation {
    /// Lets it happen.
    pub fn run(self, host: &mut Host, visit: Visit<'_>) -> Checked {
        let [a, b] = KEYS;
        let set = |key, value: &[u8], expiry| Command::Set { key, value: value.to_vec(), expiry, presence: Presence::Any, version: None };
        let command = match self {
            Self::Wait => return host.wait(SHORT_MS + 10, visit),
            Self::Idle => return host.wait(IDLE_MS, visit),
            Self::Close => return host.close(visit),
            Self::SetA => set(a, b"1", Expiry::Clear),
            Self::SetBLong => set(b, &[b'l'; LONG_BYTES], Expiry::Clear),
            Self::SetAExpiring => set(a, b"2", Expiry::In(SHORT_MS)),
            Self::DelA => Command::Del { key: a, version: None },
            Self::IncrA => Command::Add { key: a, delta: 1, negated: false },
            Self::ExpireA => Command::Expire { key: a, ms: i64::try_from(SHORT_MS).unwrap(), version: None },
            Self::Mset => Command::Mset(vec![(a, b"3".to_vec()), (b, vec![b'm'; LONG_BYTES / 2])]),
            Self::Observe => Command::Mget(KEYS.to_vec()),
        };
        host.ask(&command, visit)
    }
}

/// All programs of up to so many operations, the empty one first.
pub fn programs(operations_max: u32) -> impl Iterator<Item = Vec<Operation>> {
    (0..=operations_max).flat_map(|len| (0..ALPHABET.len().pow(len)).filter_map(move |number| program(len, number)))
}

fn program(len: u32, number: usize) -> Option<Vec<Operation>> {
    let operations: Vec<Operation> = (0..len).map(|at| ALPHABET[number / ALPHABET.len().pow(at) % ALPHABET.len()]).collect();
    let (_, before) = operations.split_last().unwrap_or((&Operation::Wait, &[]));
    (!before.contains(&Operation::Close)).then_some(operations)
}
