//! The server's configuration: what can be set, where a setting may come from, and what is said about a mistake.
//!
//! Settings come in layers, each over the one before: the defaults, a TOML file of flat keys, environment variables
//! (`OSPREY_` and the key in upper case), flags of the command line. [`Loader`] puts them together; it finds all mistakes
//! rather than the first, each with its place and what would be right. Nothing here opens a socket or a data file.
//!
//! ```
//! use osprey::config::{Loader, Origin};
//!
//! let mut loader = Loader::new();
//! loader.variables([("OSPREY_MAX_CLIENTS".into(), "500".into())]);
//! loader.flag("--data-dir", "data_dir", "/var/lib/osprey");
//! let loaded = loader.finish().expect("both settings are possible");
//!
//! assert_eq!(loaded.config.max_clients, 500);
//! assert_eq!(*loaded.origin("max_clients"), Origin::Variable("OSPREY_MAX_CLIENTS".into()));
//! assert_eq!(*loaded.origin("sweep_batch"), Origin::Default);
//! ```

mod address;
mod conflicts;
mod given;
mod kinds;
mod load;
mod mistake;
mod options;
mod source;
#[cfg(test)]
mod tests;

pub use address::{Address, NotAnAddress};
pub use load::{Loaded, Loader};
pub use mistake::{Mistake, Mistakes, Origin, Problem, UnknownVariable};
pub use options::{Config, SyncPolicy};

/// The file that is read when none is named, if it is there: in the current directory.
pub const DEFAULT_FILE: &str = "osprey.toml";
