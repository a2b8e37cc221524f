//! The server's command line: from the words and variables that the process was started with to a configuration to run, or
//! to an answer and an exit status.

use crate::config::{self, Loaded, Loader, Mistakes};
use crate::go_flags;
use crate::tools::{self, Tool};
use clap::{CommandFactory, Parser};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit status when what the user asked for can't be: a wrong flag, a wrong configuration.
pub const EXIT_USAGE: u8 = 2;

/// A durable key-value server with a text protocol.
///
/// Options come from a configuration file, over it environment variables (OSPREY_ and the option's name in upper case, such as
/// OSPREY_MAX_CLIENTS), over them the flags below.
///
/// Without a command it serves. The commands work on the data directory of a server that is stopped: data_dir, unless they are given another.
#[derive(Debug, Parser)]
#[command(name = "osprey", version, subcommand_help_heading = "Commands", disable_help_subcommand = true)]
struct Arguments {
    /// Read this configuration file [default: osprey.toml in the current directory, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print every option with its value and where that comes from, or what is wrong, and exit
    #[arg(long)]
    check_config: bool,

    /// Listen for clients here; sets listen_addr
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,

    /// Keep the database in this directory; sets data_dir
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,

    #[command(subcommand)]
    tool: Option<Tool>,
}

/// Why there is nothing to run.
#[derive(Debug)]
pub enum Exit {
    /// Bad usage, or the answer to `--help` and `--version`.
    Clap(clap::Error),
    /// The answer to `--check-config`.
    Checked(Box<Loaded>),
    /// The configuration is wrong.
    Mistaken(Mistakes),
    /// Not the server, but a tool, for this data directory if it was given none.
    Tool(Box<Tool>, PathBuf),
}

impl Exit {
    /// The exit status: 0, or [`EXIT_USAGE`].
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Clap(answer) if !answer.use_stderr() => 0,
            Self::Checked(_) | Self::Tool(..) => 0,
            Self::Clap(_) | Self::Mistaken(_) => EXIT_USAGE,
        }
    }

    /// Says why: an answer on standard output, an error on standard error. If these are closed, nobody is told.
    pub fn print(&self) {
        let _ = match self {
            Self::Clap(answer) => answer.print(),
            Self::Checked(loaded) => write_checked(&mut io::stdout().lock(), &mut io::stderr().lock(), loaded),
            Self::Mistaken(mistakes) => write_mistakes(&mut io::stderr().lock(), mistakes),
            Self::Tool(..) => Ok(()),
        };
    }
}

fn write_checked(out: &mut impl Write, err: &mut impl Write, loaded: &Loaded) -> io::Result<()> {
    for warning in &loaded.warnings {
        writeln!(err, "warning: {warning}")?;
    }
    write!(out, "# configuration ok\n{}", loaded.to_toml())?;
    out.flush()
}

fn write_mistakes(err: &mut impl Write, mistakes: &Mistakes) -> io::Result<()> {
    mistakes.iter().try_for_each(|mistake| writeln!(err, "error: {mistake}"))
}

/// The configuration that this process was started with.
///
/// # Errors
/// There is no server to run. What there was to say or to do, with a tool, has been said and done; the status is for `main` to return.
pub fn from_process() -> Result<Loaded, ExitCode> {
    interpret(std::env::args_os(), std::env::vars_os(), Path::new(config::DEFAULT_FILE)).map_err(|exit| match exit {
        Exit::Tool(tool, data_dir) => tools::run(*tool, &data_dir),
        exit => {
            exit.print();
            ExitCode::from(exit.status())
        }
    })
}

