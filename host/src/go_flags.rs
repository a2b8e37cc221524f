//! Command lines as Go's `flag` package reads them, for clap.
//!
//! Osprey's programs have kept the flags of the original, which was written in Go: long names may have a single dash
//! (`-addr HOST:PORT`, `-addr=HOST:PORT`), and flags end at the first word that is none. clap knows long names only with two
//! dashes, so they are given to it that way.

use std::ffi::OsString;

/// `arguments` (the program's name first) with the long flags of `command` spelled `--flag` or `--flag=value`. What follows
/// the first word that is no flag, or `--`, is left as it is.
///
/// ```
/// use clap::{Arg, Command};
/// use osprey::go_flags;
///
/// let command = Command::new("osprey-cli").arg(Arg::new("addr").long("addr"));
/// let words = go_flags::with_double_dashes(&command, ["osprey-cli", "-addr=db:7070", "get", "-addr"]);
/// assert_eq!(words, ["osprey-cli", "--addr=db:7070", "get", "-addr"]);
/// ```
pub fn with_double_dashes<A: Into<OsString>>(command: &clap::Command, arguments: impl IntoIterator<Item = A>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter().map(Into::into);
    let mut words: Vec<OsString> = arguments.next().into_iter().collect();
    while let Some(word) = arguments.next() {
        let Some(flag) = Flag::parse(&word) else {
            words.push(word);
            break;
        };
        let Some(takes_value) = flag.takes_value(command) else {
            // Not a long flag of ours: a short one, or one that clap will refuse by name.
            words.push(word);
            continue;
        };
        let mut spelled = OsString::from(format!("--{}", flag.text));
        if takes_value && !flag.text.contains('=') {
            // Joined, so that a value may begin with a dash too.
            if let Some(value) = arguments.next() {
                spelled.push("=");
                spelled.push(value);
            }
        }
        words.push(spelled);
    }
    words.extend(arguments);
    words
}

/// A word that begins with a dash, without its one or two dashes.
struct Flag<'a> {
    text: &'a str,
}

impl<'a> Flag<'a> {
    fn parse(word: &'a OsString) -> Option<Self> {
        let text = word.to_str()?.strip_prefix('-')?;
        let text = text.strip_prefix('-').unwrap_or(text);
        // `-` alone is a file name and `--` ends the flags.
        (!text.is_empty()).then_some(Self { text })
    }

    /// Whether a value belongs to the flag; `None` if `command` has no such long flag.
    fn takes_value(&self, command: &clap::Command) -> Option<bool> {
        let name = self.text.split_once('=').map_or(self.text, |(name, _)| name);
        if matches!(name, "help" | "version") {
            return Some(false);
        }
        let argument = command.get_arguments().find(|argument| argument.get_long() == Some(name))?;
        Some(argument.get_action().takes_values())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, ArgAction, Command};

    fn rewritten(line: &str) -> String {
        let command = Command::new("program")
            .arg(Arg::new("addr").long("addr"))
            .arg(Arg::new("in").long("in"))
            .arg(Arg::new("check").long("check").action(ArgAction::SetTrue));
        with_double_dashes(&command, line.split(' ')).join(&OsString::from(" ")).into_string().unwrap()
    }

    #[test]
    fn long_flags_may_have_one_dash_or_two() {
        assert_eq!(rewritten("program -addr h:1 get k"), "program --addr=h:1 get k");
        assert_eq!(rewritten("program --addr h:1 get k"), "program --addr=h:1 get k");
        assert_eq!(rewritten("program -addr=h:1 -check get k"), "program --addr=h:1 --check get k");
        assert_eq!(rewritten("program -help"), "program --help");
    }

    #[test]
    fn flags_end_at_the_first_other_word() {
        assert_eq!(rewritten("program set k -addr"), "program set k -addr");
        assert_eq!(rewritten("program -check -- -addr"), "program --check -- -addr");
    }

    #[test]
    fn a_value_that_looks_like_a_flag_stays_a_value() {
        assert_eq!(rewritten("program -in -check get"), "program --in=-check get");
        assert_eq!(rewritten("program -in - set k"), "program --in=- set k");
    }

    #[test]
    fn unknown_and_short_flags_are_left_to_clap() {
        assert_eq!(rewritten("program -h -adr h:1"), "program -h -adr h:1");
    }
}
