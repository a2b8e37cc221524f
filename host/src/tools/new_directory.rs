//! A directory that a tool fills: a note stands in it for as long as it is not whole, so that no server takes it for what it will be. Whatever fails, what was written is removed again; after a
//! kill the note stays, and the next attempt begins anew.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use super::directory::{DataDirectory, is_data};
use super::failure::Failure;
use crate::museum::planted;
use crate::storage::make_directory;
use crate::storage::unfinished::COPY_NAME;

/// A directory that is not whole.
#[derive(Debug)]
pub(super) struct NewDirectory {
    pub(super) directory: DataDirectory,
    /// It was not there before.
    made: bool,
    whole: bool,
}

impl NewDirectory {
    /// One that is new, or empty, or was left half filled.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let failed = Failure::file("make the directory", path);
        let made = !path.exists();
        if !made && !path.is_dir() {
            return Err(Failure::cannot(format!("{} is not a directory", path.display())));
        }
        let left = if made { Vec::new() } else { left(path)? };
        make_directory(path).map_err(&failed)?;
        let directory = Self { directory: DataDirectory::lock(path)?, made, whole: false };
        directory.note().map_err(Failure::file("write to", path))?;
        for name in left {
            fs::remove_file(path.join(&name)).map_err(&failed)?;
        }
        Ok(directory)
    }

    fn note(&self) -> io::Result<()> {
        if planted("filled_without_a_note") {
            return Ok(());
        }
        let path = &self.directory.path;
        let mut note = File::create(path.join(COPY_NAME))?;
        writeln!(
            note,
            "Files are being copied to this directory, or that was interrupted. No server starts on it. To begin anew, do what was interrupted again."
        )?;
        note.sync_all()?;
        File::open(path)?.sync_all()
    }

    /// From here on it is: all files are on disk already.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.whole = true;
        self.directory.sync()?;
        if !planted("filled_without_a_note") {
            let note = self.directory.path.join(COPY_NAME);
            fs::remove_file(&note).map_err(Failure::file("remove", &note))?;
        }
        self.directory.sync()
    }

    /// Leaves it as it was found. The note goes last.
    fn clear(&self) -> Result<(), Failure> {
        let path = &self.directory.path;
        let failed = Failure::file("clear", path);
        for name in self.directory.names().map_err(&failed)?.iter().filter(|name| is_data(name)) {
            fs::remove_file(path.join(name)).map_err(&failed)?;
        }
        self.directory.sync()?;
        let note = path.join(COPY_NAME);
        if note.exists() {
            fs::remove_file(note).map_err(&failed)?;
        }
        if self.made {
            fs::remove_file(path.join("LOCK")).map_err(&failed)?;
            fs::remove_dir(path).map_err(&failed)?;
        }
        Ok(())
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        if !self.whole
            && let Err(failure) = self.clear()
        {
            let _ = writeln!(io::stderr(), "osprey: {}", failure.message);
        }
    }
}

/// What an interrupted attempt has left.
fn left(path: &Path) -> Result<Vec<String>, Failure> {
    let failed = Failure::file("list", path);
    let names = fs::read_dir(path).map_err(&failed)?.map(|entry| Ok(entry?.file_name()));
    let names = names.collect::<io::Result<Vec<_>>>().map_err(&failed)?;
    let interrupted = names.iter().any(|name| name == COPY_NAME);
    let mut left = Vec::new();
    for name in names {
        match name.to_str() {
            Some("LOCK" | "lost+found" | COPY_NAME) => {}
            Some(name) if interrupted && is_data(name) => left.push(name.to_owned()),
            _ => {
                return Err(Failure::cannot(format!(
                    "{} is not empty (it has {}): nothing was written; name a new directory",
                    path.display(),
                    Path::new(&name).display()
                )));
            }
        }
    }
    Ok(left)
}
