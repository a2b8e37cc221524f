//! Puts the layers of a configuration together.

use super::conflicts;
use super::given::Given;
use super::mistake::{Mistake, Mistakes, Origin, Problem, UnknownVariable};
use super::options::{self, Config, KEYS};
use super::source::Source;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use toml::de::{DeTable, DeValue};

const VARIABLE_PREFIX: &str = "OSPREY_";

/// The largest configuration file that is read, bytes. It keeps a mistyped path from being read into memory whole.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A configuration in which nothing is wrong.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The options.
    pub config: Config,
    /// Variables that were ignored.
    pub warnings: Vec<UnknownVariable>,
    /// By the order of `KEYS`.
    origins: Vec<Origin>,
}

impl Loaded {
    /// Where the value of the option `key` comes from; [`Origin::Default`] also if there is no such option.
    #[must_use]
    pub fn origin(&self, key: &str) -> &Origin {
        options::find(key).map_or(&Origin::Default, |index| &self.origins[index])
    }

    /// Every option as a TOML file, with the origin of what was set as a comment.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut lines = String::new();
        for (key, origin) in KEYS.iter().zip(&self.origins) {
            lines.push_str(&format!("{} = {}", key.name, (key.show)(&self.config)));
            if *origin != Origin::Default {
                // A comment is one line, whatever the name of the file is.
                let origin = origin.to_string().replace(char::is_control, "?");
                lines.push_str(&format!(" # {origin}"));
            }
            lines.push('\n');
        }
        lines
    }
}

/// Takes in one layer after the other, each over those before, and collects what is wrong.
#[derive(Debug)]
pub struct Loader {
    loaded: Loaded,
    mistakes: Vec<Mistake>,
}

impl Default for Loader {
    fn default() -> Self {
        Self::new()
    }
}

impl Loader {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        let loaded = Loaded { config: Config::default(), warnings: Vec::new(), origins: vec![Origin::Default; KEYS.len()] };
        Self { loaded, mistakes: Vec::new() }
    }

    /// A configuration file that must be there.
    pub fn file(&mut self, path: &Path) {
        match read(path) {
            Ok(bytes) => self.file_bytes(path, &bytes),
            Err(error) => self.file_mistake(path, Problem::Unreadable(error)),
        }
    }

    /// A configuration file that need not be there.
    pub fn file_if_present(&mut self, path: &Path) {
        match read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(bytes) => self.file_bytes(path, &bytes),
            Err(error) => self.file_mistake(path, Problem::Unreadable(error)),
        }
    }

    /// Of these environment variables, those that begin with `OSPREY_`.
    pub fn variables(&mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) {
        let mut ours: Vec<(String, OsString)> = variables
            .into_iter()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
            .filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
            .collect();
        // The environment has no order, messages should have one.
        ours.sort();
        for (name, value) in ours {
            self.variable(name, &value);
        }
    }

    /// A flag of the command line that sets the option `key`.
    pub fn flag(&mut self, name: &'static str, key: &str, value: &str) {
        self.set(Origin::Flag(name), key, &Given::Text(value));
    }

    /// The configuration.
    ///
    /// # Errors
    /// All that is wrong in the layers; if there is nothing, all that conflicts between options.
    pub fn finish(mut self) -> Result<Loaded, Mistakes> {
        if self.mistakes.is_empty() {
            self.mistakes = conflicts::find(&self.loaded);
        }
        if self.mistakes.is_empty() { Ok(self.loaded) } else { Err(Mistakes(self.mistakes)) }
    }

    fn file_bytes(&mut self, path: &Path, bytes: &[u8]) {
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return self.file_mistake(path, Problem::TooLarge(FILE_BYTES_MAX));
        }
        match str::from_utf8(bytes) {
            Ok(text) => self.file_text(&Source { path, text }),
            Err(error) => {
                let text = str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
                let origin = Source { path, text }.origin(text.len());
                self.mistakes.push(Mistake { origin, problem: Problem::NotUtf8 });
            }
        }
    }

    fn file_text(&mut self, source: &Source<'_>) {
        let (table, errors) = DeTable::parse_recoverable(source.text);
        if !errors.is_empty() {
            // What was understood of a file with wrong syntax says little of what was meant.
            self.mistakes.extend(source.syntax_mistakes(&errors));
            return;
        }
        let mut entries: Vec<_> = table.get_ref().iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let is_known = options::find(key.get_ref()).is_some();
            let place = if is_known { value.span() } else { key.span() };
            self.set(source.origin(place.start), key.get_ref(), &Given::Toml(value.get_ref()));
        }
    }

    fn file_mistake(&mut self, path: &Path, problem: Problem) {
        self.mistakes.push(Mistake { origin: Origin::File { path: path.into(), line: 0, column: 0 }, problem });
    }

    fn variable(&mut self, name: String, value: &OsString) {
        let key = &name[VARIABLE_PREFIX.len()..];
        let Some(option) = KEYS.iter().find(|option| option.name.to_uppercase() == key) else {
            let nearest = options::nearest(key).map(|key| format!("{VARIABLE_PREFIX}{}", key.to_uppercase()));
            return self.loaded.warnings.push(UnknownVariable { name, nearest });
        };
        match value.to_str() {
            Some(text) => self.set(Origin::Variable(name), option.name, &Given::Text(text)),
            None => {
                let problem = Problem::Impossible { key: option.name, expected: "UTF-8 text".into(), found: format!("{value:?}") };
                self.mistakes.push(Mistake { origin: Origin::Variable(name), problem });
            }
        }
    }

    fn set(&mut self, origin: Origin, key: &str, given: &Given<'_>) {
        let problem = match options::find(key) {
            None => {
                let section = matches!(given, Given::Toml(DeValue::Table(_)));
                Problem::UnknownKey { key: key.into(), nearest: options::nearest(key), section }
            }
            Some(index) => match (KEYS[index].set)(&mut self.loaded.config, given) {
                Ok(()) => {
                    self.loaded.origins[index] = origin;
                    return;
                }
                Err(expected) => Problem::Impossible { key: KEYS[index].name, expected, found: given.to_string() },
            },
        };
        self.mistakes.push(Mistake { origin, problem });
    }
}

/// The file's bytes, at most one more than are allowed.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
