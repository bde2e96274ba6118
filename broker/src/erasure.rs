//! Erasure keys: one secret per case (and one for entries of no case) that salts its log leaves, kept as
//! synced files of mode 0600 in a folder **outside the store and outside its backups**. Destroying a
//! case's key takes the meaning from its leaves; the tree stays valid. In its place stays a note that the case is
//! erased, so that no other key is ever made for it.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rand::RngCore;
use schakel_proto::evidence::ErasureKey;
use schakel_proto::ids::CaseRef;
use schakel_proto::time::Timestamp;
use zeroize::Zeroizing;

use crate::store::StoreError;
use crate::store::durable::{sync_folder, write_durably};

/// What a key's file name ends with.
const KEY: &str = "key";
/// What the name of the note ends with that a case is erased.
const ERASED: &str = "erased";

/// Most keys kept in memory; the rest is read again when needed.
const CACHE_MAX_COUNT: usize = 4_096;

struct Inner {
    folder: PathBuf,
    cache: Mutex<HashMap<Option<CaseRef>, ErasureKey>>,
}

/// The folder of erasure keys. Cheap to clone.
#[derive(Clone)]
pub struct ErasureKeys(Arc<Inner>);

impl std::fmt::Debug for ErasureKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ErasureKeys")
    }
}

impl ErasureKeys {
    /// Opens the folder, making it (mode 0700) if it is missing. Refused if others may enter it.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        use std::os::unix::fs::{DirBuilderExt, MetadataExt};
        let on = StoreError::on("the folder of erasure keys");
        if !folder.exists() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(&on)?;
            if let Some(parent) = folder.parent().filter(|p| !p.as_os_str().is_empty()) {
                sync_folder(parent)?;
            }
        }
        if std::fs::metadata(folder).map_err(&on)?.mode() & 0o077 != 0 {
            return Err(StoreError::Unusable(
                "others may enter the folder of erasure keys: give it mode 0700 (chmod 700) and its files 0600"
                    .into(),
            ));
        }
        finish(folder)?;
        Ok(Self(Arc::new(Inner {
            folder: folder.to_owned(),
            cache: Mutex::default(),
        })))
    }

    /// The key of a case, or that of no case; made, and durable, if there is none yet.
    ///
    /// # Errors
    /// [`StoreError::Erased`]: there was one, and there will be none again. Or a file cannot be read or written.
    pub async fn obtain(
        &self,
        case: Option<CaseRef>,
        rng: &mut (dyn RngCore + Send),
    ) -> Result<ErasureKey, StoreError> {
        if let Some(key) = self.0.cached(case)? {
            return Ok(key);
        }
        let fresh = ErasureKey::random(rng);
        let inner = Arc::clone(&self.0);
        blocking(move || inner.load(case, Some(fresh)))
            .await?
            .ok_or(StoreError::Erased)
    }

    /// The key of a case, or that of no case; `None`: never made, or erased.
    pub async fn existing(&self, case: Option<CaseRef>) -> Result<Option<ErasureKey>, StoreError> {
        if let Some(key) = self.0.cached(case)? {
            return Ok(Some(key));
        }
        let inner = Arc::clone(&self.0);
        blocking(move || inner.load(case, None)).await
    }

    /// Destroys the key of a case for good. First the note that the case is erased is durable, then the key goes, from
    /// the folder and from memory: broken off anywhere, the next start ends it. Again, it changes nothing.
    ///
    /// # Errors
    /// The note cannot be written, then the key is still there; or the key's file cannot be removed.
    pub async fn destroy(&self, case: CaseRef) -> Result<(), StoreError> {
        let inner = Arc::clone(&self.0);
        blocking(move || inner.destroy(case)).await
    }

    /// Whether the key of a case was destroyed.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn is_erased(&self, case: CaseRef) -> Result<bool, StoreError> {
        self.0.is_erased(Some(case))
    }

    /// When the key of a case was destroyed, by the file system's clock; none: it was not.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn erased_at(&self, case: CaseRef) -> Result<Option<Timestamp>, StoreError> {
        let on = StoreError::on("the folder of erasure keys");
        match std::fs::metadata(self.0.path(Some(case), ERASED)).and_then(|note| note.modified()) {
            Ok(at) => Ok(Some(Timestamp::from_system_time(at))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(on(e)),
        }
    }

    /// Whether the key of a case, or that of no case, is there; it is not read.
    pub fn is_there(&self, case: Option<CaseRef>) -> bool {
        self.0.is_erased(case).is_ok_and(|erased| !erased) && self.0.path(case, KEY).exists()
    }
}

