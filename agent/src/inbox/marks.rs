//! Marks: how a content that must not be sent on is known again, in a file of whatever name. A mark is a
//! digest under a key that stays on this machine: by itself it says nothing of the content.

use std::io::{self, Write};
use std::path::Path;

use rand::RngCore;
use schakel_proto::ids::{Digest, Sha256};
use schakel_proto::party::AgencyId;

use super::Inbox;
use super::record::Answer;
use crate::clock::randomness;
use crate::disk::{self, Disk};
use crate::obligations::not_onward;
use crate::problem::{Kind, Problem};

const KEY_FILE: &str = "marks.key";
const KEY_BYTES: usize = 32;

/// Makes marks.
pub(super) struct Marks([u8; KEY_BYTES]);

impl Marks {
    /// Reads the key, or makes it.
    pub(super) fn open(disk: &Disk, data_dir: &Path) -> Result<Self, Problem> {
        let path = data_dir.join(KEY_FILE);
        if let Some(bytes) = disk::read(&path, KEY_BYTES as u64)? {
            let key = <[u8; KEY_BYTES]>::try_from(&*bytes);
            return key
                .map(Self)
                .map_err(|_| Problem::damaged(&path, "the key has another length"));
        }
        let mut key = [0; KEY_BYTES];
        randomness().fill_bytes(&mut key);
        disk.write(&path, &key)?;
        Ok(Self(key))
    }

    /// The mark of a content, by its SHA-256.
    pub(super) fn of(&self, content: &Digest) -> Digest {
        Digest::of_all(&[&self.0, content.as_bytes()])
    }
}

/// Passes bytes on and takes their digest.
pub(super) struct Digesting<'a> {
    to: &'a mut dyn Write,
    hasher: Sha256,
}

impl<'a> Digesting<'a> {
    pub(super) fn new(to: &'a mut dyn Write) -> Self {
        Self {
            to,
            hasher: Sha256::default(),
        }
    }

    pub(super) fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

impl Write for Digesting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Inbox {
    /// Refuses to send on what was received under an obligation not to: nobody may have it but the agency that
    /// it came from. What was destroyed since is known again too.
    ///
    /// # Errors
    /// `ONWARD_SHARING`, with the part and the obligation.
    pub fn check_onward(&self, content: &Digest, to: &[AgencyId]) -> Result<(), Problem> {
        let mark = self.marks.of(content);
        for delivery in self.all().iter().filter(|d| d.answer == Answer::Received) {
            let part = delivery.parts.iter().find(|part| part.mark == Some(mark));
            let bound = part.and_then(|part| Some((part, not_onward(&part.obligations)?)));
            let Some((part, obligation)) = bound else {
                continue;
            };
            if let Some(other) = to.iter().find(|one| **one != delivery.sender) {
                let sentence = format!(
                    "{other} may not have this from us: it came from {} under the obligation {obligation}",
                    delivery.sender
                );
                let remedy = "Ask the agency it came from to send it; nothing was sealed.";
                let place = format!("{} of {}", part.part, delivery.packet);
                return Err(Problem::new(Kind::Refused, "ONWARD_SHARING", sentence, remedy).at(place));
            }
        }
        Ok(())
    }
}
