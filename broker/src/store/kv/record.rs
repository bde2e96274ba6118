//! Every record carries a checksum over its key and its value, so that damage and misplaced records are
//! found on read. Values that would grow past the bound of the map are cut into pieces.

use schakel_proto::ids::Digest;

use super::super::error::StoreError;

/// Longest value in one record, in bytes; well below `limits::STORE_VALUE_MAX_BYTES` with its frame.
pub(crate) const PIECE_MAX_BYTES: usize = 60 * 1024;
const CHECK_BYTES: usize = 8;

/// The first 8 bytes of `SHA-256("schakel/row/v1" || u32 key length || key || value)`.
fn check(key: &[u8], value: &[u8]) -> [u8; CHECK_BYTES] {
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes();
    let digest = Digest::of_all(&[b"schakel/row/v1", &length, key, value]);
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    [a, b, c, d, e, f, g, h]
}

/// The record of a value under a key.
pub(crate) fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(CHECK_BYTES + value.len());
    record.extend_from_slice(&check(key, value));
    record.extend_from_slice(value);
    record
}

/// The value in a record, if it is undamaged and belongs to the key.
pub(crate) fn open(key: &[u8], record: &[u8]) -> Result<Vec<u8>, StoreError> {
    let damaged = || StoreError::Corrupt(place(key).into());
    let (found, value) = record.split_at_checked(CHECK_BYTES).ok_or_else(damaged)?;
    if found == check(key, value) {
        Ok(value.to_vec())
    } else {
        Err(damaged())
    }
}

/// Names a row without showing what it is about.
pub(crate) fn place(key: &[u8]) -> String {
    let table = key.first().map_or('?', |b| char::from(*b));
    format!(
        "row {} of table {table}",
        hex::encode(Digest::of(key).as_bytes().first_chunk::<6>().unwrap_or(&[0; 6]))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_and_any_other_key_is_found() {
        let record = seal(b"key", b"some value");
        assert_eq!(open(b"key", &record).unwrap(), b"some value");
        assert!(open(b"kez", &record).is_err());
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(open(b"key", &damaged), Err(StoreError::Corrupt(_))));
        }
        for length in 0..record.len() {
            assert!(open(b"key", &record[..length]).is_err());
        }
    }
}
