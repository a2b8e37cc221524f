//! `osprey-bench`: load for Osprey, Redis and memcached servers. What it does is in `osprey::bench`.

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use osprey::bench::{self, Display, Failure, Options, Report};
use osprey::go_flags;

/// Replies were not as they should be, or the run ended early.
const ERRORS: u8 = 1;
/// The command line asks for what cannot be; clap's own code for it too.
const USAGE: u8 = 2;
/// No connection.
const NO_CONNECTION: u8 = 3;

fn main() -> ExitCode {
    let options = Options::parse_from(go_flags::with_double_dashes(&Options::command(), std::env::args_os()));
    let display = if options.quiet { Display::None } else { Display::suited_to_stderr(options.report) };
    let report = match bench::run(&options, display) {
        Ok(report) => report,
        Err(failure) => {
            eprintln!("osprey-bench: {failure}");
            return ExitCode::from(match failure {
                Failure::Usage(_) => USAGE,
                Failure::Connect { .. } => NO_CONNECTION,
                Failure::Prefill(_) | Failure::Local(_) => ERRORS,
            });
        }
    };
    if let Err(error) = publish(&report, &options) {
        eprintln!("osprey-bench: cannot write the result: {error}");
        return ExitCode::from(ERRORS);
    }
    if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(ERRORS) }
}

fn publish(report: &Report, options: &Options) -> io::Result<()> {
    let json = || Ok::<_, io::Error>(serde_json::to_string_pretty(report)? + "\n");
    if let Some(file) = &options.json_file {
        fs::write(file, json()?)?;
    }
    let text = if options.json { json()? } else { report.to_string() };
    io::stdout().write_all(text.as_bytes())
}
