//! What other brokers on the store say: streams wake for work that came in elsewhere, and what was brought into force or
//! cosigned elsewhere is taken up. Nothing rests on a word: streams, the sequencer and the look at the operator's files
//! look into the store by themselves, every few seconds.

use std::sync::Arc;
use std::time::Duration;

use crate::activate;
use crate::redact::{Code, safe};
use crate::state::State;
use crate::store::{Ear, Heard};

/// How often cosignatures are looked at when nothing is heard.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Rings for recipients: never held up by anything else.
pub(super) async fn ring(state: Arc<State>) {
    let mut ear = Ear::on(state.store.as_ref());
    loop {
        match ear.next().await {
            Heard::Work(agency) => state.bells.ring(&agency),
            Heard::Urgent(agency) => state.bells.hurry(&agency),
            Heard::Everything => state.bells.hurry_all(),
            Heard::Tree | Heard::Ceilings | Heard::Cosigned => {}
        }
    }
}

/// Takes up what is in force, and what was cosigned.
pub(super) async fn follow(state: Arc<State>) {
    let mut ear = Ear::on(state.store.as_ref());
    let mut word = Heard::Everything;
    loop {
        if matches!(word, Heard::Ceilings | Heard::Everything) {
            // What does not hold was told; it is tried again with the next look at the operator's files.
            let _caught_up = activate::catch_up(&state).await;
        }
        if matches!(word, Heard::Cosigned | Heard::Everything) {
            let directory = state.directories.current();
            if let Err(refusal) = state.cosigned.look(state.store.as_ref(), &directory).await {
                tracing::warn!(code = safe(Code(&refusal)), "cosignatures cannot be read");
            }
        }
        let heard = tokio::time::timeout(LOOK_EVERY, ear.next());
        word = if state.store.is_shared() {
            heard.await.unwrap_or(Heard::Cosigned)
        } else {
            std::future::pending().await
        };
    }
}
