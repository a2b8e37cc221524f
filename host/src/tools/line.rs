//! Dumps as text: an entry a line, in JSON or CSV. Bytes that are no UTF-8 are base64, and said to be.
//!
//! ```text
//! {"osprey_dump":1,"floor":7,"keys":2}
//! {"key":"greeting","value":"hello","version":3}
//! {"key_base64":"/w==","value":"x","version":1,"expiry":1700000000000}
//! ```
//! In CSV the columns are `key,value,version,expiry,encoding`, the encoding (of key and value) being `utf-8`, `base64`, or `floor` for the row that gives the version floor, and as its value the number of keys.

use std::borrow::Cow;
use std::io::{self, BufRead, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use osprey_core::record::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use osprey_core::units::{Millis, Version};
use serde::{Deserialize, Serialize};

use crate::museum::planted;

/// The form of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// An object a line
    Jsonl,
    /// RFC 4180, with a header
    Csv,
}

impl Format {
    /// What a file has by its name, if nothing else is said.
    pub(super) fn of(path: &Path) -> Self {
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) { Self::Csv } else { Self::Jsonl }
    }
}

/// A key with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) version: Version,
    pub(super) expiry: Option<Millis>,
}

impl Entry {
    /// What speaks against it; `None` if a client could have set it.
    pub(super) fn fault(&self) -> Option<&'static str> {
        match self {
            Self { key, .. } if key.is_empty() => Some("a key that is empty"),
            Self { key, .. } if key.len() > KEY_BYTES_MAX => Some("a key over 65535 bytes"),
            Self { key, .. } if key.iter().any(|&byte| byte <= b' ' || byte == 0x7F) => Some("a key with spaces or control characters"),
            Self { value, .. } if value.len() > VALUE_BYTES_MAX => Some("a value over 1 GiB"),
            _ => None,
        }
    }
}

/// One line of a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// No new key gets a version up to `floor`; so many keys follow, if that is said.
    Head {
        floor: Version,
        keys: Option<u64>,
    },
    Entry(Entry),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    osprey_dump: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    floor: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Row<'a> {
    key: Cow<'a, str>,
    value: Cow<'a, str>,
    version: u64,
    expiry: Option<u64>,
    encoding: Cow<'a, str>,
}

/// Writes a dump.
pub(super) enum Writer<W: Write> {
    Jsonl(W),
    Csv(Box<csv::Writer<W>>),
}

impl<W: Write> Writer<W> {
    pub(super) fn new(format: Format, out: W) -> Self {
        match format {
            Format::Jsonl => Self::Jsonl(out),
            Format::Csv => Self::Csv(Box::new(csv::Writer::from_writer(out))),
        }
    }

    pub(super) fn line(&mut self, line: &Line) -> io::Result<()> {
        match self {
            Self::Jsonl(out) => {
                serde_json::to_writer(&mut *out, &json(line))?;
                out.write_all(b"\n")
            }
            Self::Csv(out) => out.serialize(row(line)).map_err(io::Error::from),
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Jsonl(out) => out.flush(),
            Self::Csv(out) => out.flush(),
        }
    }
}

fn json(line: &Line) -> Json<'_> {
    let Entry { key, value, version, expiry } = match line {
        Line::Head { floor, keys } => return Json { osprey_dump: Some(1), floor: Some(floor.0), keys: *keys, ..Json::default() },
        Line::Entry(entry) => entry,
    };
    let both = |bytes| match std::str::from_utf8(bytes) {
        Ok(text) => (Some(Cow::Borrowed(text)), None),
        Err(_) if planted("dumped_as_text") => (Some(String::from_utf8_lossy(bytes)), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    };
    let ((key, key_base64), (value, value_base64)) = (both(key), both(value));
    let (version, expiry) = (Some(version.0), expiry.map(|expiry| expiry.0));
    Json { key, key_base64, value, value_base64, version, expiry, ..Json::default() }
}

