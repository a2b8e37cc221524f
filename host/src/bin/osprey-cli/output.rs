//! Where answers go: for people on a terminal, for programs into a pipe or file.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use osprey::client::Entry;

use super::execute::Failure;
use super::printable::Printable;

/// The streams of one command.
pub(crate) struct Output<'a> {
    /// Whether a person reads `out`.
    pub(crate) terminal: bool,
    pub(crate) out: &'a mut dyn Write,
    pub(crate) err: &'a mut dyn Write,
    /// Where values go instead of `out`.
    pub(crate) file: Option<PathBuf>,
}

impl Output<'_> {
    /// A line of the answer.
    pub(crate) fn line(&mut self, line: impl std::fmt::Display) -> Result<(), Failure> {
        writeln!(self.out, "{line}").map_err(Failure::Output)
    }

    /// A line with bytes from the server: as they are for a program, made harmless for a terminal.
    pub(crate) fn bytes_line(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.terminal {
            return self.line(Printable(bytes));
        }
        self.out.write_all(bytes).and_then(|()| self.out.write_all(b"\n")).map_err(Failure::Output)
    }

    /// The value of a `get`. A program gets its bytes and nothing else.
    pub(crate) fn value(&mut self, entry: &Entry) -> Result<(), Failure> {
        let header = format!("VALUE {} {} {}", entry.value.len(), entry.version.0, expiry(entry));
        if let Some(path) = &self.file {
            write_file(path, &entry.value)?;
            let written = format!("Value written to {}", path.display());
            self.line(header)?;
            self.line(written)
        } else if self.terminal {
            self.line(header)?;
            self.bytes_line(&entry.value)
        } else {
            self.out.write_all(&entry.value).map_err(Failure::Output)
        }
    }

    /// A missing value. It is no value, so a program finds nothing where it expects one.
    pub(crate) fn no_value(&mut self) -> Result<(), Failure> {
        if self.terminal || self.file.is_some() {
            return self.line("NOT_FOUND");
        }
        // Without standard error there is still the exit code.
        let _ = writeln!(self.err, "NOT_FOUND");
        Ok(())
    }

    /// The entries of an `mget`: for each key `VALUE KEY LENGTH VERSION EXPIRY`, line end, so many bytes, line end; or
    /// `NOT_FOUND KEY`. That is the protocol's own framing with LF for CRLF, so the lengths tell values from lines.
    pub(crate) fn entries(&mut self, keys: &[Vec<u8>], entries: &[Option<Entry>]) -> Result<(), Failure> {
        let mut framed = Vec::new();
        for (key, entry) in keys.iter().zip(entries) {
            match entry {
                Some(entry) => {
                    framed.extend_from_slice(b"VALUE ");
                    framed.extend_from_slice(key);
                    let numbers = format!(" {} {} {}\n", entry.value.len(), entry.version.0, expiry(entry));
                    framed.extend_from_slice(numbers.as_bytes());
                    framed.extend_from_slice(&entry.value);
                }
                None => {
                    framed.extend_from_slice(b"NOT_FOUND ");
                    framed.extend_from_slice(key);
                }
            }
            framed.push(b'\n');
        }
        if let Some(path) = &self.file {
            write_file(path, &framed)?;
            let written = format!("Values written to {}", path.display());
            return self.line(written);
        }
        if self.terminal {
            return write!(self.out, "{}", Printable(&framed)).map_err(Failure::Output);
        }
        self.out.write_all(&framed).map_err(Failure::Output)
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(Failure::Output)
    }

    /// Says what went wrong. When standard error is gone too, nobody listens.
    pub(crate) fn complain(&mut self, message: &str) {
        let _ = writeln!(self.err, "{}", Printable(message.as_bytes()));
    }
}

fn expiry(entry: &Entry) -> String {
    entry.expiry.map_or("-1".into(), |at| at.0.to_string())
}

fn write_file(path: &PathBuf, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|source| Failure::File { path: path.clone(), source })
}

/// Whether whoever read our output has enough, as `head` has.
pub(crate) fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

#[cfg(test)]
mod tests {
    use super::*;
    use osprey::client::{Millis, Version};

    /// What a person or a program sees on standard output and on standard error.
    fn shown(terminal: bool, print: impl FnOnce(&mut Output<'_>) -> Result<(), Failure>) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        print(&mut Output { terminal, out: &mut out, err: &mut err, file: None }).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    fn entry(value: &str) -> Entry {
        Entry { value: value.into(), version: Version(7), expiry: None }
    }

    #[test]
    fn a_person_sees_the_header_and_the_value_a_program_the_value_only() {
        let print = |output: &mut Output<'_>| output.value(&entry("hello"));
        assert_eq!(shown(true, print).0, "VALUE 5 7 -1\nhello\n");
        assert_eq!(shown(false, print).0, "hello");
    }

    #[test]
    fn a_value_does_not_steer_the_terminal() {
        let print = |output: &mut Output<'_>| output.value(&entry("\x1b[2J"));
        assert_eq!(shown(true, print).0, "VALUE 4 7 -1\n\\x1b[2J\n");
        assert_eq!(shown(false, print).0, "\x1b[2J");
    }

    #[test]
    fn a_missing_value_is_told_where_it_cannot_be_taken_for_one() {
        let print = |output: &mut Output<'_>| output.no_value();
        assert_eq!(shown(true, print), ("NOT_FOUND\n".into(), String::new()));
        assert_eq!(shown(false, print), (String::new(), "NOT_FOUND\n".into()));
    }

    #[test]
    fn entries_are_the_same_for_both_but_for_what_steers_the_terminal() {
        let entries = [Some(Entry { expiry: Some(Millis(9)), ..entry("v\n") }), None];
        let keys = [b"k".to_vec(), b"l".to_vec()];
        for terminal in [true, false] {
            let (out, _) = shown(terminal, |output| output.entries(&keys, &entries));
            assert_eq!(out, "VALUE k 2 7 9\nv\n\nNOT_FOUND l\n");
        }
    }
}
