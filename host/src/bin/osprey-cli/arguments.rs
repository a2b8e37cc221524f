//! The command line: flags, then one command's words. Reads the value that `-in` names.

use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use osprey::{client, go_flags};

use super::command::{self, Command};

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// One command; its value goes to the file `output` if there is one.
    Once { address: String, command: Command, output: Option<PathBuf> },
    /// Commands as they are typed.
    Prompt { address: String },
}

#[derive(Debug, Parser)]
#[command(
    name = "osprey-cli",
    version,
    about = "Runs a command on an Osprey server; without one, on a terminal, prompts for commands.",
    override_usage = "osprey-cli [-addr HOST:PORT] [-in FILE|-] [-out FILE] [COMMAND [ARGUMENT]...]",
    after_help = command::help(),
    disable_help_subcommand = true
)]
struct Arguments {
    /// Server address [env: OSPREY_ADDR] [default: localhost:7070]
    #[arg(long, value_name = "HOST:PORT")]
    addr: Option<String>,

    /// Take the value of `set` from this file ('-': standard input)
    #[arg(long = "in", value_name = "FILE|-")]
    input: Option<PathBuf>,

    /// Write the value of `get`, or the entries of `mget`, to this file
    #[arg(long = "out", value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Words>,
}

/// A command's words, as they are: a value may look like a flag.
#[derive(Debug, Subcommand)]
enum Words {
    #[command(external_subcommand)]
    Words(Vec<OsString>),
}

/// Reads the command line; ends the process when it is wrong, or asks for help.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Invocation {
    let prompt = io::stdin().is_terminal() && io::stdout().is_terminal();
    parse(arguments, prompt, &mut io::stdin()).unwrap_or_else(|error| error.exit())
}

/// `prompt`: whether a command may be missing.
fn parse(arguments: impl IntoIterator<Item = OsString>, prompt: bool, stdin: &mut dyn Read) -> Result<Invocation, clap::Error> {
    let wrong = |kind, message: String| Arguments::command().error(kind, message);
    let words = go_flags::with_double_dashes(&Arguments::command(), arguments);
    let matches = Arguments::command().try_get_matches_from(words)?;
    let Arguments { addr, input, output, command } = Arguments::from_arg_matches(&matches)?;
    let address = client::server_address(addr);

    let Some(Words::Words(words)) = command else {
        if !prompt {
            let message = "no command is given, and the prompt needs a terminal; try `osprey-cli ping`";
            return Err(wrong(ErrorKind::MissingSubcommand, message.into()));
        }
        if input.is_some() || output.is_some() {
            return Err(wrong(ErrorKind::MissingSubcommand, "-in and -out go with a command".into()));
        }
        return Ok(Invocation::Prompt { address });
    };

    if words == ["help"] {
        Arguments::command().try_get_matches_from(["osprey-cli", "--help"])?;
    }
    let words: Vec<Vec<u8>> = words.into_iter().map(OsString::into_vec).collect();
    let mut command = Command::parse(&words, input.is_some())
        .map_err(|usage| wrong(ErrorKind::InvalidValue, format!("{usage}{}", misplaced_flag(&words))))?;
    if let Some(path) = input {
        let value = read_value(&path, stdin)
            .map_err(|error| wrong(ErrorKind::Io, format!("cannot read the value from {}: {error}", path.display())))?;
        if !command.give_value(value) {
            return Err(wrong(ErrorKind::ArgumentConflict, "-in gives the value of `set`, and of no other command".into()));
        }
    }
    if output.is_some() && !command.gives_values() {
        return Err(wrong(ErrorKind::ArgumentConflict, "-out takes what `get` and `mget` give, and no other command".into()));
    }
    Ok(Invocation::Once { address, command, output })
}

fn read_value(path: &PathBuf, stdin: &mut dyn Read) -> io::Result<Vec<u8>> {
    if path.as_os_str() == "-" {
        let mut value = Vec::new();
        stdin.read_to_end(&mut value)?;
        return Ok(value);
    }
    fs::read(path)
}

