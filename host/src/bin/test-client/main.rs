//! `test-client`: walks through every command and option of a running server and says, a line each, what holds.
//!
//! It assumes nothing about what the server already stores: its keys have a random prefix, versions are compared only with
//! each other, and at the end its keys are deleted. The server's limits are taken to be the defaults or larger.
//!
//! Exit codes: 0 all checks hold; 1 some fail; 2 wrong usage; 3 no connection.

mod conditions;
mod counters;
mod expected;
mod expiry;
mod many_keys;
mod show;
mod values;
mod walk;
mod wire;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
use osprey::client::{self, Activity, Error};
use osprey::go_flags;

use walk::Walk;

/// Checks a running Osprey server, command by command.
#[derive(Debug, Parser)]
#[command(name = "test-client", version, override_usage = "test-client [-addr HOST:PORT]")]
struct Arguments {
    /// Server address [env: OSPREY_ADDR] [default: localhost:7070]
    #[arg(long, value_name = "HOST:PORT")]
    addr: Option<String>,
}

fn main() -> ExitCode {
    let words = go_flags::with_double_dashes(&Arguments::command(), std::env::args_os());
    let matches = Arguments::command().get_matches_from(words);
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let address = client::server_address(arguments.addr);

    match check(&address) {
        Ok(failed) => ExitCode::from(u8::from(failed > 0)),
        Err(error) => {
            eprintln!("{error}; is the server running? start it with `osprey`");
            ExitCode::from(3)
        }
    }
}

/// Runs all checks; gives the number of those that failed.
fn check(address: &str) -> Result<usize, Error> {
    let mut walk = Walk::begin(address)?;
    for group in [values::check, conditions::check, expiry::check, counters::check, many_keys::check, wire::check, Walk::clean_up] {
        match group(&mut walk) {
            Err(error @ (Error::Connect { .. } | Error::Timeout { activity: Activity::Connect, .. })) => return Err(error),
            Err(error) => walk.judge("what this group needs beside its checks", "no failure", false, error),
            Ok(()) => {}
        }
    }
    println!("\n{} checks hold, {} fail", walk.passed(), walk.failed());
    Ok(walk.failed())
}
