//! PLACEHOLDER, so that `main` compiles: the server's loop replaces this file.

use crate::config::Config;
use std::process::ExitCode;

/// Serves until it is told to stop.
#[must_use]
pub fn run(config: Config) -> ExitCode {
    log::error!("this build has no server yet; it would listen on {}", config.listen_addr);
    drop(config);
    ExitCode::FAILURE
}
