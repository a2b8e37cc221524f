//! `osprey log`: frames and records, for people or as JSON Lines.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use crc32c::crc32c_append;
use osprey_core::record::{Kind, Record};
use osprey_core::units::Lsn;
use osprey_core::wal::frame::{FrameType, Records};
use osprey_core::wal::reader::Frame;
use osprey_core::wal::salvage::{Piece, Scanner};
use serde_json::{Value, json};

use super::answer::{lsns, text, time};
use super::directory::DataDirectory;
use super::failure::{Failure, SOUND};
use super::survey::{Segment, survey};

/// What the command line says.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The data directory of a stopped server [default: data_dir of the configuration]
    #[arg(value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,

    /// Only records of this key
    #[arg(long)]
    key: Option<String>,

    /// Only records from this LSN on
    #[arg(long, value_name = "LSN", default_value_t = 0)]
    from_lsn: u64,

    /// Only records up to this LSN
    #[arg(long, value_name = "LSN", default_value_t = u64::MAX)]
    to_lsn: u64,

    /// An object for each record, a line each
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, path: &Path) -> Result<u8, Failure> {
    let mut files = DataDirectory::open_half_repaired(path)?.files()?;
    let segments = survey(&mut files)?;
    let mut out = BufWriter::new(io::stdout().lock());
    for segment in &segments {
        if !arguments.json {
            writeln!(out, "{}", title(segment)).map_err(|error| Failure::output(&error))?;
        }
        let Some(header) = segment.known else { continue };
        let mut scanner = Scanner::new(segment.name, segment.length, header.salt, crc32c_append);
        while let Some(piece) = scanner.next(&mut files)? {
            arguments.print(&mut out, segment, &piece).map_err(|error| Failure::output(&error))?;
        }
    }
    out.flush().map_err(|error| Failure::output(&error))?;
    Ok(SOUND)
}

fn title(segment: &Segment) -> String {
    let Segment { name, length, header, .. } = segment;
    match header {
        Err(error) => format!("{name}: {length} bytes; {error}"),
        Ok(header) => format!(
            "{name}: {length} bytes, epoch {}, from LSN {}, durable {}, floor {}, {}",
            header.epoch,
            header.first_lsn.0,
            header.durable.0,
            header.floor.0,
            time(header.time)
        ),
    }
}

impl Arguments {
    fn print(&self, out: &mut impl Write, segment: &Segment, piece: &Piece<'_>) -> io::Result<()> {
        let (frame, whole) = match piece {
            Piece::Frame(frame) => (frame, true),
            Piece::Damaged(frame) => (frame, false),
            Piece::Unreadable { from, to } if !self.json => return writeln!(out, "  at {from}: {} bytes are no frame", to - from),
            Piece::Unreadable { .. } => return Ok(()),
        };
        let header = &frame.header;
        let last = Lsn(header.next_lsn().0.saturating_sub(1));
        if header.records > 0 && (last.0 < self.from_lsn || header.first_lsn.0 > self.to_lsn) {
            return Ok(());
        }
        let chosen = (header.first_lsn.0..).map(Lsn).zip(Records(frame.payload)).filter(|(lsn, record)| {
            let of_key = |key: &String| record.is_ok_and(|record| record.key == key.as_bytes());
            (self.from_lsn..=self.to_lsn).contains(&lsn.0) && self.key.as_ref().is_none_or(of_key)
        });
        if !whole {
            return if self.json { Ok(()) } else { writeln!(out, "  at {}: damaged, {}", frame.offset, lsns(header.first_lsn, last)) };
        }
        let mut told = self.json;
        if self.key.is_none() && !told {
            writeln!(out, "{}", describe(frame))?;
            told = true;
        }
        for (lsn, record) in chosen {
            if !told {
                writeln!(out, "{}", describe(frame))?;
                told = true;
            }
            match record {
                Ok(record) if self.json => writeln!(out, "{}", object(segment, frame, lsn, &record))?,
                Ok(record) => writeln!(out, "    {} {}", lsn.0, line(&record))?,
                Err(_) => writeln!(out, "    {} cannot be read", lsn.0)?,
            }
        }
        Ok(())
    }
}

fn describe(Frame { header, offset, .. }: &Frame<'_>) -> String {
    let last = Lsn(header.next_lsn().0.saturating_sub(1));
    let what = match header.kind {
        FrameType::Data => format!("DATA {}", lsns(header.first_lsn, last)),
        FrameType::Seal => format!("SEAL, next LSN {}", header.first_lsn.0),
    };
    let (bytes, durable, floor) = (header.frame_len(), header.durable.0, header.floor.0);
    format!("  at {offset}: {what}, {bytes} bytes, durable {durable}, floor {floor}, {}", time(header.time))
}

fn line(record: &Record<'_>) -> String {
    let key = text(record.key);
    let until = record.expiry.map_or("for ever".to_owned(), |expiry| format!("until {}", time(expiry)));
    match record.kind {
        Kind::Set => format!("SET {key} version {} {until}: {}", record.version.0, text(record.value)),
        Kind::Del => format!("DEL {key} version {}", record.version.0),
        Kind::Expire => format!("EXPIRE {key} version {} {until}", record.version.0),
        Kind::Mark => "MARK".to_owned(),
    }
}

fn object(segment: &Segment, frame: &Frame<'_>, lsn: Lsn, record: &Record<'_>) -> Value {
    let kind = match record.kind {
        Kind::Set => "SET",
        Kind::Del => "DEL",
        Kind::Expire => "EXPIRE",
        Kind::Mark => "MARK",
    };
    let mut object =
        json!({ "segment": segment.name.to_string(), "offset": frame.offset, "time": frame.header.time.0, "lsn": lsn.0, "kind": kind });
    let mut put = |name: &str, bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => object[name] = text.into(),
        Err(_) => object[format!("{name}_base64")] = STANDARD.encode(bytes).into(),
    };
    if record.kind != Kind::Mark {
        put("key", record.key);
        if record.kind == Kind::Set {
            put("value", record.value);
        }
        object["version"] = record.version.0.into();
        object["expiry"] = record.expiry.map(|expiry| expiry.0).into();
    }
    object
}
