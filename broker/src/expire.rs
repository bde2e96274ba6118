//! Expire: packets whose life has ended with something still open end, with a leaf for their sender; their
//! ciphertext goes.

use schakel_proto::evidence::Event;
use schakel_proto::refusal::Refusal;

use crate::beats::Monitor;
use crate::log::entry::EntryDraft;
use crate::redact::{Code, safe};
use crate::state::{Alarms, State};
use crate::store::{DuePacket, Expired, Expiring};

/// Packets that one sweep ends; the next sweep takes the rest.
const SWEEP_MAX_COUNT: usize = 256;

/// Ends what is due; says how many packets ended.
///
/// # Errors
/// The store cannot be read or could not commit; what was done stays done.
pub async fn sweep(state: &State) -> Result<usize, Refusal> {
    let due = state.store.due(state.clock.now(), SWEEP_MAX_COUNT).await?;
    let mut ended = 0;
    for packet in due {
        state.beats.beat(Monitor::Expiry);
        match end(state, &packet).await {
            Ok(true) => {
                tracing::info!(packet = safe(packet.packet), "packet expired");
                ended += 1;
            }
            Ok(false) => {}
            Err(refusal) if refusal.retry_after_millis > 0 => return Err(refusal),
            // What ails one packet must not keep the others; it is looked at again with the next sweep.
            Err(refusal) => {
                let count = state.alarms.raise(refusal.code);
                if Alarms::is_told(count) {
                    let (packet, code) = (safe(packet.packet), safe(Code(&refusal)));
                    tracing::error!(packet, code, count, "alarm: a packet does not expire");
                }
            }
        }
    }
    Ok(ended)
}

async fn end(state: &State, due: &DuePacket) -> Result<bool, Refusal> {
    let at = state.clock.now();
    let draft = EntryDraft {
        case: Some(due.case),
        packet: Some(due.packet),
        manifest_digest: Some(due.manifest_digest),
        sender: Some(due.sender.clone()),
        ..EntryDraft::new(Event::Expired, at)
    };
    let entry = state.entry(draft.concerning(&due.sender, false)).await?;
    let expired = state
        .store
        .expire(Expiring {
            packet: due.packet,
            entry,
            at,
        })
        .await?;
    Ok(matches!(expired, Expired::Done { .. }))
}
