//! What clients ask for: requests that follow from a step's choices and from what the model knows, so that conditions hold often enough.

use osprey_core::checksum::crc32c;

use super::digits::put_signed;
use super::keys::{self, Key};
use super::model::Model;
use super::request::{Command, Expiry, Presence};
use super::settings::Settings;
use super::tape::Choices;

/// The next request of a connection.
pub fn command(choices: &mut Choices, settings: &Settings, model: &Model, now: u64) -> Command {
    let pick = choices.byte();
    let key = key(choices, settings);
    match pick {
        0..=69 if settings.crowded => many(choices, settings),
        0..=89 => set(choices, settings, model, key, now),
        90..=109 => Command::Get(key),
        110..=121 => Command::Add { key, delta: delta(choices), negated: choices.one_in(3) },
        122..=137 if settings.crowded => Command::Get(key),
        122..=137 => Command::Del { key, version: version(choices, model, key, now) },
        138..=151 => {
            let ms = [50, 1, 5, 300, 3000, 0, -7, i64::MAX][choices.below(8)];
            Command::Expire { key, ms, version: version(choices, model, key, now) }
        }
        152..=157 => Command::Persist(key),
        158..=165 => Command::Ttl(key),
        166..=171 => Command::Exists(key),
        172..=183 => many(choices, settings),
        184..=195 => {
            let count = 1 + choices.below(settings.options.limits.request.words_max - 1);
            Command::Mget((0..count).map(|at| if at == 0 { key } else { self::key(choices, settings) }).collect())
        }
        196..=227 => {
            let count = [10, 1, 30, 300, 20_000][choices.below(5)];
            let prefix = Some(choices.below(8)).filter(|&prefix| prefix < keys::PREFIXES.len());
            let anywhere = choices.one_in(8);
            let cursor = if anywhere { choices.word() >> choices.below(64) } else { 0 };
            Command::Scan { cursor, count, prefix, walk: !anywhere }
        }
        231..=233 if settings.options.snapshots.is_some() => Command::Snapshot,
        228..=233 => Command::Stats,
        234..=239 => Command::Ping,
        240..=242 => Command::Blank,
        243..=254 => malformed(choices, settings, key),
        255 => Command::Quit,
    }
}

fn key(choices: &mut Choices, settings: &Settings) -> Key {
    Key::try_from(choices.below(settings.keys)).unwrap_or(0)
}

fn many(choices: &mut Choices, settings: &Settings) -> Command {
    let limits = &settings.options.limits.request;
    let count = 1 + choices.below(limits.words_max / 2 - 1);
    let value_max = limits.value_bytes_max / count;
    Command::Mset(
        (0..count)
            .map(|_| {
                let key = key(choices, settings);
                let mut value = value(choices, if settings.crowded { 6 } else { value_max }, false);
                value.truncate(value_max);
                (key, value)
            })
            .collect(),
    )
}

fn set(choices: &mut Choices, settings: &Settings, model: &Model, key: Key, now: u64) -> Command {
    let options = choices.byte();
    let expiry = match options & 7 {
        0..=3 => Expiry::Clear,
        4 | 5 => Expiry::In([20, 1, 150, 900, 4000, 100_000, 1 << 40, i64::MAX.unsigned_abs()][choices.below(8)]),
        6 => Expiry::At(match choices.below(4) {
            0 => now + 30,
            1 => now.max(1),
            2 => now.saturating_sub(10).max(1),
            _ => i64::MAX.unsigned_abs(),
        }),
        _ => Expiry::Keep,
    };
    let presence = match options >> 3 & 7 {
        0..=5 => Presence::Any,
        6 => Presence::Absent,
        _ => Presence::Present,
    };
    let version = if options >> 6 == 3 { version(choices, model, key, now) } else { None };
    Command::Set { key, value: value(choices, settings.options.limits.request.value_bytes_max, settings.long), expiry, presence, version }
}

