//! The log key's file: the signed note's signer form, mode 0600.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rand::RngCore;
use schakel_proto::tlog::checkpoint::LogSecret;
use zeroize::Zeroizing;

use crate::store::StoreError;
use crate::store::durable::write_durably;

/// Reads a log key file. Refused if others may read it.
pub fn load(path: &Path) -> Result<LogSecret, StoreError> {
    use std::os::unix::fs::MetadataExt;
    let on = StoreError::on("the log key");
    if std::fs::metadata(path).map_err(&on)?.mode() & 0o077 != 0 {
        return Err(StoreError::Unusable(
            "others may read the log key: give its file mode 0600".into(),
        ));
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(&on)?);
    LogSecret::from_text(&text).map_err(|_| {
        StoreError::Unusable("the log key file is not of the form PRIVATE+KEY+<origin>+<id>+<base64>".into())
    })
}

/// Makes a new log key for the log named `origin` and writes its file.
pub fn create(path: &Path, origin: &str, rng: &mut dyn RngCore) -> Result<LogSecret, StoreError> {
    let secret = LogSecret::generate(origin, rng)
        .map_err(|_| StoreError::Unusable("the log's origin must be printable ASCII without '+'".into()))?;
    write_durably(path, secret.to_text().as_bytes(), 0o600)?;
    Ok(secret)
}

/// The keys that checkpoints may be signed with: of the shard in force, and of the one that is to follow.
#[derive(Clone, Default)]
pub(crate) struct Keys(Arc<Mutex<Vec<Arc<LogSecret>>>>);

impl Keys {
    /// Takes one, in the place of a former one of the same name.
    pub(crate) fn add(&self, secret: LogSecret) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|one| one.public().origin() != secret.public().origin());
        keys.push(Arc::new(secret));
    }

    /// The one of this name.
    pub(crate) fn of(&self, origin: &str) -> Option<Arc<LogSecret>> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = keys.iter();
        keys.find(|one| one.public().origin() == origin).map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn is_written_privately_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.key");
        let made = create(&path, "rupel.example/log", &mut StdRng::seed_from_u64(1)).unwrap();
        assert_eq!(load(&path).unwrap().public(), made.public());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load(&path), Err(StoreError::Unusable(_))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "PRIVATE+KEY+rupel.example/log+00000000+AQ==").unwrap();
        assert!(matches!(load(&path), Err(StoreError::Unusable(_))));
    }
}
