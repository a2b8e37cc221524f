//! The tools of `osprey`, as programs.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::program;

/// What a tool has said, and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// The exit status; `None` if it was killed.
    pub code: Option<i32>,
    /// From standard output.
    pub out: String,
    /// From standard error.
    pub err: String,
}

/// Runs `osprey` to its end.
///
/// # Panics
/// It can't be started, or what it says is no text.
pub fn osprey<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Ran {
    run(command(arguments))
}

/// What is said by a tool that succeeds.
///
/// # Panics
/// It does not.
pub fn done<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> String {
    let ran = osprey(arguments);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    ran.out
}

/// `osprey` with these arguments, nothing on its standard input, to be run.
pub fn command<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program("osprey"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end.
///
/// # Panics
/// It can't be started, or what it says is no text.
#[must_use]
pub fn run(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A path as an argument.
///
/// # Panics
/// It is no text.
#[must_use]
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
