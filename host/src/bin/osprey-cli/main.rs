//! `osprey-cli`: one command against a server, or a prompt for many.
//!
//! ```text
//! arguments ─► command ─► execute ─► output        with a command
//! prompt ─► words ─► command ─► execute ─► output  without one, on a terminal
//! ```
//!
//! Exit codes: 0 done; 1 a negative answer (`NOT_FOUND`, also for one key of `mget`; `DELETED 0`, `EXISTS 0`, TTL −2, `ERR`);
//! 2 wrong usage, or a file that cannot be read or written; 3 no connection, or it failed.

mod arguments;
mod command;
mod execute;
mod output;
mod printable;
mod prompt;
mod words;

use std::io::{self, BufWriter, IsTerminal};
use std::process::ExitCode;

use osprey::client::blocking::Client;

use arguments::Invocation;
use execute::Failure;
use output::Output;

fn main() -> ExitCode {
    match arguments::read(std::env::args_os()) {
        Invocation::Once { address, command, output } => {
            let (stdout, mut stderr) = (io::stdout().lock(), io::stderr().lock());
            let terminal = stdout.is_terminal();
            // Standard output by itself writes every line at once; a program would rather have many keys of a `scan` at once.
            let mut stdout = BufWriter::new(stdout);
            let mut output = Output { terminal, out: &mut stdout, err: &mut stderr, file: output };
            let answer = Client::connect_with(&address, execute::options(&command)).map_err(Failure::from).and_then(|mut client| {
                let answer = execute::execute(&mut client, &command, &mut output)?;
                output.flush()?;
                Ok(answer)
            });
            match answer {
                Ok(answer) => answer.exit_code(),
                Err(failure) => failure.report(&address, &mut output),
            }
        }
        Invocation::Prompt { address } => prompt::run(&address),
    }
}