/// A hint for who writes `get key -out file`.
fn misplaced_flag(words: &[Vec<u8>]) -> &'static str {
    let is_flag = |word: &Vec<u8>| {
        let Some(name) = word.strip_prefix(b"-") else { return false };
        let name = name.strip_prefix(b"-").unwrap_or(name);
        ["addr", "in", "out"].iter().any(|flag| name.split(|byte| *byte == b'=').next() == Some(flag.as_bytes()))
    };
    if words.iter().any(is_flag) { "\n(-addr, -in and -out come before the command)" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use osprey::client::SetOptions;

    fn parsed_with(line: &[&str], prompt: bool, stdin: &[u8]) -> Result<Invocation, clap::Error> {
        let arguments = std::iter::once("osprey-cli").chain(line.iter().copied()).map(OsString::from);
        parse(arguments, prompt, &mut &*stdin)
    }

    fn parsed(line: &[&str]) -> Result<(String, Command, Option<PathBuf>), clap::Error> {
        match parsed_with(line, false, b"from stdin")? {
            Invocation::Once { address, command, output } => Ok((address, command, output)),
            Invocation::Prompt { .. } => panic!("{line:?} gave no command"),
        }
    }

    fn set(key: &str, value: &str) -> Command {
        Command::Set { key: key.into(), value: value.into(), options: SetOptions::default() }
    }

    #[test]
    fn flags_have_one_dash_or_two_and_their_value_in_one_word_or_two() {
        for line in [&["-addr", "h:1", "ping"][..], &["--addr", "h:1", "ping"], &["-addr=h:1", "ping"], &["--addr=h:1", "ping"]] {
            let (address, command, _) = parsed(line).unwrap();
            assert_eq!((address.as_str(), command), ("h:1", Command::Ping), "{line:?}");
        }
    }

    #[test]
    fn without_a_command_a_terminal_gets_the_prompt() {
        assert!(matches!(parsed_with(&["-addr", "h:1"], true, b""), Ok(Invocation::Prompt { address }) if address == "h:1"));
        assert_eq!(parsed_with(&[], false, b"").unwrap_err().exit_code(), 2);
        assert_eq!(parsed_with(&["-out", "f"], true, b"").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn after_the_command_nothing_is_a_flag() {
        assert_eq!(parsed(&["set", "k", "-addr"]).unwrap().1, set("k", "-addr"));
        assert_eq!(parsed(&["set", "k", "--"]).unwrap().1, set("k", "--"));
        assert_eq!(parsed(&["set", "-k", "-1"]).unwrap().1, set("-k", "-1"));
        assert_eq!(parsed(&["set", "k", "--help"]).unwrap().1, set("k", "--help"));
        assert_eq!(parsed(&["set", "k", ""]).unwrap().1, set("k", ""));
    }

    #[test]
    fn the_value_of_set_may_come_from_standard_input_or_a_file() {
        assert_eq!(parsed(&["-in", "-", "set", "k"]).unwrap().1, set("k", "from stdin"));
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "from a file").unwrap();
        assert_eq!(parsed(&["-in", file.path().to_str().unwrap(), "set", "k"]).unwrap().1, set("k", "from a file"));
        let error = parsed(&["-in", "/nonexistent/file", "set", "k"]).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/file"), "{error}");
    }

    #[test]
    fn wrong_usage_has_exit_code_2_and_says_what_is_wrong() {
        for (line, says) in [
            (&["frob"][..], "unknown command `frob`"),
            (&["get"], "get KEY"),
            (&["-adr", "h:1", "ping"], "-a"),
            (&["get", "k", "-out", "f"], "come before the command"),
            (&["-in", "-", "get", "k"], "-in gives the value of `set`"),
            (&["-out", "f", "ping"], "-out takes what `get` and `mget` give"),
            (&[], "no command is given"),
        ] {
            let error = parsed(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line:?}");
            assert!(error.to_string().contains(says), "{line:?}: {error}");
        }
    }

    #[test]
    fn help_names_every_command() {
        for line in ["-help", "--help", "-h", "help"] {
            let help = parsed(&[line]).unwrap_err();
            assert_eq!(help.exit_code(), 0, "{line}");
            for (name, ..) in command::COMMANDS {
                assert!(help.to_string().contains(name), "{line}: {name} is missing in\n{help}");
            }
        }
    }
}
