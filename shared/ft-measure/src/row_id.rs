//! Which row a row is.

use ft_io::sha256_hex;

/// Hexadecimal digits of a row's id.
const DIGITS: usize = 16;

/// The id of a row with these `parts`: the first 16 digits of the SHA-256 of the parts' lengths and bytes. Two files hold
/// the same rows where their ids are the same.
pub(crate) fn row_id<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> String {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend((part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    let mut digits = sha256_hex(&bytes);
    digits.truncate(DIGITS);
    digits
}
