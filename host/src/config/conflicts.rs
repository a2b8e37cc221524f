//! Options that are possible each by itself, but not together.

use super::load::Loaded;
use super::mistake::{Mistake, Origin, Problem};

/// Room in a request's line beside its key: `SET`, the length, an expiry, `NX`, a version and the spaces between.
const LINE_BESIDE_KEY_BYTES: usize = 128;

/// Every conflict, at the place of the option that was set last.
pub(super) fn find(loaded: &Loaded) -> Vec<Mistake> {
    let config = &loaded.config;
    let mut conflicts = Vec::new();

    let line_bytes_min = config.max_key_bytes + LINE_BESIDE_KEY_BYTES;
    if config.max_line_bytes < line_bytes_min {
        conflicts.push(Mistake {
            origin: set_last(loaded, "max_line_bytes", "max_key_bytes"),
            problem: Problem::Conflict(format!(
                "max_line_bytes = {} is too short for a SET of a key of max_key_bytes = {}: raise it to {line_bytes_min} or more",
                config.max_line_bytes, config.max_key_bytes
            )),
        });
    }

    let listen = &config.listen_addr;
    if config.metrics_enable && listen.port() != 0 && config.metrics_addr.as_ref() == Some(listen) {
        conflicts.push(Mistake {
            origin: set_last(loaded, "metrics_addr", "listen_addr"),
            problem: Problem::Conflict(format!("metrics_addr and listen_addr are both \"{listen}\": give metrics a port of their own")),
        });
    }
    conflicts
}

/// The origin in the uppermost layer, `first`'s if they are in the same one.
fn set_last(loaded: &Loaded, first: &str, second: &str) -> Origin {
    let layer = |origin: &Origin| match origin {
        Origin::Default => 0,
        Origin::File { .. } => 1,
        Origin::Variable(_) => 2,
        Origin::Flag(_) => 3,
    };
    let (first, second) = (loaded.origin(first), loaded.origin(second));
    if layer(second) > layer(first) { second.clone() } else { first.clone() }
}
