//! Where ciphertext goes while a packet is sealed.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::ids::PartId;
use crate::openpgp::Profile;

/// Where ciphertext goes: one stream per part and profile; both streams of a part are open at once.
pub trait SealSink {
    /// Opens the stream of a sealing.
    ///
    /// # Errors
    /// What the storage says; the sealing then fails with `WriteFailed`.
    fn open(&mut self, part: &PartId, profile: Profile) -> io::Result<Box<dyn Write + Send + Sync>>;
}

/// Ciphertexts by part and profile.
type Sealings = BTreeMap<(PartId, Profile), Vec<u8>>;

/// A sink in memory, for small packets and tests.
#[derive(Clone, Debug, Default)]
pub struct MemorySink(Arc<Mutex<Sealings>>);

impl MemorySink {
    /// The ciphertext of a sealing, if it was written.
    pub fn get(&self, part: &PartId, profile: Profile) -> Option<Vec<u8>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&(*part, profile))
            .cloned()
    }
}

struct MemoryStream(MemorySink, (PartId, Profile));

impl Write for MemoryStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut streams = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        streams.entry(self.1).or_default().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SealSink for MemorySink {
    fn open(&mut self, part: &PartId, profile: Profile) -> io::Result<Box<dyn Write + Send + Sync>> {
        Ok(Box::new(MemoryStream(self.clone(), (*part, profile))))
    }
}
