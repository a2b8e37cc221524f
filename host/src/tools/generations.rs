//! What a server would fall back on: the snapshots before the one that serves, each with the log behind it, and the log from its beginning if that is still there. A start doesn't look at them, and no data is
//! lost if they are damaged; but the next damage finds nothing behind it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use osprey_core::recovery::Recovered;
use osprey_core::snapshot::SnapshotError;
use osprey_core::storage::SnapshotName;
use osprey_core::store::Store;
use osprey_core::units::{Lsn, Millis};

use super::answer::count;
use super::directory::Files;
use crate::museum::planted;

/// Generations by what they are called, the newest first, and what is wrong with each. `wanted` is the [`digest`] of what serves.
pub(super) fn fallbacks(
    files: &Files,
    damaged: &[(SnapshotName, SnapshotError)],
    wanted: (u64, u64),
    recovered: &Recovered,
) -> Vec<(String, Option<String>)> {
    let Some((serving, _)) = recovered.report.snapshot.filter(|_| !planted("spare_unchecked")) else { return Vec::new() };
    let at = recovered.position.time;
    let whole = files.snapshots.iter().filter(|(name, _)| damaged.iter().all(|(other, _)| other != *name));
    let mut left: BTreeMap<_, _> = whole.map(|(name, path)| (*name, path.clone())).filter(|(name, _)| *name < serving).collect();
    let from_the_beginning = recovered.segments.first().is_some_and(|first| first.first_lsn == Lsn(1));
    let mut fallbacks = Vec::new();
    loop {
        let newest = left.last_key_value().map(|(name, _)| *name);
        if newest.is_none() && !from_the_beginning {
            return fallbacks;
        }
        let called = newest.map_or_else(|| "the log from its beginning".to_owned(), |name| format!("{name} and the log behind it"));
        let wrong = match Files::new(files.paths.clone(), left.clone()).load() {
            Err(error) => Some(error.to_string()),
            Ok((_, other)) if other.report.unusable.is_some() => other.report.unusable.map(|(_, error)| error.to_string()),
            Ok((other, _)) => {
                let found = digest(&other, at);
                (found != wanted).then(|| format!("{} there, {} by {serving}", count(found.0, "key"), count(wanted.0, "key")))
            }
        };
        fallbacks.push((called, wrong));
        if left.pop_last().is_none() {
            return fallbacks;
        }
    }
}

/// How many keys there are at this time, and a sum over all that is known of them, in whatever order they come.
pub(super) fn digest(store: &Store, at: Millis) -> (u64, u64) {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let (mut keys, mut sum) = (0, 0_u64);
    let mut cursor = Some(0);
    while let Some(position) = cursor {
        cursor = store.walk(position, |record| {
            if record.expiry.is_none_or(|expiry| expiry > at) {
                keys += 1;
                let expiry = record.expiry.map(|expiry| expiry.0);
                sum = sum.wrapping_add(hasher.hash_one((record.key, record.value, record.version.0, expiry)));
            }
        });
    }
    (keys, sum)
}
