//! What comes into force: a newer directory, a newer bundle. Each is committed with its leaf and its
//! ceiling first, used after, and makes held parts be decided again.

use std::sync::Arc;

use prost::Message;
use schakel_proto::directory::Directory;
use schakel_proto::evidence::Event;
use schakel_proto::ids::Digest;
use schakel_proto::refusal::{Fault, Refusal};
use schakel_proto::time::Timestamp;

use crate::bundle::{self, Ending, Rules};
use crate::clock::seeded_rng;
use crate::log::entry::{EntryDraft, EntryMaker};
use crate::log::shards;
use crate::redact::{Code, OfRules, Short, safe};
use crate::state::{Alarms, State};
use crate::store::{Ceiling, CeilingOf, Raised, Store};

mod others;

pub use others::{catch_up, must_be_current, newest_bundle, newest_directory};

/// Commits that `ceiling` is in force from now on. The entry is shown to the agencies whose officers sign
/// bundles.
///
/// # Errors
/// A newer one, or another one of the same version, was in force before.
async fn raise(
    store: &dyn Store,
    entries: &EntryMaker,
    directory: &Directory,
    (of, ceiling): (CeilingOf, Ceiling),
    now: Timestamp,
) -> Result<Raised, Refusal> {
    let event = match of {
        CeilingOf::Directory => Event::DirectoryActivated,
        CeilingOf::Bundle => Event::BundleActivated,
    };
    let mut draft = EntryDraft {
        manifest_digest: Some(ceiling.digest),
        reason: format!("version-{}", ceiling.version),
        ..EntryDraft::new(event, now)
    };
    for agency in directory
        .agencies()
        .filter(|agency| !agency.officers().is_empty())
    {
        draft = draft.concerning(agency.id(), false);
    }
    let entry = entries.make(draft, &mut seeded_rng()).await?;
    Ok(store.raise(of, ceiling, entry).await?)
}

/// Commits that `directory` is in force.
///
/// # Errors
/// A newer one, or another one of the same version, was in force before.
pub async fn directory(
    store: &dyn Store,
    entries: &EntryMaker,
    directory: &Directory,
    now: Timestamp,
) -> Result<Raised, Refusal> {
    let ceiling = Ceiling {
        version: directory.version(),
        digest: *directory.digest(),
    };
    let raised = raise(store, entries, directory, (CeilingOf::Directory, ceiling), now).await?;
    match raised {
        Raised::Refused { current } => {
            let (got, newest) = (directory.version(), current.version);
            Err(schakel_proto::directory::DirectoryError::Older { got, newest }.into())
        }
        Raised::New { .. } => {
            let digest = *directory.digest();
            tracing::info!(
                version = ceiling.version,
                digest = safe(Short(&digest)),
                "directory in force"
            );
            keep(
                store,
                CeilingOf::Directory,
                ceiling,
                directory.signed().encode_to_vec(),
            )
            .await?;
            Ok(raised)
        }
        Raised::Same => {
            keep(
                store,
                CeilingOf::Directory,
                ceiling,
                directory.signed().encode_to_vec(),
            )
            .await?;
            Ok(raised)
        }
    }
}

/// What comes into force is kept before it decides, so that its decisions can be made again.
async fn keep(store: &dyn Store, of: CeilingOf, ceiling: Ceiling, signed: Vec<u8>) -> Result<(), Refusal> {
    Ok(store.keep(of, ceiling, signed.into()).await?)
}

/// Commits that `rules` are in force.
///
/// # Errors
/// A newer bundle, or another one of the same version, was in force before.
pub async fn rules(
    store: &dyn Store,
    entries: &EntryMaker,
    (rules, directory): (&Rules, &Directory),
    now: Timestamp,
) -> Result<Raised, Refusal> {
    let ceiling = Ceiling {
        version: rules.version(),
        digest: rules.digest(),
    };
    let raised = raise(store, entries, directory, (CeilingOf::Bundle, ceiling), now).await?;
    match raised {
        Raised::Refused { current } => Err(bundle::older(rules.version(), current.version)),
        Raised::New { .. } => {
            let digest = rules.digest();
            tracing::info!(
                version = ceiling.version,
                digest = safe(Short(&digest)),
                "policy bundle in force"
            );
            keep(store, CeilingOf::Bundle, ceiling, rules.signed_bytes()).await?;
            Ok(raised)
        }
        Raised::Same => {
            keep(store, CeilingOf::Bundle, ceiling, rules.signed_bytes()).await?;
            Ok(raised)
        }
    }
}

