//! `osprey dump`: all that a server would serve, sorted by key, so that dumps can be compared.

use std::fs::{self, File, OpenOptions};
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
            replace(file, |out| write(&store, now, Writer::new(format, BufWriter::new(out)))).map_err(Failure::file("write", file))?;
        }
    }
    Ok(SOUND)
}

/// Writes a file that is there only when it is whole; what had its name before stays until then. A device or a pipe is written to as it is.
fn replace(path: &Path, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return write(&OpenOptions::new().write(true).open(path)?);
    }
    // Where a link leads to.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut draft = path.clone().into_os_string();
    draft.push(".part");
    let written = File::create(&draft).and_then(|out| write(&out).and_then(|()| out.sync_all()));
    let renamed = written.and_then(|()| fs::rename(&draft, &path));
    if renamed.is_err() {
        let _ = fs::remove_file(&draft);
    }
    renamed
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
    out.line(&Line::Head { floor, keys: Some(records.len() as u64) })?;
    for record in records {
        let (key, value) = (record.key.to_vec(), record.value.to_vec());
        out.line(&Line::Entry(Entry { key, value, version: record.version, expiry: record.expiry }))?;
    }
    out.flush()
}
