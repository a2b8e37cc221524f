//! The kinds of options: how each is read, what it says it expects, how it is printed.

use super::address::Address;
use super::given::Given;
use super::options::SyncPolicy;
use log::LevelFilter;
use std::fmt::Display;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

pub(super) trait Kind {
    type Value;

    /// The value, if it is possible.
    fn read(&self, given: &Given<'_>) -> Option<Self::Value>;

    /// What is possible; completes the sentence "the option must be …".
    fn expected(&self) -> String;

    /// The value as TOML.
    fn show(&self, value: &Self::Value) -> String;
}

fn quoted(text: impl Into<String>) -> String {
    toml::Value::String(text.into()).to_string()
}

/// A whole number within `range`.
pub(super) fn whole<T: TryFrom<u64> + Display>(range: RangeInclusive<u64>) -> impl Kind<Value = T> {
    Whole { range, value: PhantomData }
}

struct Whole<T> {
    range: RangeInclusive<u64>,
    value: PhantomData<T>,
}

impl<T: TryFrom<u64> + Display> Kind for Whole<T> {
    type Value = T;

    fn read(&self, given: &Given<'_>) -> Option<T> {
        let number = given.whole_number().filter(|number| self.range.contains(number))?;
        T::try_from(number).ok()
    }

    fn expected(&self) -> String {
        format!("a whole number from {} to {}", self.range.start(), self.range.end())
    }

    fn show(&self, value: &T) -> String {
        value.to_string()
    }
}

/// A whole number within `range`, or 0, which stands for no value and means `meaning`.
pub(super) fn whole_or_zero(meaning: &'static str, range: RangeInclusive<u64>) -> impl Kind<Value = Option<u64>> {
    WholeOrZero { meaning, range }
}

struct WholeOrZero {
    meaning: &'static str,
    range: RangeInclusive<u64>,
}

impl Kind for WholeOrZero {
    type Value = Option<u64>;

    fn read(&self, given: &Given<'_>) -> Option<Option<u64>> {
        match given.whole_number()? {
            0 => Some(None),
            number => self.range.contains(&number).then_some(Some(number)),
        }
    }

    fn expected(&self) -> String {
        format!("0 ({}) or a whole number from {} to {}", self.meaning, self.range.start(), self.range.end())
    }

    fn show(&self, value: &Option<u64>) -> String {
        value.unwrap_or(0).to_string()
    }
}

/// `true` or `false`.
pub(super) fn flag() -> impl Kind<Value = bool> {
    Flag
}

struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn read(&self, given: &Given<'_>) -> Option<bool> {
        given.flag()
    }

    fn expected(&self) -> String {
        "true or false".into()
    }

    fn show(&self, value: &bool) -> String {
        value.to_string()
    }
}

/// One of a few words, in either case.
struct Choice<T: 'static>(&'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Kind for Choice<T> {
    type Value = T;

    fn read(&self, given: &Given<'_>) -> Option<T> {
        let word = given.text()?;
        self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|&(_, value)| value)
    }

    fn expected(&self) -> String {
        let names: Vec<String> = self.0.iter().map(|(name, _)| quoted(*name)).collect();
        format!("one of {}", names.join(", "))
    }

    fn show(&self, value: &T) -> String {
        // The first name: those behind it for the same value are synonyms.
        self.0.iter().find(|(_, named)| named == value).map_or_else(String::new, |(name, _)| quoted(*name))
    }
}

pub(super) fn sync_policy() -> impl Kind<Value = SyncPolicy> {
    Choice(&[("os", SyncPolicy::Os), ("batch", SyncPolicy::Batch), ("always", SyncPolicy::Always)])
}

pub(super) fn log_level() -> impl Kind<Value = LevelFilter> {
    Choice(&[
        ("OFF", LevelFilter::Off),
        ("ERROR", LevelFilter::Error),
        ("WARN", LevelFilter::Warn),
        ("WARNING", LevelFilter::Warn),
        ("INFO", LevelFilter::Info),
        ("DEBUG", LevelFilter::Debug),
        ("TRACE", LevelFilter::Trace),
    ])
}

pub(super) fn address() -> impl Kind<Value = Address> {
    HostPort
}

struct HostPort;

impl Kind for HostPort {
    type Value = Address;