/// The configuration for these `words` (the program's name first) and environment `variables`. `default_file` is read if the
/// words name no other, and may be missing.
///
/// # Errors
/// There is nothing to run, because of a mistake or because only an answer was asked for.
pub fn interpret(
    words: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    default_file: &Path,
) -> Result<Loaded, Exit> {
    let words = go_flags::with_double_dashes(&Arguments::command(), words);
    let arguments = Arguments::try_parse_from(words).map_err(Exit::Clap)?;

    let mut loader = Loader::new();
    match &arguments.config {
        Some(path) => loader.file(path),
        None => loader.file_if_present(default_file),
    }
    loader.variables(variables);
    if let Some(address) = &arguments.listen {
        loader.flag("--listen", "listen_addr", address);
    }
    if let Some(directory) = &arguments.data_dir {
        loader.flag("--data-dir", "data_dir", directory);
    }
    // A tool that is told its directory needs no configuration, and works also if that is what is wrong.
    if let Some(tool) = arguments.tool {
        let data_dir = match (tool.directory(), loader.finish()) {
            (Some(given), _) => given.to_owned(),
            (None, loaded) => loaded.map_err(Exit::Mistaken)?.config.data_dir,
        };
        return Err(Exit::Tool(Box::new(tool), data_dir));
    }
    let loaded = loader.finish().map_err(Exit::Mistaken)?;
    if arguments.check_config { Err(Exit::Checked(Box::new(loaded))) } else { Ok(loaded) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// What `line` leads to in an environment with only these variables, in a directory where `osprey.toml` is missing.
    fn interpreted(line: &str, variables: &[(&str, &str)]) -> Result<Loaded, Exit> {
        let words = line.split_whitespace().map(OsString::from);
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
        interpret(words, variables, Path::new("/nonexistent/osprey.toml"))
    }

    /// The exit status, and the first line of what is said.
    fn refused(line: &str) -> (u8, String) {
        let exit = interpreted(line, &[]).unwrap_err();
        let text = match &exit {
            Exit::Clap(answer) => answer.to_string(),
            Exit::Checked(loaded) => loaded.to_toml(),
            Exit::Mistaken(mistakes) => mistakes.to_string(),
            Exit::Tool(_, directory) => directory.display().to_string(),
        };
        (exit.status(), text.lines().next().unwrap().to_owned())
    }

    #[test]
    fn without_flags_the_defaults_are_in_force() {
        assert_eq!(interpreted("osprey", &[]).unwrap().config, config::Config::default());
    }

    #[test]
    fn the_configuration_file_may_be_named_as_in_go_or_as_in_posix() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "max_clients = 7\n").unwrap();
        let path = file.path().display();
        for line in [
            format!("osprey -config {path}"),
            format!("osprey --config {path}"),
            format!("osprey -config={path}"),
            format!("osprey --config={path}"),
        ] {
            assert_eq!(interpreted(&line, &[]).unwrap().config.max_clients, 7, "{line}");
        }
    }

    #[test]
    fn the_default_file_is_read_unless_another_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let (default, other) = (directory.path().join("osprey.toml"), directory.path().join("other.toml"));
        fs::write(&default, "max_clients = 1\nmax_args = 100\n").unwrap();
        fs::write(&other, "max_clients = 2\n").unwrap();
        let loaded = interpret(["osprey".into()], [], &default).unwrap();
        assert_eq!((loaded.config.max_clients, loaded.config.max_args), (1, 100));
        let loaded = interpret(["osprey".into(), "-config".into(), other.into()], [], &default).unwrap();
        assert_eq!((loaded.config.max_clients, loaded.config.max_args), (2, 4096));
    }

    #[test]
    fn flags_are_over_variables() {
        let variables = [("OSPREY_LISTEN_ADDR", "localhost:1"), ("OSPREY_DATA_DIR", "variable"), ("OSPREY_MAX_ARGS", "99")];
        let config = interpreted("osprey --listen :0 -data-dir flag", &variables).unwrap().config;
        assert_eq!((config.listen_addr.to_string().as_str(), config.data_dir.to_str(), config.max_args), (":0", Some("flag"), 99));
    }

    #[test]
    fn a_check_prints_what_is_in_force_and_ends() {
        let exit = interpreted("osprey -check-config --listen :0", &[("OSPREY_MAX_CLIENT", "1")]).unwrap_err();
        assert_eq!(exit.status(), 0);
        let Exit::Checked(loaded) = exit else { panic!("{exit:?}") };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        write_checked(&mut out, &mut err, &loaded).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.starts_with("# configuration ok\nlisten_addr = \":0\" # --listen\nmax_clients = 10000\n"), "{out}");
        let warning =
            "warning: environment variable OSPREY_MAX_CLIENT is ignored: there is no such option; did you mean OSPREY_MAX_CLIENTS?\n";
        assert_eq!(String::from_utf8(err).unwrap(), warning);
    }

    #[test]
    fn a_wrong_configuration_ends_with_status_2_checked_or_not() {
        let message = (2, "--data-dir: data_dir must be the path of a directory, not \"\"".to_owned());
        assert_eq!(refused("osprey --data-dir="), message);
        assert_eq!(refused("osprey --data-dir= --check-config"), message);
        let missing = (2, "/nonexistent/a.toml: can't be read: No such file or directory (os error 2)".to_owned());
        assert_eq!(refused("osprey -config /nonexistent/a.toml"), missing);
        let Exit::Mistaken(mistakes) = interpreted("osprey --listen 1 --data-dir=", &[]).unwrap_err() else { panic!() };
        let mut err = Vec::new();
        write_mistakes(&mut err, &mistakes).unwrap();
        let err = String::from_utf8(err).unwrap();
        assert!(err.lines().all(|line| line.starts_with("error: --")) && err.lines().count() == 2, "{err}");
    }

    #[test]
    fn wrong_usage_ends_with_status_2() {
        assert_eq!(refused("osprey --port 7070"), (2, "error: unexpected argument '--port' found".into()));
        assert_eq!(refused("osprey start"), (2, "error: unrecognized subcommand 'start'".into()));
        assert_eq!(refused("osprey -config"), (2, "error: a value is required for '--config <FILE>' but none was supplied".into()));
        assert_eq!(refused("osprey --listen :1 --listen :2").0, 2);
    }

    #[test]
    fn a_tool_works_on_the_data_directory_or_on_the_one_that_it_is_given() {
        assert_eq!(refused("osprey check"), (0, "./data".into()));
        assert_eq!(refused("osprey -data-dir configured check"), (0, "configured".into()));
        assert_eq!(refused("osprey --data-dir configured check given"), (0, "given".into()));
        assert_eq!(refused("osprey --listen nowhere check given"), (0, "given".into()));
        assert_eq!(refused("osprey --listen nowhere check").0, 2);
        assert_eq!(refused("osprey check --no-such-flag").0, 2);
    }

    #[test]
    fn help_and_version_are_answers() {
        assert_eq!(refused("osprey --version"), (0, format!("osprey {}", env!("CARGO_PKG_VERSION"))));
        assert_eq!(refused("osprey -version").0, 0);
        assert_eq!(refused("osprey -h"), (0, "A durable key-value server with a text protocol".into()));
        assert_eq!(refused("osprey -help").0, 0);
    }
}
