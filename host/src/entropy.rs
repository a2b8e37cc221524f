//! Random numbers of the system.

use osprey_core::engine::Entropy;
use osprey_core::wal::segment::DatabaseId;

/// What an engine needs for one run.
pub(crate) fn entropy() -> Result<Entropy, getrandom::Error> {
    let mut bytes = [0_u8; 40];
    getrandom::fill(&mut bytes)?;
    let (hash_key, rest) = bytes.split_at(16);
    let (database, salt) = rest.split_at(16);
    let array = |half: &[u8]| <[u8; 16]>::try_from(half).unwrap_or_default();
    Ok(Entropy {
        hash_key: array(hash_key),
        database: DatabaseId(array(database)),
        salt: u64::from_le_bytes(<[u8; 8]>::try_from(salt).unwrap_or_default()),
    })
}
