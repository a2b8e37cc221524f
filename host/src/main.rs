//! The server's program.

use osprey::{args, logging, server};
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let loaded = match args::from_process() {
        Ok(loaded) => loaded,
        Err(status) => return status,
    };
    if let Err(error) = logging::init(loaded.config.log_level, loaded.config.log_file.as_deref()) {
        // `eprintln!` would panic if standard error is closed.
        let _ = writeln!(io::stderr(), "error: {error}");
        return ExitCode::from(args::EXIT_USAGE);
    }
    for warning in &loaded.warnings {
        log::warn!("{warning}");
    }
    server::run(loaded.config)
}
