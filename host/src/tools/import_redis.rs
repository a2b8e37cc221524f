//! `osprey import-redis`: strings and their expiries from an RDB file. Everything else in it is passed over, counted and named.
//!
//! The file is read twice: first its checksum is compared, so that a damaged file is refused before anything is written. The checksum is CRC-64
//! (Jones) of everything before it, as in Redis' `src/crc64.c`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use crc::{CRC_64_REDIS, Crc, Table};
use osprey_core::clock::Clock as _;
use osprey_core::units::Version;

use super::answer::{count, text};
use super::failure::{DAMAGED, Failure, SOUND};
use super::line::Entry;
use super::progress::Progress;
use super::rdb::{self, Item, Rdb, RdbError, Value};
use super::target::{self, Target};
use crate::clock::SystemClock;

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// Since this version of the format a file ends with a checksum; since the same version Redis can be told not to compute one, which is zero then.
const CHECKSUM_SINCE: u32 = 5;

/// So many of each kind are named.
const NAMED_MAX: usize = 10;

/// What the command line says.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The RDB file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    pub(super) target: target::Destination,

    /// Which of Redis' databases
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    db: u64,
}

pub(super) fn run(arguments: &Arguments, path: &Path) -> Result<u8, Failure> {
    let Arguments { file, db, .. } = arguments;
    verify(file)?;
    let length = file.metadata().map_err(Failure::file("read", file))?.len();
    let mut progress = Progress::new("import", length);
    let done = Cell::new(0);
    let input = Counted { file: File::open(file).map_err(Failure::file("read", file))?, done: &done };
    let malformed = |error: RdbError| Failure::damaged(format!("{}: {error}", file.display()));
    let mut rdb = Rdb::new(BufReader::with_capacity(1 << 20, input)).map_err(malformed)?;
    let mut target = Target::open(&arguments.target, path)?;
    let mut skipped = Skipped::default();
    let now = SystemClock::default().now();
    while let Some(Item { db: of, key, expiry, value }) = rdb.next().map_err(malformed)? {
        progress.set(done.get());
        let value = match value {
            _ if of != *db => {
                skipped.add("a key of another database (--db chooses one)", &key);
                continue;
            }
            Value::Other(what) => {
                skipped.add(what, &key);
                continue;
            }
            Value::String(value) => value,
        };
        let entry = Entry { key, value, version: Version(1), expiry };
        match entry.fault() {
            Some(fault) => skipped.add(fault, &entry.key),
            None if entry.expiry.is_some_and(|expiry| expiry <= now) => skipped.add(EXPIRED, &entry.key),
            None => target.put(entry)?,
        }
    }
    let stored = target.finish()?;
    let mut lines = vec![format!("imported {}", count(stored, "string"))];
    for (what, (number, names)) in &skipped.0 {
        let more = if *number > names.len() as u64 { ", …" } else { "" };
        lines.push(format!("left out: {number} × {what}: {}{more}", names.join(", ")));
    }
    writeln!(io::stdout(), "{}", lines.join("\n")).map_err(|error| Failure::output(&error))?;
    let all = skipped.0.keys().all(|what| *what == EXPIRED);
    Ok(if all { SOUND } else { DAMAGED })
}

/// Counts what was read.
struct Counted<'a> {
    file: File,
    done: &'a Cell<u64>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.done.set(self.done.get() + read as u64);
        Ok(read)
    }
}

/// Compares the checksum at the file's end.
fn verify(path: &Path) -> Result<(), Failure> {
    let failed = Failure::file("read", path);
    let mut file = File::open(path).map_err(&failed)?;
    let length = file.metadata().map_err(&failed)?.len();
    let mut head = [0; 9];
    let mut has = 0;
    while let read @ 1.. = file.read(head.get_mut(has..).unwrap_or_default()).map_err(&failed)? {
        has += read;
    }
    let version = rdb::version(head).map_err(|error| Failure::damaged(format!("{}: {error}", path.display())))?;
    if version < CHECKSUM_SINCE {
        return Ok(());
    }
    let mut digest = CRC.digest();
    digest.update(&head);
    let mut left = length.saturating_sub(head.len() as u64 + 8);
    let mut progress = Progress::new("verify", left);
    let (mut buffer, total) = (vec![0; 1 << 20], left);
    while left > 0 {
        let want = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = file.read(buffer.get_mut(..want).unwrap_or_default()).map_err(&failed)?;
        if read == 0 {
            break;
        }
        digest.update(buffer.get(..read).unwrap_or_default());
        left -= read as u64;
        progress.set(total - left);
    }
    let mut stored = [0; 8];
    file.read_exact(&mut stored).map_err(|error| Failure::damaged(format!("{}: {}", path.display(), RdbError::Io(error))))?;
    let stored = u64::from_le_bytes(stored);
    if stored != 0 && stored != digest.finalize() {
        return Err(Failure::damaged(format!("{} is damaged: its checksum does not match. Nothing was imported", path.display())));
    }
    Ok(())
}

/// What is no loss.
const EXPIRED: &str = "a key that has expired";

/// What was left out: how many, and some of their names.
#[derive(Default)]
struct Skipped(BTreeMap<&'static str, (u64, Vec<String>)>);

impl Skipped {
    fn add(&mut self, what: &'static str, key: &[u8]) {
        let (number, names) = self.0.entry(what).or_default();
        *number += 1;
        if names.len() < NAMED_MAX {
            names.push(text(key));
        }
    }
}
