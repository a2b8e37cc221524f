//! `osprey import-redis`: strings and their expiries from an RDB file. Everything else in it is passed over, counted and named.
//!
//! The file is read twice: first its checksum is compared, so that a damaged file is refused before anything is written. The format is that of Redis' `rdb.c`, whose
//! checksum is CRC-64 (Jones), of everything before it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use crc::{CRC_64_REDIS, Crc, Table};
use osprey_core::clock::Clock as _;
use osprey_core::units::{Millis, Version};
use rdb::{Filter, RdbDecoder, RdbValue};

use super::answer::{count, text};
use super::failure::{DAMAGED, Failure, SOUND};
use super::line::Entry;
use super::progress::Progress;
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
    db: u32,
}

pub(super) fn run(arguments: &Arguments, path: &Path) -> Result<u8, Failure> {
    let Arguments { file, db, .. } = arguments;
    verify(file)?;
    let length = file.metadata().map_err(Failure::file("read", file))?.len();
    let progress = RefCell::new(Progress::new("import", length));
    let done = Cell::new(0);
    let input = Counted { file: File::open(file).map_err(Failure::file("read", file))?, done: &done };
    let choice = Choice { db: *db, current: Cell::new(0), kind: Cell::new(0), skipped: RefCell::default() };
    let malformed =
        |error: rdb::RdbError| Failure::damaged(format!("{}: {error}; what came before is not kept in a directory", file.display()));
    let decoder = RdbDecoder::new(BufReader::with_capacity(1 << 20, input), &choice).map_err(malformed)?;
    let mut target = Target::open(&arguments.target, path)?;
    let now = SystemClock::default().now();
    for value in decoder {
        progress.borrow_mut().set(done.get());
        let RdbValue::String { key, value, expiry } = value.map_err(malformed)? else { continue };
        let entry = Entry { key, value, version: Version(1), expiry: expiry.map(Millis) };
        match entry.fault() {
            Some(fault) => choice.skip(fault, &entry.key),
            None if entry.expiry.is_some_and(|expiry| expiry <= now) => choice.skip("a key that has expired", &entry.key),
            None => target.put(entry)?,
        }
    }
    let stored = target.finish()?;
    let mut lines = vec![format!("imported {}", count(stored, "string"))];
    let skipped = choice.skipped.into_inner();
    for (what, (number, names)) in &skipped {
        let more = if *number > names.len() as u64 { ", …" } else { "" };
        lines.push(format!("left out: {number} × {what}: {}{more}", names.join(", ")));
    }
    writeln!(io::stdout(), "{}", lines.join("\n")).map_err(|error| Failure::output(&error))?;
    let all = skipped.keys().all(|what| *what == "a key that has expired");
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
    file.read_exact(&mut head).map_err(&failed)?;
    let version = head.strip_prefix(b"REDIS").and_then(|version| std::str::from_utf8(version).ok()?.parse::<u32>().ok());
    let Some(version) = version else { return Err(Failure::damaged(format!("{} is no RDB file", path.display()))) };
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
    file.read_exact(&mut stored).map_err(&failed)?;
    let stored = u64::from_le_bytes(stored);
    if stored != 0 && stored != digest.finalize() {
        return Err(Failure::damaged(format!("{} is damaged: its checksum does not match. Nothing was imported", path.display())));
    }
    Ok(())
}

/// Chooses strings of one database, and remembers what else there was.
struct Choice {
    db: u32,
    current: Cell<u32>,
    kind: Cell<u8>,
    skipped: RefCell<BTreeMap<&'static str, (u64, Vec<String>)>>,
}

impl Choice {
    fn skip(&self, what: &'static str, key: &[u8]) {
        let mut skipped = self.skipped.borrow_mut();
        let (number, names) = skipped.entry(what).or_default();
        *number += 1;
        if names.len() < NAMED_MAX {
            names.push(text(key));
        }
    }
}

impl Filter for &Choice {
    /// All are looked at, so that those which are left out can be named.
    fn matches_db(&self, db: u32) -> bool {
        self.current.set(db);
        true
    }

    fn matches_type(&self, kind: u8) -> bool {
        self.kind.set(kind);
        true
    }

    fn matches_key(&self, key: &[u8]) -> bool {
        use rdb::constants::encoding_type as kinds;
        let what = match self.kind.get() {
            _ if self.current.get() != self.db => "a key of another database (--db chooses one)",
            kinds::STRING => return true,
            kinds::LIST | kinds::LIST_ZIPLIST | kinds::LIST_QUICKLIST | kinds::LIST_QUICKLIST_2 => "a list",
            kinds::SET | kinds::SET_INTSET | kinds::SET_LIST_PACK => "a set",
            kinds::ZSET | kinds::ZSET_2 | kinds::ZSET_ZIPLIST | kinds::ZSET_LIST_PACK => "a sorted set",
            kinds::MODULE | kinds::MODULE_2 => "a module's value",
            kinds::STREAM_LIST_PACKS | kinds::STREAM_LIST_PACKS_2 | kinds::STREAM_LIST_PACKS_3 | kinds::STREAM_LIST_PACKS_4 => "a stream",
            _ => "a hash",
        };
        self.skip(what, key);
        false
    }
}
