//! What another broker on the store brought into force: taken out of the store, checked exactly as a file of the
//! operator's is, and used here too. Until then nothing is handed over here: the store's ceilings are compared in the
//! transaction that commits a decision.

use std::sync::Arc;
use std::time::Duration;

use schakel_proto::directory::Directory;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::time::Timestamp;

use super::{aside, bring, rules};
use crate::directory::Source;
use crate::redact::{Code, safe};
use crate::state::{Alarms, State};
use crate::store::{Ceiling, CeilingOf, Store};

/// How often it is looked for what a ceiling names: it is kept a moment after the ceiling rose.
const KEPT_LOOKS_MAX_COUNT: usize = 10;
/// Rest between two such looks.
const KEPT_REST: Duration = Duration::from_millis(200);

fn newer(ceiling: Option<Ceiling>, version: u64) -> Option<Ceiling> {
    ceiling.filter(|ceiling| ceiling.version > version)
}

/// Brings into force here what another broker on the store brought into force; whether there was anything.
///
/// # Errors
/// It cannot be had, or does not hold here: then nothing is decided here before it does.
pub async fn catch_up(state: &Arc<State>) -> Result<bool, Refusal> {
    if !state.store.is_shared() || !is_behind(state).await? {
        return Ok(false);
    }
    let _one_at_a_time = state.refreshing.lock().await;
    let changed = follow(state).await?;
    if changed {
        super::decide_again(state).await;
    }
    Ok(changed)
}

/// Whether directory and rules here are those in force on a shared store.
async fn is_behind(state: &State) -> Result<bool, Refusal> {
    let ceilings = state.store.ceilings().await?;
    let directory = newer(ceilings.directory, state.directories.current().version());
    let bundle = newer(ceilings.bundle, state.rules.current().version());
    Ok(directory.is_some() || bundle.is_some())
}

/// Refuses to go on while the directory or rules here are not those in force on the store.
///
/// # Errors
/// They are not, or the store does not answer.
pub async fn must_be_current(state: &State) -> Result<(), Refusal> {
    if !state.store.is_shared() || !is_behind(state).await? {
        return Ok(());
    }
    let sentence = "Another broker has brought a newer directory or bundle into force";
    let remedy = "Try again in a moment: it is being taken up here.";
    Err(Refusal::new(Fault::Unavailable, "BROKER_BEHIND", sentence, remedy).retry_after(1_000))
}

/// The same, for whoever looks at the operator's files already; an alarm if it does not hold.
pub(super) async fn follow(state: &Arc<State>) -> Result<bool, Refusal> {
    let followed = take_up(state).await;
    if let Err(refusal) = &followed {
        let count = state.alarms.raise(refusal.code);
        if Alarms::is_told(count) {
            let code = safe(Code(refusal));
            tracing::error!(
                code,
                count,
                "alarm: what another broker brought into force cannot be used here: nothing is handed over here"
            );
        }
    }
    followed
}

async fn take_up(state: &Arc<State>) -> Result<bool, Refusal> {
    let ceilings = state.store.ceilings().await?;
    let mut changed = false;
    if let Some(ceiling) = newer(ceilings.directory, state.directories.current().version()) {
        directory(state, ceiling).await?;
        // A bundle that was refused under the former directory may be signed by its new officers.
        state.rules.look_again();
        changed = true;
    }
    if let Some(ceiling) = newer(ceilings.bundle, state.rules.current().version()) {
        bundle(state, ceiling).await?;
        changed = true;
    }
    Ok(changed)
}

async fn directory(state: &Arc<State>, ceiling: Ceiling) -> Result<(), Refusal> {
    let signed = kept(state.store.as_ref(), CeilingOf::Directory, ceiling).await?;
    let now = state.clock.now();
    let next = aside(state, move |state| {
        let next = state.directories.source().verify(&signed, now)?;
        Ok(Directory::accept_newer(&state.directories.current(), next)?)
    });
    let next = next.await?;
    must_be(ceiling, (next.version(), *next.digest()))?;
    bring(state, &next, now).await?;
    tracing::info!(
        version = ceiling.version,
        "directory taken up, as another broker brought it into force"
    );
    state.directories.activate(next);
    Ok(())
}

async fn bundle(state: &Arc<State>, ceiling: Ceiling) -> Result<(), Refusal> {
    let signed = kept(state.store.as_ref(), CeilingOf::Bundle, ceiling).await?;
    let (now, current) = (state.clock.now(), state.directories.current());
    let under = Arc::clone(&current);
    let next = aside(state, move |state| {
        state.rules.source().load(&signed, &under, now)
    });
    let next = next.await?;
    must_be(ceiling, (next.version(), next.digest()))?;
    rules(state.store.as_ref(), &state.entries, (&next, &current), now).await?;
    tracing::info!(
        version = ceiling.version,
        "policy bundle taken up, as another broker brought it into force"
    );
    state.rules.follow(next);
    Ok(())
}

/// The newest directory that was in force on a shared store, if it is newer than the operator's file: a broker that
/// starts goes on with it.
///
/// # Errors
/// It cannot be had, or does not hold here.
pub async fn newest_directory(
    store: &dyn Store,
    source: &Source,
    file: Directory,
    now: Timestamp,
) -> Result<Directory, Refusal> {
    let ceiling = newer(store.ceilings().await?.directory, file.version());
    let Some(ceiling) = ceiling.filter(|_| store.is_shared()) else {
        return Ok(file);
    };
    let next = source.verify(&kept(store, CeilingOf::Directory, ceiling).await?, now)?;
    must_be(ceiling, (next.version(), *next.digest()))?;
    Ok(Directory::accept_newer(&file, next)?)
}

/// The newest bundle that was in force on a shared store, as it was signed, if it is newer than this version.
///
/// # Errors
/// It cannot be had.
pub async fn newest_bundle(store: &dyn Store, version: u64) -> Result<Option<Vec<u8>>, Refusal> {
    let ceiling = newer(store.ceilings().await?.bundle, version);
    let Some(ceiling) = ceiling.filter(|_| store.is_shared()) else {
        return Ok(None);
    };
    kept(store, CeilingOf::Bundle, ceiling).await.map(Some)
}

/// What a ceiling names, as it was signed.
async fn kept(store: &dyn Store, of: CeilingOf, ceiling: Ceiling) -> Result<Vec<u8>, Refusal> {
    for _ in 0..KEPT_LOOKS_MAX_COUNT {
        let kept = store.kept(of, ceiling.version).await?;
        if let Some(kept) = kept.filter(|kept| kept.digest == ceiling.digest) {
            return Ok(kept.signed.to_vec());
        }
        tokio::time::sleep(KEPT_REST).await;
    }
    let sentence = format!(
        "Version {} is in force, and the store does not have it",
        ceiling.version
    );
    let remedy = "Put the newest directory and bundle into this broker's files too.";
    Err(Refusal::new(Fault::Unavailable, "NOT_KEPT", sentence, remedy).retry_after(5_000))
}

fn must_be(ceiling: Ceiling, found: (u64, schakel_proto::ids::Digest)) -> Result<(), Refusal> {
    if (ceiling.version, ceiling.digest) == found {
        return Ok(());
    }
    let sentence = "The store keeps another directory or bundle than the one that is in force";
    let remedy = "Run log verify, and put the newest directory and bundle into this broker's files too.";
    Err(Refusal::new(Fault::Internal, "CORRUPT", sentence, remedy))
}