/// Looks whether the operator's files hold something newer, and brings it into force. What is refused is an
/// alarm, once for each file; what is in force stays. One look at a time.
pub async fn refresh(state: &Arc<State>) {
    let _one_at_a_time = state.refreshing.lock().await;
    let mut changed = false;
    if state.store.is_shared() {
        // First what is in force: the files may be older.
        changed |= others::follow(state).await.unwrap_or(false);
    }
    match next_directory(state).await {
        Ok(new) => changed |= new,
        Err(refusal) => refused(state, "directory", &refusal),
    }
    if changed {
        // A bundle that was refused under the former directory may be signed by its new officers.
        state.rules.look_again();
    }
    match next_rules(state).await {
        Ok(new) => changed |= new,
        Err(refusal) => refused(state, "bundle", &refusal),
    }
    remind(state);
    shards::remind(state);
    if changed {
        decide_again(state).await;
    }
}

/// Held parts are decided again, under what has come into force. Several brokers may do so one after the other: what is
/// held again leaves no second entry.
async fn decide_again(state: &State) {
    match state.store.reconsider(None).await {
        Ok(recipients) => recipients.iter().for_each(|agency| state.bells.ring(agency)),
        Err(error) => {
            tracing::error!(
                code = safe(Code(&error.into())),
                "held parts are not decided again yet"
            );
        }
    }
}

/// Tells the operator, once a day, that the rules in force end soon.
fn remind(state: &State) {
    let version = state.rules.current().version();
    match state.rules.reminder(state.clock.now()) {
        None | Some(Ending::Far) => {}
        Some(Ending::Month) => tracing::warn!(version, "alarm: the policy bundle ends within 30 days"),
        Some(Ending::Week) => tracing::error!(version, "alarm: the policy bundle ends within 7 days"),
        Some(Ending::Over) => {
            tracing::error!(
                version,
                "alarm: the policy bundle has ended, every packet is denied"
            );
        }
    }
}

fn refused(state: &State, file: &'static str, refusal: &Refusal) {
    let count = state.alarms.raise(refusal.code);
    if !Alarms::is_told(count) {
        return;
    }
    let code = safe(Code(refusal));
    if file == "bundle" {
        let why = safe(OfRules(refusal));
        tracing::error!(
            code,
            why,
            count,
            "alarm: the bundle file is refused; what is in force stays"
        );
    } else {
        tracing::error!(
            code,
            count,
            "alarm: the directory file is refused; what is in force stays"
        );
    }
}

/// Runs `work`, which takes a while, off the threads that serve calls.
async fn aside<T: Send + 'static>(
    state: &Arc<State>,
    work: impl FnOnce(&State) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let state = Arc::clone(state);
    tokio::task::spawn_blocking(move || work(&state))
        .await
        .unwrap_or_else(|_| {
            let sentence = "A file could not be checked";
            Err(Refusal::new(
                Fault::Internal,
                "BROKER_DEFECT",
                sentence,
                "Report it with the broker's version.",
            ))
        })
}

async fn next_directory(state: &Arc<State>) -> Result<bool, Refusal> {
    let now = state.clock.now();
    let Some(next) = aside(state, move |state| {
        state.directories.next(now, state.store.is_shared())
    })
    .await?
    else {
        return Ok(false);
    };
    let newer = next.version() > state.directories.current().version();
    if newer && let Err(refusal) = bring(state, &next, now).await {
        state.directories.look_again();
        return Err(refusal);
    }
    state.directories.activate(next);
    Ok(newer)
}

/// A newer directory: first its shard of the log, durably, so that no entry of it stands in another.
async fn bring(state: &State, next: &Directory, now: Timestamp) -> Result<(), Refusal> {
    shards::change(state, next.log().shards(), now).await?;
    directory(state.store.as_ref(), &state.entries, next, now)
        .await
        .map(drop)
}

async fn next_rules(state: &Arc<State>) -> Result<bool, Refusal> {
    let bytes = match state.rules.source().bytes() {
        Ok(bytes) => bytes,
        Err(refusal) => {
            // The same trouble with the file is told once, like the same file.
            let trouble = Digest::of(refusal.to_string().as_bytes());
            if state.rules.is_seen(trouble) {
                return Ok(false);
            }
            state.rules.refuse(trouble);
            return Err(refusal);
        }
    };
    let file = Digest::of(&bytes);
    if state.rules.is_seen(file) {
        return Ok(false);
    }
    let (now, current) = (state.clock.now(), state.directories.current());
    let loaded = aside(state, move |state| {
        state
            .rules
            .source()
            .load(&bytes, &state.directories.current(), now)
    });
    let next = match loaded.await {
        Ok(next) => next,
        Err(refusal) => {
            state.rules.refuse(file);
            return Err(refusal);
        }
    };
    if state.store.is_shared() && next.version() < state.rules.current().version() {
        state.rules.pass_over(file);
        return Ok(false);
    }
    match rules(state.store.as_ref(), &state.entries, (&next, &current), now).await {
        Ok(raised) => {
            state.rules.activate(next, file);
            Ok(matches!(raised, Raised::New { .. }))
        }
        Err(refusal) => {
            // What the store could not commit is tried again; what it refused is not.
            if refusal.fault == Fault::Precondition {
                state.rules.refuse(file);
            }
            Err(refusal)
        }
    }
}
