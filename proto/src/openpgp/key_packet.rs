//! What a session-key packet (PKESK, RFC 9580 section 5.1) says about itself, read without opening it.

use super::{Fingerprint, Profile};
use crate::defect::Defect;

/// Algorithm numbers allowed: ECDH (v4 keys), X25519, ML-KEM-768+X25519.
const ALGORITHMS: [(Profile, &[u8]); 2] = [(Profile::V6, &[25, 35]), (Profile::V4, &[18, 25])];

/// Whose key a session-key packet is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyReference {
    /// Version 6 packets name the fingerprint.
    Fingerprint(Fingerprint),
    /// Version 3 packets name the key id: the last eight bytes of a v4 fingerprint.
    KeyId([u8; 8]),
}

impl KeyReference {
    /// Whether the reference is to this key.
    pub fn names(&self, key: &Fingerprint) -> bool {
        match self {
            Self::Fingerprint(named) => named == key,
            Self::KeyId(id) => key.as_bytes().len() == 20 && key.as_bytes().ends_with(id),
        }
    }
}

/// The readable head of a session-key packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPacketHead {
    reference: KeyReference,
}

impl KeyPacketHead {
    /// Reads it: exactly one packet in the new format with a definite length, of the profile's
    /// version and algorithms, naming its recipient.
    ///
    /// # Errors
    /// One of the `KeyPacket…` defects.
    pub fn parse(packet: &[u8], profile: Profile) -> Result<Self, Defect> {
        let body = body(packet).ok_or(Defect::KeyPacketMalformed)?;
        let (version, rest) = body.split_first().ok_or(Defect::KeyPacketMalformed)?;
        let (reference, rest) = match (profile, version) {
            (Profile::V6, 6) => reference_v6(rest)?,
            (Profile::V4, 3) => reference_v3(rest)?,
            _ => return Err(Defect::KeyPacketVersionWrong),
        };
        let algorithm = rest.first().ok_or(Defect::KeyPacketMalformed)?;
        let allowed = ALGORITHMS
            .iter()
            .any(|(p, numbers)| *p == profile && numbers.contains(algorithm));
        if allowed {
            Ok(Self { reference })
        } else {
            Err(Defect::KeyPacketAlgorithmRefused)
        }
    }

    /// Whose it is.
    pub fn reference(&self) -> &KeyReference {
        &self.reference
    }
}

/// The body of a packet of type 1 in the new format that fills `packet` exactly.
fn body(packet: &[u8]) -> Option<&[u8]> {
    let (tag, rest) = packet.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, body) = match first {
        0..192 => (usize::from(*first), rest),
        192..224 => {
            let (second, rest) = rest.split_first()?;
            (
                (usize::from(*first) - 192) * 256 + usize::from(*second) + 192,
                rest,
            )
        }
        // Four-byte lengths are not needed below the size limit; partial lengths are not allowed here.
        _ => return None,
    };
    (*tag == 0xC1 && length == body.len()).then_some(body)
}

fn reference_v6(body: &[u8]) -> Result<(KeyReference, &[u8]), Defect> {
    let (length, rest) = body.split_first().ok_or(Defect::KeyPacketMalformed)?;
    let (named, rest) = rest
        .split_at_checked(usize::from(*length))
        .ok_or(Defect::KeyPacketMalformed)?;
    match named.split_first() {
        None => Err(Defect::KeyPacketWildcard),
        Some((6, bytes)) if bytes.len() == 32 => {
            let fingerprint = Fingerprint::try_from(bytes).map_err(|_| Defect::KeyPacketMalformed)?;
            Ok((KeyReference::Fingerprint(fingerprint), rest))
        }
        Some((4, bytes)) if bytes.len() == 20 => Err(Defect::KeyPacketVersionWrong),
        Some(_) => Err(Defect::KeyPacketMalformed),
    }
}

fn reference_v3(body: &[u8]) -> Result<(KeyReference, &[u8]), Defect> {
    let (id, rest) = body.split_first_chunk::<8>().ok_or(Defect::KeyPacketMalformed)?;
    if id.iter().all(|b| *b == 0) {
        return Err(Defect::KeyPacketWildcard);
    }
    Ok((KeyReference::KeyId(*id), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v3(id: [u8; 8], algorithm: u8) -> Vec<u8> {
        let mut packet = vec![0xC1, 12, 3];
        packet.extend(id);
        packet.extend([algorithm, 0, 0]);
        packet
    }

    #[test]
    fn reads_a_v3_head_and_matches_by_key_id() {
        let head = KeyPacketHead::parse(&v3([7; 8], 18), Profile::V4).unwrap();
        let mut key = vec![1; 12];
        key.extend([7; 8]);
        assert!(
            head.reference()
                .names(&Fingerprint::try_from(key.as_slice()).unwrap())
        );
        assert!(
            !head
                .reference()
                .names(&Fingerprint::try_from([7; 32].as_slice()).unwrap())
        );
    }

    #[test]
    fn everything_else_has_its_defect() {
        let parse = KeyPacketHead::parse;
        assert_eq!(
            parse(&v3([0; 8], 18), Profile::V4),
            Err(Defect::KeyPacketWildcard)
        );
        assert_eq!(
            parse(&v3([7; 8], 1), Profile::V4),
            Err(Defect::KeyPacketAlgorithmRefused)
        );
        assert_eq!(
            parse(&v3([7; 8], 18), Profile::V6),
            Err(Defect::KeyPacketVersionWrong)
        );
        assert_eq!(
            parse(&[0xC1, 2, 6, 0], Profile::V6),
            Err(Defect::KeyPacketWildcard)
        );
        let mut longer = v3([7; 8], 18);
        longer.push(0);
        assert_eq!(parse(&longer, Profile::V4), Err(Defect::KeyPacketMalformed));
        for short in 0..3 {
            assert_eq!(
                parse(&v3([7; 8], 18)[..short], Profile::V4),
                Err(Defect::KeyPacketMalformed)
            );
        }
    }
}
