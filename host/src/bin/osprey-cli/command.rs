//! A command's words into what to ask the server. The command line and the prompt share this.

use std::fmt;

use osprey::client::{Millis, Presence, SetExpiry, SetOptions, Version};

/// Names, arguments and what for.
pub(crate) const COMMANDS: &[(&str, &str, &str)] = &[
    ("ping", "", "ask for a sign of life"),
    ("get", "KEY", "the value of a key"),
    ("set", "KEY VALUE [EX MS|PXAT UNIX_MS|KEEPTTL] [NX|XX] [VER N]", "store a value (with -in: without VALUE)"),
    ("del", "KEY [VER N]", "delete a key, with VER only that version"),
    ("exists", "KEY", "whether a key is there"),
    ("expire", "KEY MS [VER N]", "let a key go away in MS milliseconds"),
    ("persist", "KEY", "let a key stay"),
    ("ttl", "KEY", "milliseconds left; -1: it stays, -2: it is not there"),
    ("incr", "KEY [DELTA]", "add to the number in a key"),
    ("decr", "KEY [DELTA]", "subtract from the number in a key"),
    ("mget", "KEY...", "`VALUE KEY LENGTH VERSION EXPIRY` and the value, or `NOT_FOUND KEY`"),
    ("mset", "KEY VALUE [KEY VALUE]...", "store several values, all or none"),
    ("scan", "[PREFIX]", "all keys, or those that begin with PREFIX, one a line"),
    ("stats", "", "the server's figures"),
    ("snapshot", "", "take a snapshot, and wait for it"),
];

/// The commands, a line each and one for what it does.
pub(crate) fn summary() -> String {
    let mut summary = String::from("Commands:");
    for (name, arguments, about) in COMMANDS {
        let line = format!("  {name} {arguments}");
        summary += &format!("\n{}\n          {about}", line.trim_end());
    }
    summary
}

/// What follows the flags in the help.
pub(crate) fn help() -> String {
    summary()
        + "\n\nOn a terminal `get` prints a line `VALUE LENGTH VERSION EXPIRY` and the value; into a pipe or file it writes the \
             bytes of the value and nothing else.\n\nExit codes: 0 done; 1 a negative answer (NOT_FOUND, DELETED 0, EXISTS 0, TTL -2) or ERR; 2 wrong usage, or a file \
             that cannot be read or written; 3 no connection."
}

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Ping,
    Get { key: Vec<u8> },
    Set { key: Vec<u8>, value: Vec<u8>, options: SetOptions },
    Del { key: Vec<u8>, version: Option<Version> },
    Exists { key: Vec<u8> },
    Expire { key: Vec<u8>, ms: i64, version: Option<Version> },
    Persist { key: Vec<u8> },
    Ttl { key: Vec<u8> },
    Incr { key: Vec<u8>, delta: i64 },
    Decr { key: Vec<u8>, delta: i64 },
    Mget { keys: Vec<Vec<u8>> },
    Mset { pairs: Vec<(Vec<u8>, Vec<u8>)> },
    Scan { prefix: Vec<u8> },
    Stats,
    Snapshot,
}

/// Why words are no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UsageError {
    Unknown(String),
    /// The command's arguments are too few, too many or none of its options.
    Arguments(&'static str),
    Number {
        what: &'static str,
        word: String,
    },
    /// Two options that exclude each other, or one twice.
    Conflict {
        option: String,
    },
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(f, "unknown command `{}`; the commands are", name.escape_debug())?;
                COMMANDS.iter().try_for_each(|(name, ..)| write!(f, " {name}"))
            }
            Self::Arguments(name) => {
                let arguments = COMMANDS.iter().find(|(known, ..)| known == name).map_or("", |(_, arguments, _)| arguments);
                write!(f, "the usage is: {}", format_args!("{name} {arguments}").to_string().trim_end())
            }
            Self::Number { what, word } => write!(f, "`{}` is not {what}", word.escape_debug()),
            Self::Conflict { option } => write!(f, "{option} repeats or contradicts an option before it"),
        }
    }
}

