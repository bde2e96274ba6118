//! Which shard of the log is in force: the directory says so, the store must agree, and the key must be here. The
//! directory freezes a shard only where the store's tree ends; the next one goes on from there (docs/decisions/0021).

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use schakel_proto::evidence::{Event, ShardLink};
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::time::Timestamp;
use schakel_proto::tlog::checkpoint::{CheckpointError, LogKey, LogSecret, SignedCheckpoint};
use schakel_proto::tlog::shards::{Frozen, Opens, Shards};

use super::key;
use crate::clock::seeded_rng;
use crate::log::entry::{EntryDraft, EntryMaker};
use crate::state::State;
use crate::store::{NewShard, ShardOpened, Store, StoreError};

/// What the name of the next shard's key file ends with.
const NEXT: &str = ".next";
/// Shortest time between two words on the same trouble, in milliseconds.
const TOLD_EVERY_MILLIS: i64 = 24 * 3_600_000;
const FROZEN_TOLD_EVERY_MILLIS: i64 = 60_000;

/// The file of the key of the shard that is to follow: beside the key's.
pub fn next_key_file(key: &Path) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push(NEXT);
    name.into()
}

/// The secret of this key, from the key's file or the one beside it.
///
/// # Errors
/// Neither holds it, or the first cannot be read.
pub fn load_key(file: &Path, wanted: &LogKey) -> Result<Option<LogSecret>, StoreError> {
    let next = next_key_file(file);
    if next.is_file() {
        let secret = key::load(&next)?;
        if secret.public() == wanted {
            return Ok(Some(secret));
        }
    }
    let secret = key::load(file)?;
    Ok(Some(secret).filter(|secret| secret.public() == wanted))
}

fn wrong(code: &'static str, sentence: impl Into<String>) -> Refusal {
    let remedy =
        "docs/operating/log.md, \"Shards\", says which steps a change of shard has, and what went wrong.";
    Refusal::new(Fault::Precondition, code, sentence.into(), remedy)
}

fn behind(size: u64, end: u64) -> Refusal {
    let sentence = format!("The directory freezes the log at {end} entries, and this store has {size}");
    wrong("LOG_FREEZE_OTHER", sentence)
}

/// Where the directory's shards and the store meet.
enum Place<'a> {
    /// The shard in force is the store's.
    InForce,
    /// The store's tree ends where this one is frozen: the shard in force begins there.
    AtEnd(&'a Frozen),
}

async fn place<'a>(store: &dyn Store, shards: &'a Shards) -> Result<Place<'a>, Refusal> {
    let last = store.shards().await?.pop();
    let Some(newest) = store.latest_checkpoint().await? else {
        let end = shards.predecessor().map_or(0, |last| last.last().size());
        return if end == 0 {
            Ok(Place::InForce)
        } else {
            Err(behind(0, end))
        };
    };
    let signed = shards.open(&newest.note).map_err(|error| match error {
        CheckpointError::Frozen => {
            let sentence =
                "The directory freezes the log before the end of this store's tree, or with another root";
            wrong("LOG_FROZEN", sentence)
        }
        _ => wrong(
            "LOG_KEY",
            "The log's newest checkpoint is of no shard that the directory names",
        ),
    })?;
    if signed.origin() == shards.origin() {
        return match last {
            Some(last) if last.origin != shards.origin() => {
                let sentence = "The store is in a later shard of the log than the directory names";
                Err(wrong("LOG_KEY", sentence))
            }
            _ => Ok(Place::InForce),
        };
    }
    let ends_here = |frozen: &&Frozen| {
        let end = frozen.last();
        (end.size(), end.root(), end.origin()) == (newest.size, newest.root, signed.origin())
    };
    match shards.predecessor().filter(ends_here) {
        Some(_) if last.is_some_and(|last| last.origin == shards.origin()) => Ok(Place::InForce),
        Some(frozen) => Ok(Place::AtEnd(frozen)),
        None => {
            let end = shards.predecessor().map_or(0, |last| last.last().size());
            Err(behind(newest.size, end))
        }
    }
}

/// Brings the directory's shard into force in the store. Durable before that directory is used; idempotent.
///
/// # Errors
/// The store's tree does not end where the directory freezes it.
pub async fn follow(
    store: &dyn Store,
    entries: &EntryMaker,
    shards: &Shards,
    now: Timestamp,
) -> Result<(), Refusal> {
    let Place::AtEnd(frozen) = place(store, shards).await? else {
        return Ok(());
    };
    let end = (frozen.last().size(), frozen.last().root());
    let link = ShardLink {
        origin: frozen.key().origin().to_owned(),
        end: Some(end),
    };
    let draft = EntryDraft {
        shard: Some(link),
        ..EntryDraft::new(Event::ShardOpened, now)
    };
    let new = NewShard {
        origin: shards.origin().to_owned(),
        continues: end,
        entry: entries.make(draft, &mut seeded_rng()).await?,
    };
    match store.open_shard(new).await? {
        ShardOpened::New => {
            tracing::info!(
                origin = shards.origin(),
                size = end.0,
                "a shard of the log is in force"
            );
            Ok(())
        }
        ShardOpened::Same => Ok(()),
        ShardOpened::Elsewhere { size } => Err(behind(size, end.0)),
    }
}