    fn read(&self, given: &Given<'_>) -> Option<Address> {
        given.text()?.parse().ok()
    }

    fn expected(&self) -> String {
        super::address::EXPECTED.into()
    }

    fn show(&self, value: &Address) -> String {
        quoted(value.to_string())
    }
}

/// The path of a directory.
pub(super) fn directory() -> impl Kind<Value = PathBuf> {
    FilePath { expected: "the path of a directory" }
}

struct FilePath {
    expected: &'static str,
}

impl Kind for FilePath {
    type Value = PathBuf;

    fn read(&self, given: &Given<'_>) -> Option<PathBuf> {
        // No system has a file whose name holds a NUL: every later use would fail.
        given.text().filter(|path| !path.is_empty() && !path.contains('\0')).map(PathBuf::from)
    }

    fn expected(&self) -> String {
        self.expected.into()
    }

    fn show(&self, value: &PathBuf) -> String {
        quoted(Path::to_string_lossy(value))
    }
}

/// An empty text stands for no value.
struct OrEmpty<K> {
    meaning: &'static str,
    kind: K,
}

impl<K: Kind> Kind for OrEmpty<K> {
    type Value = Option<K::Value>;

    fn read(&self, given: &Given<'_>) -> Option<Self::Value> {
        if given.text()?.is_empty() { Some(None) } else { self.kind.read(given).map(Some) }
    }

    fn expected(&self) -> String {
        format!("{}, or \"\" ({})", self.kind.expected(), self.meaning)
    }

    fn show(&self, value: &Self::Value) -> String {
        value.as_ref().map_or_else(|| quoted(""), |value| self.kind.show(value))
    }
}

pub(super) fn optional_address() -> impl Kind<Value = Option<Address>> {
    OrEmpty { meaning: "none", kind: HostPort }
}

pub(super) fn optional_file() -> impl Kind<Value = Option<PathBuf>> {
    OrEmpty { meaning: "standard error", kind: FilePath { expected: "the path of a file" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_held_to_its_bounds_and_type() {
        let kind = whole::<usize>(1..=10);
        assert_eq!(kind.read(&Given::Text("1")), Some(1));
        assert_eq!(kind.read(&Given::Text("10")), Some(10));
        assert_eq!(kind.read(&Given::Text("0")), None);
        assert_eq!(kind.read(&Given::Text("11")), None);
        assert_eq!(whole::<u8>(0..=1_000).read(&Given::Text("256")), None);
    }

    #[test]
    fn zero_is_apart_from_the_bounds() {
        let kind = whole_or_zero("no limit", 100..=200);
        assert_eq!(kind.read(&Given::Text("0")), Some(None));
        assert_eq!(kind.read(&Given::Text("1")), None);
        assert_eq!(kind.read(&Given::Text("100")), Some(Some(100)));
        assert_eq!(kind.show(&None), "0");
    }

    #[test]
    fn a_choice_is_read_in_either_case_and_printed_by_its_first_name() {
        for (word, level, shown) in [
            ("info", LevelFilter::Info, "INFO"),
            ("Warning", LevelFilter::Warn, "WARN"),
            ("TRACE", LevelFilter::Trace, "TRACE"),
            ("off", LevelFilter::Off, "OFF"),
            ("Error", LevelFilter::Error, "ERROR"),
            ("debug", LevelFilter::Debug, "DEBUG"),
        ] {
            assert_eq!(log_level().read(&Given::Text(word)), Some(level));
            assert_eq!(log_level().show(&level), format!("{shown:?}"));
        }
        assert_eq!(log_level().read(&Given::Text("verbose")), None);
        assert_eq!(sync_policy().read(&Given::Text("Always")), Some(SyncPolicy::Always));
    }

    #[test]
    fn a_path_needs_to_be_one() {
        assert_eq!(directory().read(&Given::Text("/var/lib/osprey")), Some("/var/lib/osprey".into()));
        assert_eq!(directory().read(&Given::Text("")), None);
        assert_eq!(directory().read(&Given::Text("a\0b")), None);
        assert_eq!(optional_file().read(&Given::Text("")), Some(None));
        assert_eq!(optional_file().read(&Given::Text("a\0b")), None);
        assert_eq!(directory().show(&PathBuf::from("C:\\a \"b\"")), r#"'C:\a "b"'"#);
    }
}