impl Command {
    /// Parses words, the command's name first and in any case. With `value_elsewhere` a `set` has no value among its words.
    pub(crate) fn parse(words: &[Vec<u8>], value_elsewhere: bool) -> Result<Self, UsageError> {
        let Some((name, arguments)) = words.split_first() else {
            return Err(UsageError::Unknown(String::new()));
        };
        let lower = name.to_ascii_lowercase();
        let Some((name, ..)) = COMMANDS.iter().find(|(known, ..)| known.as_bytes() == lower) else {
            return Err(UsageError::Unknown(lossy(name)));
        };
        let wrong = || UsageError::Arguments(name);
        let command = match (*name, arguments) {
            ("ping", []) => Self::Ping,
            ("get", [key]) => Self::Get { key: key.clone() },
            ("set", [key, options @ ..]) if value_elsewhere => {
                Self::Set { key: key.clone(), value: Vec::new(), options: set_options(options)? }
            }
            ("set", [key, value, options @ ..]) => Self::Set { key: key.clone(), value: value.clone(), options: set_options(options)? },
            ("del", [key, rest @ ..]) => Self::Del { key: key.clone(), version: only_version(rest).ok_or_else(wrong)?? },
            ("exists", [key]) => Self::Exists { key: key.clone() },
            ("expire", [key, ms, rest @ ..]) => Self::Expire {
                key: key.clone(),
                ms: number(ms, "a number of milliseconds")?,
                version: only_version(rest).ok_or_else(wrong)??,
            },
            ("persist", [key]) => Self::Persist { key: key.clone() },
            ("ttl", [key]) => Self::Ttl { key: key.clone() },
            ("incr", [key, delta @ ..]) => Self::Incr { key: key.clone(), delta: only_delta(delta).ok_or_else(wrong)?? },
            ("decr", [key, delta @ ..]) => Self::Decr { key: key.clone(), delta: only_delta(delta).ok_or_else(wrong)?? },
            ("mget", [_, ..]) => Self::Mget { keys: arguments.to_vec() },
            ("mset", [_, ..]) => {
                let (pairs, []) = arguments.as_chunks::<2>() else { return Err(wrong()) };
                Self::Mset { pairs: pairs.iter().map(|[key, value]| (key.clone(), value.clone())).collect() }
            }
            ("scan", []) => Self::Scan { prefix: Vec::new() },
            ("scan", [prefix]) => Self::Scan { prefix: prefix.clone() },
            ("stats", []) => Self::Stats,
            ("snapshot", []) => Self::Snapshot,
            _ => return Err(wrong()),
        };
        Ok(command)
    }

    /// Gives a `set` its value from elsewhere; `false` for another command.
    pub(crate) fn give_value(&mut self, given: Vec<u8>) -> bool {
        let Self::Set { value, .. } = self else { return false };
        *value = given;
        true
    }

    /// Whether the answer has values in it.
    pub(crate) fn gives_values(&self) -> bool {
        matches!(self, Self::Get { .. } | Self::Mget { .. })
    }
}

fn set_options(words: &[Vec<u8>]) -> Result<SetOptions, UsageError> {
    let mut options = SetOptions::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let option = lossy(word).to_ascii_uppercase();
        let mut argument = || words.next().ok_or(UsageError::Arguments("set"));
        let free = match option.as_str() {
            "EX" => {
                let expiry = SetExpiry::In(positive(argument()?, "a number of milliseconds, at least 1")?);
                std::mem::replace(&mut options.expiry, expiry) == SetExpiry::Clear
            }
            "PXAT" => {
                let expiry = SetExpiry::At(Millis(positive(argument()?, "a Unix time in milliseconds, at least 1")?));
                std::mem::replace(&mut options.expiry, expiry) == SetExpiry::Clear
            }
            "KEEPTTL" => std::mem::replace(&mut options.expiry, SetExpiry::Keep) == SetExpiry::Clear,
            "NX" => std::mem::replace(&mut options.presence, Presence::Absent) == Presence::Any,
            "XX" => std::mem::replace(&mut options.presence, Presence::Present) == Presence::Any,
            "VER" => options.version.replace(version(argument()?)?).is_none(),
            _ => return Err(UsageError::Arguments("set")),
        };
        if !free {
            return Err(UsageError::Conflict { option });
        }
    }
    Ok(options)
}

