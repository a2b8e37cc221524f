//! `osprey dump`: all that a server would serve, sorted by key, so that dumps can be compared.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use osprey_core::clock::Clock as _;
use osprey_core::store::Store;
use osprey_core::units::{Millis, Version};

use super::directory::DataDirectory;
use super::failure::{Failure, SOUND};
use super::line::{Entry, Format, Line, Writer};
use crate::clock::SystemClock;

/// What the command line says.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The data directory of a stopped server [default: data_dir of the configuration]
    #[arg(value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,

    /// The form [default: by the name of the output, else jsonl]
    #[arg(long)]
    format: Option<Format>,

    /// Where to [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, path: &Path) -> Result<u8, Failure> {
    let directory = DataDirectory::open(path)?;
    let (store, recovered) = directory.files()?.with_progress("dump").load().map_err(|error| Failure::recovery(path, &error))?;
    let now = SystemClock::default().now().max(recovered.position.time);
    match &arguments.output {
        None => {
            let out = BufWriter::new(io::stdout().lock());
            write(&store, now, Writer::new(arguments.format.unwrap_or(Format::Jsonl), out)).map_err(|error| Failure::output(&error))?;
        }
        Some(file) => {
            let format = arguments.format.unwrap_or_else(|| Format::of(file));
            let failed = Failure::file("write", file);
            let out = File::create(file).map_err(&failed)?;
            write(&store, now, Writer::new(format, BufWriter::new(&out))).map_err(&failed)?;
            out.sync_all().map_err(&failed)?;
        }
    }
    Ok(SOUND)
}

fn write(store: &Store, now: Millis, mut out: Writer<impl Write>) -> io::Result<()> {
    let mut records = Vec::new();
    // Keys that have expired are gone, and their versions must not come back.
    let mut floor: Version = store.floor();
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        cursor = store.walk(at, |record| match record.expiry {
            Some(expiry) if expiry <= now => floor = floor.max(record.version),
            _ => records.push(record),
        });
    }
    records.sort_unstable_by_key(|record| record.key);
    out.line(&Line::Floor(floor))?;
    for record in records {
        let (key, value) = (record.key.to_vec(), record.value.to_vec());
        out.line(&Line::Entry(Entry { key, value, version: record.version, expiry: record.expiry }))?;
    }
    out.flush()
}
