//! Tools for the data directory of a server that is stopped: subcommands of `osprey`.
//!
//! ```text
//!   check ──▶ survey ◀── plan ◀── repair        what is in the segments, and what would become of it
//!                       salvage ◀──┘            what is in snapshots of which none is whole
//!   log ────────▲
//!   dump ──▶ directory ◀── backup, restore      the segments as recovery sees them, unchanged
//!   load, import-redis ──▶ target               a new directory, or a running server
//!   backup, restore, target ──▶ new_directory   one that no server starts on before it is whole
//! ```
//! All of them lock the directory as a server does. Whether data is right is decided by the core's recovery, never here; what is written here is made
//! durable before a server would find it.

mod answer;
mod backup;
mod check;
mod directory;
mod dump;
mod failure;
mod generations;
mod import_redis;
mod line;
mod load;
mod log;
mod new_directory;
mod plan;
mod progress;
mod rdb;
mod repair;
mod restore;
mod salvage;
mod segment_file;
mod survey;
mod target;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use failure::Failure;

/// What can be done with the data directory of a stopped server.
#[derive(Debug, Subcommand)]
pub enum Tool {
    /// Verify every file; exit status 0: sound, 1: damaged, 2: could not be checked, 3: sound, but what a server would fall back on is damaged
    Check(check::Arguments),
    /// Make a damaged directory usable again, keeping what can be read; what it replaces is kept in a quarantine directory
    Repair(repair::Arguments),
    /// Write all keys, values, versions and expiries as JSON Lines or CSV
    Dump(dump::Arguments),
    /// Read what `dump` has written, into a new directory or through a running server
    Load(load::Arguments),
    /// Print the log's frames and records
    Log(log::Arguments),
    /// Copy the data to another directory, and verify the copy
    Backup(backup::Arguments),
    /// Copy a backup to a new data directory, as a whole or as of an earlier moment
    Restore(restore::Arguments),
    /// Read strings and their expiries from a Redis RDB file, into a new directory or through a running server
    ImportRedis(import_redis::Arguments),
}

impl Tool {
    /// The data directory that it was given.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        let directory: &Option<PathBuf> = match self {
            Self::Check(arguments) => &arguments.directory,
            Self::Repair(arguments) => &arguments.directory,
            Self::Dump(arguments) => &arguments.directory,
            Self::Load(arguments) => &arguments.target.directory,
            Self::Log(arguments) => &arguments.directory,
            Self::Backup(arguments) => &arguments.directory,
            Self::Restore(arguments) => return Some(&arguments.directory),
            Self::ImportRedis(arguments) => &arguments.target.directory,
        };
        directory.as_deref()
    }
}

/// Does it. Answers go to standard output, everything else to standard error; the exit status is 0 if all is well, 1 if data is damaged or was refused, 2 if
/// it could not be done.
#[must_use]
pub fn run(tool: Tool, data_dir: &Path) -> ExitCode {
    let done = match tool {
        Tool::Check(arguments) => check::run(&arguments, data_dir),
        Tool::Repair(arguments) => repair::run(&arguments, data_dir),
        Tool::Dump(arguments) => dump::run(&arguments, data_dir),
        Tool::Load(arguments) => load::run(&arguments, data_dir),
        Tool::Log(arguments) => log::run(&arguments, data_dir),
        Tool::Backup(arguments) => backup::run(&arguments, data_dir),
        Tool::Restore(arguments) => restore::run(&arguments),
        Tool::ImportRedis(arguments) => import_redis::run(&arguments, data_dir),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(Failure { status, message }) => {
            if !message.is_empty() {
                let _ = writeln!(io::stderr(), "osprey: {message}");
            }
            ExitCode::from(status)
        }
    }
}
