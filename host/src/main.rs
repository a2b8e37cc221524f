//! The server's program.

use osprey::server::{Server, Settings};
use osprey::{args, logging};
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(museum)]
    osprey::museum::wake();
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
    let listen_addr = loaded.config.listen_addr.to_string();
    let settings = match Settings::from_config(loaded.config) {
        Ok(settings) => settings,
        Err(error) => {
            log::error!("listen_addr {listen_addr} can't be looked up: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Err(error) = Server::open(settings).and_then(Server::run) {
        log::error!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