/// The key of the log, and what was said of its shard.
#[derive(Debug)]
pub struct Watch {
    /// The key's file.
    pub key_file: PathBuf,
    told: Mutex<[Option<Timestamp>; 2]>,
}

impl Watch {
    /// With the key's file; nothing was said yet.
    pub fn new(key_file: PathBuf) -> Self {
        let told = Mutex::default();
        Self { key_file, told }
    }

    /// Whether it is time to say this again.
    fn is_due(&self, which: usize, every: i64, now: Timestamp) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = told.get_mut(which) else {
            return false;
        };
        let due = last.is_none_or(|last| !(0..every).contains(&now.millis_since(last)));
        if due {
            *last = Some(now);
        }
        due
    }
}

/// Follows a directory that is to come into force: its shard's key must be here, and its shard begin where the tree ends.
///
/// # Errors
/// They do not: the directory may not come into force.
pub async fn change(state: &State, shards: &Shards, now: Timestamp) -> Result<(), Refusal> {
    if shards == state.directories.current().log().shards() {
        return Ok(());
    }
    let secret = load_key(&state.shard.key_file, shards.current())?;
    let secret = secret.ok_or_else(|| {
        let sentence = "The directory names a shard of the log whose key is not here";
        wrong("LOG_KEY", sentence)
    })?;
    state.log.add_key(secret);
    follow(state.store.as_ref(), &state.entries, shards, now).await
}

/// Says, once a day, that the half-year of the shard in force is over; once a minute, that the log is frozen and nothing
/// is handed over.
pub fn remind(state: &State) {
    let (directory, now) = (state.directories.current(), state.clock.now());
    let origin = directory.log().origin();
    let over = half_year_end(origin).is_some_and(|end| now >= end);
    let frozen = state.log.is_frozen();
    state.meters.shard(over, frozen);
    if over && state.shard.is_due(0, TOLD_EVERY_MILLIS, now) {
        tracing::warn!(
            origin,
            "alarm: the half-year of the log's shard is over: begin the next one"
        );
    }
    if frozen && state.shard.is_due(1, FROZEN_TOLD_EVERY_MILLIS, now) {
        tracing::warn!(
            origin,
            "alarm: the log is frozen: nothing is handed over until the directory names the next shard, or log thaw"
        );
    }
}

/// The moment at which the half-year ends that a shard is named after (`…/2026h2`, `…/2026h2.2`); none: after none.
pub fn half_year_end(origin: &str) -> Option<Timestamp> {
    let name = origin.rsplit('/').next()?;
    let half = name.split_once('.').map_or(name, |(half, _)| half);
    let (year, half) = half.split_once('h')?;
    let year: u32 = year.parse().ok().filter(|_| year.len() == 4)?;
    let end = match half {
        "1" => format!("{year:04}-07-01T00:00:00Z"),
        "2" => format!("{:04}-01-01T00:00:00Z", year.saturating_add(1)),
        _ => return None,
    };
    end.parse().ok()
}

/// What a shard's last checkpoint amounts to.
pub fn is_witnessed(note: &[u8], directory: &schakel_proto::directory::Directory) -> bool {
    let opened: Result<SignedCheckpoint, _> = directory.log().shards().open(note);
    let standing = opened.map(|opened| directory.log().watch().standing(&opened));
    matches!(standing, Ok(Ok(standing)) if standing.is_witnessed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_names_say_when_their_half_year_ends() {
        for (origin, end) in [
            ("rupel.example/log/2026h1", Some("2026-07-01T00:00:00Z")),
            ("rupel.example/log/2026h2", Some("2027-01-01T00:00:00Z")),
            ("rupel.example/log/2026h2.2", Some("2027-01-01T00:00:00Z")),
            ("rupel.example/log/2026h3", None),
            ("rupel.example/log/26h1", None),
            ("rupel.example/log", None),
            ("", None),
        ] {
            let end = end.map(|end| end.parse::<Timestamp>().unwrap());
            assert_eq!(half_year_end(origin), end, "{origin}");
        }
    }

    #[test]
    fn shard_trouble_is_told_at_its_pace() {
        let watch = Watch::new(PathBuf::new());
        let at = Timestamp::from_millis;
        assert!(watch.is_due(0, 100, at(1_000)));
        assert!(!watch.is_due(0, 100, at(1_099)));
        assert!(watch.is_due(1, 100, at(1_000)), "each by itself");
        assert!(watch.is_due(0, 100, at(1_100)));
        assert!(
            watch.is_due(0, 100, at(1)),
            "a clock that jumps back silences nothing"
        );
    }

    #[test]
    fn shard_keys_are_found_in_either_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log.key");
        let mut rng = seeded_rng();
        let old = key::create(&file, "rupel.example/log/2026h1", &mut rng).unwrap();
        let other = LogSecret::generate("rupel.example/log/2026h2", &mut rng).unwrap();
        let found = |wanted: &LogKey| load_key(&file, wanted).unwrap().is_some();
        assert!(found(old.public()) && !found(other.public()));
        let next = key::create(&next_key_file(&file), "rupel.example/log/2026h2", &mut rng).unwrap();
        assert!(found(old.public()) && found(next.public()) && !found(other.public()));
    }
}
