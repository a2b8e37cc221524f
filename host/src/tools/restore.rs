//! `osprey restore`: a backup as a new data directory, whole or up to a moment.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use crc32c::crc32c_append;
use jiff::Timestamp;
use osprey_core::storage::LogFiles as _;
use osprey_core::units::{Lsn, Millis};
use osprey_core::wal::reader::{SegmentReader, Tail};
use osprey_core::wal::segment::{HEADER_BYTES, HEADER_USED_BYTES, SegmentHeader};

use super::answer::{count, time};
use super::backup::{copy_all, verify};
use super::directory::{DataDirectory, Files};
use super::failure::{Failure, SOUND};
use super::new_directory::NewDirectory;
use crate::museum::planted;

/// What the command line says.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The backup, or the data directory of a stopped server
    #[arg(value_name = "SRC")]
    source: PathBuf,

    /// A new or empty directory, for a server to be started on
    #[arg(value_name = "DIR")]
    pub(super) directory: PathBuf,

    /// As of this time (as in 2026-01-31T12:00:00Z) or LSN: commands that were logged together later are left out
    #[arg(long, value_name = "TIME|LSN")]
    at: Option<Moment>,
}

/// How much of a log is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Lsn(Lsn),
    Time(Millis),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(lsn) = text.parse() {
            return Ok(Self::Lsn(Lsn(lsn)));
        }
        let time: Timestamp =
            text.parse().map_err(|error| format!("{error}; a time is written as in 2026-01-31T12:00:00Z or 2026-01-31T13:00:00+01:00"))?;
        u64::try_from(time.as_millisecond()).map(|ms| Self::Time(Millis(ms))).map_err(|_| "a time before 1970".to_owned())
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let source = DataDirectory::open(&arguments.source)?;
    let mut files = source.files()?;
    // Everything is checked before anything is left out.
    let (_, recovered) = files.load().map_err(|error| Failure::recovery(&arguments.source, &error))?;
    let last = (recovered.position.last_lsn, recovered.position.time);
    let (keep, (lsn, at)) = match arguments.at {
        None => (all(&mut files)?, last),
        Some(moment) => up_to(&mut files, moment)?,
    };
    let target = NewDirectory::create(&arguments.directory)?;
    copy_all(&keep, &target.directory)?;
    let keys = verify(target, &arguments.source)?;
    writeln!(io::stdout(), "restored {} as of LSN {}, {}", count(keys, "key"), lsn.0, time(at)).map_err(|error| Failure::output(&error))?;
    Ok(SOUND)
}

/// Files, and how much of each.
type Lengths = Vec<(PathBuf, u64)>;

fn all(files: &mut Files) -> Result<Lengths, Failure> {
    let lengths = files.paths.values().chain(files.snapshots.values()).map(|path| Ok((path.clone(), fs::metadata(path)?.len())));
    lengths.collect::<io::Result<_>>().map_err(|error| Failure::cannot(format!("the backup cannot be read: {error}")))
}

/// How much of each segment is kept, and what the last frame says: frames are kept whole, and with them what belongs together.
fn up_to(files: &mut Files, moment: Moment) -> Result<(Lengths, (Lsn, Millis)), Failure> {
    let mut keep = Vec::new();
    let mut tail;
    let mut reached = None;
    let mut begin = None;
    let unreadable = |error| Failure::cannot(format!("the backup cannot be read: {error}"));
    'log: for (number, length) in files.segments().map_err(unreadable)? {
        let Some(path) = files.paths.get(&number).cloned() else { continue };
        let mut bytes = [0; HEADER_USED_BYTES];
        files.read(number, 0, &mut bytes).map_err(unreadable)?;
        let header =
            SegmentHeader::decode(&bytes, crc32c_append).map_err(|error| Failure::damaged(format!("{}: {error}", path.display())))?;
        // As the header says: the log may begin late, with a snapshot; and a SEAL that was torn away is passed over as recovery does.
        tail = Tail { next_lsn: header.first_lsn, chain: header.chain };
        let mut reader = SegmentReader::new(number, length, header.salt, crc32c_append);
        let mut end = HEADER_BYTES;
        while let Some(frame) = reader.next(files, &mut tail)? {
            let (frame_end, frame) = (frame.offset + frame.header.frame_len(), frame.header);
            let last = Lsn(frame.next_lsn().0 - 1);
            begin = begin.or(Some((frame.first_lsn, frame.time)));
            let wanted = match moment {
                Moment::Lsn(lsn) => last.0 <= lsn.0 + u64::from(planted("restored_one_record_more")),
                Moment::Time(time) => frame.time <= time,
            };
            if !wanted && frame.records > 0 {
                if end > HEADER_BYTES || keep.is_empty() {
                    keep.push((path, end));
                }
                break 'log;
            }
            if wanted {
                reached = Some((last, frame.time));
                end = frame_end;
            }
        }
        keep.push((path, end));
    }
    match reached {
        Some(reached) => {
            // A snapshot is of use only with the log up to its end. If none is left, the log has to go back to the beginning.
            let is_based = files.snapshots.keys().any(|name| name.end <= reached.0);
            if begin.is_some_and(|(first, _)| first > Lsn(1)) && !is_based {
                let oldest = files.snapshots.keys().map(|name| name.end).min().unwrap_or_default();
                return Err(Failure::cannot(format!(
                    "it does not reach back to LSN {}, {}: the oldest snapshot is as of LSN {}. Nothing was restored",
                    reached.0.0,
                    time(reached.1),
                    oldest.0
                )));
            }
            for (_, path) in files.snapshots.iter().filter(|(name, _)| name.end <= reached.0) {
                keep.push((path.clone(), fs::metadata(path).map_err(Failure::file("read", path))?.len()));
            }
            Ok((keep, reached))
        }
        None => {
            let from = begin.map_or(String::new(), |(lsn, at)| format!(", at LSN {}, {}", lsn.0, time(at)));
            Err(Failure::cannot(format!("the log begins later than that{from}: nothing was restored")))
        }
    }
}