/// `[VER n]`; outer `None`: other words.
fn only_version(words: &[Vec<u8>]) -> Option<Result<Option<Version>, UsageError>> {
    match words {
        [] => Some(Ok(None)),
        [word, number] if word.eq_ignore_ascii_case(b"VER") => Some(version(number).map(Some)),
        _ => None,
    }
}

/// `[delta]`, 1 if not given; outer `None`: other words.
fn only_delta(words: &[Vec<u8>]) -> Option<Result<i64, UsageError>> {
    match words {
        [] => Some(Ok(1)),
        [delta] => Some(number(delta, "a 64-bit integer")),
        _ => None,
    }
}

fn version(word: &[u8]) -> Result<Version, UsageError> {
    number(word, "a version").map(Version)
}

fn positive(word: &[u8], what: &'static str) -> Result<u64, UsageError> {
    match number(word, what)? {
        0 => Err(UsageError::Number { what, word: lossy(word) }),
        number => Ok(number),
    }
}

fn number<N: std::str::FromStr>(word: &[u8], what: &'static str) -> Result<N, UsageError> {
    let parsed = std::str::from_utf8(word).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| UsageError::Number { what, word: lossy(word) })
}

fn lossy(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, UsageError> {
        let words: Vec<Vec<u8>> = line.split(' ').map(Into::into).collect();
        Command::parse(&words, false)
    }

    fn set(line: &str) -> Result<SetOptions, UsageError> {
        match parse(line)? {
            Command::Set { options, .. } => Ok(options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_command_of_the_help_is_understood() {
        for line in [
            "ping",
            "get k",
            "set k v",
            "del k",
            "exists k",
            "expire k 5",
            "persist k",
            "ttl k",
            "incr k",
            "decr k 2",
            "mget k l",
            "mset k v l w",
            "scan",
            "stats",
            "snapshot",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for (name, ..) in COMMANDS {
            assert!(!matches!(parse(name), Err(UsageError::Unknown(_))), "{name}");
        }
    }

    #[test]
    fn names_and_options_are_in_any_case_and_options_in_any_order() {
        let expected = SetOptions { expiry: SetExpiry::In(5000), presence: Presence::Absent, version: Some(Version(3)) };
        assert_eq!(set("SET k v EX 5000 NX VER 3"), Ok(expected));
        assert_eq!(set("set k v ver 3 nx ex 5000"), Ok(expected));
        assert_eq!(set("set k v PXAT 7 XX").map(|o| (o.expiry, o.presence)), Ok((SetExpiry::At(Millis(7)), Presence::Present)));
        assert_eq!(set("set k v keepttl").map(|o| o.expiry), Ok(SetExpiry::Keep));
    }

    #[test]
    fn options_exclude_each_other() {
        for line in ["set k v EX 5 PXAT 7", "set k v EX 5 EX 5", "set k v KEEPTTL EX 5", "set k v NX XX", "set k v VER 1 VER 1"] {
            assert!(matches!(set(line), Err(UsageError::Conflict { .. })), "{line}");
        }
    }

    #[test]
    fn del_and_expire_take_a_version() {
        assert_eq!(parse("del k VER 7"), Ok(Command::Del { key: b"k".into(), version: Some(Version(7)) }));
        assert_eq!(parse("expire k -1 ver 7"), Ok(Command::Expire { key: b"k".into(), ms: -1, version: Some(Version(7)) }));
    }

    #[test]
    fn numbers_are_checked_here() {
        for line in ["expire k soon", "incr k 1.5", "incr k 9223372036854775808", "set k v EX 0", "set k v EX -1", "del k VER -1"] {
            assert!(matches!(parse(line), Err(UsageError::Number { .. })), "{line}");
        }
    }

    #[test]
    fn too_few_or_too_many_arguments_show_the_usage() {
        for line in ["ping x", "get", "get k l", "set k", "set k v w", "set k v EX", "del", "del k VER", "mget", "mset k", "mset k v l"] {
            let error = parse(line).unwrap_err();
            let name = line.split(' ').next().unwrap();
            assert!(error.to_string().starts_with(&format!("the usage is: {name}")), "{line}: {error}");
        }
    }
}