/// Which version a condition names: none, the right one, or another.
fn version(choices: &mut Choices, model: &Model, key: Key, now: u64) -> Option<u64> {
    let current = model.version(key, now);
    match choices.below(8) {
        0..=3 => None,
        4 | 5 => Some(current),
        6 => Some([0, current + 1, u64::MAX][choices.below(3)]),
        _ => Some(current.saturating_sub(1)),
    }
}

fn delta(choices: &mut Choices) -> i64 {
    match choices.below(8) {
        0..=4 => 1,
        5 => -3,
        6 => i64::MAX,
        _ => i64::MIN,
    }
}

fn value(choices: &mut Choices, max: usize, long: bool) -> Vec<u8> {
    let mut value = Vec::new();
    if long && choices.one_in(2) {
        let len = max / 4 + choices.below(max / 2);
        fill(&mut value, len, choices);
        return value;
    }
    match choices.byte() {
        0..=60 => value.extend_from_slice(b"v"),
        61..=110 => put_signed(&mut value, i64::from(choices.byte()) - 128),
        111..=120 => value.extend_from_slice([&b"007"[..], b"+1", b"-0", b"-", b"9223372036854775808", b"1 "][choices.below(6)]),
        121..=130 => {}
        131..=137 => forge(&mut value, choices),
        138..=140 => value.resize(max, b'x'),
        141..=148 => value.extend_from_slice(b"\r\nDEL a0\r\nQUIT\r\n"),
        149..=240 => {
            let len = choices.below(100);
            fill(&mut value, len, choices);
        }
        _ => {
            let len = choices.below(max + 1);
            fill(&mut value, len, choices);
        }
    }
    value.truncate(max);
    value
}

fn fill(value: &mut Vec<u8>, len: usize, choices: &mut Choices) {
    while value.len() < len {
        value.extend_from_slice(&choices.word().to_le_bytes());
    }
    value.truncate(len);
}

/// What would pass for a frame that claims everything to be durable, if checksums had no salt.
fn forge(value: &mut Vec<u8>, choices: &mut Choices) {
    value.resize(choices.below(8), b' ');
    let begin = value.len();
    value.extend_from_slice(b"OSF1\x01\0\0\0\0\0\0\0\0\0\0\0");
    value.extend_from_slice(&1_u64.to_le_bytes());
    value.extend_from_slice(&(1_u64 << 40).to_le_bytes());
    value.resize(begin + 56, 0);
    let checksum = crc32c(0, &value[begin..begin + 56]);
    value.extend_from_slice(&checksum.to_le_bytes());
    value.extend_from_slice(&[0; 4]);
}

fn malformed(choices: &mut Choices, settings: &Settings, key: Key) -> Command {
    let limits = &settings.options.limits.request;
    let name = String::from_utf8_lossy(keys::name(key));
    let (text, code, closes) = match choices.below(12) {
        0 => (format!("GETT {name}"), "BADREQ", false),
        1 => ("GET".to_owned(), "BADREQ", false),
        2 => (format!("SET {name} {}\r\n{}", limits.value_bytes_max + 1, "y".repeat(limits.value_bytes_max + 1)), "TOOLARGE", false),
        3 => (format!("SET {name} 3\r\nDEL {name}"), "BADREQ", false),
        4 => (format!("SET {name} 4 NX XX\r\nQUIT"), "BADREQ", false),
        5 => (format!("GET {}", "k".repeat(KEY_TOO_LONG)), "TOOLARGE", false),
        6 => (format!("INCR {name} 01"), "BADREQ", false),
        7 => (format!("MGET {}", "k ".repeat(limits.words_max)), "TOOLARGE", false),
        8 => (format!("GET {}", "k".repeat(limits.line_bytes_max + 9)), "TOOLARGE", false),
        9 => (format!("SCAN {name}"), "BADREQ", false),
        10 => (format!("SET {name} 3 EX 0\r\nabc"), "BADREQ", false),
        _ => (format!("SET {name} x\r\nDEL {name}"), "BADREQ", true),
    };
    Command::Malformed { bytes: text.into_bytes(), code, closes }
}

const KEY_TOO_LONG: usize = keys::KEY_BYTES_MAX + 1;