/// Removes keys whose case is erased: what a crash left of them, or somebody restored from a copy.
fn finish(folder: &Path) -> Result<(), StoreError> {
    let on = StoreError::on("the folder of erasure keys");
    let mut removed = 0_u64;
    for entry in std::fs::read_dir(folder).map_err(&on)? {
        let path = entry.map_err(&on)?.path();
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        // Of a case, and never of no case: that key is never destroyed.
        let of_case = name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if of_case && path.extension().is_some_and(|end| end == ERASED) {
            removed += u64::from(remove(&path.with_extension(KEY))?);
        }
    }
    if removed > 0 {
        sync_folder(folder)?;
        tracing::warn!(removed, "keys of erased cases were still there, and are removed");
    }
    Ok(())
}

/// Removes a file; whether there was one.
fn remove(path: &Path) -> Result<bool, StoreError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(StoreError::io("an erasure key", e)),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| StoreError::Misused("erasure key"))?
}

impl Inner {
    fn path(&self, case: Option<CaseRef>, end: &str) -> PathBuf {
        let name = case.map_or_else(|| "no-case".to_owned(), |c| hex::encode(c.as_bytes()));
        self.folder.join(format!("{name}.{end}"))
    }

    /// Looked up in the folder each time: whoever holds the key in memory must not go on with it.
    fn is_erased(&self, case: Option<CaseRef>) -> Result<bool, StoreError> {
        let on = StoreError::on("the folder of erasure keys");
        case.map_or(Ok(false), |_| self.path(case, ERASED).try_exists().map_err(on))
    }

    fn cached(&self, case: Option<CaseRef>) -> Result<Option<ErasureKey>, StoreError> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_erased(case)? {
            cache.remove(&case);
        }
        Ok(cache.get(&case).cloned())
    }

    /// Under the lock of the cache, so that no key is made or read meanwhile.
    fn destroy(&self, case: CaseRef) -> Result<(), StoreError> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_erased(Some(case))? {
            write_durably(&self.path(Some(case), ERASED), &[], 0o600)?;
        }
        cache.remove(&Some(case));
        remove(&self.path(Some(case), KEY))?;
        sync_folder(&self.folder)
    }

    /// Under the lock of the cache, so that two callers never make two keys for one case.
    fn load(
        &self,
        case: Option<CaseRef>,
        fresh: Option<ErasureKey>,
    ) -> Result<Option<ErasureKey>, StoreError> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_erased(case)? {
            return Ok(None);
        }
        if let Some(key) = cache.get(&case) {
            return Ok(Some(key.clone()));
        }
        let path = self.path(case, KEY);
        let key = match (read_key(&path)?, fresh) {
            (Some(key), _) => key,
            (None, None) => return Ok(None),
            (None, Some(fresh)) => {
                write_durably(&path, fresh.as_bytes(), 0o600)?;
                fresh
            }
        };
        if cache.len() >= CACHE_MAX_COUNT {
            cache.clear();
        }
        cache.insert(case, key.clone());
        Ok(Some(key))
    }
}

