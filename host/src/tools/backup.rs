//! `osprey backup`: a copy of the data, verified. It is a data directory itself: a server can be started on it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use crc32c::crc32c_append;

use super::answer::count;
use super::directory::DataDirectory;
use super::failure::{Failure, SOUND};
use super::new_directory::NewDirectory;
use super::progress::Progress;
use crate::museum::planted;

/// What the command line says.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A new or empty directory for the copy
    #[arg(value_name = "DEST")]
    destination: PathBuf,

    /// The data directory of a stopped server [default: data_dir of the configuration]
    #[arg(value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, path: &Path) -> Result<u8, Failure> {
    let source = DataDirectory::open(path)?;
    let files = source.files()?;
    let lengths: Vec<(PathBuf, u64)> = files
        .paths
        .values()
        .chain(files.snapshots.values().filter(|_| !planted("backup_without_snapshots")))
        .map(|path| Ok((path.clone(), fs::metadata(path)?.len())))
        .collect::<io::Result<_>>()
        .map_err(Failure::file("read", path))?;
    let target = NewDirectory::create(&arguments.destination)?;
    copy_all(&lengths, &target.directory)?;
    let keys = verify(target, path)?;
    let bytes = lengths.iter().map(|(_, length)| length).sum();
    let said = format!("{}, {}, {}: copied and verified", count(lengths.len() as u64, "file"), count(bytes, "byte"), count(keys, "key"));
    writeln!(io::stdout(), "{said}").map_err(|error| Failure::output(&error))?;
    Ok(SOUND)
}

/// Copies the first so many bytes of each file, reads the copies again, and compares.
pub(super) fn copy_all(files: &[(PathBuf, u64)], target: &DataDirectory) -> Result<(), Failure> {
    let mut progress = Progress::new("copy", files.iter().map(|(_, length)| length).sum());
    let mut done = 0;
    for (from, length) in files {
        let Some(name) = from.file_name().and_then(|name| name.to_str()) else { continue };
        let to = target.path.join(name);
        let failed = Failure::file("copy to", &to);
        let source = File::open(from).map_err(Failure::file("read", from))?;
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&to).map_err(&failed)?;
        let written = checksum(source.take(*length), |piece| {
            done += piece.len() as u64;
            progress.set(done);
            out.write_all(piece)
        });
        let written = written.and_then(|sum| out.sync_all().map(|()| sum)).map_err(&failed)?;
        let read = File::open(&to).and_then(|copy| checksum(copy, |_| Ok(()))).map_err(&failed)?;
        if read != written || written.0 != *length {
            return Err(Failure::damaged(format!("the copy {} is not what was written: the disk may be failing", to.display())));
        }
    }
    Ok(())
}

/// Length and CRC of what is read.
fn checksum(mut from: impl Read, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<(u64, u32)> {
    let mut buffer = vec![0; 1 << 20];
    let (mut length, mut crc) = (0, 0);
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok((length, crc));
        }
        let piece = buffer.get(..read).unwrap_or_default();
        each(piece)?;
        crc = crc32c_append(crc, piece);
        length += read as u64;
    }
}

/// Recovers from the copies as a trial, before they count: what is wrong with them is wrong with the source. Returns the number of keys.
pub(super) fn verify(target: NewDirectory, source: &Path) -> Result<u64, Failure> {
    let trial = target.directory.files()?.with_progress("verify").load();
    let (store, _) = trial.map_err(|error| Failure::recovery(source, &error))?;
    target.finish()?;
    Ok(store.len() as u64)
}
