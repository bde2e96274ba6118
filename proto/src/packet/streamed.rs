//! Ciphertext that streams by: checked against its description without being held.

use super::descriptor::Sealing;
use crate::defect::{Defect, PacketError};
use crate::ids::Sha256;
use crate::openpgp::Profile;

/// Checks one sealing while it streams by: beginning, length and digest.
#[derive(Clone)]
pub struct SealingCheck {
    sealing: Sealing,
    head: Vec<u8>,
    seen: u64,
    hasher: Sha256,
}

/// Proof that a sealing's bytes are those that its descriptor commits to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedSealing {
    sealing: Sealing,
}

impl CheckedSealing {
    /// Which sealing.
    pub fn sealing(&self) -> &Sealing {
        &self.sealing
    }
}

/// Packet tag, longest length field, version.
const SEALING_HEAD_BYTES: usize = 7;

impl SealingCheck {
    /// Begins with a sealing's description.
    pub fn new(sealing: &Sealing) -> Self {
        Self {
            sealing: sealing.clone(),
            head: Vec::new(),
            seen: 0,
            hasher: Sha256::default(),
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// `SealingLengthDiffers` as soon as there are too many; `SealingNotEncryptedData`.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), PacketError> {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.seen = self.seen.saturating_add(count);
        if self.seen > self.sealing.length {
            return Err(self.wrong(Defect::SealingLengthDiffers));
        }
        if self.head.len() < SEALING_HEAD_BYTES {
            let missing = SEALING_HEAD_BYTES - self.head.len();
            self.head.extend(bytes.iter().take(missing));
            if self.head.len() == SEALING_HEAD_BYTES && !begins_as(&self.head, self.sealing.profile) {
                return Err(self.wrong(Defect::SealingNotEncryptedData));
            }
        }
        self.hasher.update(bytes);
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// `SealingLengthDiffers` when bytes are missing; `SealingDigestDiffers`.
    pub fn finish(self) -> Result<CheckedSealing, PacketError> {
        if self.seen != self.sealing.length {
            return Err(self.wrong(Defect::SealingLengthDiffers));
        }
        if self.hasher.clone().finish() != self.sealing.sha256 {
            return Err(self.wrong(Defect::SealingDigestDiffers));
        }
        Ok(CheckedSealing {
            sealing: self.sealing,
        })
    }

    /// Bytes taken so far.
    pub fn position(&self) -> u64 {
        self.seen
    }

    fn wrong(&self, defect: Defect) -> PacketError {
        PacketError::new(defect, self.sealing.part_id.to_string())
    }
}

/// An encrypted-data packet (type 18) in the new format, of the profile's version.
fn begins_as(head: &[u8], profile: Profile) -> bool {
    let version_at = match head {
        [0xD2, 0..=191 | 224..=254, ..] => 2,
        [0xD2, 192..=223, ..] => 3,
        [0xD2, 255, ..] => 6,
        _ => return false,
    };
    let version = match profile {
        Profile::V6 => 2,
        Profile::V4 => 1,
    };
    head.get(version_at) == Some(&version)
}
