//! The prompt: commands as they are typed, with editing and a history.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use osprey::client::Options;
use osprey::client::blocking::Client;
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};

use super::command::{self, Command};
use super::execute::{self, Failure};
use super::output::Output;
use super::words;

/// In the home directory; readable by its owner only.
const HISTORY_FILE: &str = ".osprey_cli_history";

const HELP: &str = "  help                  this text
  quit, exit, Ctrl-D    leave

A word with blanks goes in quotes: set greeting \"hello there\". In \"...\" the escapes \\n \\r \\t \\0 \\\\ \\\" \\xHH stand for bytes;
in '...' everything stands for itself. A line that begins with a blank stays out of the history.";

/// What a typed line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Empty,
    Quit,
    Help,
    Run(Command),
    Wrong(String),
}

/// Prompts until the end; the exit code is 3 when the server cannot be reached at the start.
pub(crate) fn run(address: &str) -> ExitCode {
    let (mut stdout, mut stderr) = (io::stdout(), io::stderr());
    let mut output = Output { terminal: true, out: &mut stdout, err: &mut stderr, file: None };
    let mut client = match Client::connect(address) {
        Ok(client) => client,
        Err(error) => return Failure::from(error).report(address, &mut output),
    };
    let config = Config::builder().auto_add_history(true).history_ignore_space(true).build();
    let mut editor = match DefaultEditor::with_config(config) {
        Ok(editor) => editor,
        Err(error) => {
            output.complain(&format!("cannot use this terminal: {error}; give the command as arguments"));
            return ExitCode::from(2);
        }
    };
    let history = std::env::home_dir().map(|home: PathBuf| home.join(HISTORY_FILE));
    if let Some(history) = &history {
        // There is none the first time.
        let _ = editor.load_history(history);
    }

    let prompt = format!("{address}> ");
    let code = loop {
        let line = match editor.readline(&prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => break ExitCode::SUCCESS,
            Err(error) => {
                output.complain(&format!("cannot read from the terminal: {error}"));
                break ExitCode::from(2);
            }
        };
        match understand(&line) {
            Line::Empty => {}
            Line::Quit => break ExitCode::SUCCESS,
            Line::Help => output.complain(&format!("{}\n\n{HELP}", command::summary())),
            Line::Wrong(message) => output.complain(&message),
            Line::Run(command) => {
                if let Err(failure) = run_one(&mut client, address, &command, &mut output) {
                    failure.report(address, &mut output);
                }
            }
        }
    };
    if let Some(history) = &history
        && let Err(error) = editor.save_history(history)
    {
        output.complain(&format!("the history is not saved in {}: {error}", history.display()));
    }
    code
}

/// Runs a command, over a new connection if the last one has failed.
fn run_one(client: &mut Client, address: &str, command: &Command, output: &mut Output<'_>) -> Result<(), Failure> {
    let options = execute::options(command);
    if options != Options::default() {
        // Over one of its own.
        execute::execute(&mut Client::connect_with(address, options)?, command, output)?;
        return output.flush();
    }
    if client.is_closed() {
        *client = Client::connect(address)?;
    }
    execute::execute(client, command, output)?;
    output.flush()
}

fn understand(line: &str) -> Line {
    let words = match words::split(line) {
        Ok(words) => words,
        Err(error) => return Line::Wrong(error.to_string()),
    };
    let Some(first) = words.first() else { return Line::Empty };
    match first.to_ascii_lowercase().as_slice() {
        b"quit" | b"exit" => Line::Quit,
        b"help" => Line::Help,
        _ => Command::parse(&words, false).map_or_else(|usage| Line::Wrong(format!("{usage}; try `help`")), Line::Run),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands_or_the_prompt_s_own_words() {
        assert_eq!(understand("  "), Line::Empty);
        assert_eq!(understand("QUIT"), Line::Quit);
        assert_eq!(understand("exit"), Line::Quit);
        assert_eq!(understand("help"), Line::Help);
        assert_eq!(understand("get \"k\""), Line::Run(Command::Get { key: b"k".into() }));
    }

    #[test]
    fn a_wrong_line_says_what_to_do() {
        assert!(matches!(understand("frob"), Line::Wrong(message) if message.contains("try `help`")));
        assert!(matches!(understand("set k \"v"), Line::Wrong(message) if message.contains("column 7")));
    }
}
