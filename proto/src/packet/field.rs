//! From wire fields to our types: one helper per form of field, each naming the field it refuses.

use std::str::FromStr;

use bytes::Bytes;
use prost::Message;

use crate::defect::{Defect, PacketError};
use crate::ids::Digest;
use crate::time::Timestamp;

/// Decodes a message and demands that its bytes are exactly what encoding it again would give: fields in
/// ascending order, none unknown, none repeated that is single, no default written out.
pub(crate) fn decode<M: Message + Default>(bytes: &[u8], malformed: Defect) -> Result<M, PacketError> {
    let message = M::decode(bytes).map_err(|_| PacketError::from(malformed))?;
    if message.encode_to_vec() == bytes {
        Ok(message)
    } else {
        Err(Defect::NotCanonical.into())
    }
}

/// The message's own name for its type.
pub(crate) fn type_is(found: &str, expected: &'static str) -> Result<(), PacketError> {
    if found == expected {
        Ok(())
    } else {
        Err(PacketError::new(Defect::TypeWrong, "type"))
    }
}

/// A name or code: set, and of the right form.
pub(crate) fn name<T: FromStr>(text: &str, place: &'static str) -> Result<T, PacketError> {
    if text.is_empty() {
        return Err(PacketError::new(Defect::FieldMissing, place));
    }
    text.parse()
        .map_err(|_| PacketError::new(Defect::FieldInvalid, place))
}

/// Names or codes, at most `max` and none twice.
pub(crate) fn names<T: FromStr + PartialEq>(
    texts: &[String],
    max: usize,
    place: &'static str,
) -> Result<Vec<T>, PacketError> {
    if texts.len() > max {
        return Err(PacketError::new(Defect::FieldInvalid, place));
    }
    let mut parsed: Vec<T> = Vec::with_capacity(texts.len());
    for text in texts {
        let value = name(text, place)?;
        if parsed.contains(&value) {
            return Err(PacketError::new(Defect::FieldInvalid, place));
        }
        parsed.push(value);
    }
    Ok(parsed)
}

/// An identifier, digest or fingerprint: set, and of the right length.
pub(crate) fn id<'a, T: TryFrom<&'a [u8]>>(bytes: &'a [u8], place: &'static str) -> Result<T, PacketError> {
    if bytes.is_empty() {
        return Err(PacketError::new(Defect::FieldMissing, place));
    }
    T::try_from(bytes).map_err(|_| PacketError::new(Defect::FieldInvalid, place))
}

/// An identifier that may be left out (empty).
pub(crate) fn optional_id<'a, T: TryFrom<&'a [u8]>>(
    bytes: &'a [u8],
    place: &'static str,
) -> Result<Option<T>, PacketError> {
    if bytes.is_empty() {
        Ok(None)
    } else {
        id(bytes, place).map(Some)
    }
}

/// A list of digests, none twice.
pub(crate) fn digests(list: &[Bytes], place: &'static str) -> Result<Vec<Digest>, PacketError> {
    let digests: Result<Vec<Digest>, _> = list.iter().map(|bytes| id(bytes, place)).collect();
    let digests = digests?;
    let mut sorted = digests.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() == digests.len() {
        Ok(digests)
    } else {
        Err(PacketError::new(Defect::DigestRepeated, place))
    }
}

/// A moment that is set (not zero) and not before 1970.
pub(crate) fn moment(millis: i64, place: &'static str) -> Result<Timestamp, PacketError> {
    match millis {
        0 => Err(PacketError::new(Defect::FieldMissing, place)),
        1.. => Ok(Timestamp::from_millis(millis)),
        _ => Err(PacketError::new(Defect::TimesWrong, place)),
    }
}

/// Free text of a bounded length without control characters.
pub(crate) fn text_fits(text: &str, max_bytes: usize) -> bool {
    text.len() <= max_bytes && !text.chars().any(char::is_control)
}

/// An identifier as wire bytes.
pub(crate) fn bytes(from: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(from.as_ref())
}

/// An optional identifier as wire bytes: left out is empty.
pub(crate) fn optional_bytes<const N: usize>(from: Option<&[u8; N]>) -> Bytes {
    from.map(bytes).unwrap_or_default()
}
