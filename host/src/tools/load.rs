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
        if file.is_dir() {
            return Err(Failure::cannot(format!("{} is a directory, not a dump", file.display())));
        }
        Box::new(File::open(file).map_err(Failure::file("read", file))?)
    };
    let format = arguments.format.unwrap_or_else(|| Format::of(file));
    let mut target = Target::open(&arguments.target, path)?;
    // Lines in all; keys that were announced, if every dump in the file does so, and those that came.
    let (mut lines, mut heads, mut announced, mut keys) = (0, 0, Some(0), 0);
    read(format, BufReader::with_capacity(1 << 20, input), |at, line| {
        lines += 1;
        match line {
            Line::Head { floor, keys } => {
                announced = announced.zip(keys).map(|(sum, keys)| sum + keys);
                heads += 1;
                target.floor(floor);
                Ok(())
            }
            Line::Entry(entry) => match entry.fault() {
                Some(fault) => Err(Failure::damaged(format!("line {at}: {fault} cannot be stored"))),
                None => {
                    keys += 1;
                    target.put(entry)
                }
            },
        }
    })
    .and_then(|()| match announced {
        _ if lines == 0 => Err(Failure::damaged("it is empty")),
        Some(announced) if heads > 0 && announced != keys => Err(Failure::damaged(format!(
            "its first line says {}, and {keys} follow: it is cut short, unless lines were left out on purpose; then leave out the number, too",
            count(announced, "key")
        ))),
        _ => Ok(()),
    })
    .map_err(|failure| Failure { message: format!("{}: {}", file.display(), failure.message), ..failure })?;
    let stored = target.finish()?;
    writeln!(io::stdout(), "loaded {}", count(stored, "key")).map_err(|error| Failure::output(&error))?;
    Ok(SOUND)
}
