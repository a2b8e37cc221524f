//! Runs a command on a connection and prints the answer.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use osprey::client::blocking::Client;
use osprey::client::{Error, Options, Ttl};

use super::command::Command;
use super::output::{Output, is_broken_pipe};

/// How many keys a `scan` asks for at a time.
const SCAN_COUNT: u64 = 1000;

/// Whether the answer is a yes; scripts branch on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Positive,
    Negative,
}

impl Answer {
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::Positive => ExitCode::SUCCESS,
            Self::Negative => ExitCode::from(1),
        }
    }
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Positive } else { Self::Negative }
    }
}

/// What a connection for a command allows: a snapshot takes as long as it takes.
pub(crate) fn options(command: &Command) -> Options {
    match command {
        Command::Snapshot => Options { read_timeout: None, ..Options::default() },
        _ => Options::default(),
    }
}

/// Why there is no answer, or none that could be printed.
#[derive(Debug)]
pub(crate) enum Failure {
    Client(Error),
    File { path: PathBuf, source: io::Error },
    Output(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

/// Runs one command.
pub(crate) fn execute(client: &mut Client, command: &Command, output: &mut Output<'_>) -> Result<Answer, Failure> {
    let yes = match command {
        Command::Ping => {
            client.ping()?;
            output.line("PONG")?;
            true
        }
        Command::Get { key } => match client.get(key)? {
            Some(entry) => {
                output.value(&entry)?;
                true
            }
            None => {
                output.no_value()?;
                false
            }
        },
        Command::Set { key, value, options } => {
            let version = client.set(key, value, options)?;
            output.line(format_args!("OK {}", version.0))?;
            true
        }
        Command::Del { key, version } => {
            let deleted = client.del(key, *version)?;
            output.line(format_args!("DELETED {}", u8::from(deleted)))?;
            deleted
        }
        Command::Exists { key } => {
            let exists = client.exists(key)?;
            output.line(format_args!("EXISTS {}", u8::from(exists)))?;
            exists
        }
        Command::Expire { key, ms, version } => changed(client.expire(key, *ms, *version)?, output)?,
        Command::Persist { key } => changed(client.persist(key)?, output)?,
        Command::Ttl { key } => {
            let ttl = client.ttl(key)?;
            match ttl {
                Ttl::Missing => output.line(-2)?,
                Ttl::Unlimited => output.line(-1)?,
                Ttl::Remaining { ms } => output.line(ms)?,
            }
            ttl != Ttl::Missing
        }
        Command::Incr { key, delta } => {
            output.line(client.incr(key, *delta)?)?;
            true
        }
        Command::Decr { key, delta } => {
            output.line(client.decr(key, *delta)?)?;
            true
        }
        Command::Mget { keys } => {
            let entries = client.mget(keys)?;
            output.entries(keys, &entries)?;
            entries.iter().all(Option::is_some)
        }
        Command::Mset { pairs } => {
            let count = client.mset(pairs)?;
            output.line(format_args!("OK {count}"))?;
            true
        }
        Command::Scan { prefix } => {
            scan(client, prefix, output)?;
            true
        }
        Command::Snapshot => {
            client.snapshot()?;
            output.line("OK")?;
            true
        }
        Command::Stats => {
            for (name, value) in client.stats()? {
                output.bytes_line(format!("{name}={value}").as_bytes())?;
            }
            output.line("END")?;
            true
        }
    };
    Ok(Answer::from(yes))
}

fn changed(changed: bool, output: &mut Output<'_>) -> Result<bool, Failure> {
    output.line(if changed { "OK" } else { "NOT_FOUND" })?;
    Ok(changed)
}

/// All keys, as they come: a key may come twice when the store changes meanwhile.
fn scan(client: &mut Client, prefix: &[u8], output: &mut Output<'_>) -> Result<(), Failure> {
    let mut cursor = 0;
    loop {
        let page = client.scan(cursor, Some(SCAN_COUNT), prefix)?;
        for key in &page.keys {
            output.bytes_line(key)?;
        }
        cursor = page.next;
        if cursor == 0 {
            return Ok(());
        }
    }
}

impl Failure {
    /// Says on standard error what went wrong and what to do; gives the exit code.
    pub(crate) fn report(&self, address: &str, output: &mut Output<'_>) -> ExitCode {
        match self {
            Self::Client(error) => {
                output.complain(&explain(error, address));
                match error {
                    Error::Server { .. } => ExitCode::from(1),
                    Error::Request(_) => ExitCode::from(2),
                    _ => ExitCode::from(3),
                }
            }
            Self::File { path, source } => {
                output.complain(&format!("cannot write the value to {}: {source}", path.display()));
                ExitCode::from(2)
            }
            Self::Output(error) if is_broken_pipe(error) => ExitCode::SUCCESS,
            Self::Output(error) => {
                output.complain(&format!("cannot write to standard output: {error}"));
                ExitCode::from(2)
            }
        }
    }
}

fn explain(error: &Error, address: &str) -> String {
    match error {
        Error::Server { code, message } => format!("ERR {code} {message}"),
        Error::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
            format!("cannot connect to {address}: connection refused; is the server running? start it with `osprey`")
        }
        Error::Connect { source, .. } => {
            format!("cannot connect to {address}: {source}; -addr or OSPREY_ADDR name the server as HOST:PORT")
        }
        Error::Timeout { .. } => format!("{error} from {address}; is it an Osprey server, and not overloaded?"),
        Error::Disconnected | Error::Io(_) => format!("{error} ({address}); its log says why"),
        Error::Protocol(_) => format!("{error}; does {address} belong to an Osprey server?"),
        _ => error.to_string(),
    }
}
