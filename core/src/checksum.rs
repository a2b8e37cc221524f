//! CRC-32C (Castagnoli), the checksum of everything that is written to storage.
//!
//! A host that has a faster implementation (SSE4.2, ARMv8) passes it to the engine as a [`Checksum`]; the default
//! is the `crc` crate's sixteen-byte table, which runs anywhere and costs 16 KiB of read-only data.

use crc::{CRC_32_ISCSI, Crc, Table};

/// Extends a CRC-32C: `checksum(checksum(0, a), b) == checksum(0, ab)`.
///
/// The polynomial, reflection and final XOR are those of iSCSI (RFC 3720, appendix B.4).
///
/// A faster one than the portable table, for an engine:
///
/// ```
/// use osprey_core::checksum::Checksum;
/// use osprey_core::engine::{DatabaseId, Entropy, Options};
///
/// // Arguments are in another order, so that a closure stands between.
/// let checksum: Checksum = |crc, bytes| crc32c::crc32c_append(crc, bytes);
/// assert_eq!(checksum(0, b"123456789"), 0xE306_9283);
///
/// let entropy = Entropy { hash_key: [1; 16], salt: 2, database: DatabaseId([3; 16]) };
/// let options = Options { checksum, ..Options::new(entropy) };
/// assert_eq!((options.checksum)(0, b""), 0);
/// ```
pub type Checksum = fn(crc: u32, bytes: &[u8]) -> u32;

static TABLE: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// The portable [`Checksum`].
///
/// ```
/// use osprey_core::checksum::crc32c;
/// assert_eq!(crc32c(0, b"123456789"), 0xE306_9283);
/// assert_eq!(crc32c(crc32c(0, b"1234"), b"56789"), crc32c(0, b"123456789"));
/// ```
#[must_use]
pub fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    // The crate takes a start value as the algorithm's specification writes it: before reflection and final XOR.
    let mut digest = TABLE.digest_with_initial((!crc).reverse_bits());
    digest.update(bytes);
    digest.finalize()
}
