//! The log of messages for the operator: a line each, to standard error or appended to a file.
//!
//! ```text
//! 2026-01-31T12:00:00.000Z INFO  listening on 127.0.0.1:7070
//! ```
//!
//! Every message stays one line, whatever a client got into it. A message that can't be written (the disk is full) is
//! dropped: the log must not stop the server.

use env_logger::{Builder, Target, WriteStyle};
use log::LevelFilter;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The messages of libraries are logged from this level up: below, an event loop tells every step.
const LIBRARIES_LEVEL: LevelFilter = LevelFilter::Warn;

/// The log's file can't be opened.
#[derive(Debug)]
pub struct LogFileError {
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for LogFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log_file {:?} can't be opened: {}", self.path, self.error)
    }
}

impl std::error::Error for LogFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// From now on, Osprey's messages of `level` and above go to `file`, or to standard error. The file and the directories to it are
/// created if they are missing, readable by the owner only. It is only ever appended to, so it may be truncated
/// (`copytruncate` of logrotate) while the server runs.
///
/// # Errors
/// The file can't be opened.
///
/// # Panics
/// The process has a logger already: this is called once, by `main`.
pub fn init(level: LevelFilter, file: Option<&Path>) -> Result<(), LogFileError> {
    let target = match file {
        Some(path) => Target::Pipe(Box::new(open(path).map_err(|error| LogFileError { path: path.into(), error })?)),
        None => Target::Stderr,
    };
    builder(level, target).init();
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    // Keys of clients may appear in messages.
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn builder(level: LevelFilter, target: Target) -> Builder {
    let mut builder = Builder::new();
    // A filter matches by prefix: "osprey" is this crate, the programs and osprey_core.
    builder.filter_level(level.min(LIBRARIES_LEVEL)).filter_module("osprey", level);
    // Colours only where they can be seen; env_logger can tell for standard error only.
    builder.write_style(if matches!(target, Target::Stderr) { WriteStyle::Auto } else { WriteStyle::Never });
    builder.target(target).format(|line, record| {
        let (time, style) = (line.timestamp_millis(), line.default_level_style(record.level()));
        writeln!(line, "{time} {style}{:<5}{style:#} {}", record.level(), OneLine(record.args()))
    });
    builder
}

/// A message with its control characters escaped, so that a line break in it can't feign another message, nor an escape
/// sequence reach the operator's terminal.
struct OneLine<'a>(&'a fmt::Arguments<'a>);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::write(&mut Escaping(f), *self.0)
    }
}

struct Escaping<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(char::is_control) {
            match piece.chars().next_back().filter(|last| last.is_control()) {
                Some(control) => write!(self.0, "{}{}", &piece[..piece.len() - control.len_utf8()], control.escape_default())?,
                None => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::{Level, Log, Record};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn logged(level: LevelFilter, records: &[(&str, Level, &str)]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("osprey.log");
        let logger = builder(level, Target::Pipe(Box::new(open(&path).unwrap()))).build();
        for (target, level, message) in records {
            logger.log(&Record::builder().target(target).level(*level).args(format_args!("{message}")).build());
        }
        fs::read_to_string(path).unwrap()
    }

    /// `line` without its time, which must look like `2026-01-31T12:00:00.000Z`.
    fn without_time(line: &str) -> &str {
        let (time, rest) = line.split_once(' ').unwrap();
        let shape: String = time.chars().map(|char| if char.is_ascii_digit() { '0' } else { char }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z");
        rest
    }

    #[test]
    fn a_message_is_a_line_with_time_and_level() {
        let lines = logged(LevelFilter::Info, &[("osprey::server", Level::Info, "listening"), ("osprey", Level::Error, "stopped")]);
        let lines: Vec<&str> = lines.lines().map(without_time).collect();
        assert_eq!(lines, ["INFO  listening", "ERROR stopped"]);
    }

    #[test]
    fn control_characters_of_a_message_are_escaped() {
        let lines = logged(LevelFilter::Info, &[("osprey", Level::Warn, "key \"a\r\nb\u{1b}[31m\u{85}ä\"\n")]);
        assert_eq!(lines.lines().map(without_time).collect::<Vec<_>>(), [r#"WARN  key "a\r\nb\u{1b}[31m\u{85}ä"\n"#]);
    }

    #[test]
    fn the_level_is_for_our_own_messages_and_libraries_only_warn() {
        let records = [
            ("osprey", Level::Debug, "1"),
            ("osprey_core::engine", Level::Debug, "2"),
            ("polling", Level::Info, "3"),
            ("polling", Level::Warn, "4"),
        ];
        let messages = |level| logged(level, &records).lines().map(|line| line[line.len() - 1..].to_owned()).collect::<String>();
        assert_eq!(messages(LevelFilter::Trace), "124");
        assert_eq!(messages(LevelFilter::Info), "4");
        assert_eq!(messages(LevelFilter::Error), "");
        assert_eq!(messages(LevelFilter::Off), "");
    }

    #[test]
    fn the_file_is_the_owners_and_is_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logs/today/osprey.log");
        open(&path).unwrap().write_all(b"one\n").unwrap();
        open(&path).unwrap().write_all(b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = init(LevelFilter::Info, Some(&file.join("osprey.log"))).unwrap_err();
        assert_eq!(error.to_string(), format!("log_file \"{}/osprey.log\" can't be opened: File exists (os error 17)", file.display()));
        let error = init(LevelFilter::Info, Some(directory.path())).unwrap_err();
        assert_eq!(error.to_string(), format!("log_file {:?} can't be opened: Is a directory (os error 21)", directory.path()));
    }
}
