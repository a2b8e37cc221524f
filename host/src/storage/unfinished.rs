//! Notes in a data directory that it is not whole: a tool was interrupted there, and no server may take what it has left for all there is.

use std::fmt;
use std::path::Path;

/// What a repair has still to do.
pub(crate) const REPAIR_NAME: &str = "repair.todo";

/// Stands in a directory from before the first file of a copy is made until the last one is on disk.
pub(crate) const COPY_NAME: &str = "unfinished";

/// What was interrupted.
///
/// ```
/// use osprey::db;
/// use osprey::storage::{OpenError, Unfinished};
/// # let directory = tempfile::tempdir()?;
///
/// std::fs::write(directory.path().join("unfinished"), "")?; // as a restore leaves it whose machine has lost its power
/// let error = osprey::open(directory.path()).expect_err("what is there isn't all");
/// assert!(matches!(error, db::OpenError::Directory(OpenError::Unfinished(_, Unfinished::Copy))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// `osprey repair`, when it had begun to change names.
    Repair,
    /// Whatever fills a new directory: `osprey restore`, `load`, `import-redis`, `backup`.
    Copy,
}

impl Unfinished {
    /// What a directory is in the middle of.
    pub(crate) fn of(directory: &Path) -> Option<Self> {
        let notes = [(COPY_NAME, Self::Copy), (REPAIR_NAME, Self::Repair)];
        notes.into_iter().find(|(name, _)| directory.join(name).exists()).map(|(_, what)| what)
    }

    pub(super) fn describe(self, directory: &Path, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = directory.display();
        match self {
            Self::Repair => {
                write!(f, "the data directory {path} is half repaired: `osprey repair {path}` goes on where it was interrupted")
            }
            Self::Copy => write!(
                f,
                "the data directory {path} is half filled: `osprey restore`, `load`, `import-redis` or `backup` into it was interrupted; do that again, it begins anew, or remove the directory"
            ),
        }
    }
}
