//! Erasure keys: one secret per case (and one for entries of no case) that salts its log leaves, kept as
//! synced files of mode 0600 in a folder **outside the store and outside its backups**. Destroying a
//! case's key takes the meaning from its leaves; the tree stays valid. In its place stays a note that the case is
//! erased, so that no other key is ever made for it.
//!
//! Several processes may use one folder. A key is linked into its place, which never replaces one that is there: of
//! two that make the key of one case at the same moment one wins, and both go on with its. Whoever takes a key looks
//! for the note afterwards: a case that is erased meanwhile gets none.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngCore;
use schakel_proto::evidence::ErasureKey;
use schakel_proto::ids::CaseRef;
use schakel_proto::time::Timestamp;
use zeroize::Zeroizing;

use crate::clock::seeded_rng;
use crate::store::StoreError;
use crate::store::durable::sync_folder;

/// What a key's file name ends with.
const KEY: &str = "key";
/// What the name of the note ends with that a case is erased.
const ERASED: &str = "erased";
/// What the name of a key on its way to its place ends with.
const MAKING: &str = "making";
/// What the name of the mark of whoever erases a case ends with.
const GOING: &str = "going";
/// A mark, and a key on its way, of which nothing has come in this time were left by a process that ended.
const LEFT_AFTER: Duration = Duration::from_secs(600);

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

    /// Marks a case as being erased, for one process at a time; `None`: another is about it, or it is erased. The mark
    /// goes with what is given back, and its lock with the process: what one that ended has left counts for nothing.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub async fn claim(&self, case: CaseRef) -> Result<Option<Claim>, StoreError> {
        let inner = Arc::clone(&self.0);
        blocking(move || inner.claim(case)).await
    }

    /// Whether the key of a case, or that of no case, is there; it is not read.
    pub fn is_there(&self, case: Option<CaseRef>) -> bool {
        self.0.is_erased(case).is_ok_and(|erased| !erased) && self.0.path(case, KEY).exists()
    }
}

/// The mark of whoever erases a case; dropped, it goes.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    /// Locked while it is held.
    _lock: std::fs::File,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // One that stays is locked by nobody.
        let _stays = std::fs::remove_file(&self.path);
    }
}

/// Whether what lies there was left by a process that ended.
fn is_left(path: &Path) -> bool {
    let modified = std::fs::metadata(path).and_then(|found| found.modified());
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LEFT_AFTER))
}

/// Whether it is the name of a key on its way, of this case or of any.
fn is_making(path: &Path, of: Option<&str>) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let on_its_way = name.strip_suffix(MAKING).is_some_and(|rest| rest.ends_with('.'));
    on_its_way && of.is_none_or(|case| name.strip_prefix(case).is_some_and(|rest| rest.starts_with('.')))
}

/// Removes keys whose case is erased: what a crash left of them, or somebody restored from a copy; and keys that never
/// came to their place.
fn finish(folder: &Path) -> Result<(), StoreError> {
    let on = StoreError::on("the folder of erasure keys");
    let mut removed = 0_u64;
    for entry in std::fs::read_dir(folder).map_err(&on)? {
        let path = entry.map_err(&on)?.path();
        if is_making(&path, None) && is_left(&path) {
            remove(&path)?;
            continue;
        }
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
        let on = StoreError::on("an erasure key");
        // Empty, it is there whole as soon as its name is; so it is for whoever else makes it now.
        match create(&self.path(Some(case), ERASED)) {
            Ok(note) => note.sync_all().map_err(&on)?,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(on(e)),
        }
        sync_folder(&self.folder)?;
        cache.remove(&Some(case));
        remove(&self.path(Some(case), KEY))?;
        let name = hex::encode(case.as_bytes());
        for entry in std::fs::read_dir(&self.folder).map_err(&on)? {
            let path = entry.map_err(&on)?.path();
            if is_making(&path, Some(&name)) {
                remove(&path)?;
            }
        }
        sync_folder(&self.folder)
    }

    fn claim(&self, case: CaseRef) -> Result<Option<Claim>, StoreError> {
        use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
        let on = StoreError::on("the mark of an erasure");
        let path = self.path(Some(case), GOING);
        let mut options = std::fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&path).map_err(&on)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
            Err(std::fs::TryLockError::Error(error)) => return Err(on(error)),
        }
        // Whoever had it before may have taken the file away since it was opened here: then this locks nothing.
        let named = std::fs::metadata(&path)
            .is_ok_and(|found| lock.metadata().is_ok_and(|own| own.ino() == found.ino()));
        if !named {
            return Ok(None);
        }
        let claim = Claim { path, _lock: lock };
        // Whoever had it before may have come to the end.
        Ok((!self.is_erased(Some(case))?).then_some(claim))
    }

    /// Under the lock of the cache, so that two callers never make two keys for one case; and two processes do not,
    /// since a link replaces nothing.
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
        let made = fresh.is_some();
        let key = match (read_key(&path)?, fresh) {
            (Some(key), _) => Some(key),
            (None, None) => None,
            (None, Some(fresh)) => {
                self.make(case, &path, &fresh)?;
                read_key(&path)?
            }
        };
        // Erased by another process since: whichever of the two came later sees the other.
        if self.is_erased(case)? {
            remove(&path)?;
            sync_folder(&self.folder)?;
            return Ok(None);
        }
        let Some(key) = key else {
            // Made a moment ago, and gone without a note: somebody takes keys away by hand.
            return if made {
                Err(StoreError::Missing("erasure key"))
            } else {
                Ok(None)
            };
        };
        if made {
            // Another process may have put it there, and not have come to this yet.
            sync_folder(&self.folder)?;
        }
        if cache.len() >= CACHE_MAX_COUNT {
            cache.clear();
        }
        cache.insert(case, key.clone());
        Ok(Some(key))
    }

    /// Puts a key into its place, unless there is one: written and synced beside it, then linked.
    fn make(&self, case: Option<CaseRef>, path: &Path, key: &ErasureKey) -> Result<(), StoreError> {
        use std::io::Write;
        let on = StoreError::on("an erasure key");
        let own = format!("{:016x}.{MAKING}", seeded_rng().next_u64());
        let beside = self.path(case, &own);
        let mut file = create(&beside).map_err(&on)?;
        let written = file.write_all(key.as_bytes()).and_then(|()| file.sync_all());
        let linked = written.and_then(|()| std::fs::hard_link(&beside, path));
        remove(&beside)?;
        match linked {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            // Taken away by whoever erases the case: what follows finds that out.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(on(e)),
        }
    }
}

/// A new file that only the broker's user may read.
fn create(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
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
mod tests;
