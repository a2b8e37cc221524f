//! `osprey load`: what [`super::dump`] has written, back into a server's hands.

use std::fs::File;
use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::answer::count;
use super::failure::{Failure, SOUND};
use super::line::{Format, Line, read};
use super::target::{self, Target};

/// What the command line says.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The dump; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    pub(super) target: target::Destination,

    /// The form [default: by the file's name, else jsonl]
    #[arg(long)]
    format: Option<Format>,
}

/// The input is at fault.
impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::damaged(message)
    }
}

pub(super) fn run(arguments: &Arguments, path: &Path) -> Result<u8, Failure> {
    let Arguments { file, .. } = arguments;
    let input: Box<dyn io::Read> = if file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(file).map_err(Failure::file("read", file))?)
    };
    let format = arguments.format.unwrap_or_else(|| Format::of(file));
    let mut target = Target::open(&arguments.target, path)?;
    read(format, BufReader::with_capacity(1 << 20, input), |at, line| match line {
        Line::Floor(floor) => {
            target.floor(floor);
            Ok(())
        }
        Line::Entry(entry) => match entry.fault() {
            Some(fault) => Err(Failure::damaged(format!("line {at}: {fault} cannot be stored"))),
            None => target.put(entry),
        },
    })
    .map_err(|failure| Failure { message: format!("{}: {}", file.display(), failure.message), ..failure })?;
    let stored = target.finish()?;
    writeln!(io::stdout(), "loaded {}", count(stored, "key")).map_err(|error| Failure::output(&error))?;
    Ok(SOUND)
}