fn read_key(path: &Path) -> Result<Option<ErasureKey>, StoreError> {
    use std::os::unix::fs::MetadataExt;
    let on = StoreError::on("an erasure key");
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(on(e)),
    };
    if file.metadata().map_err(&on)?.mode() & 0o077 != 0 {
        return Err(StoreError::Unusable(
            "others may read an erasure key: give the files mode 0600".into(),
        ));
    }
    let mut bytes = Zeroizing::new([0; 32]);
    let whole = file
        .read_exact(bytes.as_mut_slice())
        .and_then(|()| file.read(&mut [0]));
    if matches!(whole, Ok(0)) {
        return Ok(Some(ErasureKey::from_bytes(bytes)));
    }
    Err(StoreError::Unusable(
        "an erasure key is not 32 bytes long: restore it, its case's evidence needs it".into(),
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[tokio::test]
    async fn a_key_is_made_once_kept_private_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("erasure");
        let mut rng = StdRng::seed_from_u64(1);
        let case = CaseRef::random(&mut rng);
        let keys = ErasureKeys::open(&folder).unwrap();
        assert!(keys.existing(Some(case)).await.unwrap().is_none());
        let key = keys.obtain(Some(case), &mut rng).await.unwrap();
        let none = keys.obtain(None, &mut rng).await.unwrap();
        assert_ne!(key.as_bytes(), none.as_bytes());
        assert_eq!(
            keys.obtain(Some(case), &mut rng).await.unwrap().as_bytes(),
            key.as_bytes()
        );
        let again = ErasureKeys::open(&folder)
            .unwrap()
            .existing(Some(case))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(again.as_bytes(), key.as_bytes());
        let mut count = 0;
        for file in std::fs::read_dir(&folder).unwrap() {
            assert_eq!(file.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
            count += 1;
        }
        assert_eq!(count, 2);
    }

    #[tokio::test]
    async fn a_destroyed_key_is_gone_at_once_and_no_other_comes_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("erasure");
        let mut rng = StdRng::seed_from_u64(1);
        let (case, other) = (CaseRef::random(&mut rng), CaseRef::random(&mut rng));
        let keys = ErasureKeys::open(&folder).unwrap();
        // Another desk of the same broker, with the key in its own memory.
        let second = ErasureKeys::open(&folder).unwrap();
        let key = keys.obtain(Some(case), &mut rng).await.unwrap();
        keys.obtain(Some(other), &mut rng).await.unwrap();
        assert!(second.existing(Some(case)).await.unwrap().is_some());
        keys.destroy(case).await.unwrap();
        keys.destroy(case).await.unwrap();
        let file = |end: &str| folder.join(format!("{}.{end}", hex::encode(case.as_bytes())));
        assert!(!file("key").exists());
        assert_eq!(std::fs::metadata(file("erased")).unwrap().mode() & 0o777, 0o600);
        // A copy of the key that somebody puts back changes nothing, and does not outlast the next start.
        std::fs::write(file("key"), key.as_bytes()).unwrap();
        std::fs::set_permissions(file("key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        let none = keys.obtain(None, &mut rng).await.unwrap();
        std::fs::write(folder.join("no-case.erased"), "").unwrap();
        let again = ErasureKeys::open(&folder).unwrap();
        assert!(!file("key").exists());
        let kept = again.existing(None).await.unwrap().unwrap();
        assert_eq!(
            kept.as_bytes(),
            none.as_bytes(),
            "the key of no case is never destroyed"
        );
        for keys in [&keys, &second, &again] {
            assert!(keys.is_erased(case).unwrap() && !keys.is_there(Some(case)));
            assert!(keys.existing(Some(case)).await.unwrap().is_none());
            let made = keys.obtain(Some(case), &mut rng).await;
            assert!(matches!(made, Err(StoreError::Erased)));
            assert!(!file("key").exists());
            assert!(keys.existing(Some(other)).await.unwrap().is_some());
        }
    }

    #[tokio::test]
    async fn an_erased_key_is_gone_and_a_readable_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        ErasureKeys::open(dir.path())
            .unwrap()
            .obtain(None, &mut rng)
            .await
            .unwrap();
        let file = dir.path().join("no-case.key");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let keys = ErasureKeys::open(dir.path()).unwrap();
        assert!(matches!(keys.existing(None).await, Err(StoreError::Unusable(_))));
        std::fs::remove_file(&file).unwrap();
        assert!(keys.existing(None).await.unwrap().is_none());
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(
            ErasureKeys::open(dir.path()),
            Err(StoreError::Unusable(_))
        ));
    }
}
