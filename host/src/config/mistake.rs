//! What can be wrong with a configuration, and where: values that print as one line each.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where an option's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was not set.
    Default,
    /// A configuration file.
    File {
        /// As it was named.
        path: PathBuf,
        /// From 1; 0 if the whole file is meant.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// An environment variable of this name.
    Variable(String),
    /// A flag of the command line, with its dashes.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0, .. } => write!(f, "{}", path.display()),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Something wrong at one place. Prints as `place: what is wrong and what would be right`.
#[derive(Debug)]
pub struct Mistake {
    /// Where.
    pub origin: Origin,
    /// What.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Debug)]
pub enum Problem {
    /// The file can't be read.
    Unreadable(io::Error),
    /// The file is larger than this many bytes: hardly a configuration.
    TooLarge(u64),
    /// The file is not UTF-8.
    NotUtf8,
    /// The file is not TOML, for this reason.
    Syntax(String),
    /// There is no such option.
    UnknownKey {
        /// As it was given.
        key: String,
        /// The option that was probably meant.
        nearest: Option<&'static str>,
        /// It heads a `[section]` or a dotted key.
        section: bool,
    },
    /// The option can't have this value, or a value of this type.
    Impossible {
        /// The option.
        key: &'static str,
        /// What it must be.
        expected: String,
        /// What it was.
        found: String,
    },
    /// Options that are possible, but not together.
    Conflict(String),
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        match &self.problem {
            Problem::Unreadable(error) => write!(f, "can't be read: {error}"),
            Problem::TooLarge(bytes) => write!(f, "is larger than {bytes} bytes, so it is no configuration of Osprey"),
            Problem::NotUtf8 => f.write_str("is not UTF-8 text"),
            Problem::Syntax(reason) => write!(f, "not valid TOML: {reason}"),
            Problem::UnknownKey { key, section: true, .. } => {
                write!(f, "unknown section {key:?}: options stand at the top level, as \"key = value\"")
            }
            Problem::UnknownKey { key, nearest: Some(nearest), .. } => write!(f, "unknown key {key:?}; did you mean {nearest:?}?"),
            Problem::UnknownKey { key, nearest: None, .. } => write!(f, "unknown key {key:?}; no option has a name like it"),
            Problem::Impossible { key, expected, found } => write!(f, "{key} must be {expected}, not {found}"),
            Problem::Conflict(what) => f.write_str(what),
        }
    }
}

/// All that is wrong, at least one thing, in the order of the places. Prints as a line for each.
#[derive(Debug)]
pub struct Mistakes(pub(super) Vec<Mistake>);

impl Mistakes {
    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// An environment variable that looks like an option's but is none. Others may use the prefix for their own purposes (so
/// does Kubernetes, for a service named "osprey"): it is worth a warning, not an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariable {
    /// As it was given.
    pub name: String,
    /// The variable that was probably meant.
    pub nearest: Option<String>,
}

impl fmt::Display for UnknownVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "environment variable {} is ignored: there is no such option", self.name)?;
        self.nearest.as_ref().map_or(Ok(()), |nearest| write!(f, "; did you mean {nearest}?"))
    }
}