fn row(line: &Line) -> Row<'_> {
    let Entry { key, value, version, expiry } = match line {
        Line::Head { floor, keys } => {
            let value = keys.map_or_else(String::new, |keys| keys.to_string()).into();
            return Row { key: "".into(), value, version: floor.0, expiry: None, encoding: "floor".into() };
        }
        Line::Entry(entry) => entry,
    };
    let (key, value, encoding) = match (std::str::from_utf8(key), std::str::from_utf8(value)) {
        (Ok(key), Ok(value)) => (key.into(), value.into(), "utf-8"),
        _ => (STANDARD.encode(key).into(), STANDARD.encode(value).into(), "base64"),
    };
    Row { key, value, version: version.0, expiry: expiry.map(|expiry| expiry.0), encoding: encoding.into() }
}

/// Reads a dump and passes on each line with its number.
pub(super) fn read<E: From<String>>(
    format: Format,
    input: impl BufRead,
    mut each: impl FnMut(u64, Line) -> Result<(), E>,
) -> Result<(), E> {
    match format {
        Format::Jsonl => {
            for (at, text) in (1..).zip(input.lines()) {
                let text = text.map_err(|error| format!("line {at}: {error}"))?;
                if !text.trim().is_empty() {
                    let json = serde_json::from_str(&text).map_err(|error| format!("line {at}: {}", of_one_line(&error)))?;
                    each(at, of_json(json).map_err(|what| format!("line {at}: {what}"))?)?;
                }
            }
        }
        Format::Csv => {
            let mut reader = csv::Reader::from_reader(input);
            let header = reader.headers().map_err(|error| error.to_string())?;
            if !header.is_empty() && header != COLUMNS.as_slice() {
                return Err(format!("line 1: the columns must be {}", COLUMNS.join(",")).into());
            }
            for row in reader.into_records() {
                let row = row.map_err(|error| error.to_string())?;
                let at = row.position().map_or(0, csv::Position::line);
                let parsed = row.deserialize(Some(&COLUMNS.as_slice().into()));
                let line = parsed.map_err(|error| error.to_string()).and_then(|row| of_row(&row));
                each(at, line.map_err(|what| format!("line {at}: {what}"))?)?;
            }
        }
    }
    Ok(())
}

const COLUMNS: [&str; 5] = ["key", "value", "version", "expiry", "encoding"];

/// What is wrong with a line, which for its parser is the only one.
fn of_one_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.strip_suffix(&format!(" at line 1 column {}", error.column())).unwrap_or(&text);
    format!("{what}, at byte {}", error.column())
}

fn of_json(json: Json<'_>) -> Result<Line, String> {
    if json.osprey_dump.is_some_and(|format| format != 1) {
        return Err("a dump of another version of Osprey".to_owned());
    }
    let bytes = |name, text: Option<Cow<'_, str>>, base64: Option<String>| match (text, base64) {
        (Some(text), None) => Ok(text.into_owned().into_bytes()),
        (None, Some(base64)) => STANDARD.decode(base64).map_err(|error| format!("{name}_base64: {error}")),
        _ => Err(format!("one of {name} and {name}_base64 must be there")),
    };
    if let (Some(floor), None, None) = (json.floor, &json.key, &json.key_base64) {
        return Ok(Line::Head { floor: Version(floor), keys: json.keys });
    }
    Ok(Line::Entry(Entry {
        key: bytes("key", json.key, json.key_base64)?,
        value: bytes("value", json.value, json.value_base64)?,
        version: Version(json.version.unwrap_or(1)),
        expiry: json.expiry.map(Millis),
    }))
}

fn of_row(row: &Row<'_>) -> Result<Line, String> {
    let bytes = |text: &str| match &*row.encoding {
        "utf-8" => Ok(text.as_bytes().to_vec()),
        "base64" => STANDARD.decode(text).map_err(|error| error.to_string()),
        other => Err(format!("the encoding is utf-8, base64 or floor, not {other}")),
    };
    if row.encoding == "floor" {
        let keys = Some(&*row.value).filter(|value| !value.is_empty()).map(str::parse).transpose();
        return Ok(Line::Head { floor: Version(row.version), keys: keys.map_err(|error| format!("the number of keys: {error}"))? });
    }
    let (key, value) = (bytes(&row.key)?, bytes(&row.value)?);
    Ok(Line::Entry(Entry { key, value, version: Version(row.version), expiry: row.expiry.map(Millis) }))
}
