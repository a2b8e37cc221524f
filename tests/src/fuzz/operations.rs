//! Lists of operations from a fuzzer's bytes.

use arbitrary::{Arbitrary, Result, Unstructured};

/// As many as the bytes hold. (The list that `arbitrary` makes by itself ends before each element with probability ½: a search would begin
/// with lists of one or two.)
pub(super) fn all<'a, T: Arbitrary<'a>>(input: &mut Unstructured<'a>) -> Result<Vec<T>> {
    let mut operations = Vec::new();
    while !input.is_empty() {
        operations.push(input.arbitrary()?);
    }
    Ok(operations)
}

/// A few.
pub(super) fn few<'a, T: Arbitrary<'a>>(input: &mut Unstructured<'a>) -> Result<Vec<T>> {
    (0..input.int_in_range(0..=4)?).map(|_| input.arbitrary()).collect()
}
