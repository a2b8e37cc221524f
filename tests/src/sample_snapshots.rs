//! Data directories with snapshots, written by the real server, for tools to work on; and damage to them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::directory::{snapshots, wait_until};
use crate::server_process::Setup;
use crate::tool::{done, text};

/// A directory with two snapshots and a log that begins behind the first write; returns the names of its snapshots, the newest last.
///
/// # Panics
/// The server doesn't do what it should.
#[must_use]
pub fn data_with_snapshots(directory: &Path) -> Vec<String> {
    // The last round in a run, and so a segment, of its own.
    for rounds in [0..2, 2..3] {
        let server = Setup::new(directory).start();
        let mut client = server.connect();
        for round in rounds {
            for key in 0..20 {
                client.set(format!("key:{key}").as_bytes(), format!("{round}").as_bytes()).unwrap();
            }
            if round < 2 {
                client.snapshot().unwrap();
            }
        }
        server.stop();
    }
    let names: Vec<String> = snapshots(directory).iter().map(ToString::to_string).collect();
    assert!(!names.is_empty(), "no snapshot");
    names
}

/// Values long enough that a snapshot has several blocks, two snapshots, a log that begins behind the first LSN and goes on behind the second; and the dump of it.
///
/// # Panics
/// The server doesn't do what it should.
#[must_use]
pub fn data_in_blocks(directory: &Path, rounds: u32) -> String {
    for round in 0..=rounds {
        let server = Setup::new(directory).start();
        let mut client = server.connect();
        // Of the last round some keys only: what the snapshots have of the others is all there is of them.
        for key in (0..200).filter(|key| round == 0 || key % 10 == round) {
            client.set(format!("key:{key}").as_bytes(), format!("{round}:{}", "x".repeat(2000)).as_bytes()).unwrap();
        }
        client.del(format!("key:{}", 190 + round).as_bytes()).unwrap();
        if round < rounds {
            client.snapshot().unwrap();
            // What only generations before needed goes behind the answer.
            let before = directory.join(format!("wal-{round:08}.oswal"));
            wait_until("the log is cut", || !before.exists());
        }
        server.stop();
    }
    assert!(!directory.join("wal-00000001.oswal").exists(), "two generations, none of which is the log from its beginning");
    done(["dump", text(directory)])
}

/// Its snapshots as files, the oldest first.
#[must_use]
pub fn snapshots_of(directory: &Path) -> Vec<PathBuf> {
    snapshots(directory).iter().map(|name| directory.join(name.to_string())).collect()
}

/// Where the blocks of a snapshot begin, and its footer.
///
/// # Panics
/// A block has no length.
#[must_use]
pub fn blocks(bytes: &[u8]) -> Vec<usize> {
    let mut offsets = vec![56];
    while let Some(rest) = bytes.get(*offsets.last().unwrap()..).filter(|rest| rest.starts_with(b"OSB1")) {
        let payload = u32::from_le_bytes(rest[4..8].try_into().unwrap());
        offsets.push(offsets.last().unwrap() + 24 + payload as usize);
    }
    offsets
}

/// Turns a bit of a file over.
///
/// # Panics
/// There is no such byte.
pub fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}
