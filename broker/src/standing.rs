//! Standing: of what was handed over, which parts would not be now. The same question is asked again, on the
//! facts of this moment; the sender is told the reason, as it is told of what stays behind.

use std::collections::BTreeMap;

use schakel_policy::asking::{self, Moment};
use schakel_proto::ids::{PacketId, PartId};
use schakel_proto::party::AgencyId;
use schakel_proto::refusal::Refusal;

use crate::decide::stored_head;
use crate::state::State;
use crate::store::PartState;

/// Why a part would not go to its recipient any more: the reason code.
pub type Ended = BTreeMap<(AgencyId, PartId), String>;

/// Asks again for every part that was handed over, or may have been.
///
/// # Errors
/// The stored packet or the facts cannot be read.
pub async fn ended(state: &State, packet: PacketId, parts: &[PartState]) -> Result<Ended, Refusal> {
    let mut ended = Ended::new();
    let mut recipients: Vec<&AgencyId> = disclosed(parts).map(|part| &part.recipient).collect();
    recipients.sort_unstable();
    recipients.dedup();
    let stored = state
        .store
        .packet(packet)
        .await?
        .filter(|_| !recipients.is_empty());
    let Some(stored) = stored else {
        return Ok(ended);
    };
    let directory = state.directories.current();
    let chain = crate::facts::chain(state, stored.case).await?;
    let head = stored_head(&stored)?;
    let case = asking::case_or_unopened(&chain, &directory, &head.manifest().sender);
    // An emergency is judged by its own moment: that its review is due ends no ground.
    let emergency = head.manifest().break_glass.is_some();
    let at = if emergency {
        stored.accepted_at
    } else {
        state.clock.now()
    };
    let rules = state.rules.current();
    for recipient in recipients {
        let own = disclosed(parts).filter(|part| part.recipient == *recipient);
        let described: Vec<_> = own.filter_map(|part| head.part(&part.part)).collect();
        let fields: Vec<_> = described.iter().map(|part| part.descriptor()).collect();
        let when = (Moment::HandOver, at);
        let questions =
            asking::receive_questions(head.manifest(), &fields, recipient, (&directory, &case), when);
        let ruling = rules.engine().packet(&questions);
        for (part, ruling) in described
            .iter()
            .zip(ruling.parts())
            .filter(|(_, one)| !one.delivers())
        {
            ended.insert((recipient.clone(), part.id()), ruling.reason().to_owned());
        }
    }
    Ok(ended)
}

fn disclosed(parts: &[PartState]) -> impl Iterator<Item = &PartState> {
    parts.iter().filter(|part| part.possibly_disclosed)
}
